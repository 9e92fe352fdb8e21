//! Segments: the journal's files, written with zeros and synced before they are used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use qflow_core::log::{Frontier, Hash};

use crate::frame::ALIGNMENT;
use crate::open::open_file;
use crate::tail::{SECTOR, is_zero};

/// Segments of a log; an address has 32 bits for them and 32 for the place within.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 31;
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// The first segment is small, so that an idle node costs little; each is four times the last.
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;

const MAGIC: &[u8; 8] = b"QFLOWSEG";
const VERSION: u32 = 1;
const FIXED: usize = 56;

/// What the first block of a segment says.
#[derive(Clone)]
pub struct SegmentHeader {
    pub number: u32,
    pub bytes: u64,
    pub log_id: u64,
    /// The tree before the segment's first record.
    pub base: Frontier,
}

impl SegmentHeader {
    /// The block that begins the segment.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ALIGNMENT);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u64::from(self.number).to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.log_id.to_le_bytes());
        out.extend_from_slice(&self.base.size().to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        for hash in self.base.hashes() {
            out.extend_from_slice(hash);
        }
        out.resize(ALIGNMENT, 0);
        let crc = crc32c::crc32c(&out[12..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Read a block, strictly.
    pub fn parse(block: &[u8], number: u32, log_id: u64) -> Result<Self, &'static str> {
        let long = |at: usize| {
            let bytes = block.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        if block.len() != ALIGNMENT || !block.starts_with(MAGIC) {
            return Err("no segment begins here");
        }
        if crc32c::crc32c(&block[12..]) != long(8) as u32 {
            return Err("a segment header's checksum is not that of its bytes");
        }
        if long(32) != log_id {
            return Err("a segment of another log");
        }
        let size = long(40);
        let end = FIXED + 32 * size.count_ones() as usize;
        let hashes: &[Hash] = block[FIXED..end].as_chunks().0;
        let base = Frontier::from_hashes(size, hashes).ok_or("a segment header's tree")?;
        let header = Self {
            number,
            bytes: long(24),
            log_id,
            base,
        };
        // Whatever this does not write is refused: other versions, numbers, bits in the slack.
        if header.encode() == block {
            Ok(header)
        } else {
            Err("a segment header of another form")
        }
    }

    /// Whether a crash explains a block that is no header: a sector that has part of one is zero.
    pub fn is_torn(block: &[u8], log_id: u64) -> bool {
        let Some(first) = block.get(..SECTOR) else {
            return false;
        };
        let long = |at: usize| {
            first[at..]
                .first_chunk()
                .map_or(0, |b| u64::from_le_bytes(*b))
        };
        let needed = FIXED + 32 * long(40).count_ones() as usize;
        let cut = block
            .chunks(SECTOR)
            .take(needed.div_ceil(SECTOR))
            .skip(1)
            .any(is_zero);
        is_zero(first) || (first.starts_with(MAGIC) && long(32) == log_id && cut)
    }
}

/// `journal/0000000000`, `journal/0000000001`, ...
pub fn segment_path(journal: &Path, number: u32) -> PathBuf {
    journal.join(format!("{number:010}"))
}

/// The size of a segment when the largest is `max`; `needed` is what must fit.
pub fn segment_bytes(number: u32, max: u64, needed: u64) -> u64 {
    let grown = FIRST_SEGMENT_BYTES << (2 * number).min(20);
    grown.max(needed.next_multiple_of(1 << 20)).min(max)
}

/// Make a segment of zeros, durable with its name. It replaces one that was never used.
pub fn create_segment(journal: &Path, number: u32, bytes: u64) -> io::Result<File> {
    let path = segment_path(journal, number);
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)?;
    let zeros = vec![0; 1 << 18];
    let mut left = bytes as usize;
    while left > 0 {
        let count = left.min(zeros.len());
        file.write_all(&zeros[..count])?;
        left -= count;
    }
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    sync_directory(journal)?;
    Ok(file)
}

/// Open a segment for writing.
pub fn open_segment(journal: &Path, number: u32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(segment_path(journal, number))
}

/// Make the names of a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Read `buffer.len()` bytes; fewer only at the end of the file.
pub fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The numbers of the segments, ascending; names that are not segments' are left out.
pub fn list_segments(journal: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(journal)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .filter(|name| name.len() == 10)
            .and_then(|s| s.parse().ok());
        numbers.extend(number.filter(|n: &u32| *name == *format!("{n:010}")));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Open a segment for reading.
pub fn open_read(journal: &Path, number: u32) -> io::Result<File> {
    open_file(&segment_path(journal, number))
}
