//! The pass over the pieces, in their order: where in the journal it is, and what may follow.

use std::path::Path;

use qflow_core::log::EMPTY_ROOT;

use super::Findings;
use super::growth::Growth;
use super::look::{Looked, Part};
use super::source::journal_of;
use crate::error::LogError;
use crate::frame::{ALIGNMENT, Frame};
use crate::journal::{address, place, spot};
use crate::publish::CHECKPOINT;
use crate::segment::{SegmentHeader, open_read};
use crate::tail::{SECTOR, is_zero, torn_bytes};
use crate::writer::Active;

/// What the pass has seen so far.
pub struct Pass<'a> {
    pub path: &'a Path,
    pub log_id: u64,
    pub growth: Growth<'a>,
    /// A node holds the log, and may be writing.
    pub live: bool,
    /// The first segment that is kept.
    pub first: u32,
    pub place: Place,
    /// Where the last good frame ends.
    pub end: u64,
    /// Bytes of the segment that is read.
    pub bytes: u64,
    pub torn_bytes: u64,
    /// Bytes of the journal that were read.
    pub read: u64,
}

/// Where in the journal the pass is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Between frames.
    Frames,
    /// After the frames of a segment.
    Slack,
    /// After the last commit: only zeros may follow.
    Over,
    /// After damage: what follows cannot be proven.
    Broken,
}

impl Pass<'_> {
    pub fn take(&mut self, looked: &mut Looked) {
        match looked {
            Looked::Segment {
                number,
                header,
                bytes,
            } => self.segment(*number, header, *bytes),
            Looked::Failed { at, what } => self.damage(*at, what),
            Looked::Part(part) => {
                self.read += part.data.len() as u64;
                self.part(part);
            }
        }
    }

    fn damage(&mut self, at: u64, what: &str) {
        if self.place != Place::Broken {
            self.growth.findings.add(spot(at), what);
            self.place = Place::Broken;
        }
    }

    fn segment(&mut self, number: u32, block: &[u8], bytes: u64) {
        self.read += block.len() as u64;
        self.bytes = bytes;
        let at = address(number, 0);
        let begun = number > self.first;
        if self.place == Place::Broken || (self.place == Place::Over && self.live && begun) {
            return;
        }
        let over = self.place == Place::Over && begun;
        if is_zero(block) && bytes > 0 && bytes.is_multiple_of(ALIGNMENT as u64) {
            self.place = Place::Over;
            return;
        }
        match SegmentHeader::parse(block, number, self.log_id) {
            Ok(_) if over => self.damage(at, "a segment after the end of the journal"),
            Ok(header) if header.bytes != bytes => self.damage(at, "a segment of another length"),
            // A running node filled the segment before while it was read: the end of this view.
            Ok(header) if self.live && header.base.size() > self.growth.size() => {
                self.place = Place::Over;
            }
            Ok(header) if header.base != *self.growth.builder.tree() => {
                self.damage(at, "a segment that begins with another tree");
            }
            Ok(_) => {
                self.place = Place::Frames;
                self.end = address(number, ALIGNMENT as u64);
            }
            // A crash cut the segment's first write.
            Err(_) if !over && self.is_torn_header(number, block) => {
                self.place = Place::Over;
                self.torn_bytes += block.len() as u64;
            }
            Err(what) => self.damage(at, what),
        }
    }

    /// Whether each sector is what is due or was not written: a crash cut the first write.
    fn is_torn_header(&self, number: u32, block: &[u8]) -> bool {
        let due = SegmentHeader {
            number,
            bytes: self.bytes,
            log_id: self.log_id,
            base: self.growth.builder.tree().clone(),
        }
        .encode();
        let sectors = due.chunks(SECTOR).zip(block.chunks(SECTOR));
        due.len() == block.len()
            && sectors
                .into_iter()
                .all(|(due, is)| is == due || is_zero(is))
    }

    fn part(&mut self, part: &mut Part) {
        if part.whole > 0 {
            match self.place {
                Place::Frames if part.first == self.growth.size() => {
                    self.growth.take(part);
                    self.end = part.at + part.whole as u64;
                }
                Place::Frames => {
                    return self.damage(part.at, "a frame that does not follow the one before");
                }
                Place::Slack | Place::Over if !self.live => {
                    return self.damage(part.at, "a frame after the end of the journal");
                }
                _ => {}
            }
        } else if part.data.is_empty() {
            self.growth.take(part);
        }
        let at = part.at + part.whole as u64;
        if part.unfit && self.place == Place::Frames {
            self.damage(at, "a frame that does not follow the one before");
        } else if part.whole < part.data.len() {
            self.rest(at, &part.data[part.whole..]);
        }
    }

    fn rest(&mut self, at: u64, data: &[u8]) {
        if is_zero(data) {
            if self.place == Place::Frames {
                self.place = Place::Slack;
            }
            return;
        }
        match self.place {
            Place::Frames => {
                let what = Frame::parse(data, at, self.log_id).err();
                self.tail(at, what.unwrap_or("no frame begins here"));
            }
            // A running node has gone on here since its zeros were read.
            Place::Slack if self.live => self.place = Place::Over,
            Place::Slack => self.damage(at, "bytes after the last frame that are not zero"),
            // The cut frame was looked at as a whole, or a running node writes here.
            Place::Over if self.end >> 32 == at >> 32 || self.live => {}
            Place::Over => self.damage(at, "bytes in a segment that was never used"),
            Place::Broken => {}
        }
    }

    /// A frame is not whole: a running node is writing it, or a crash cut it, or it is damaged.
    fn tail(&mut self, at: u64, what: &str) {
        let (number, end) = place(at);
        let file = open_read(&journal_of(self.path), number);
        let torn = file.map_err(LogError::from).and_then(|file| {
            torn_bytes(
                &Active {
                    number,
                    file,
                    end,
                    bytes: self.bytes,
                },
                self.log_id,
            )
        });
        match torn {
            _ if self.live => self.place = Place::Over,
            Ok(bytes) => {
                self.torn_bytes += bytes;
                self.place = Place::Over;
            }
            Err(_) => self.damage(at, what),
        }
    }

    /// Compare what is left when all pieces were taken.
    pub fn finish(&mut self) {
        let growth = &mut self.growth;
        for (tile, data) in growth.builder.partials() {
            growth.compare.tile(tile, data);
        }
        let compared: Findings = std::mem::take(&mut growth.compare.findings);
        growth.findings.append(compared);
        let size = growth.builder.size();
        match &growth.published {
            Some(published) if published.size > size => {
                let what = format!("proves {} records, the journal has {size}", published.size);
                growth.findings.add(CHECKPOINT, what);
            }
            Some(published) if published.size == 0 && published.root == EMPTY_ROOT => {}
            Some(_) if !growth.reached => {
                let what = "no commit of the journal ends where it does";
                growth.findings.add(CHECKPOINT, what);
            }
            _ => {}
        }
    }
}
