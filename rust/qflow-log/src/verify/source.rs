//! Reading the journal ahead of who hashes it, in pieces that end between frames.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender};

use qflow_core::log::{Hash, leaf_hashes};

use crate::frame::{ALIGNMENT, Frame, FrameHeader};
use crate::journal::address;
use crate::segment::open_read;

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
    /// Whole frames, which were checked, and the leaf hashes of their records.
    Frames {
        at: u64,
        data: Vec<u8>,
        leaves: Vec<Hash>,
    },
    /// What no good frame begins: zeros, unless something is wrong.
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
            Err(error) => return self.fail(number, 0, &error),
        };
        let mut block = Vec::new();
        if let Err(error) = fill(&file, &mut block, ALIGNMENT) {
            return self.fail(number, 0, &error);
        }
        self.send(Piece::Segment {
            number,
            header: block,
            bytes,
        })?;
        let (mut at, mut data) = (ALIGNMENT as u64, self.spare());
        while at < bytes {
            let left = (bytes - at) as usize;
            match fill(&file, &mut data, PIECE_BYTES.min(left)) {
                Ok(()) if data.is_empty() => return Ok(()),
                Ok(()) => (at, data) = self.piece(&file, number, at, left, data)?,
                Err(error) => return self.fail(number, at, &error),
            }
        }
        Ok(())
    }

    fn fail(&self, number: u32, at: u64, error: &io::Error) -> Result<(), Stopped> {
        self.send(Piece::Failed {
            at: address(number, at),
            what: error.to_string(),
        })
    }

    /// Send the whole frames at the beginning of `data`, or what is there instead; what is left.
    fn piece(
        &self,
        file: &File,
        number: u32,
        at: u64,
        left: usize,
        mut data: Vec<u8>,
    ) -> Result<(u64, Vec<u8>), Stopped> {
        let start = address(number, at);
        let mut leaves = Vec::new();
        let (mut whole, next) = self.whole_frames(&data, start, &mut leaves);
        let mut rest = self.spare();
        if whole == 0 && (1..=left).contains(&next) {
            // One frame that is longer than a piece.
            if fill(file, &mut data, next).is_ok() {
                whole = self.whole_frames(&data, start, &mut leaves).0;
            }
        }
        let done = if whole == 0 { data.len() } else { whole };
        rest.extend_from_slice(&data[done..]);
        data.truncate(done);
        self.send(match whole {
            0 => Piece::Rest { at: start, data },
            _ => Piece::Frames {
                at: start,
                data,
                leaves,
            },
        })?;
        Ok((at + done as u64, rest))
    }

    /// Bytes of the frames at the beginning that are good, and of the frame after them if it is cut
    /// by the end of the data.
    fn whole_frames(&self, data: &[u8], start: u64, leaves: &mut Vec<Hash>) -> (usize, usize) {
        let mut whole = 0;
        loop {
            let (rest, at) = (&data[whole..], start + whole as u64);
            let header = FrameHeader::parse(rest, at, self.log_id);
            if let Some(header) = header.ok().filter(|header| header.padded() > rest.len()) {
                return (whole, header.padded());
            }
            match Frame::parse(rest, at, self.log_id) {
                Ok(frame) => {
                    leaf_hashes(frame.leaves(), leaves);
                    whole += frame.header.padded();
                }
                Err(_) => return (whole, 0),
            }
        }
    }

    fn spare(&self) -> Vec<u8> {
        let mut spare = self.spares.try_recv().unwrap_or_default();
        spare.clear();
        spare
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
