//! Frames: the bytes of one commit.

use crc32c::{crc32c, crc32c_append};

/// Frames begin at multiples of this: a commit never touches a disk block of an earlier one.
pub const ALIGNMENT: usize = 4096;
/// Bytes of a frame before its first item.
pub const FRAME_HEADER: usize = 48;
/// Bytes of an item before its data.
pub const ITEM_HEADER: usize = 9;
/// Bytes of a block: what every gateway takes.
pub const BLOCK_BYTES_MAX: usize = 2 << 20;
/// Bytes of a block's CID.
pub const CID_BYTES_MAX: usize = 128;

const MAGIC: u32 = u32::from_le_bytes(*b"QFR1");
/// RFC 6962's prefix of a leaf: with it a record lies in the journal as it is hashed.
pub const KIND_RECORD: u8 = 0;
pub const KIND_BLOCK: u8 = 1;

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    pub crc: u32,
    /// Bytes from the header to the head, without the padding.
    pub length: u32,
    pub records: u32,
    /// Index of the first record: the size of the tree before this commit.
    pub first: u64,
    pub address: u64,
    pub blocks: u32,
    /// Bytes of the signed head, which follows the items.
    pub head: u32,
    pub log_id: u64,
}

impl FrameHeader {
    /// The bytes of the header.
    pub fn encode(&self) -> [u8; FRAME_HEADER] {
        let mut out = [0; FRAME_HEADER];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&self.crc.to_le_bytes());
        out[8..12].copy_from_slice(&self.length.to_le_bytes());
        out[12..16].copy_from_slice(&self.records.to_le_bytes());
        out[16..24].copy_from_slice(&self.first.to_le_bytes());
        out[24..32].copy_from_slice(&self.address.to_le_bytes());
        out[32..36].copy_from_slice(&self.blocks.to_le_bytes());
        out[36..40].copy_from_slice(&self.head.to_le_bytes());
        out[40..48].copy_from_slice(&self.log_id.to_le_bytes());
        out
    }

    /// Read a header that can be one of this log at this address; its checksum is not checked.
    pub fn parse(bytes: &[u8], address: u64, log_id: u64) -> Result<Self, &'static str> {
        let bytes: &[u8; FRAME_HEADER] = bytes.first_chunk().ok_or("a frame ends early")?;
        let header = Self {
            crc: word(bytes, 4),
            length: word(bytes, 8),
            records: word(bytes, 12),
            first: long(bytes, 16),
            address: long(bytes, 24),
            blocks: word(bytes, 32),
            head: word(bytes, 36),
            log_id: long(bytes, 40),
        };
        if word(bytes, 0) != MAGIC {
            return Err("no frame begins here");
        }
        if header.log_id != log_id {
            return Err("a frame of another log");
        }
        if header.address != address {
            return Err("a frame of another place");
        }
        Ok(header)
    }

    /// Bytes from this frame to the next.
    pub fn padded(&self) -> usize {
        (self.length as usize).next_multiple_of(ALIGNMENT)
    }
}

/// A frame whose every byte was checked.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub header: FrameHeader,
    /// The signed head.
    pub head: &'a [u8],
    bytes: &'a [u8],
}

/// A record or a block within a frame. `at` counts from the frame's first byte.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    Record {
        at: usize,
        data: &'a [u8],
    },
    Block {
        at: usize,
        cid: &'a [u8],
        data: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// Check the frame at the start of `bytes`: checksums, counts, lengths, and zeros up to the
    /// next frame.
    pub fn parse(bytes: &'a [u8], address: u64, log_id: u64) -> Result<Self, &'static str> {
        let header = FrameHeader::parse(bytes, address, log_id)?;
        let (length, head) = (header.length as usize, header.head as usize);
        let padded = bytes.get(..header.padded()).ok_or("a frame ends early")?;
        let end = length.checked_sub(head).filter(|end| *end >= FRAME_HEADER);
        let end = end.ok_or("a frame is shorter than its parts")?;
        let (mut records, mut blocks) = (0u32, 0u32);
        let (mut at, mut crc) = (FRAME_HEADER, 0);
        while at < end {
            let item = parse_item(&padded[at..end])?;
            crc = crc32c_append(crc, &padded[at..at + 8]);
            match item.kind {
                KIND_RECORD => records += 1,
                _ => blocks += 1,
            }
            at += item.size;
        }
        crc = crc32c_append(crc, &padded[end..length]);
        if crc32c_append(crc, &padded[8..FRAME_HEADER]) != header.crc {
            return Err("a frame's checksum is not that of its bytes");
        }
        if (records, blocks) != (header.records, header.blocks) {
            return Err("a frame's counts are not those of its items");
        }
        if padded[length..].iter().any(|byte| *byte != 0) {
            return Err("bytes after a frame that are not zero");
        }
        Ok(Self {
            header,
            head: &padded[end..length],
            bytes: &padded[..end],
        })
    }

    /// The records, each with the zero byte before it: what a leaf is the hash of.
    pub fn leaves(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.items().filter_map(move |item| match item {
            Item::Record { at, data } => {
                let from = at + ITEM_HEADER - 1;
                bytes.get(from..=from + data.len())
            }
            Item::Block { .. } => None,
        })
    }

    /// What the frame holds, in order.
    pub fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let (bytes, mut at) = (self.bytes, FRAME_HEADER);
        std::iter::from_fn(move || {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let (header, data) = rest.split_at_checked(ITEM_HEADER)?;
            let data = data.get(..word(header, 4) as usize)?;
            let start = at;
            at += ITEM_HEADER + data.len();
            if header[8] == KIND_RECORD {
                return Some(Item::Record { at: start, data });
            }
            let (cid, data) = split_block(data)?;
            Some(Item::Block {
                at: start,
                cid,
                data,
            })
        })
    }
}

