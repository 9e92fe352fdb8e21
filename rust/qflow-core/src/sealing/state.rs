//! Sealed states: the parts of a text, each a block, and a root that names them.

use std::collections::HashSet;

use rayon::prelude::*;

use super::sealer::{SEAL_BYTES, Sealer, SealingError};
use crate::chunks::{PART_BYTES_MAX, PART_BYTES_MIN};
use crate::encoding::{CidBytes, DecodeError, Item, Reader, Writer, block_cid, raw_cids};

/// How a part begins; the last byte is the version.
pub const STATE_MAGIC: [u8; 5] = *b"QFST\x01";
/// How begins what the seal of a root is bound to.
const ROOT_MAGIC: [u8; 5] = *b"QFSR\x01";
const HEADER_BYTES: usize = STATE_MAGIC.len() + 8;
/// What the block of a part has more than the part.
pub const PART_OVERHEAD: usize = HEADER_BYTES + SEAL_BYTES;
/// No state is longer: it is in memory as a whole.
pub const STATE_BYTES_MAX: usize = 64 << 20;

/// A map of the fields of a root, without and with its seal.
const PLAIN_FIELDS: u8 = 0xa3;
const ROOT_FIELDS: u8 = 0xa4;
/// The codec of a part, in its CID.
const RAW: u8 = 0x55;

/// Parts that one core takes at a time: as many as are hashed together.
const GROUP: usize = 16;
/// Below this, handing parts to another core costs more than it brings.
const WORTH_IT: usize = 512 << 10;

/// Whose state it is: it opens for nobody else.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    pub subnet: &'a str,
    pub chain: &'a [u8; 16],
}

/// A block and its CID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub cid: CidBytes,
    pub data: Vec<u8>,
}

/// What the root of a state says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root<'a> {
    /// Of the text, in bytes.
    pub size: usize,
    /// The CIDs of the parts, in order.
    pub parts: Vec<&'a [u8]>,
    /// The root without its seal.
    plain: Vec<u8>,
    seal: &'a [u8],
}

/// Why a state was not sealed or not unsealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("{0} bytes; a state has at most {STATE_BYTES_MAX}")]
    TooLong(usize),
    #[error("the root does not hash to its CID")]
    OtherRoot,
    #[error("the root: {0}")]
    Root(#[from] DecodeError),
    #[error("the root: {0}")]
    Seal(SealingError),
    #[error("the parts have other lengths than the root says")]
    Lengths,
    #[error("part {0} does not hash to its CID")]
    OtherPart(usize),
    #[error("part {0}: {1}")]
    Part(usize, SealingError),
}

fn header(number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..STATE_MAGIC.len()].copy_from_slice(&STATE_MAGIC);
    header[STATE_MAGIC.len()..].copy_from_slice(&number.to_be_bytes());
    header
}

/// The header and the owner, each part of a fixed length but the last.
fn bound(header: &[u8], owner: &Owner<'_>) -> Vec<u8> {
    [header, owner.chain, owner.subnet.as_bytes()].concat()
}

/// Seal a state: the blocks of its parts, equal ones once, and of its root, which is the last.
/// `number` is that of the key in its keyring.
pub fn seal_state(
    sealer: &Sealer,
    number: u64,
    owner: &Owner<'_>,
    text: &[u8],
) -> Result<Vec<Block>, StateError> {
    if text.len() > STATE_BYTES_MAX {
        return Err(StateError::TooLong(text.len()));
    }
    let header = header(number);
    let bound = bound(&header, owner);
    let gear = sealer.gear();
    let parts = gear.parts(text);
    let seal = |parts: &[&[u8]]| seal_parts(sealer, &header, &bound, parts);
    let mut blocks = if text.len() < WORTH_IT {
        seal(&parts.collect::<Vec<_>>())
    } else {
        on_all_cores(parts, seal)
    };
    let root = write_root(sealer, owner, text.len(), &blocks);
    let mut known = HashSet::with_capacity(blocks.len());
    blocks.retain(|block| known.insert(block.cid));
    blocks.push(root);
    Ok(blocks)
}

