//! SHA-256 of many messages at once.
//!
//! The rounds of one message wait for each other, even in a processor's SHA instructions. Vectors
//! of 16 words hold the state of 16 messages, and each step is done to all of them. The page is
//! docs/decisions/0010-sixteen-hashes-at-once.md.
#![deny(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod wide;

use sha2::block_api::compress256;

/// Messages that are hashed together.
pub const LANES: usize = 16;
/// Bytes of a block.
const BLOCK: usize = 64;
/// With fewer messages than these left, one after the other is faster.
const WORTH_IT: usize = 5;

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

/// The word of each message's state, for each of the eight words.
type States = [[u32; LANES]; 8];

/// The SHA-256 of each message, in order, is appended to `out`.
///
/// Several times as fast as one after the other where the processor has AVX-512. Messages may be of
/// any lengths: one that ends makes place for the next.
pub fn sha256_all<'a>(messages: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<[u8; 32]>) {
    let mut messages = messages.into_iter();
    if wide::is_able() {
        wide_all(&mut messages, out);
    }
    let mut alone = Padded::none();
    while alone.start_next(&mut messages, out) {
        out[alone.place] = alone.finish(INITIAL);
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod wide {
    use super::{BLOCK, LANES, States};

    pub fn is_able() -> bool {
        false
    }

    pub fn compress(_: &mut States, _: &[&[u8; BLOCK]; LANES]) {}
}

fn wide_all<'a>(messages: &mut impl Iterator<Item = &'a [u8]>, out: &mut Vec<[u8; 32]>) {
    let mut states = INITIAL.map(|word| [word; LANES]);
    let mut lanes = [const { Padded::none() }; LANES];
    let mut active = 0;
    for lane in &mut lanes {
        active += usize::from(lane.start_next(messages, out));
    }
    while active >= WORTH_IT {
        wide::compress(
            &mut states,
            &lanes.each_ref().map(|lane| lane.block(lane.done)),
        );
        for (index, lane) in lanes.iter_mut().enumerate() {
            lane.done += 1;
            if lane.done != lane.blocks {
                continue;
            }
            out[lane.place] = digest(column(&states, index));
            active -= usize::from(!lane.start_next(messages, out));
            for (words, initial) in states.iter_mut().zip(INITIAL) {
                words[index] = initial;
            }
        }
    }
    for (index, lane) in lanes.iter().enumerate() {
        if lane.blocks > 0 {
            out[lane.place] = lane.finish(column(&states, index));
        }
    }
}

fn column(states: &States, lane: usize) -> [u32; 8] {
    states.map(|words| words[lane])
}

/// A message in blocks: those that lie in it, then what is left of it with the padding.
struct Padded<'a> {
    whole: &'a [[u8; BLOCK]],
    last: [[u8; BLOCK]; 2],
    blocks: usize,
    /// Blocks that were compressed.
    done: usize,
    /// Where its hash goes.
    place: usize,
}

impl<'a> Padded<'a> {
    /// No message: any of its blocks may be compressed, and it never ends.
    const fn none() -> Self {
        Self {
            whole: &[],
            last: [[0; BLOCK]; 2],
            blocks: 0,
            done: 0,
            place: 0,
        }
    }

    /// Go on with the next message, which gets a place for its hash. False: there is none.
    #[inline]
    fn start_next(
        &mut self,
        messages: &mut impl Iterator<Item = &'a [u8]>,
        out: &mut Vec<[u8; 32]>,
    ) -> bool {
        let Some(message) = messages.next() else {
            *self = Self::none();
            return false;
        };
        self.start(message);
        self.place = out.len();
        out.push([0; 32]);
        true
    }

    fn start(&mut self, message: &'a [u8]) {
        let (whole, rest) = message.as_chunks();
        let count = if rest.len() < BLOCK - 8 { 1 } else { 2 };
        self.last = [[0; BLOCK]; 2];
        let flat = self.last.as_flattened_mut();
        flat[..rest.len()].copy_from_slice(rest);
        flat[rest.len()] = 0x80;
        let bits = (message.len() as u64 * 8).to_be_bytes();
        flat[count * BLOCK - 8..count * BLOCK].copy_from_slice(&bits);
        (self.whole, self.blocks, self.done) = (whole, whole.len() + count, 0);
    }

    #[inline]
    fn block(&self, index: usize) -> &[u8; BLOCK] {
        match self.whole.get(index) {
            Some(block) => block,
            None => &self.last[(index - self.whole.len()) % 2],
        }
    }

    /// Compress the blocks that are left, from this state.
    fn finish(&self, mut state: [u32; 8]) -> [u8; 32] {
        for index in self.done..self.blocks {
            compress256(&mut state, std::slice::from_ref(self.block(index)));
        }
        digest(state)
    }
}

fn digest(state: [u32; 8]) -> [u8; 32] {
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

    /// Bytes and numbers that look random and are the same in every run.
    fn numbers() -> impl Iterator<Item = usize> {
        std::iter::successors(Some(1u32), |state| {
            Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
        })
        .map(|state| (state >> 8) as usize)
    }

    fn check(messages: &[&[u8]]) {
        let mut found = vec![[7; 32]];
        sha256_all(messages.iter().copied(), &mut found);
        assert_eq!(found[0], [7; 32]);
        assert_eq!(found.len(), messages.len() + 1);
        for (message, hash) in messages.iter().zip(&found[1..]) {
            assert_eq!(*hash, <[u8; 32]>::from(Sha256::digest(message)));
        }
    }

    #[test]
    fn messages_of_one_length_hash_as_the_library_does() {
        let bytes: Vec<u8> = numbers().map(|n| n as u8).take(1024 + 40).collect();
        for length in 0..=1024 {
            let messages: Vec<&[u8]> = (0..40).map(|at| &bytes[at..at + length]).collect();
            check(&messages);
        }
    }

    #[test]
    fn any_number_of_messages_of_any_lengths_hash_as_the_library_does() {
        let bytes: Vec<u8> = numbers().map(|n| n as u8).take(4096).collect();
        let mut lengths = numbers().map(|n| n % 1100);
        for count in 0..150 {
            let spans = lengths.by_ref().take(count).zip(numbers());
            let messages: Vec<&[u8]> = spans
                .map(|(length, at)| &bytes[at % 2048..][..length])
                .collect();
            check(&messages);
        }
    }

    #[test]
    fn a_message_alone_hashes_as_the_library_does() {
        let bytes: Vec<u8> = numbers().map(|n| n as u8).take(300).collect();
        for length in 0..bytes.len() {
            let message = &bytes[..length];
            let mut alone = Padded::none();
            alone.start(message);
            assert_eq!(
                alone.finish(INITIAL),
                <[u8; 32]>::from(Sha256::digest(message))
            );
        }
    }
}
