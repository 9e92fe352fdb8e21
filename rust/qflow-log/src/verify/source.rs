//! Reading the files in pieces that end between frames, ahead of who checks them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::vec::IntoIter;

use crate::frame::{ALIGNMENT, FrameHeader};
use crate::journal::address;
use crate::segment::open_read;

/// Bytes that are read at once, and a frame that begins in them to its end.
const PIECE_BYTES: usize = 512 << 10;
/// Tiles of what was pruned that make a piece.
const PIECE_TILES: u64 = 64;

/// A piece as it was read.
pub enum Piece {
    /// Whole tiles of leaves whose records were pruned.
    Tiles { from: u64, to: u64 },
    /// A segment begins: its first block and the length of its file.
    Segment {
        number: u32,
        header: Vec<u8>,
        bytes: u64,
    },
    /// Frames, by their headers; what is no frame is up to the end of the piece.
    Data { at: u64, data: Vec<u8> },
    /// What could not be read.
    Failed { at: u64, what: String },
}

/// Gives the pieces of a log in their order. Whoever takes one holds it alone.
pub struct Source {
    journal: PathBuf,
    log_id: u64,
    /// Tiles of what was pruned.
    tiles: Range<u64>,
    segments: IntoIter<u32>,
    open: Option<Open>,
    /// Pieces that were given.
    given: u64,
}

struct Open {
    number: u32,
    file: File,
    at: u64,
    bytes: u64,
}

impl Source {
    /// All that these segments hold, behind `tiles` of what was pruned.
    pub fn new(path: &Path, log_id: u64, segments: Vec<u32>, tiles: Range<u64>) -> Self {
        Self {
            journal: journal_of(path),
            log_id,
            tiles,
            segments: segments.into_iter(),
            open: None,
            given: 0,
        }
    }

    /// What follows an address in these segments, of which the first is that of the address.
    pub fn resume(path: &Path, log_id: u64, segments: Vec<u32>, at: u64) -> io::Result<Self> {
        let mut source = Self::new(path, log_id, segments, 0..0);
        if let Some(number) = source.segments.next() {
            let file = open_read(&source.journal, number)?;
            let bytes = file.metadata()?.len();
            let at = at & u64::from(u32::MAX);
            source.open = Some(Open {
                number,
                file,
                at,
                bytes,
            });
        }
        Ok(source)
    }

    /// Give no more tiles: one is missing, and how many there should be is a claim.
    pub fn skip_tiles(&mut self) {
        self.tiles.start = self.tiles.end;
    }

    /// The length of the segment that is being read.
    pub fn bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.bytes)
    }

    /// The next piece and its number. None at the end, or when nobody takes pieces any more.
    pub fn next(&mut self, budget: &Budget) -> Option<(u64, Piece)> {
        let piece = self.next_piece(budget)?;
        self.given += 1;
        Some((self.given - 1, piece))
    }

    fn next_piece(&mut self, budget: &Budget) -> Option<Piece> {
        if !self.tiles.is_empty() {
            budget.is_open().then_some(())?;
            let from = self.tiles.start;
            self.tiles.start = self.tiles.end.min(from + PIECE_TILES);
            let to = self.tiles.start;
            return Some(Piece::Tiles { from, to });
        }
        loop {
            let Some(open) = self.open.as_mut().filter(|open| open.at < open.bytes) else {
                let number = self.segments.next()?;
                return Some(self.begin(number));
            };
            let data = budget.take(PIECE_BYTES)?;
            let at = address(open.number, open.at);
            match open.read(self.log_id, data, budget) {
                Ok(data) if data.is_empty() => {
                    budget.give(data);
                    self.open = None;
                }
                Ok(data) => return Some(Piece::Data { at, data }),
                Err(error) => {
                    self.open = None;
                    let what = error.to_string();
                    return Some(Piece::Failed { at, what });
                }
            }
        }
    }

    fn begin(&mut self, number: u32) -> Piece {
        let mut header = Vec::new();
        let opened = open_read(&self.journal, number).and_then(|file| {
            let bytes = file.metadata()?.len();
            fill(&file, &mut header, ALIGNMENT)?;
            Ok((file, bytes))
        });
        match opened {
            Ok((file, bytes)) => {
                let at = ALIGNMENT as u64;
                self.open = Some(Open {
                    number,
                    file,
                    at,
                    bytes,
                });
                Piece::Segment {
                    number,
                    header,
                    bytes,
                }
            }
            Err(error) => Piece::Failed {
                at: address(number, 0),
                what: error.to_string(),
            },
        }
    }
}

