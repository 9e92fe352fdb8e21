//! Inclusion and consistency proofs (RFC 6962, sections 2.1.1 and 2.1.2; checked as in RFC 9162).

use super::hash::{Hash, node_hash};
use super::{EMPTY_ROOT, TREE_SIZE_MAX};

/// Hashes of one proof: more than any tree below `TREE_SIZE_MAX` needs is refused unread.
pub const PROOF_HASHES_MAX: usize = 63;

/// A proof that proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("index {index} is not below the size {size}")]
    Index { index: u64, size: u64 },
    #[error("sizes {first} and {second}: the first must be from 1 to the second, below 2^48")]
    Sizes { first: u64, second: u64 },
    #[error("{found} hashes, this proof has {expected}")]
    Length { found: usize, expected: usize },
    #[error("the proof leads to another root")]
    Root,
    #[error("a node of the tree is not at hand: level {level}, index {index}")]
    Missing { level: u32, index: u64 },
}

/// Check that a leaf is at `index` of the tree of `size` leaves with this root.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    check_index(index, size)?;
    let (inner, border) = decompose(index, size);
    check_length(proof, inner + border)?;
    let (low, high) = proof.split_at(inner);
    let hash = chain_border(chain_inner(*leaf, low, index), high);
    if hash == *root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// Check that the tree of `second` leaves begins with the tree of `first` leaves.
