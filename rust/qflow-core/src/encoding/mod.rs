//! Canonical bytes: DAG-CBOR and CIDs.
//!
//! One value has one encoding, so equal values have equal CIDs on every machine. The rules are
//! those of the IPLD specification of DAG-CBOR: shortest integers, 64-bit floats only, keys that
//! are text and sorted by length and then by bytes, definite lengths, no tag but 42.

mod cid;
mod reader;
mod writer;

pub use cid::{
    CidBytes, block_cid, cid_of, codec_code, codec_name, digest, is_cid, parse_cid, parse_cid_text,
    raw_cid, raw_cids,
};
pub use reader::{DecodeError, Item, Reader};
pub use writer::Writer;

pub use ::cid::Cid;

/// Lists, maps and links that may be open at once. Deeper values are refused in both directions,
/// so that no value can exhaust the stack of whoever reads it.
pub const DEPTH_MAX: usize = 128;

/// Bytes of one block: what a store or a peer may be asked to hold in one piece.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// The order of map keys: shorter first, then by bytes.
#[must_use]
pub fn key_order(left: &[u8], right: &[u8]) -> std::cmp::Ordering {
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}
