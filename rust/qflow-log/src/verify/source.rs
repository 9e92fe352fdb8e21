//! Reading the journal ahead of who hashes it, in pieces that end between frames.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender};

use crate::frame::{ALIGNMENT, FrameHeader};
use crate::journal::address;
use crate::segment::{open_read, read_up_to};

/// Bytes that are read at once; a longer frame gets a longer piece.
const PIECE_BYTES: usize = 1 << 20;

/// A piece of the journal.
pub enum Piece {
    /// A segment begins: its first block and the length of its file.
    Segment {
        number: u32,
        header: Vec<u8>,
        bytes: u64,
    },
    /// Whole frames, by their lengths.
    Frames { at: u64, data: Vec<u8> },
    /// What no frame begins: zeros, unless something is wrong.
    Rest { at: u64, data: Vec<u8> },
    /// What could not be read.
    Failed { at: u64, what: String },
}

/// Where pieces go, and where their buffers come back from.
pub struct Source {
    pub journal: PathBuf,
    pub log_id: u64,
    pub pieces: SyncSender<Piece>,
    pub spares: Receiver<Vec<u8>>,
}

/// Nobody takes pieces any more.
struct Stopped;

impl Source {
    /// Read all segments.
    pub fn run(&self, segments: &[u32]) {
        for number in segments {
            if self.segment(*number).is_err() {
                return;
            }
        }
    }

    fn send(&self, piece: Piece) -> Result<(), Stopped> {
        self.pieces.send(piece).map_err(|_| Stopped)
    }

    fn segment(&self, number: u32) -> Result<(), Stopped> {
        let opened = open_read(&self.journal, number);
        let opened = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let at = address(number, 0);
                return self.send(Piece::Failed {
                    at,
                    what: error.to_string(),
                });
            }
        };
        let header = self.read(&file, number, 0, ALIGNMENT, Vec::new())?;
        self.send(Piece::Segment {
            number,
            header,
            bytes,
        })?;
        let (mut at, mut carried) = (ALIGNMENT as u64, Vec::new());
        while at < bytes {
            (at, carried) = self.piece(&file, number, at, bytes, carried)?;
        }
        Ok(())
    }

    /// Send the frames at `at`, or what is there instead. `carried` was read from there already.
    fn piece(
        &self,
        file: &File,
        number: u32,
        at: u64,
        bytes: u64,
        carried: Vec<u8>,
    ) -> Result<(u64, Vec<u8>), Stopped> {
        let left = (bytes - at) as usize;
        let data = self.read(file, number, at, PIECE_BYTES.min(left), carried)?;
        if data.is_empty() {
            return Ok((bytes, data));
        }
        let start = address(number, at);
        let (whole, next) = self.whole_frames(&data, start);
        if whole == 0 && next > 0 && next <= left {
            let data = self.read(file, number, at, next, data)?;
            self.send(Piece::Frames { at: start, data })?;
            return Ok((at + next as u64, Vec::new()));
        }
        if whole == 0 {
            let count = data.len() as u64;
            self.send(Piece::Rest { at: start, data })?;
            return Ok((at + count, Vec::new()));
        }
        let mut carried = self.spare();
        carried.extend_from_slice(&data[whole..]);
        let mut data = data;
        data.truncate(whole);
        self.send(Piece::Frames { at: start, data })?;
        Ok((at + whole as u64, carried))
    }

    /// Bytes of the whole frames at the beginning, and of the frame after them if one begins there.
    fn whole_frames(&self, data: &[u8], start: u64) -> (usize, usize) {
        let mut whole = 0;
        loop {
            let rest = &data[whole..];
            match FrameHeader::parse(rest, start + whole as u64, self.log_id) {
                Ok(header) if header.padded() > rest.len() => return (whole, header.padded()),
                Ok(header) if header.padded() > 0 => whole += header.padded(),
                _ => return (whole, 0),
            }
        }
    }

    fn spare(&self) -> Vec<u8> {
        let mut spare = self.spares.try_recv().unwrap_or_default();
        spare.clear();
        spare
    }

    /// Read until `data` has `count` bytes from `at` on.
    fn read(
        &self,
        file: &File,
        number: u32,
        at: u64,
        count: usize,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, Stopped> {
        let had = data.len().min(count);
        data.resize(count, 0);
        match read_up_to(file, &mut data[had..], at + had as u64) {
            Ok(read) => data.truncate(had + read),
            Err(error) => {
                data.clear();
                let at = address(number, at);
                self.send(Piece::Failed {
                    at,
                    what: error.to_string(),
                })?;
            }
        }
        Ok(data)
    }
}

/// Where the journal of a log is.
pub fn journal_of(path: &Path) -> PathBuf {
    path.join("journal")
}