pub fn verify_consistency(
    first: u64,
    second: u64,
    proof: &[Hash],
    first_root: &Hash,
    second_root: &Hash,
) -> Result<(), ProofError> {
    check_sizes(first, second)?;
    if first == second {
        check_length(proof, 0)?;
        return if first_root == second_root {
            Ok(())
        } else {
            Err(ProofError::Root)
        };
    }
    let shift = first.trailing_zeros();
    let (inner, border) = decompose(first - 1, second);
    let inner = inner - shift as usize;
    // The first tree is one whole subtree of the second: its root is the seed, and not sent.
    let whole = first.is_power_of_two();
    check_length(proof, inner + border + usize::from(!whole))?;
    let (seed, proof) = match proof.split_first() {
        Some((seed, rest)) if !whole => (*seed, rest),
        _ => (*first_root, proof),
    };
    let (low, high) = proof.split_at(inner);
    let mask = (first - 1) >> shift;
    let old = chain_border(chain_inner_right(seed, low, mask), high);
    let new = chain_border(chain_inner(seed, low, mask), high);
    if old == *first_root && new == *second_root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// Make an inclusion proof. `node(level, index)` is the root of a complete subtree of 2^level
/// leaves that begins at leaf `index << level`.
pub fn inclusion_proof<F>(index: u64, size: u64, node: &mut F) -> Result<Vec<Hash>, ProofError>
where
    F: FnMut(u32, u64) -> Option<Hash> + ?Sized,
{
    check_index(index, size)?;
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let split = start + largest_power_below(end - start);
        if index < split {
            proof.push(subtree(split, end, node)?);
            end = split;
        } else {
            proof.push(subtree(start, split, node)?);
            start = split;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Make a consistency proof. `node` as for `inclusion_proof`.
pub fn consistency_proof<F>(first: u64, second: u64, node: &mut F) -> Result<Vec<Hash>, ProofError>
where
    F: FnMut(u32, u64) -> Option<Hash> + ?Sized,
{
    check_sizes(first, second)?;
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, second);
    while first != end {
        let split = start + largest_power_below(end - start);
        if first <= split {
            proof.push(subtree(split, end, node)?);
            end = split;
        } else {
            proof.push(subtree(start, split, node)?);
            start = split;
        }
    }
    // A whole subtree from the beginning is the first root itself, which its reader has.
    if start != 0 {
        proof.push(subtree(start, end, node)?);
    }
    proof.reverse();
    Ok(proof)
}

fn check_index(index: u64, size: u64) -> Result<(), ProofError> {
    if index < size && size <= TREE_SIZE_MAX {
        Ok(())
    } else {
        Err(ProofError::Index { index, size })
    }
}

fn check_sizes(first: u64, second: u64) -> Result<(), ProofError> {
    if first > 0 && first <= second && second <= TREE_SIZE_MAX {
        Ok(())
    } else {
        Err(ProofError::Sizes { first, second })
    }
}

fn check_length(proof: &[Hash], expected: usize) -> Result<(), ProofError> {
    if proof.len() == expected && expected <= PROOF_HASHES_MAX {
        Ok(())
    } else {
        Err(ProofError::Length {
            found: proof.len(),
            expected,
        })
    }
}

/// Levels below the point where the paths to `index` and to the last leaf part, and left
/// siblings above it.
fn decompose(index: u64, size: u64) -> (usize, usize) {
    let inner = (64 - (index ^ (size - 1)).leading_zeros()) as usize;
    let border = (index >> inner).count_ones() as usize;
    (inner, border)
}

fn chain_inner(seed: Hash, proof: &[Hash], index: u64) -> Hash {
    proof
        .iter()
        .enumerate()
        .fold(seed, |hash, (level, sibling)| {
            if index >> level & 1 == 0 {
                node_hash(&hash, sibling)
            } else {
                node_hash(sibling, &hash)
            }
        })
}

fn chain_inner_right(seed: Hash, proof: &[Hash], index: u64) -> Hash {
    proof
        .iter()
        .enumerate()
        .fold(seed, |hash, (level, sibling)| {
            if index >> level & 1 == 1 {
                node_hash(sibling, &hash)
            } else {
                hash
            }
        })
}

fn chain_border(seed: Hash, proof: &[Hash]) -> Hash {
    proof
        .iter()
        .fold(seed, |hash, sibling| node_hash(sibling, &hash))
}

fn largest_power_below(length: u64) -> u64 {
    length.next_power_of_two() / 2
}

/// The hash of the leaves from `start` to `end`; `start` is a multiple of the power of two that
/// holds them.
fn subtree<F>(start: u64, end: u64, node: &mut F) -> Result<Hash, ProofError>
where
    F: FnMut(u32, u64) -> Option<Hash> + ?Sized,
{
    let (mut at, mut left) = (start, end - start);
    let mut parts = Vec::new();
    while left > 0 {
        let level = left.ilog2();
        let index = at >> level;
        parts.push(node(level, index).ok_or(ProofError::Missing { level, index })?);
        at += 1 << level;
        left -= 1 << level;
    }
    let mut parts = parts.into_iter().rev();
    let last = parts.next().unwrap_or(EMPTY_ROOT);
    Ok(parts.fold(last, |right, left| node_hash(&left, &right)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Frontier, leaf_hash};
    use std::collections::HashMap;

    #[test]
    fn proofs_made_here_hold_and_prove_nothing_else() {
        let mut nodes = HashMap::new();
        let mut tree = Frontier::default();
        let mut roots = vec![tree.root()];
        for index in 0..70u64 {
            let at = tree.size();
            tree.push_with(leaf_hash(&index.to_le_bytes()), |level, hash| {
                nodes.insert((level as u32, at >> level), *hash);
            });
            roots.push(tree.root());
        }
        let mut node = |level, index| nodes.get(&(level, index)).copied();
        for size in 1..=70u64 {
            let root = roots[size as usize];
            for index in 0..size {
                let proof = inclusion_proof(index, size, &mut node).expect("nodes are at hand");
                let leaf = leaf_hash(&index.to_le_bytes());
                assert_eq!(verify_inclusion(index, size, &leaf, &proof, &root), Ok(()));
                let other = leaf_hash(b"other");
                assert!(verify_inclusion(index, size, &other, &proof, &root).is_err());
            }
            for first in 1..=size {
                let old = roots[first as usize];
                let proof = consistency_proof(first, size, &mut node).expect("nodes are at hand");
                assert_eq!(verify_consistency(first, size, &proof, &old, &root), Ok(()));
                assert!(verify_consistency(first, size, &proof, &leaf_hash(b""), &root).is_err());
            }
        }
    }

    #[test]
    fn holds_h18_sizes_and_lengths_beyond_reason_are_refused() {
        let hash = leaf_hash(b"leaf");
        let many = vec![hash; 64];
        let far = 1_000_000_000_000_000_000;
        assert!(verify_inclusion(0, far, &hash, &many, &hash).is_err());
        assert!(verify_inclusion(0, 1, &hash, &many, &hash).is_err());
        assert!(verify_consistency(1, far, &many, &hash, &hash).is_err());
        assert!(verify_consistency(0, 1, &[], &hash, &hash).is_err());
        assert!(verify_inclusion(u64::MAX, u64::MAX, &hash, &[], &hash).is_err());
    }
}
