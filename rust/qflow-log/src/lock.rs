//! The lock file: one writer, and what the last one left.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{LogError, Result};

const BYTES_MAX: u64 = 256;

/// The lock, held until it is dropped.
pub struct Lock {
    file: File,
    /// The machine still runs that the last writer ran on: what it did not sync is in the files
    /// all the same.
    pub same_boot: bool,
    /// The last writer closed the log: no write was cut.
    pub was_closed: bool,
}

impl Lock {
    /// Take the lock of the log at `path`, and note that the log is open.
    pub fn take(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path.join("lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogError::Locked),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut last = Vec::new();
        Read::by_ref(&mut file)
            .take(BYTES_MAX)
            .read_to_end(&mut last)?;
        let was_closed = was_closed(&last);
        let same_boot = [line("opened"), line("closed")]
            .iter()
            .any(|line| line.as_bytes() == last);
        Ok(Self {
            file,
            same_boot,
            was_closed,
        })
    }

    /// Note that the log is open, durably: a write that is cut from now on is no corruption.
    pub fn note_open(&self) -> io::Result<()> {
        self.note("opened")?;
        self.file.sync_data()
    }

    /// Note that everything was written. It may be lost: then the log counts as open.
    pub fn note_closed(&self) -> io::Result<()> {
        self.note("closed")
    }

    fn note(&self, state: &str) -> io::Result<()> {
        let line = line(state);
        // Both states have one length: the second call changes nothing but for another's file.
        self.file.write_all_at(line.as_bytes(), 0)?;
        self.file.set_len(line.len() as u64)
    }
}

fn line(state: &str) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    signed(&format!("{} {state}", boot.trim()))
}

fn signed(text: &str) -> String {
    format!("{text} {:08x}\n", crc32c::crc32c(text.as_bytes()))
}

/// Whether these bytes can be a lock file's: nothing, or a line that was written whole.
pub fn is_lock_content(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).ok();
    let exact = |text: &str| {
        text.rsplit_once(' ')
            .is_some_and(|(line, _)| signed(line) == text)
    };
    text.is_some_and(|text| text.is_empty() || exact(text))
}

/// Whether the log was closed, and not opened since.
pub fn was_closed(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    is_lock_content(bytes) && text.split(' ').nth(1) == Some("closed")
}
