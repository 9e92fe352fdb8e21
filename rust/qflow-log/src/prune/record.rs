//! The record of a pruning: what it says, and reading it where it is.

use std::collections::HashMap;
use std::path::Path;

use qflow_core::chain::{Live, RecordView};
use qflow_core::encoding::{Item as Value, Reader, block_cid};
use qflow_core::log::{Hash, leaf_hash};

use crate::error::{Result, corrupt};
use crate::frame::{ALIGNMENT, Frame, FrameHeader, Item};
use crate::journal::place;
use crate::segment::{open_read, read_up_to};

/// The type of the record.
pub const PRUNED_TYPE: &str = "q.qflow.history.pruned.v1";

/// What a record of a pruning says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruning {
    /// Its own index and leaf.
    pub index: u64,
    pub leaf: Hash,
    /// The first segment that is kept, and the index of its first record.
    pub segment: u32,
    pub minimum: u64,
    /// The signed head of the log at that time.
    pub head: Vec<u8>,
    /// The chains that had begun and not ended before `minimum`.
    pub carried: Vec<Live>,
}

/// Read the record at `index` in the frame at `address`. Believes nothing: neither the frame's
/// checksum nor a CID proves who wrote it, and the caller compares the leaf with the tree.
pub fn read_pruning(journal: &Path, log_id: u64, address: u64, index: u64) -> Result<Pruning> {
    let bytes = read_frame(journal, log_id, address)?;
    let Ok(frame) = Frame::parse(&bytes, address, log_id) else {
        return corrupt("no frame is where the record of the pruning is said to be");
    };
    let mut blocks = HashMap::new();
    let mut records = Vec::new();
    for item in frame.items() {
        match item {
            Item::Record { data, .. } => records.push(data),
            Item::Block { data, .. } => {
                blocks.insert(block_cid(data).to_vec(), data);
            }
        }
    }
    let offset = index.checked_sub(frame.header.first);
    let data = offset.and_then(|offset| records.get(offset as usize));
    let read = data.and_then(|data| parse(data, index, &blocks));
    match read {
        Some(pruning) => Ok(pruning),
        None => corrupt(format!("record {index} is not that of a pruning")),
    }
}

fn read_frame(journal: &Path, log_id: u64, address: u64) -> Result<Vec<u8>> {
    let (segment, offset) = place(address);
    let file = open_read(journal, segment)?;
    let mut bytes = vec![0; ALIGNMENT];
    read_up_to(&file, &mut bytes, offset)?;
    let Ok(header) = FrameHeader::parse(&bytes, address, log_id) else {
        return corrupt("no frame is where the record of the pruning is said to be");
    };
    // A length that lies asks for memory: the file's own size bounds it.
    let left = file.metadata()?.len().saturating_sub(offset);
    bytes.resize(header.padded().min(left as usize), 0);
    read_up_to(&file, &mut bytes, offset)?;
    Ok(bytes)
}

fn parse(data: &[u8], index: u64, blocks: &HashMap<Vec<u8>, &[u8]>) -> Option<Pruning> {
    let record = RecordView::parse(data).ok()?;
    let payload = blocks.get(record.payload?)?;
    let mut fields = Reader::new(payload);
    if record.kind != PRUNED_TYPE || fields.item().ok()? != Value::Map(5) {
        return None;
    }
    let head = text(&mut fields, b"\x64head")?;
    text(&mut fields, b"\x66reason")?;
    let lists = links(&mut fields, b"\x67carried")?;
    let minimum = number(&mut fields, b"\x67minimum")?;
    let segment = number(&mut fields, b"\x67segment")?;
    fields.finish().ok()?;
    let mut carried = Vec::new();
    for cid in lists {
        carried.extend(chains(blocks.get(cid)?)?);
    }
    Some(Pruning {
        index,
        leaf: leaf_hash(data),
        segment: u32::try_from(segment).ok()?,
        minimum,
        head: head.as_bytes().to_vec(),
        carried,
    })
}

fn text<'a>(fields: &mut Reader<'a>, key: &[u8]) -> Option<&'a str> {
    match fields.skip_exact(key).then(|| fields.item().ok())?? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn number(fields: &mut Reader<'_>, key: &[u8]) -> Option<u64> {
    match fields.skip_exact(key).then(|| fields.item().ok())?? {
        Value::Unsigned(number) => Some(number),
        _ => None,
    }
}

fn links<'a>(fields: &mut Reader<'a>, key: &[u8]) -> Option<Vec<&'a [u8]>> {
    let count = match fields.skip_exact(key).then(|| fields.item().ok())?? {
        Value::Array(count) => count,
        _ => return None,
    };
    let link = |_| match fields.item().ok()? {
        Value::Link(cid) => Some(cid),
        _ => None,
    };
    (0..count).map(link).collect()
}

/// The chains of one block: each a list of its id, the number that is due, and its last hash.
fn chains(block: &[u8]) -> Option<Vec<Live>> {
    let mut items = Reader::new(block);
    let Value::Array(count) = items.item().ok()? else {
        return None;
    };
    let mut read = Vec::new();
    for _ in 0..count {
        let (list, chain) = (items.item().ok()?, items.item().ok()?);
        let (next, hash) = (items.item().ok()?, items.item().ok()?);
        match (list, chain, next, hash) {
            (
                Value::Array(3),
                Value::Bytes(chain),
                Value::Unsigned(next @ 1..),
                Value::Bytes(hash),
            ) => read.push(Live {
                chain: chain.try_into().ok()?,
                next,
                hash: hash.try_into().ok()?,
            }),
            _ => return None,
        }
    }
    items.finish().is_ok().then_some(read)
}
