//! Reading the journal: frame by frame, and single records and blocks by address.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{LogError, Result, corrupt};
use crate::frame::{
    ALIGNMENT, FRAME_HEADER, Frame, FrameHeader, ITEM_HEADER, Item, KIND_BLOCK, KIND_RECORD,
    parse_item, split_block,
};
use crate::segment::{SegmentHeader, open_read, read_up_to};

/// Segments that are kept open for reading.
const OPEN_FILES_MAX: usize = 64;
/// What a read by address takes in one go.
const READ_BYTES: usize = 4096;
/// What a read of many addresses takes in one go, and how far apart two of them may be in it.
const PIECE_BYTES: u64 = 1 << 20;
const PIECE_GAP: u64 = 16 << 10;

/// A record as `scan` found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordAt {
    pub index: u64,
    pub address: u64,
    pub data: Vec<u8>,
}

/// A block as `scan` found it: its data is left where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockAt {
    pub cid: Vec<u8>,
    pub address: u64,
    pub length: usize,
}

/// What `scan` returns.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    pub records: Vec<RecordAt>,
    pub blocks: Vec<BlockAt>,
    /// Where to go on.
    pub next: u64,
}

/// The files of a journal, opened as they are needed.
pub struct Journal {
    path: PathBuf,
    log_id: u64,
    /// The first segment that is kept: those before it are no part of the log.
    first: AtomicU32,
    files: Mutex<BTreeMap<u32, Arc<File>>>,
}

/// The address of a place in a segment.
pub fn address(segment: u32, offset: u64) -> u64 {
    u64::from(segment) << 32 | offset
}

/// The segment and the place of an address. The beginning of a segment is its first frame.
pub fn place(address: u64) -> (u32, u64) {
    let offset = address & u64::from(u32::MAX);
    ((address >> 32) as u32, offset.max(ALIGNMENT as u64))
}

impl Journal {
    pub fn new(path: &Path, log_id: u64, first: u32) -> Self {
        Self {
            path: path.to_owned(),
            log_id,
            first: AtomicU32::new(first),
            files: Mutex::default(),
        }
    }

    pub fn log_id(&self) -> u64 {
        self.log_id
    }

    /// The first segment that is kept.
    pub fn first(&self) -> u32 {
        self.first.load(Ordering::Relaxed)
    }