/// An item whose checksum was checked. `size` is all of it.
pub struct RawItem {
    pub kind: u8,
    pub size: usize,
}

/// Check the item at the start of `bytes`.
pub fn parse_item(bytes: &[u8]) -> Result<RawItem, &'static str> {
    let header = bytes
        .first_chunk::<ITEM_HEADER>()
        .ok_or("an item ends early")?;
    let size = ITEM_HEADER + word(header, 4) as usize;
    let checked = bytes.get(4..size).ok_or("an item ends early")?;
    if crc32c(checked) != word(header, 0) {
        return Err("an item's checksum is not that of its bytes");
    }
    match header[8] {
        KIND_RECORD => {}
        KIND_BLOCK => {
            split_block(&bytes[ITEM_HEADER..size]).ok_or("a block ends early")?;
        }
        _ => return Err("an item of an unknown kind"),
    }
    Ok(RawItem {
        kind: header[8],
        size,
    })
}

/// The CID and the data of a block item.
pub fn split_block(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// Append a record; its checksum is written by `seal`.
pub fn push_record(frame: &mut Vec<u8>, record: &[u8]) {
    push_header(frame, KIND_RECORD, record.len());
    frame.extend_from_slice(record);
}

/// Append a block; its checksum is written by `seal`.
pub fn push_block(frame: &mut Vec<u8>, cid: &[u8], data: &[u8]) {
    push_header(frame, KIND_BLOCK, 1 + cid.len() + data.len());
    frame.push(cid.len() as u8);
    frame.extend_from_slice(cid);
    frame.extend_from_slice(data);
}

fn push_header(frame: &mut Vec<u8>, kind: u8, length: usize) {
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&(length as u32).to_le_bytes());
    frame.push(kind);
}

/// Bytes that these items take.
pub fn items_bytes(records: &[&[u8]], blocks: &[(&[u8], &[u8])]) -> usize {
    let records = records.iter().map(|record| ITEM_HEADER + record.len());
    let blocks = blocks
        .iter()
        .map(|(cid, data)| ITEM_HEADER + 1 + cid.len() + data.len());
    records.chain(blocks).sum()
}

/// Write the checksum of each item and give each record to `record`. Returns the checksum so far,
/// which `finish` goes on from.
pub fn seal(frame: &mut [u8], mut record: impl FnMut(&[u8])) -> u32 {
    let (mut at, mut crc) = (FRAME_HEADER, 0);
    while at < frame.len() {
        let end = at + ITEM_HEADER + word(frame, at + 4) as usize;
        let item = crc32c(&frame[at + 4..end]);
        frame[at..at + 4].copy_from_slice(&item.to_le_bytes());
        crc = crc32c_append(crc, &frame[at..at + 8]);
        if frame[at + 8] == KIND_RECORD {
            record(&frame[at + ITEM_HEADER..end]);
        }
        at = end;
    }
    crc
}

/// Append the head, write the header and pad. `sealed` is what `seal` returned.
pub fn finish(frame: &mut Vec<u8>, mut header: FrameHeader, sealed: u32, head: &[u8]) {
    frame.extend_from_slice(head);
    header.length = frame.len() as u32;
    header.head = head.len() as u32;
    let crc = crc32c_append(sealed, head);
    header.crc = crc32c_append(crc, &header.encode()[8..]);
    frame[..FRAME_HEADER].copy_from_slice(&header.encode());
    frame.resize(header.padded(), 0);
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}
