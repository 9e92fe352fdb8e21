//! Where the journal ends: the last whole commit, and whether a crash explains what follows it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use qflow_core::log::{Checkpoint, Frontier, VerifierKey, leaf_hash};

use crate::error::{Result, corrupt};
use crate::frame::{ALIGNMENT, Frame, FrameHeader, Item};
use crate::journal::{address, say};
use crate::segment::{SegmentHeader, open_segment, read_up_to, segment_path};
use crate::writer::{Active, Head};

/// Disks write sectors of this size whole or not at all.
pub const SECTOR: usize = 512;
const CHUNK: usize = 256 << 10;

/// The last whole commit and the segment that it is in.
pub struct Tail {
    pub tree: Frontier,
    pub head: Head,
    pub active: Active,
    /// The last frame, which may not have reached the disk although it reads well.
    frame: Vec<u8>,
    torn_bytes: u64,
}

/// What is looked for, and where.
pub struct Search<'a> {
    pub journal: &'a Path,
    pub key: &'a VerifierKey,
    pub log_id: u64,
    pub published: Option<&'a Checkpoint>,
}

impl Search<'_> {
    /// Find the last whole commit. None when there is none in any segment.
    pub fn last_commit(&self, segments: &[u32]) -> Result<Option<Tail>> {
        for (count, number) in segments.iter().rev().enumerate() {
            let found = self.last_in(*number)?;
            // A crash leaves at most two segments without a commit: a prepared and a begun one.
            if found.is_some() || count > 2 {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn last_in(&self, number: u32) -> Result<Option<Tail>> {
        let file = open_segment(self.journal, number)?;
        let mut block = vec![0; ALIGNMENT];
        let count = read_up_to(&file, &mut block, 0)?;
        let bytes = file.metadata()?.len();
        let header = SegmentHeader::parse(&block[..count], number, self.log_id);
        let Ok(header) = header else {
            return self.unused(&file, number, &block[..count], header.err());
        };
        if header.bytes != bytes {
            let path = segment_path(Path::new("journal"), number);
            return corrupt(format!("{} has another length", path.display()));
        }
        self.walk(
            Active {
                number,
                file,
                end: ALIGNMENT as u64,
                bytes,
            },
            header.base,
        )
    }

    /// A segment that was never used has no header, or half of one, and no frame.
    fn unused(
        &self,
        file: &File,
        number: u32,
        block: &[u8],
        why: Option<&'static str>,
    ) -> Result<Option<Tail>> {
        let torn = SegmentHeader::is_torn(block, self.log_id);
        let mut bytes = vec![0; ALIGNMENT];
        read_up_to(file, &mut bytes, ALIGNMENT as u64)?;
        let frame = FrameHeader::parse(&bytes, address(number, ALIGNMENT as u64), self.log_id);
        if torn && frame.is_err() {
            return Ok(None);
        }
        corrupt(say(
            address(number, 0),
            why.unwrap_or("a segment header is not whole"),
        ))
    }

    fn walk(&self, mut active: Active, mut tree: Frontier) -> Result<Option<Tail>> {
        let (mut frame, mut buffer, mut note) = (Vec::new(), Vec::new(), Vec::new());
        let mut reached = self.published.is_none_or(|head| head.size <= tree.size());
        while self.read_frame(&active, &mut buffer)? {
            let at = address(active.number, active.end);
            let Ok(whole) = Frame::parse(&buffer, at, self.log_id) else {
                break;
            };
            let head = self.apply(&whole, &mut tree)?;
            reached |= self.is_published(&head)?;
            note = whole.head.to_vec();
            active.end += whole.header.padded() as u64;
            std::mem::swap(&mut frame, &mut buffer);
        }
        let torn_bytes = torn_bytes(&active, self.log_id)?;
        if frame.is_empty() {
            return Ok(None);
        }
        if !reached {
            return corrupt("the checkpoint proves more than the journal has");
        }
        let checkpoint = Checkpoint::parse(&note, self.key);
        let checkpoint = checkpoint.or_else(|error| corrupt(error.to_string()))?;
        let note = String::from_utf8_lossy(&note).into_owned();
        let head = Head {
            checkpoint,
            note,
            end: address(active.number, active.end),
        };
        Ok(Some(Tail {
            tree,
            head,
            active,
            frame,
            torn_bytes,
        }))
    }

    /// Whether this is the published head; an error when that has another root.
    fn is_published(&self, head: &Checkpoint) -> Result<bool> {
        match self
            .published
            .filter(|published| published.size == head.size)
        {
            Some(published) if published.root != head.root => {
                corrupt("the checkpoint and the journal have two roots for one size")
            }
            found => Ok(found.is_some()),
        }
    }

    /// Read the bytes of the next frame; false when none can be there.
    fn read_frame(&self, active: &Active, buffer: &mut Vec<u8>) -> Result<bool> {
        if active.end + ALIGNMENT as u64 > active.bytes {
            return Ok(false);
        }
        buffer.resize(ALIGNMENT, 0);
        read_up_to(&active.file, buffer, active.end)?;
        let at = address(active.number, active.end);
        let Ok(header) = FrameHeader::parse(buffer, at, self.log_id) else {
            return Ok(false);
        };
        let padded = header.padded();
        if active.end + padded as u64 > active.bytes || padded < ALIGNMENT {
            return Ok(false);
        }
        buffer.resize(padded, 0);
        read_up_to(
            &active.file,
            &mut buffer[ALIGNMENT..],
            active.end + ALIGNMENT as u64,
        )?;
        Ok(true)
    }

    /// Append a frame's records to the tree and compare with its head.
    fn apply(&self, frame: &Frame<'_>, tree: &mut Frontier) -> Result<Checkpoint> {
        let at = frame.header.address;
        if frame.header.first != tree.size() {
            return corrupt(say(at, "a frame does not follow the one before"));
        }
        for item in frame.items() {
            if let Item::Record { data, .. } = item {
                tree.push(leaf_hash(data));
            }
        }
        let head = Checkpoint::parse_unverified(frame.head, self.key.name());
        let (head, _) = head.or_else(|error| corrupt(say(at, &error.to_string())))?;
        if (head.size, head.root) == (tree.size(), tree.root()) {
            Ok(head)
        } else {
            corrupt(say(at, "a head is not that of the records before it"))
        }
    }
}

impl Tail {
    /// Put zeros where a write was cut, and write the last frame once more: after a failed sync the
    /// kernel may show bytes that never reached the disk.
    pub fn settle(&self) -> Result<()> {
        let start = self.active.end - self.frame_bytes();
        self.active.file.write_all_at(&self.frame, start)?;
        if self.torn_bytes > 0 {
            let zeros = vec![0; self.torn_bytes as usize];
            self.active.file.write_all_at(&zeros, self.active.end)?;
        }
        self.active.file.sync_data()?;
        Ok(())
    }

    /// Whether a write was cut after the last commit.
    pub fn is_torn(&self) -> bool {
        self.torn_bytes > 0
    }

    fn frame_bytes(&self) -> u64 {
        self.frame.len() as u64
    }
}

/// Bytes after the last commit that a crash in the middle of a write left. What a crash does
/// not leave is corruption.
pub fn torn_bytes(active: &Active, log_id: u64) -> Result<u64> {
    if is_zero_from(&active.file, active.end, active.bytes)? {
        return Ok(0);
    }
    let mut rest = vec![0; (active.bytes - active.end) as usize];
    read_up_to(&active.file, &mut rest, active.end)?;
    let start = address(active.number, active.end);
    for at in (ALIGNMENT..rest.len()).step_by(ALIGNMENT) {
        if Frame::parse(&rest[at..], start + at as u64, log_id).is_ok() {
            return corrupt(say(start, "a damaged frame before whole ones"));
        }
    }
    let last = rest.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    // The preallocated area was zero: of a write that was cut, some sector still is.
    let (length, torn) = match FrameHeader::parse(&rest, start, log_id) {
        Ok(header) => {
            let length = (header.length as usize).min(rest.len());
            (length, rest[..length].chunks(SECTOR).any(is_zero))
        }
        Err(_) => (rest.len(), is_zero(&rest[..SECTOR])),
    };
    if !torn || last > length.next_multiple_of(ALIGNMENT) {
        return corrupt(say(
            start,
            "the last frame is whole and its bytes are not as written",
        ));
    }
    Ok(last.next_multiple_of(ALIGNMENT) as u64)
}

/// Whether a file has only zeros from one place to another.
pub fn is_zero_from(file: &File, from: u64, to: u64) -> Result<bool> {
    let mut chunk = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let count = CHUNK.min((to - at) as usize);
        let read = read_up_to(file, &mut chunk[..count], at)?;
        if read < count || !is_zero(&chunk[..count]) {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

/// Whether there are only zeros.
pub fn is_zero(bytes: &[u8]) -> bool {
    // Without a way out after each byte, these are compared by vectors.
    let (chunks, rest) = bytes.as_chunks::<128>();
    let none_set = |bytes: &[u8]| bytes.iter().fold(0, |set, byte| set | byte) == 0;
    chunks.iter().all(|chunk| none_set(chunk)) && none_set(rest)
}
