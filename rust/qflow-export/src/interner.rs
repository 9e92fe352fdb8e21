//! Texts that occur again and again, each kept once and known by its number.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The texts of one column of one batch.
#[derive(Default)]
pub struct Interner {
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    bytes: Vec<u8>,
    /// Where each text ends.
    ends: Vec<u32>,
    last: Option<u32>,
}

impl Interner {
    /// The number of a text, which counts from 0 in the order of first occurrence.
    #[inline]
    pub fn number(&mut self, text: &[u8]) -> u32 {
        // Records of one commit are often of one node, one flow, one execution.
        if let Some(last) = self.last.filter(|last| is_same(self.text(*last), text)) {
            return last;
        }
        let number = self.find_or_add(text);
        self.last = Some(number);
        number
    }

    fn find_or_add(&mut self, text: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(text);
        let (bytes, ends) = (&self.bytes, &self.ends);
        let same = |number: &u32| slice(bytes, ends, *number) == text;
        if let Some(found) = self.table.find(hash, same) {
            return *found;
        }
        let number = self.ends.len() as u32;
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        let rehash = |number: &u32| hasher.hash_one(slice(bytes, ends, *number));
        self.table.insert_unique(hash, number, rehash);
        number
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn text(&self, number: u32) -> &[u8] {
        slice(&self.bytes, &self.ends, number)
    }

    /// The texts in the order of their numbers.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len() as u32).map(|number| self.text(number))
    }

    /// Forget all texts and keep the memory.
    pub fn clear(&mut self) {
        self.table.clear();
        self.bytes.clear();
        self.ends.clear();
        self.last = None;
    }
}

/// Whether two texts are one. Most are short, and a call of memcmp costs more than the comparison.
#[inline(always)]
fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let (left_parts, left_rest) = left.as_chunks::<8>();
    let (right_parts, right_rest) = right.as_chunks::<8>();
    let same = |(left, right): (&[u8; 8], &[u8; 8])| {
        u64::from_ne_bytes(*left) == u64::from_ne_bytes(*right)
    };
    left_parts.iter().zip(right_parts).all(same)
        && left_rest
            .iter()
            .zip(right_rest)
            .all(|(left, right)| left == right)
}

fn slice<'a>(bytes: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    let number = number as usize;
    let from = if number == 0 { 0 } else { ends[number - 1] };
    &bytes[from as usize..ends[number] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_one_number() {
        let mut interner = Interner::default();
        let texts: Vec<String> = (0..5000).map(|n| format!("{}", n % 700)).collect();
        for text in &texts {
            let number = interner.number(text.as_bytes());
            assert_eq!(number.to_string(), *text);
        }
        assert_eq!(interner.texts().count(), 700);
        interner.clear();
        assert_eq!(interner.number(b""), 0);
        assert_eq!(interner.number(b"other"), 1);
        assert_eq!(interner.texts().collect::<Vec<_>>(), [&b""[..], b"other"]);
    }
}
