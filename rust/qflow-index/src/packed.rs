//! Rows of the index as bytes: numbers in as few bytes as they need, under a checksum.
//!
//! SQLite notices a damaged page by its shape, not by what stands in a row. So each packed row
//! begins with the CRC-32C of its key and its content.

use crc32c::crc32c_append;

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// Writes a packed row.
pub struct Packer {
    out: Vec<u8>,
    key: u32,
}

impl Packer {
    /// A row under this key.
    pub fn new(key: &[&[u8]]) -> Self {
        let key = key.iter().fold(0, |crc, part| crc32c_append(crc, part));
        Self {
            out: vec![0; CHECKSUM],
            key,
        }
    }

    /// A number: seven bits a byte, the lowest first (LEB128).
    pub fn number(&mut self, mut value: u64) {
        while value > 0x7f {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// A number that may be below zero.
    pub fn signed(&mut self, value: i64) {
        self.number((value as u64) << 1 ^ (value >> 63) as u64);
    }

    /// A number or none.
    pub fn optional(&mut self, value: Option<u64>) {
        match value {
            Some(value) => {
                self.number(1);
                self.number(value);
            }
            None => self.number(0),
        }
    }

    pub fn text(&mut self, value: &str) {
        self.number(value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// The row with its checksum.
    pub fn finish(mut self) -> Vec<u8> {
        let crc = crc32c_append(self.key, &self.out[CHECKSUM..]);
        self.out[..CHECKSUM].copy_from_slice(&crc.to_le_bytes());
        self.out
    }
}

/// Reads a packed row. None: the bytes are not what was packed.
pub struct Unpacker<'a> {
    rest: &'a [u8],
}

impl<'a> Unpacker<'a> {
    pub fn new(key: &[&[u8]], row: &'a [u8]) -> Option<Self> {
        let (crc, rest) = row.split_first_chunk::<CHECKSUM>()?;
        let key = key.iter().fold(0, |crc, part| crc32c_append(crc, part));
        (crc32c_append(key, rest) == u32::from_le_bytes(*crc)).then_some(Self { rest })
    }

    pub fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub fn optional(&mut self) -> Option<Option<u64>> {
        match self.number()? {
            0 => Some(None),
            _ => self.number().map(Some),
        }
    }

    pub fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    /// A number of items that follow: each has at least one byte, so none can claim more.
    pub fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.rest.len()).then_some(count)
    }

    /// Everything must have been read.
    pub fn finish(self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

/// A checksum that is also a name for a text within the index. Two texts may share it.
pub fn short_hash(kind: u8, text: &str) -> u64 {
    // FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    text.as_bytes()
        .iter()
        .fold(step(0xcbf2_9ce4_8422_2325, &kind), step)
}

/// A number spread over 63 bits, so that the exclusive or of a set of them says which set it is.
pub fn spread(number: u64) -> u64 {
    // The finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
    let mut value = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (value ^ value >> 31) >> 1
}

#[cfg(test)]
mod tests {
    use super::{Packer, Unpacker};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked_and_nothing_else(
            number in any::<u64>(), signed in any::<i64>(), optional in any::<Option<u64>>(),
            text in ".{0,40}", flip in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut packer = Packer::new(&[b"key"]);
            packer.number(number);
            packer.signed(signed);
            packer.optional(optional);
            packer.text(&text);
            let mut row = packer.finish();
            let mut unpacker = Unpacker::new(&[b"key"], &row).expect("its checksum");
            prop_assert_eq!(unpacker.number(), Some(number));
            prop_assert_eq!(unpacker.signed(), Some(signed));
            prop_assert_eq!(unpacker.optional(), Some(optional));
            prop_assert_eq!(unpacker.text(), Some(text.as_str()));
            prop_assert!(unpacker.finish().is_some());
            prop_assert!(Unpacker::new(&[b"kez"], &row).is_none());
            let at = flip.index(row.len());
            row[at] ^= 1 << bit;
            prop_assert!(Unpacker::new(&[b"key"], &row).is_none());
        }
    }
}
