//! Content identifiers: version 1 is written; version 0 is read where others wrote it.

use cid::Cid;
use cid::multihash::Multihash;
use sha2::{Digest, Sha256};

const SHA2_256: u64 = 0x12;
const CODECS: [(&str, u64); 3] = [("dag-cbor", 0x71), ("raw", 0x55), ("dag-pb", 0x70)];

/// How the CID of a block that we write begins.
pub(super) const BLOCK_PREFIX: [u8; 4] = [0x01, 0x71, SHA2_256 as u8, 0x20];
/// The same for a block that is bytes, not data: what is sealed.
pub(super) const RAW_PREFIX: [u8; 4] = [0x01, 0x55, SHA2_256 as u8, 0x20];

/// The CID of a block that we write: version, codec, hash function, length, 32 bytes of digest.
pub type CidBytes = [u8; 36];

#[must_use]
pub fn codec_code(name: &str) -> Option<u64> {
    CODECS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, code)| *code)
}

#[must_use]
pub fn codec_name(code: u64) -> Option<&'static str> {
    CODECS
        .iter()
        .find(|(_, known)| *known == code)
        .map(|(name, _)| *name)
}

/// SHA-256.
#[must_use]
pub fn digest(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// The CID of a canonical DAG-CBOR block, by sha2-256.
#[must_use]
pub fn block_cid(data: &[u8]) -> CidBytes {
    prefixed(BLOCK_PREFIX, data)
}

/// The CID of a block of bytes that are not data, by sha2-256.
#[must_use]
pub fn raw_cid(data: &[u8]) -> CidBytes {
    prefixed(RAW_PREFIX, data)
}

/// The CIDs of blocks of bytes, in order: several times as fast as one after the other.
pub fn raw_cids<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> Vec<CidBytes> {
    let mut digests = Vec::new();
    qflow_sha::sha256_all(blocks, &mut digests);
    let cid = |digest: &[u8; 32]| {
        let mut cid = [0; 36];
        cid[..4].copy_from_slice(&RAW_PREFIX);
        cid[4..].copy_from_slice(digest);
        cid
    };
    digests.iter().map(cid).collect()
}

fn prefixed(prefix: [u8; 4], data: &[u8]) -> CidBytes {
    let mut cid = [0; 36];
    cid[..4].copy_from_slice(&prefix);
    cid[4..].copy_from_slice(&digest(data));
    cid
}

/// Whether these bytes begin like the CID of a block that we write.
pub(super) fn is_ours(cid: &[u8]) -> bool {
    cid.starts_with(&BLOCK_PREFIX) || cid.starts_with(&RAW_PREFIX)
}

/// The CID of any block, by sha2-256.
#[must_use]
pub fn cid_of(data: &[u8], codec: u64) -> Option<Cid> {
    Some(Cid::new_v1(
        codec,
        Multihash::wrap(SHA2_256, &digest(data)).ok()?,
    ))
}

/// A CID that is wholly these bytes; None for anything else.
#[must_use]
pub fn parse_cid(data: &[u8]) -> Option<Cid> {
    let mut rest = data;
    let cid = Cid::read_bytes(&mut rest).ok()?;
    rest.is_empty().then_some(cid)
}

/// A CID in its text form: of version 1 in base 32, of version 0 in base 58.
#[must_use]
pub fn parse_cid_text(text: &str) -> Option<Cid> {
    let cid = Cid::try_from(text).ok()?;
    (cid.to_string() == text).then_some(cid)
}

/// Whether these bytes are a CID. Those of our own blocks are known by their prefix.
#[must_use]
pub fn is_cid(data: &[u8]) -> bool {
    (data.len() == 36 && is_ours(data)) || parse_cid(data).is_some()
}
