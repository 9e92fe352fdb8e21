//! From 32 bytes that others chose to a number, by a hash they cannot foresee.

use hashbrown::HashTable;

/// The key of a document's hash tables: chance of this process, so that no stranger can choose
/// digests or names that all fall into one place.
#[derive(Clone, Copy)]
pub struct HashKey([u64; 4]);

impl HashKey {
    /// Spreads chance of any length over the key.
    #[must_use]
    pub fn of(chance: &[u8]) -> Self {
        let derived = blake3::derive_key("qflow crdt hash tables v1", chance);
        Self(words(&derived))
    }

    /// Two products of sums with the key, folded: for digests and public keys.
    #[must_use]
    pub fn hash(&self, data: &[u8; 32]) -> u64 {
        let (data, key) = (words(data), self.0);
        folded(data[0] ^ key[0], data[1] ^ key[1])
            ^ folded(data[2] ^ key[2], data[3] ^ key[3]).rotate_left(32)
    }
}

fn words(data: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(data.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

fn folded(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ (product >> 64) as u64
}

/// Numbers found again by the 32 bytes they stand for, which are kept elsewhere.
#[derive(Clone)]
pub(super) struct Index {
    table: HashTable<u32>,
    key: HashKey,
}

impl Index {
    pub(super) fn new(key: HashKey) -> Self {
        let table = HashTable::new();
        Self { table, key }
    }

    pub(super) fn find<'a>(
        &self,
        data: &[u8; 32],
        kept: impl Fn(u32) -> &'a [u8; 32],
    ) -> Option<u32> {
        let is_it = |number: &u32| kept(*number) == data;
        self.table.find(self.key.hash(data), is_it).copied()
    }

    pub(super) fn insert<'a>(
        &mut self,
        data: &[u8; 32],
        number: u32,
        kept: impl Fn(u32) -> &'a [u8; 32],
    ) {
        let key = self.key;
        let hash = |number: &u32| key.hash(kept(*number));
        self.table.insert_unique(key.hash(data), number, hash);
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("HashKey(..)")
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Index({})", self.table.len())
    }
}
