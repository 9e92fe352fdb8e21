//! Reading a log from end to end: its commits in order, in place, many from one read.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Result, corrupt};
use crate::frame::{ALIGNMENT, Frame, FrameHeader, Item};
use crate::journal::{address, place, say};
use crate::segment::{open_read, read_up_to};

/// Bytes that are read at once: what stays in a core's cache. A longer commit gets a longer piece.
const PIECE_BYTES: usize = 256 << 10;

/// The commits of a log up to a certain one, as they lie in the journal. Memory is that of the
/// longest commit.
pub struct Frames {
    journal: PathBuf,
    log_id: u64,
    at: u64,
    end: u64,
    /// The segment that is being read, and the length that it had.
    file: Option<(u32, u64, File)>,
    /// Bytes of the journal from `at` on are in `buffer` between `from` and `filled`.
    buffer: Vec<u8>,
    from: usize,
    filled: usize,
}

/// The records and blocks of one commit.
#[derive(Clone, Copy)]
pub struct Commit<'a>(Frame<'a>);

impl<'a> Commit<'a> {
    /// Index of the first record.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.0.header.first
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.header.records as usize
    }

    /// Whether it has no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records, each with the zero byte before it: what a leaf is the hash of.
    pub fn leaves(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.leaves()
    }

    /// The blocks: CID and data.
    pub fn blocks(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.0.items().filter_map(|item| match item {
            Item::Block { cid, data, .. } => Some((cid, data)),
            Item::Record { .. } => None,
        })
    }
}

impl Frames {
    pub(crate) fn new(journal: &Path, log_id: u64, at: u64, end: u64) -> Self {
        Self {
            journal: journal.to_owned(),
            log_id,
            at,
            end,
            file: None,
            buffer: Vec::new(),
            from: 0,
            filled: 0,
        }
    }

    /// No commit at all.
    pub(crate) fn none(journal: &Path) -> Self {
        Self::new(journal, 0, 0, 0)
    }

    /// The next commit, every byte of it checked; None after the last. `CorruptError` names the
    /// place.
    pub fn next_commit(&mut self) -> Result<Option<Commit<'_>>> {
        let Some(padded) = self.find()? else {
            return Ok(None);
        };
        let (at, from) = (self.at, self.from);
        self.at += padded as u64;
        self.from += padded;
        match Frame::parse(&self.buffer[from..from + padded], at, self.log_id) {
            Ok(frame) => Ok(Some(Commit(frame))),
            Err(what) => corrupt(say(at, what)),
        }
    }

    /// Have the next frame whole in the buffer; its padded length.
    fn find(&mut self) -> Result<Option<usize>> {
        loop {
            let (segment, offset) = place(self.at);
            self.at = address(segment, offset);
            if self.at >= self.end {
                return Ok(None);
            }
            self.fill(ALIGNMENT)?;
            let block = &self.buffer[self.from..self.filled];
            let block = &block[..block.len().min(ALIGNMENT)];
            if block.iter().all(|byte| *byte == 0) && segment < place(self.end).0 {
                self.at = address(segment + 1, 0);
                (self.from, self.filled) = (0, 0);
                continue;
            }
            let header = FrameHeader::parse(block, self.at, self.log_id);
            let header = header.or_else(|what| corrupt(say(self.at, what)))?;
            let padded = header.padded();
            self.fill(padded)?;
            if padded < ALIGNMENT || self.filled - self.from < padded {
                return corrupt(say(self.at, "a frame's length is not possible"));
            }
            return Ok(Some(padded));
        }
    }

    /// Have `count` bytes from `at` on in the buffer, or all that the segment has.
    fn fill(&mut self, count: usize) -> Result<()> {
        let have = self.filled - self.from;
        if have >= count {
            return Ok(());
        }
        let (segment, offset) = place(self.at);
        if self.file.as_ref().is_none_or(|(open, ..)| *open != segment) {
            let file = open_read(&self.journal, segment)?;
            self.file = Some((segment, file.metadata()?.len(), file));
        }
        let Some((_, length, file)) = &self.file else {
            return Ok(());
        };
        self.buffer.copy_within(self.from..self.filled, 0);
        // A length that lies asks for memory: the file's own size bounds it.
        let left = length.saturating_sub(offset).max(have as u64) as usize;
        let wanted = count.max(PIECE_BYTES).min(left);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let read = read_up_to(file, &mut self.buffer[have..wanted], offset + have as u64)?;
        (self.from, self.filled) = (0, have + read);
        Ok(())
    }
}
