//! Blocks by their CIDs: whether one is what its CID says, and which others it names.

use rayon::prelude::*;

use crate::encoding::{DecodeError, Item, Reader, parse_cid};

const SHA2_256: u64 = 0x12;
const BLAKE3: u64 = 0x1e;
const DAG_CBOR: u64 = 0x71;
const RAW: u64 = 0x55;

/// Blocks that one core takes at a time.
const GROUP: usize = 64;
/// Below this, handing blocks to another core costs more than it brings.
const WORTH_IT: usize = 256 << 10;

/// A CID and the bytes that are said to be its block.
pub type Claim<'a> = (&'a [u8], &'a [u8]);

/// What a CID says about its block.
struct Named<'a> {
    codec: u64,
    hash: u64,
    digest: &'a [u8],
}

/// Whether each block hashes to its CID, by sha2-256 or blake3, and is canonical when its codec is
/// `dag-cbor`; in order. A CID that is none, or by another hash, is not good.
#[must_use]
pub fn check_blocks(claims: &[Claim<'_>]) -> Vec<bool> {
    let bytes: usize = claims.iter().map(|(_, data)| data.len()).sum();
    if bytes < WORTH_IT {
        return check_group(claims);
    }
    let groups = claims.par_chunks(GROUP);
    groups.flat_map_iter(check_group).collect()
}

fn check_group(claims: &[Claim<'_>]) -> Vec<bool> {
    let named: Vec<Option<Named<'_>>> = claims.iter().map(|(cid, _)| named(cid)).collect();
    let pairs = || named.iter().zip(claims);
    let by_sha = pairs().filter(|(named, _)| is_by_sha(named));
    let mut digests = Vec::with_capacity(claims.len());
    qflow_sha::sha256_all(by_sha.map(|(_, (_, data))| *data), &mut digests);
    let mut digests = digests.iter();
    let mut check = |(named, (_, data)): (&Option<Named<'_>>, &Claim<'_>)| {
        let named = named.as_ref()?;
        let same = match named.hash {
            SHA2_256 => digests.next()? == named.digest,
            BLAKE3 => blake3::hash(data).as_bytes() == named.digest,
            _ => false,
        };
        (same && (named.codec != DAG_CBOR || check_data(data).is_ok())).then_some(())
    };
    pairs().map(|pair| check(pair).is_some()).collect()
}

fn is_by_sha(named: &Option<Named<'_>>) -> bool {
    named.as_ref().is_some_and(|named| named.hash == SHA2_256)
}

fn named(cid: &[u8]) -> Option<Named<'_>> {
    // Codes of one byte, in this place: those that Qflow writes, and nearly all others.
    if let Some(([1, codec @ ..0x80, hash @ ..0x80, 32], digest)) = cid.split_first_chunk() {
        return (digest.len() == 32).then_some(Named {
            codec: (*codec).into(),
            hash: (*hash).into(),
            digest,
        });
    }
    let parsed = parse_cid(cid)?;
    let digest = cid.len().checked_sub(parsed.hash().digest().len())?;
    Some(Named {
        codec: parsed.codec(),
        hash: parsed.hash().code(),
        digest: &cid[digest..],
    })
}

/// Whether a block is canonical DAG-CBOR.
fn check_data(data: &[u8]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(data);
    reader.skip_value(0)?;
    reader.finish()
}

/// Why the links of a block are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinksError {
    #[error("not a CID")]
    NotCid,
    #[error("links of codec 0x{0:x} are not known")]
    Codec(u64),
    #[error(transparent)]
    Data(#[from] DecodeError),
}

/// The CIDs that a block names, in the order in which it names them. The block is not hashed.
pub fn block_links<'a>(cid: &[u8], data: &'a [u8]) -> Result<Vec<&'a [u8]>, LinksError> {
    match parse_cid(cid).ok_or(LinksError::NotCid)?.codec() {
        RAW => Ok(Vec::new()),
        DAG_CBOR => Ok(data_links(data)?),
        codec => Err(LinksError::Codec(codec)),
    }
}

fn data_links(data: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    check_data(data)?;
    let mut links = Vec::new();
    // The items of a value stand one after the other, at whatever depth.
    let mut reader = Reader::new(data);
    while reader.position() < data.len() {
        if let Item::Link(cid) = reader.item()? {
            links.push(cid);
        }
    }
    Ok(links)
}
