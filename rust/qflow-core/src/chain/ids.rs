//! Maps by chain: ids are hashed in a few instructions, by a key that no writer of a log knows.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A map by the id of a chain.
pub type ById<T> = HashMap<[u8; 16], T, IdState>;

/// The key of one map.
#[derive(Debug, Clone)]
pub struct IdState([u64; 2]);

impl Default for IdState {
    fn default() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(0), random.hash_one(1)])
    }
}

impl BuildHasher for IdState {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        let [state, key] = self.0;
        IdHasher { state, key }
    }
}

/// Multiplies to 128 bits and folds, as wyhash does: collisions take knowing the key.
pub struct IdHasher {
    state: u64,
    key: u64,
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key | 1);
        self.state = product as u64 ^ (product >> 64) as u64;
    }

    fn write_usize(&mut self, _: usize) {
        // The length of an id is always the same.
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(self.key | 1);
        product as u64 ^ (product >> 64) as u64
    }
}
