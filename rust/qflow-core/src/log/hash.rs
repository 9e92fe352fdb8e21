//! SHA-256 of leaves and nodes (RFC 6962, section 2.1).
//!
//! The compression function is called directly: a record and a node are hashed once each for every
//! record that is written or verified, and buffering costs a third of that.

use sha2::block_api::compress256;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// The root of the tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Blocks of a record of 438 bytes; a longer one is hashed in three calls.
const LEAF_BLOCKS: usize = 7;

const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// SHA-256 of a message.
#[must_use]
pub fn sha256(message: &[u8]) -> Hash {
    finish(INITIAL, message, message.len())
}

/// The hash of a leaf: SHA-256 of a zero byte and the record.
#[must_use]
pub fn leaf_hash(record: &[u8]) -> Hash {
    // Of a record of common length the whole message is laid out, and compressed in one call.
    let mut message = [[0; 64]; LEAF_BLOCKS];
    let flat = message.as_flattened_mut();
    let total = 1 + record.len();
    if total + 9 > flat.len() {
        return long_leaf_hash(record);
    }
    flat[1..total].copy_from_slice(record);
    flat[total] = 0x80;
    let count = (total + 9).div_ceil(64);
    flat[count * 64 - 8..count * 64].copy_from_slice(&(total as u64 * 8).to_be_bytes());
    let mut state = INITIAL;
    compress256(&mut state, &message[..count]);
    digest(state)
}

fn long_leaf_hash(record: &[u8]) -> Hash {
    let (head, rest) = record.split_at(63);
    let mut first = [0; 64];
    first[1..].copy_from_slice(head);
    let mut state = INITIAL;
    compress256(&mut state, &[first]);
    finish(state, rest, record.len() + 1)
}

/// The hash of an inner node: SHA-256 of a one byte, the left and the right child.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut blocks = [[0; 64]; 2];
    blocks[0][0] = 1;
    blocks[0][1..33].copy_from_slice(left);
    blocks[0][33..].copy_from_slice(&right[..31]);
    blocks[1][0] = right[31];
    blocks[1][1] = 0x80;
    blocks[1][62..].copy_from_slice(&(65u16 * 8).to_be_bytes());
    let mut state = INITIAL;
    compress256(&mut state, &blocks);
    digest(state)
}

/// The hashes of leaves, each given as it is hashed: a zero byte and the record. They are appended
/// to `out`, in order; many at once are several times as fast as one after the other.
pub fn leaf_hashes<'a>(leaves: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<Hash>) {
    qflow_sha::sha256_all(leaves, out);
}

/// SHA-256 of each message, in order, appended to `out`.
pub fn sha256_all<'a>(messages: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<Hash>) {
    qflow_sha::sha256_all(messages, out);
}

/// The hashes of the inner nodes over each two of these, in order. One that is left over is not
/// looked at.
pub(super) fn node_hashes(children: &[Hash]) -> Vec<Hash> {
    let mut hashes = Vec::with_capacity(children.len() / 2);
    let (pairs, _) = children.as_chunks::<2>();
    if let [[left, right]] = pairs {
        hashes.push(node_hash(left, right));
        return hashes;
    }
    let mut messages = vec![[1; 65]; pairs.len()];
    for (message, pair) in messages.iter_mut().zip(pairs) {
        message[1..].copy_from_slice(pair.as_flattened());
    }
    qflow_sha::sha256_all(messages.iter().map(<[u8; 65]>::as_slice), &mut hashes);
    hashes
}

/// Hash what is left of a message of `total` bytes, and its padding.
fn finish(mut state: [u32; 8], rest: &[u8], total: usize) -> Hash {
    let (blocks, tail) = rest.as_chunks::<64>();
    compress256(&mut state, blocks);
    let mut last = [[0; 64]; 2];
    let flat = last.as_flattened_mut();
    flat[..tail.len()].copy_from_slice(tail);
    flat[tail.len()] = 0x80;
    let count = if tail.len() < 56 { 1 } else { 2 };
    flat[count * 64 - 8..count * 64].copy_from_slice(&(total as u64 * 8).to_be_bytes());
    compress256(&mut state, &last[..count]);
    digest(state)
}

fn digest(state: [u32; 8]) -> Hash {
    let mut out = [0; 32];
    for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn every_length_hashes_as_the_library_does() {
        let bytes: Vec<u8> = (0..=255).cycle().take(700).map(|n: u16| n as u8).collect();
        for length in 0..bytes.len() {
            let message = &bytes[..length];
            assert_eq!(sha256(message), <Hash>::from(Sha256::digest(message)));
            let leaf = Sha256::new()
                .chain_update([0])
                .chain_update(message)
                .finalize();
            assert_eq!(leaf_hash(message), <Hash>::from(leaf));
        }
    }

    #[test]
    fn a_node_hashes_as_the_library_does() {
        let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
        let node = Sha256::new()
            .chain_update([1])
            .chain_update(left)
            .chain_update(right);
        assert_eq!(node_hash(&left, &right), <Hash>::from(node.finalize()));
        assert_eq!(sha256(b""), EMPTY_ROOT);
    }

    #[test]
    fn many_at_once_hash_as_each_alone() {
        let mut messages: Vec<[u8; 301]> = (0..100).map(|n| [n; 301]).collect();
        messages.iter_mut().for_each(|message| message[0] = 0);
        let mut leaves = Vec::new();
        leaf_hashes(messages.iter().map(<[u8; 301]>::as_slice), &mut leaves);
        let alone: Vec<Hash> = messages.iter().map(|m| leaf_hash(&m[1..])).collect();
        assert_eq!(leaves, alone);
        for count in 0..leaves.len() {
            let pairs = leaves[..count].as_chunks::<2>().0.iter();
            let alone: Vec<Hash> = pairs.map(|[left, right]| node_hash(left, right)).collect();
            assert_eq!(node_hashes(&leaves[..count]), alone);
        }
    }
}
