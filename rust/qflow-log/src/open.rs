//! Opening what lies in a folder that a stranger may have filled.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Open a file for reading. A pipe or a device is refused at once: one would be waited for, the
/// other may never end.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "not a file"))
    }
}

/// Read a file, and of one that is longer than `bytes_max` one byte more: who parses it refuses it.
pub fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = open_file(path)?;
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(bytes_max as u64) as usize);
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