    /// What is before a segment was pruned.
    pub fn begin_at(&self, first: u32) {
        self.first.store(first, Ordering::Relaxed);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|number, _| *number >= first);
    }

    /// What the first block of a segment says.
    pub fn header(&self, number: u32) -> Result<SegmentHeader> {
        let mut block = vec![0; ALIGNMENT];
        read_up_to(&*self.file(number)?, &mut block, 0)?;
        let header = SegmentHeader::parse(&block, number, self.log_id);
        header.or_else(|what| corrupt(say(address(number, 0), what)))
    }

    fn file(&self, number: u32) -> Result<Arc<File>> {
        if number < self.first() {
            let what = format!("segment {number} was pruned");
            return Err(LogError::Invalid(what));
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&number) {
            return Ok(file.clone());
        }
        if files.len() >= OPEN_FILES_MAX {
            files.clear();
        }
        let file = Arc::new(open_read(&self.path, number)?);
        files.insert(number, file.clone());
        Ok(file)
    }

    /// Read one block of a segment, zeros where the file has ended.
    pub fn read_block(&self, at: u64, buffer: &mut Vec<u8>) -> Result<usize> {
        let (segment, offset) = place(at);
        buffer.clear();
        buffer.resize(ALIGNMENT, 0);
        Ok(read_up_to(&*self.file(segment)?, buffer, offset)?)
    }

    /// Read what follows the first block of a frame of `padded` bytes, as far as the file has it.
    pub fn read_rest(&self, at: u64, padded: usize, buffer: &mut Vec<u8>) -> Result<()> {
        let (segment, offset) = place(at);
        let file = self.file(segment)?;
        let left = file.metadata()?.len().saturating_sub(offset);
        buffer.resize(padded.min(left as usize).max(ALIGNMENT), 0);
        read_up_to(&file, &mut buffer[ALIGNMENT..], offset + ALIGNMENT as u64)?;
        Ok(())
    }

    /// Whether a frame begins in the same segment behind one of `padded` bytes.
    pub fn has_frame_behind(&self, at: u64, padded: usize) -> Result<bool> {
        let (segment, start) = place(at);
        let (file, mut chunk) = (self.file(segment)?, vec![0; PIECE_BYTES as usize]);
        // A length that lies hides nothing.
        let end = start + padded as u64;
        let skipped = if end < file.metadata()?.len() {
            padded
        } else {
            ALIGNMENT
        };
        let mut offset = start + skipped as u64;
        loop {
            let count = read_up_to(&file, &mut chunk, offset)?;
            let at = address(segment, offset);
            let begins = |from: usize| {
                FrameHeader::parse(&chunk[from..count], at + from as u64, self.log_id).is_ok()
            };
            if (0..count).step_by(ALIGNMENT).any(begins) {
                return Ok(true);
            }
            if count < chunk.len() {
                return Ok(false);
            }
            offset += count as u64;
        }
    }

    /// Whether a segment has its header.
    pub fn has_begun(&self, number: u32, log_id: u64) -> bool {
        let mut block = vec![0; ALIGNMENT];
        let read = self
            .file(number)
            .map(|file| read_up_to(&file, &mut block, 0));
        matches!(read, Ok(Ok(ALIGNMENT))) && SegmentHeader::parse(&block, number, log_id).is_ok()
    }

    /// Read the frame at `from`, or the first of the next segment, into `buffer`. None at `end`.
    pub fn next_frame<'a>(
        &self,
        from: u64,
        end: u64,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<(Frame<'a>, u64)>> {
        let Some((at, length)) = self.find_frame(from, end, buffer)? else {
            return Ok(None);
        };
        self.read_rest(at, length, buffer)?;
        match Frame::parse(buffer, at, self.log_id) {
            Ok(frame) => Ok(Some((frame, at + length as u64))),
            Err(what) => corrupt(say(at, what)),
        }
    }

    /// The address of the next frame and its padded length; its first block is in `buffer`.
    fn find_frame(
        &self,
        from: u64,
        end: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<(u64, usize)>> {
        let (mut segment, mut offset) = place(from);
        loop {
            let at = address(segment, offset);
            if at >= end {
                return Ok(None);
            }
            let count = self.read_block(at, buffer)?;
            let blank = buffer[..count].iter().all(|byte| *byte == 0);
            if blank && segment < place(end).0 {
                (segment, offset) = (segment + 1, ALIGNMENT as u64);
                continue;
            }
            let header = FrameHeader::parse(&buffer[..count], at, self.log_id);
            let header = header.or_else(|what| corrupt(say(at, what)))?;
            let fits = at
                .checked_add(header.padded() as u64)
                .is_some_and(|next| next <= end || place(at).0 < place(end).0);
            if !fits || header.padded() < FRAME_HEADER {
                return corrupt(say(at, "a frame's length is not possible"));
            }
            return Ok(Some((at, header.padded())));
        }
    }

    /// The segment in which the frame that follows the first `size` records is, or is to be.
    pub fn segment_of(&self, size: u64, end: u64) -> Result<u32> {
        let mut segment = place(end).0;
        while segment > self.first() && self.header(segment)?.base.size() > size {
            segment -= 1;
        }
        Ok(segment)
    }

    /// The address of the frame that has the record at `index`.
    pub fn frame_of(&self, index: u64, end: u64) -> Result<u64> {
        let (mut at, mut buffer) = (address(self.segment_of(index, end)?, 0), Vec::new());
        while let Some((found, length)) = self.find_frame(at, end, &mut buffer)? {
            let header = FrameHeader::parse(&buffer, found, self.log_id);
            let header = header.or_else(|what| corrupt(say(found, what)))?;
            if (header.first..header.first + u64::from(header.records)).contains(&index) {
                return Ok(found);
            }
            at = found + length as u64;
        }
        Err(LogError::Invalid(format!("the log has no record {index}")))
    }

    /// Where the frame that follows the first `size` records is.
    pub fn locate(&self, size: u64, end: u64) -> Result<u64> {
        let segment = self.segment_of(size, end)?;
        let (mut at, mut buffer) = (address(segment, 0), Vec::new());
        while let Some((found, length)) = self.find_frame(at, end, &mut buffer)? {
            let header = FrameHeader::parse(&buffer, found, self.log_id);
            if header.is_ok_and(|header| header.first >= size) {
                return Ok(found);
            }
            at = found + length as u64;
        }
        Ok(at)
    }

    /// Records and blocks of the frames from `from`, until `bytes_max` bytes of them were read (one
    /// frame at least) or `end` is reached. From 0: those from the first that is kept.
    pub fn scan(&self, from: u64, bytes_max: usize, end: u64) -> Result<Scan> {
        let next = match from {
            0 => address(self.first(), 0),
            _ => from,
        };
        let mut scan = Scan {
            next,
            ..Scan::default()
        };
        let (mut buffer, mut bytes) = (Vec::new(), 0);
        while bytes == 0 || bytes < bytes_max {
            let Some((frame, next)) = self.next_frame(scan.next, end, &mut buffer)? else {
                break;
            };
            bytes += frame.header.length as usize;
            collect(&frame, &mut scan);
            scan.next = next;
        }
        Ok(scan)
    }

    /// The records at these addresses, which ascend: as `read`, but neighbours by one system call.
    pub fn read_many(&self, addresses: &[u64], end: u64) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::with_capacity(addresses.len());
        let (mut piece, mut from) = (Vec::new(), 0);
        for (number, at) in addresses.iter().enumerate() {
            let offset = at.wrapping_sub(from) as usize;
            if offset >= piece.len() && *at < end {
                (piece, from) = (self.piece(&addresses[number..])?, *at);
            }
            let item = piece.get(at.wrapping_sub(from) as usize..);
            match item.map(|bytes| (bytes, parse_item(bytes))) {
                Some((bytes, Ok(item))) if item.kind == KIND_RECORD && *at < end => {
                    found.push(bytes[ITEM_HEADER..item.size].to_vec());
                }
                // It leaves the piece, or is wrong, which is said there.
                _ => found.push(self.read(*at, end)?),
            }
        }
        Ok(found)
    }

    /// The bytes from the first address to behind the last that is near enough.
    fn piece(&self, addresses: &[u64]) -> Result<Vec<u8>> {
        let Some(from) = addresses.first() else {
            return Ok(Vec::new());
        };
        let near = addresses.windows(2).take_while(|pair| {
            let away = pair[1].wrapping_sub(pair[0]);
            away < PIECE_GAP && pair[1] - from < PIECE_BYTES
        });
        let last = addresses.get(near.count()).unwrap_or(from);
        let mut bytes = vec![0; (last - from) as usize + READ_BYTES];
        let offset = from & u64::from(u32::MAX);
        let count = read_up_to(&*self.file((from >> 32) as u32)?, &mut bytes, offset)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// The record or the data of the block at an address that `scan` gave.
    pub fn read(&self, at: u64, end: u64) -> Result<Vec<u8>> {
        let (segment, offset) = ((at >> 32) as u32, at & u64::from(u32::MAX));
        if at >= end || offset < (ALIGNMENT + FRAME_HEADER) as u64 {
            return Err(LogError::Invalid(format!(
                "{at} is not the address of a record or block"
            )));
        }
        let file = self.file(segment)?;
        let mut bytes = vec![0; READ_BYTES];
        let count = read_up_to(&file, &mut bytes, offset)?;
        bytes.truncate(count);
        let Some(length) = bytes.get(4..8).and_then(|length| length.first_chunk()) else {
            return corrupt(say(at, "an item ends early"));
        };
        let size = ITEM_HEADER + u32::from_le_bytes(*length) as usize;
        if size > count {
            if at + size as u64 > address(segment, u64::from(u32::MAX)) {
                return corrupt(say(at, "an item ends early"));
            }
            // A length that lies asks for memory: the file's own size bounds it.
            let left = file.metadata()?.len().saturating_sub(offset);
            bytes.resize(size.min(left as usize), 0);
            read_up_to(&file, &mut bytes[count..], offset + count as u64)?;
        }
        let item = parse_item(&bytes).or_else(|what| corrupt(say(at, what)))?;
        let data = &bytes[ITEM_HEADER..item.size];
        match (item.kind, split_block(data)) {
            (KIND_BLOCK, Some((_, data))) => Ok(data.to_vec()),
            _ => Ok(data.to_vec()),
        }
    }
}

fn collect(frame: &Frame<'_>, scan: &mut Scan) {
    let start = frame.header.address;
    let mut index = frame.header.first;
    for item in frame.items() {
        match item {
            Item::Record { at, data } => {
                let address = start + at as u64;
                scan.records.push(RecordAt {
                    index,
                    address,
                    data: data.to_vec(),
                });
                index += 1;
            }
            Item::Block { at, cid, data } => {
                let address = start + at as u64;
                scan.blocks.push(BlockAt {
                    cid: cid.to_vec(),
                    address,
                    length: data.len(),
                });
            }
        }
    }
}

/// A place in words.
pub fn spot(at: u64) -> String {
    let (segment, offset) = ((at >> 32) as u32, at & u64::from(u32::MAX));
    format!("journal/{segment:010} byte {offset}")
}

/// What is wrong, and where.
pub fn say(at: u64, what: &str) -> String {
    format!("{}: {what}", spot(at))
}
