//! What a growing tree has to remember: the roots of its complete subtrees.

use super::hash::{EMPTY_ROOT, Hash, node_hash, node_hashes};

/// The roots of the complete subtrees of a tree, one for each bit that is set in its size.
#[derive(Clone)]
pub struct Frontier {
    size: u64,
    /// By level; meaningful where the bit of `size` is set.
    nodes: [Hash; 64],
}

impl Default for Frontier {
    fn default() -> Self {
        Self {
            size: 0,
            nodes: [[0; 32]; 64],
        }
    }
}

impl PartialEq for Frontier {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size && self.hashes().eq(other.hashes())
    }
}

impl Eq for Frontier {}

impl Frontier {
    /// Rebuild from the roots that `hashes` gave: their number must be that of the bits of `size`.
    #[must_use]
    pub fn from_hashes(size: u64, hashes: &[Hash]) -> Option<Self> {
        if hashes.len() != size.count_ones() as usize {
            return None;
        }
        let mut frontier = Self {
            size,
            ..Self::default()
        };
        for (level, hash) in levels(size).zip(hashes) {
            frontier.nodes[level] = *hash;
        }
        Some(frontier)
    }

    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, the smallest first.
    pub fn hashes(&self) -> impl Iterator<Item = &Hash> {
        levels(self.size).map(|level| &self.nodes[level])
    }

    /// Append a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, |_, _| ());
    }

    /// Append a leaf; `complete` is told each subtree that it completes, by level from 0.
    #[inline]
    pub fn push_with(&mut self, leaf: Hash, complete: impl FnMut(usize, &Hash)) {
        self.push_subtree(0, leaf, complete);
    }

    /// Append the 2^level leaves of a subtree by its root: the size must be a multiple of them.
    /// `complete` is told each subtree that is then complete, by level from `level`.
    #[inline]
    pub fn push_subtree(
        &mut self,
        from: usize,
        root: Hash,
        mut complete: impl FnMut(usize, &Hash),
    ) {
        debug_assert!(self.size.trailing_zeros() as usize >= from);
        let (mut hash, mut level) = (root, from);
        complete(level, &hash);
        while self.size >> level & 1 == 1 {
            hash = node_hash(&self.nodes[level], &hash);
            level += 1;
            complete(level, &hash);
        }
        self.nodes[level] = hash;
        self.size += 1 << from;
    }

    /// Append leaves; `complete` is told the subtrees that they complete, level by level from 0:
    /// what is on one level is hashed at once.
    pub fn extend_with(&mut self, leaves: &[Hash], mut complete: impl FnMut(usize, &[Hash])) {
        let (mut level, mut added) = (0, leaves.to_vec());
        while !added.is_empty() {
            complete(level, &added);
            if self.size >> level & 1 == 1 {
                added.insert(0, self.nodes[level]);
            }
            if let (_, [left_over]) = added.as_chunks::<2>() {
                self.nodes[level] = *left_over;
            }
            added = node_hashes(&added);
            level += 1;
        }
        self.size += leaves.len() as u64;
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root_with(None)
    }

    /// The root of this tree and of a smaller one to its right, by the root of that. The smaller
    /// one has fewer leaves than the least of this tree's complete subtrees.
    #[must_use]
    pub fn root_with(&self, right: Option<Hash>) -> Hash {
        let mut hashes = self.hashes();
        let Some(first) = right.or_else(|| hashes.next().copied()) else {
            return EMPTY_ROOT;
        };
        hashes.fold(first, |right, left| node_hash(left, &right))
    }
}

fn levels(size: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |level| size >> level & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::leaf_hash;

    /// RFC 6962, section 2.1, word for word.
    fn tree_hash(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => EMPTY_ROOT,
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(split);
                node_hash(&tree_hash(left), &tree_hash(right))
            }
        }
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        let leaves: Vec<Hash> = (0..600u32).map(|n| leaf_hash(&n.to_le_bytes())).collect();
        let mut frontier = Frontier::default();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(frontier.root(), tree_hash(&leaves[..size]));
            let hashes: Vec<Hash> = frontier.hashes().copied().collect();
            assert!(Frontier::from_hashes(size as u64, &hashes).is_some_and(|f| f == frontier));
            frontier.push(*leaf);
        }
    }

    #[test]
    fn subtrees_appended_by_their_roots_make_the_same_tree() {
        let leaves: Vec<Hash> = (0..600u32).map(|n| leaf_hash(&n.to_le_bytes())).collect();
        let mut by_roots = Frontier::default();
        for part in leaves.chunks(64) {
            for count in 1..part.len() {
                let right = Some(tree_hash(&part[..count]));
                let size = by_roots.size() as usize + count;
                assert_eq!(by_roots.root_with(right), tree_hash(&leaves[..size]));
            }
            if part.len() == 64 {
                by_roots.push_subtree(6, tree_hash(part), |_, _| ());
            }
        }
        assert_eq!(by_roots.root(), tree_hash(&leaves[..576]));
    }

    #[test]
    fn leaves_appended_at_once_make_the_same_tree() {
        let leaves: Vec<Hash> = (0..600u32).map(|n| leaf_hash(&n.to_le_bytes())).collect();
        for (before, count) in [0, 1, 2, 3, 255, 256, 300]
            .into_iter()
            .flat_map(|before| [0, 1, 2, 5, 24, 256, 257, 300].map(|count| (before, count)))
        {
            let (mut alone, mut at_once) = (Frontier::default(), Frontier::default());
            leaves[..before].iter().for_each(|leaf| at_once.push(*leaf));
            leaves[..before].iter().for_each(|leaf| alone.push(*leaf));
            let (mut due, mut found) = (vec![Vec::new(); 12], vec![Vec::new(); 12]);
            let added = &leaves[before..before + count];
            for leaf in added {
                alone.push_with(*leaf, |level, hash| due[level].push(*hash));
            }
            at_once.extend_with(added, |level, hashes| {
                found[level].extend_from_slice(hashes)
            });
            assert!(alone == at_once && due == found, "{before} and {count}");
        }
    }
}