impl Open {
    /// Read a piece: the frames that begin in it, to the end of the last.
    fn read(&mut self, log_id: u64, mut data: Vec<u8>, budget: &Budget) -> io::Result<Vec<u8>> {
        let left = (self.bytes - self.at) as usize;
        let start = address(self.number, self.at);
        self.file.seek(SeekFrom::Start(self.at))?;
        fill(&self.file, &mut data, PIECE_BYTES.min(left))?;
        let mut end = 0;
        while end < data.len() {
            let header = FrameHeader::parse(&data[end..], start + end as u64, log_id);
            match header.map(|header| header.padded()) {
                Ok(padded @ 1..) if padded <= left - end => end += padded,
                // No frame: all of the piece is for who looks at it, or it begins the next one.
                _ if end == 0 => end = data.len(),
                _ => break,
            }
        }
        let before = data.len();
        fill(&self.file, &mut data, end)?;
        budget.grow(data.len() - before);
        data.truncate(end);
        self.at += data.len() as u64;
        Ok(data)
    }
}

/// Read on until `data` has `count` bytes; fewer at the end of the file.
fn fill(file: &File, data: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let missing = count.saturating_sub(data.len());
    data.reserve_exact(missing);
    // Into what is reserved, without writing zeros there first.
    file.take(missing as u64).read_to_end(data)?;
    Ok(())
}

/// Where the journal of a log is.
pub fn journal_of(path: &Path) -> PathBuf {
    path.join("journal")
}

/// The memory of all pieces that were read and are not done. It bounds that of the run.
pub struct Budget {
    free: Mutex<Free>,
    changed: Condvar,
}

struct Free {
    /// Below zero when pieces turned out to be longer than was left.
    bytes: isize,
    most: isize,
    spares: Vec<Vec<u8>>,
    open: bool,
}

impl Budget {
    /// Room for this many pieces of common length.
    pub fn new(pieces: usize) -> Self {
        let most = (pieces * PIECE_BYTES) as isize;
        let free = Free {
            bytes: most,
            most,
            spares: Vec::new(),
            open: true,
        };
        Self {
            free: Mutex::new(free),
            changed: Condvar::new(),
        }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> bool {
        self.free().open
    }

    /// A buffer, once there is room. One piece always has room. None when closed.
    fn take(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut free = self.free();
        while free.open && free.bytes < bytes as isize && free.bytes < free.most {
            free = self
                .changed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
        free.bytes -= bytes as isize;
        free.open.then(|| free.spares.pop().unwrap_or_default())
    }

    /// A piece turns out to be longer: who waits for its number waits for it, so it never waits.
    fn grow(&self, bytes: usize) {
        self.free().bytes -= bytes as isize;
    }

    /// A piece is done.
    pub fn give(&self, mut data: Vec<u8>) {
        let mut free = self.free();
        free.bytes += data.len().max(PIECE_BYTES) as isize;
        // Long ones are let go: they would make all others long.
        if data.capacity() <= 2 * PIECE_BYTES {
            data.clear();
            free.spares.push(data);
        }
        self.changed.notify_one();
    }

    /// Give no more: the run is over.
    pub fn close(&self) {
        self.free().open = false;
        self.changed.notify_all();
    }
}