/// One core at a time looks for the next cuts while the others seal.
fn on_all_cores<'a>(
    mut parts: impl Iterator<Item = &'a [u8]> + Send,
    seal: impl Fn(&[&'a [u8]]) -> Vec<Block> + Sync,
) -> Vec<Block> {
    let groups = std::iter::from_fn(|| {
        let group: Vec<&[u8]> = parts.by_ref().take(GROUP).collect();
        (!group.is_empty()).then_some(group)
    });
    let groups = groups.enumerate().par_bridge();
    let sealed = groups.map(|(place, group)| (place, seal(&group)));
    let mut sealed: Vec<(usize, Vec<Block>)> = sealed.collect();
    sealed.sort_unstable_by_key(|(place, _)| *place);
    sealed.into_iter().flat_map(|(_, blocks)| blocks).collect()
}

fn seal_parts(sealer: &Sealer, header: &[u8], bound: &[u8], parts: &[&[u8]]) -> Vec<Block> {
    let seal = |part: &&[u8]| {
        let mut data = Vec::with_capacity(PART_OVERHEAD + part.len());
        data.extend_from_slice(header);
        sealer.seal(bound, part, &mut data);
        data
    };
    let sealed: Vec<Vec<u8>> = parts.iter().map(seal).collect();
    let cids = raw_cids(sealed.iter().map(Vec::as_slice));
    let pairs = cids.into_iter().zip(sealed);
    pairs.map(|(cid, data)| Block { cid, data }).collect()
}

/// The root is sealed by itself, so that parts of states that were never one do not become one.
fn root_bound(plain: &[u8], owner: &Owner<'_>) -> Vec<u8> {
    [
        &ROOT_MAGIC,
        &owner.chain[..],
        plain,
        owner.subnet.as_bytes(),
    ]
    .concat()
}

fn write_root(sealer: &Sealer, owner: &Owner<'_>, size: usize, parts: &[Block]) -> Block {
    let mut out = Writer::with_capacity(128 + parts.len() * 41);
    out.map(3);
    out.text("v");
    out.unsigned(1);
    out.text("size");
    out.unsigned(size as u64);
    out.text("parts");
    out.array(parts.len());
    parts.iter().for_each(|part| out.link(&part.cid));
    let mut seal = Vec::new();
    sealer.seal(&root_bound(out.as_slice(), owner), &[], &mut seal);
    out.text("sealed");
    out.bytes(&seal);
    let mut data = out.into_bytes();
    data[0] = ROOT_FIELDS;
    let cid = block_cid(&data);
    Block { cid, data }
}

/// Read the block of a root. One state has one form: everything else is refused.
pub fn parse_root(block: &[u8]) -> Result<Root<'_>, DecodeError> {
    let mut reader = Reader::new(block);
    let (size, count) = parse_sizes(&mut reader)?;
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let link = reader.block_link().filter(|cid| cid[1] == RAW);
        parts.push(link.ok_or_else(|| reader.refuse("a part that is no sealed block"))?);
    }
    let mut plain = reader.since(0).to_vec();
    plain[0] = PLAIN_FIELDS;
    let known = reader.skip_exact(b"\x66sealed");
    let seal = match reader.item()? {
        Item::Bytes(seal) if known && seal.len() == SEAL_BYTES => seal,
        _ => return Err(reader.refuse("a root without its seal")),
    };
    reader.finish()?;
    Ok(Root {
        size,
        parts,
        plain,
        seal,
    })
}

