//! Where a text is cut, so that a change in it changes only the parts near it.
//!
//! FastCDC (Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data
//! Deduplication", USENIX ATC 2016): a gear hash with cut-point skipping and normalized chunking.
//! The table of the gear hash is made from a key, so that what the cuts tell of a text cannot be
//! compared with a text that is known, or with that of another key. The page is
//! docs/decisions/0023-parts-of-a-state.md.

use zeroize::Zeroizing;

/// No part is shorter, but the last.
pub const PART_BYTES_MIN: usize = 16 << 10;
/// About what most parts have.
pub const PART_BYTES_USUAL: usize = 64 << 10;
/// No part is longer.
pub const PART_BYTES_MAX: usize = 256 << 10;

/// Ones at the top, where the hash depends on the last 64 bytes: two more than the logarithm of
/// the usual length before it is reached, two fewer beyond (level 2 of the paper's section 3.4).
const MASK_BEFORE: u64 = ones(PART_BYTES_USUAL.ilog2() + 2);
const MASK_BEYOND: u64 = ones(PART_BYTES_USUAL.ilog2() - 2);

const fn ones(count: u32) -> u64 {
    !(u64::MAX >> count)
}

/// The table of a key: a number for each byte.
pub struct Gear(Zeroizing<[u64; 256]>);

impl Gear {
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let mut bytes = Zeroizing::new([0; 256 * 8]);
        blake3::Hasher::new_keyed(key)
            .finalize_xof()
            .fill(&mut *bytes);
        let (words, _) = bytes.as_chunks::<8>();
        let mut table = Zeroizing::new([0; 256]);
        for (number, word) in table.iter_mut().zip(words) {
            *number = u64::from_le_bytes(*word);
        }
        Self(table)
    }

    /// The parts of a text, in order. A text without bytes is one part without bytes.
    pub fn parts<'a>(&self, text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = Some(text);
        std::iter::from_fn(move || {
            let (part, after) = rest?.split_at(self.length(rest?));
            rest = Some(after).filter(|after| !after.is_empty());
            Some(part)
        })
    }

    /// The length of the first part of a text.
    fn length(&self, text: &[u8]) -> usize {
        let text = &text[..text.len().min(PART_BYTES_MAX)];
        if text.len() <= PART_BYTES_MIN {
            return text.len();
        }
        let usual = text.len().min(PART_BYTES_USUAL);
        let mut hash = 0;
        self.cut(&mut hash, &text[..usual], PART_BYTES_MIN, MASK_BEFORE)
            .or_else(|| self.cut(&mut hash, text, usual, MASK_BEYOND))
            .unwrap_or(text.len())
    }

    /// Where the hash of the text says so for the first time, from a place on. Four bytes at a
    /// time: their hashes then wait for the one before them, and not each for the other.
    fn cut(&self, hash: &mut u64, text: &[u8], from: usize, mask: u64) -> Option<usize> {
        let number = |byte: u8| self.0[usize::from(byte)];
        let (fours, rest) = text[from..].as_chunks::<4>();
        for (index, four) in fours.iter().enumerate() {
            let [first, second, third, fourth] = four.map(number);
            let two = (first << 1).wrapping_add(second);
            let three = (two << 1).wrapping_add(third);
            let four = (three << 1).wrapping_add(fourth);
            let hashes = [
                (*hash << 1).wrapping_add(first),
                (*hash << 2).wrapping_add(two),
                (*hash << 3).wrapping_add(three),
                (*hash << 4).wrapping_add(four),
            ];
            if let Some(at) = hashes.iter().position(|hash| hash & mask == 0) {
                return Some(from + index * 4 + at + 1);
            }
            *hash = hashes[3];
        }
        for (index, byte) in rest.iter().enumerate() {
            *hash = (*hash << 1).wrapping_add(number(*byte));
            if *hash & mask == 0 {
                return Some(from + fours.len() * 4 + index + 1);
            }
        }
        None
    }
}
