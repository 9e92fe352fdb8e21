//! Hashes of names under a key, so that a stranger cannot choose names that collide.

/// SipHash-1-3 of a name beneath a node.
#[derive(Clone, Debug)]
pub(super) struct NameHash(u64, u64);

impl NameHash {
    pub fn of(chance: &[u8]) -> Self {
        let key = blake3::derive_key("qflow crdt name hash v1", chance);
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&key[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Self(word(0), word(8))
    }

    #[inline]
    pub fn hash(&self, parent: u32, name: &[u8]) -> u64 {
        let mut state = Sip::keyed(self.0, self.1);
        state.block(u64::from(parent) | (name.len() as u64) << 32);
        let (blocks, rest) = name.as_chunks::<8>();
        for block in blocks {
            state.block(u64::from_le_bytes(*block));
        }
        let bytes = (name.len() as u64 + 8) << 56;
        state.block(little_endian(rest) | bytes);
        state.finish()
    }
}

/// Up to eight bytes as a number.
#[inline]
pub(super) fn little_endian(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

struct Sip([u64; 4]);

impl Sip {
    #[inline]
    fn keyed(first: u64, second: u64) -> Self {
        Self([
            first ^ 0x736f_6d65_7073_6575,
            second ^ 0x646f_7261_6e64_6f6d,
            first ^ 0x6c79_6765_6e65_7261,
            second ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }

    #[inline]
    fn block(&mut self, block: u64) {
        self.0[3] ^= block;
        self.round();
        self.0[0] ^= block;
    }

    #[inline]
    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.0.iter().fold(0, |all, word| all ^ word)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher};

    use super::NameHash;

    #[test]
    fn it_is_the_siphash_of_the_standard_library() {
        for len in 0..40_u32 {
            let name: Vec<u8> = (0..len as u8).collect();
            let mut hasher = DefaultHasher::new();
            hasher.write(&[&7_u32.to_le_bytes(), &len.to_le_bytes(), &name[..]].concat());
            assert_eq!(NameHash(0, 0).hash(7, &name), hasher.finish(), "{len}");
        }
    }
}