/// The size of the text, and how many parts follow.
fn parse_sizes(reader: &mut Reader<'_>) -> Result<(usize, usize), DecodeError> {
    let known = reader.skip_exact(b"\xa4\x61v\x01\x64size");
    let size = match reader.short_unsigned() {
        Some(size) if known => size,
        _ => return Err(reader.refuse("not the root of a state")),
    };
    if size > STATE_BYTES_MAX as u64 {
        return Err(reader.refuse("a state that is too long"));
    }
    let size = size as usize;
    if !reader.skip_exact(b"\x65parts") {
        return Err(reader.refuse("not the root of a state"));
    }
    let Item::Array(count) = reader.item()? else {
        return Err(reader.refuse("parts that are not a list"));
    };
    let least = size.div_ceil(PART_BYTES_MAX).max(1);
    let most = size.div_ceil(PART_BYTES_MIN).max(1);
    if !(least..=most).contains(&count) {
        return Err(reader.refuse("another number of parts than the size allows"));
    }
    Ok((size, count))
}

impl<'a> Root<'a> {
    /// The root that a CID names.
    pub fn open(cid: &[u8], block: &'a [u8]) -> Result<Self, StateError> {
        if block_cid(block) != *cid {
            return Err(StateError::OtherRoot);
        }
        Ok(parse_root(block)?)
    }

    /// Whether these blocks, of untrusted lengths, are as long as the root says. To be asked before
    /// a buffer of its size is made.
    pub fn check_lengths(&self, blocks: &[&[u8]]) -> Result<(), StateError> {
        let lengths = blocks.iter().map(|block| part_length(block));
        let all = blocks.len() == self.parts.len();
        (all && lengths.sum::<Option<usize>>() == Some(self.size))
            .then_some(())
            .ok_or(StateError::Lengths)
    }

    /// Write the text to `out`, which is of its size, from the blocks of the parts, in order. After
    /// an error it holds nothing of worth.
    pub fn unseal(
        &self,
        sealer: &Sealer,
        owner: &Owner<'_>,
        blocks: &[&[u8]],
        out: &mut [u8],
    ) -> Result<(), StateError> {
        self.check_lengths(blocks)?;
        sealer
            .unseal_into(&root_bound(&self.plain, owner), self.seal, &mut [])
            .map_err(StateError::Seal)?;
        let mut rest = out;
        let mut parts = Vec::with_capacity(blocks.len());
        for (place, block) in blocks.iter().enumerate() {
            let length = block.len() - PART_OVERHEAD;
            let (out, after) = std::mem::take(&mut rest)
                .split_at_mut_checked(length)
                .ok_or(StateError::Lengths)?;
            rest = after;
            let cid = self.parts[place];
            parts.push(Part {
                place,
                cid,
                block,
                out,
            });
        }
        let unseal = |parts: &mut [Part<'_>]| unseal_parts(sealer, owner, parts);
        if self.size < WORTH_IT {
            return unseal(&mut parts);
        }
        parts.par_chunks_mut(GROUP).try_for_each(unseal)
    }
}

struct Part<'a> {
    place: usize,
    cid: &'a [u8],
    block: &'a [u8],
    out: &'a mut [u8],
}

fn unseal_parts(
    sealer: &Sealer,
    owner: &Owner<'_>,
    parts: &mut [Part<'_>],
) -> Result<(), StateError> {
    let cids = raw_cids(parts.iter().map(|part| part.block));
    for (cid, part) in cids.iter().zip(parts) {
        if cid != part.cid {
            return Err(StateError::OtherPart(part.place));
        }
        let (header, sealed) = part.block.split_at(HEADER_BYTES);
        sealer
            .unseal_into(&bound(header, owner), sealed, part.out)
            .map_err(|error| StateError::Part(part.place, error))?;
    }
    Ok(())
}

/// The length of the part in a block; None when it is none.
fn part_length(block: &[u8]) -> Option<usize> {
    let length = block.len().checked_sub(PART_OVERHEAD)?;
    (block.starts_with(&STATE_MAGIC) && length <= PART_BYTES_MAX).then_some(length)
}
