//! Opening: lock, find the last whole commit, and refuse what a crash cannot explain.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use qflow_core::log::{Checkpoint, Frontier, Signer, VerifierKey, sha256};

use crate::error::{LogError, Result, corrupt};
use crate::journal::address;
use crate::publish::{Publisher, read_checkpoint, write_checkpoint};
use crate::segment::{list_segments, segment_path, sync_directory};
use crate::tail::{Search, Tail};
use crate::writer::{Head, Writer};

const LOCK_BYTES_MAX: u64 = 256;

/// A log as it was left, ready to go on.
pub struct Recovered {
    pub writer: Writer,
    pub head: Head,
    pub publisher: Publisher,
    pub lock: File,
}

/// The number by which frames and segments name their log.
pub fn log_id(key: &VerifierKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(key.to_string().as_bytes());
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Open the files, alone, and find the last whole commit.
pub fn recover(path: &Path, signer: Signer, segment_bytes_max: u64) -> Result<Recovered> {
    let journal = path.join("journal");
    fs::create_dir_all(&journal)?;
    let (lock, same_boot) = lock(path)?;
    let published = read_checkpoint(path, signer.verifier())?;
    let id = log_id(signer.verifier());
    let segments = list_segments(&journal)?;
    if let Some(gap) = segments.iter().zip(0..).find(|(number, at)| *number != at) {
        return corrupt(format!("journal/{:010} is missing", gap.1));
    }
    let search = Search {
        journal: &journal,
        key: signer.verifier(),
        log_id: id,
        published: published.as_ref().map(|(_, head)| head),
    };
    let tail = search.last_commit(&segments)?;
    match (&published, &tail) {
        (None, Some(_)) => return corrupt("the checkpoint is missing"),
        (Some((_, head)), None) if head.size > 0 => {
            return corrupt("the checkpoint proves more than the journal has");
        }
        _ => {}
    }
    let (note, published) = match published {
        Some(published) => published,
        None => create(path, &signer)?,
    };
    remove_unused(&journal, &segments, tail.as_ref())?;
    let (tree, head, active) = match tail {
        Some(tail) => {
            tail.settle()?;
            (tail.tree, tail.head, Some(tail.active))
        }
        None => (Frontier::default(), empty_head(&signer), None),
    };
    let writer = Writer::new(journal, signer, id, tree, active, segment_bytes_max);
    let publisher = Publisher::new(path, note, published, same_boot);
    Ok(Recovered { writer, head, publisher, lock })
}

/// Publish the empty tree: from now on a log without a checkpoint is not a new one.
fn create(path: &Path, signer: &Signer) -> Result<(Vec<u8>, Checkpoint)> {
    let Head { note, checkpoint, .. } = empty_head(signer);
    write_checkpoint(path, note.as_bytes())?;
    sync_directory(path)?;
    Ok((note.into_bytes(), checkpoint))
}

/// Of the segments after the last commit only the next can be of use: it was prepared.
fn remove_unused(journal: &Path, segments: &[u32], tail: Option<&Tail>) -> Result<()> {
    let next = tail.map_or(0, |tail| tail.active.number + 1);
    for number in segments.iter().filter(|number| **number > next) {
        fs::remove_file(segment_path(journal, *number))?;
    }
    Ok(())
}

fn empty_head(signer: &Signer) -> Head {
    let checkpoint = Checkpoint { size: 0, root: Frontier::default().root() };
    Head { note: signer.sign(&checkpoint), checkpoint, end: address(0, 0) }
}

/// Take the lock. Says also whether the machine still runs that the last writer ran on: what that
/// one did not sync is then in the files all the same.
fn lock(path: &Path) -> Result<(File, bool)> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path.join("lock"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LogError::Locked),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let mut last = Vec::new();
    Read::by_ref(&mut file).take(LOCK_BYTES_MAX).read_to_end(&mut last)?;
    let now = boot_line();
    let same = last == now.as_bytes();
    if !same {
        file.set_len(0)?;
        file.write_all_at(now.as_bytes(), 0)?;
    }
    Ok((file, same))
}

/// What the lock file says: the running system's id and its checksum.
fn boot_line() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = id.trim();
    format!("{id} {:08x}\n", crc32c::crc32c(id.as_bytes()))
}

/// Whether these bytes can be a lock file's: nothing, or a line that `boot_line` wrote.
pub fn is_lock_content(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let crc = |id: &str| format!("{id} {:08x}\n", crc32c::crc32c(id.as_bytes()));
    text.is_empty() || text.split_once(' ').is_some_and(|(id, _)| crc(id) == text)
}
