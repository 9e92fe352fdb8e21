//! Vector clocks: how many operations of each replica were seen.
//!
//! Replicas are numbered in a table that clocks share, so a clock is a dense row of numbers, and
//! comparing or merging two is one pass over both rows in vector instructions. A clock is a local
//! index and a claim: what was really seen is the hash graph of the changes.
//! After Fidge and Mattern, both 1988.

use std::collections::HashMap;

use crate::encoding::{DecodeError, Item, Reader, Writer};

/// Replicas of one table, and so entries of one clock.
pub const REPLICAS_MAX: usize = 1 << 16;
/// Entries that are compared before it is asked whether the answer is known.
const STRIDE: usize = 256;

/// How one clock stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Equal,
    /// It saw less, and nothing else.
    Before,
    /// It saw all of it, and more.
    After,
    /// Each saw what the other did not.
    Concurrent,
}

/// Why a clock was not read or not counted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    #[error("not a clock: {0}")]
    Encoding(#[from] DecodeError),
    #[error("not a clock: {0}")]
    Form(&'static str),
    #[error("more than {REPLICAS_MAX} replicas")]
    TooMany,
    #[error("more operations than a replica can have")]
    TooFar,
}

/// The numbers of replicas. They are never given back, so rows stay valid.
#[derive(Debug, Default)]
pub struct Replicas {
    numbers: HashMap<[u8; 32], u32>,
    keys: Vec<[u8; 32]>,
}

impl Replicas {
    #[must_use]
    pub fn find(&self, key: &[u8; 32]) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// The number of a replica, which is given one if it has none.
    pub fn number(&mut self, key: &[u8; 32]) -> Result<u32, ClockError> {
        if let Some(number) = self.find(key) {
            return Ok(number);
        }
        if self.keys.len() >= REPLICAS_MAX {
            return Err(ClockError::TooMany);
        }
        let number = self.keys.len() as u32;
        self.keys.push(*key);
        self.numbers.insert(*key, number);
        Ok(number)
    }

    #[must_use]
    pub fn key(&self, number: u32) -> Option<&[u8; 32]> {
        self.keys.get(number as usize)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// A row of counts by the numbers of replicas; who is beyond its end was not seen.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    seen: Vec<u32>,
}

impl Clock {
    /// How many operations of a replica were seen.
    #[must_use]
    pub fn get(&self, number: u32) -> u32 {
        self.seen.get(number as usize).copied().unwrap_or_default()
    }

    /// See `by` more operations of a replica; how many that makes.
    pub fn increment(&mut self, number: u32, by: u32) -> Result<u32, ClockError> {
        let seen = self.get(number).checked_add(by).ok_or(ClockError::TooFar)?;
        self.set(number, seen);
        Ok(seen)
    }

    pub fn set(&mut self, number: u32, seen: u32) {
        let at = number as usize;
        if at >= self.seen.len() {
            self.seen.resize(at + 1, 0);
        }
        self.seen[at] = seen;
    }

    /// See what another saw.
    pub fn merge(&mut self, other: &Self) {
        if self.seen.len() < other.seen.len() {
            self.seen.resize(other.seen.len(), 0);
        }
        for (own, other) in self.seen.iter_mut().zip(&other.seen) {
            *own = (*own).max(*other);
        }
    }

    #[must_use]
    pub fn compare(&self, other: &Self) -> Relation {
        let common = self.seen.len().min(other.seen.len());
        let (own, own_tail) = self.seen.split_at(common);
        let (others, others_tail) = other.seen.split_at(common);
        let mut less = has_any(others_tail);
        let mut more = has_any(own_tail);
        for (own, others) in own.chunks(STRIDE).zip(others.chunks(STRIDE)) {
            let (mut below, mut above) = (0, 0);
            for (own, other) in own.iter().zip(others) {
                below |= u32::from(own < other);
                above |= u32::from(own > other);
            }
            less |= below != 0;
            more |= above != 0;
            if less && more {
                return Relation::Concurrent;
            }
        }
        match (less, more) {
            (false, false) => Relation::Equal,
            (true, false) => Relation::Before,
            (false, true) => Relation::After,
            (true, true) => Relation::Concurrent,
        }
    }

    /// Whether it saw everything that another saw.
    #[must_use]
    pub fn dominates(&self, other: &Self) -> bool {
        let common = self.seen.len().min(other.seen.len());
        let (others, tail) = other.seen.split_at(common);
        let missing = |(own, others): (&[u32], &[u32])| {
            own.iter()
                .zip(others)
                .fold(0, |missing, (own, other)| missing | u32::from(own < other))
        };
        !has_any(tail)
            && self.seen[..common]
                .chunks(STRIDE)
                .zip(others.chunks(STRIDE))
                .all(|pair| missing(pair) == 0)
    }

    /// Replicas of which something was seen, in the order of their numbers.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let counts = self.seen.iter().zip(0..);
        counts
            .filter(|(seen, _)| **seen > 0)
            .map(|(seen, number)| (number, *seen))
    }
}

fn has_any(seen: &[u32]) -> bool {
    seen.iter().fold(0, |any, seen| any | seen) != 0
}

/// Canonical DAG-CBOR `[[replica, seen], ...]`, sorted by replica.
pub fn write_entries(entries: &mut [([u8; 32], u32)]) -> Vec<u8> {
    entries.sort_unstable();
    let mut out = Writer::with_capacity(16 + 40 * entries.len());
    out.array(entries.len());
    for (replica, seen) in entries {
        out.array(2);
        out.bytes(replica);
        out.unsigned(u64::from(*seen));
    }
    out.into_bytes()
}

/// The entries of a clock, of two fields each or, as a document's clock has them, of three: the
/// third is the CID of the replica's newest change. Nothing is kept before the length is checked.
pub fn read_entries(data: &[u8]) -> Result<Vec<([u8; 32], u32)>, ClockError> {
    let mut reader = Reader::new(data);
    let Item::Array(count) = reader.item()? else {
        return Err(ClockError::Form("no list"));
    };
    if count > REPLICAS_MAX {
        return Err(ClockError::TooMany);
    }
    let mut entries: Vec<([u8; 32], u32)> = Vec::with_capacity(count);
    let mut width = None;
    for _ in 0..count {
        let Item::Array(fields @ (2 | 3)) = reader.item()? else {
            return Err(ClockError::Form("an entry has two or three fields"));
        };
        if *width.get_or_insert(fields) != fields {
            return Err(ClockError::Form("entries of two kinds"));
        }
        let entry = read_entry(&mut reader, fields == 3)?;
        match entries.last() {
            // A fork shows as two heads of one replica, in a document's clock alone.
            Some(last) if last.0 > entry.0 || (last.0 == entry.0 && fields == 2) => {
                return Err(ClockError::Form(
                    "replicas are not sorted, or one is there twice",
                ));
            }
            _ => entries.push(entry),
        }
    }
    reader.finish()?;
    Ok(entries)
}

fn read_entry(reader: &mut Reader<'_>, head: bool) -> Result<([u8; 32], u32), ClockError> {
    let replica = match reader.item()? {
        Item::Bytes(replica) => replica.try_into().ok(),
        _ => None,
    };
    let seen = match reader.item()? {
        Item::Unsigned(seen) => u32::try_from(seen).ok(),
        _ => None,
    };
    if head && !matches!(reader.item()?, Item::Link(_)) {
        return Err(ClockError::Form("a head is a link"));
    }
    match (replica, seen) {
        (Some(replica), Some(seen)) if seen > 0 || head => Ok((replica, seen)),
        _ => Err(ClockError::Form(
            "an entry is a key of 32 bytes and how much was seen of it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clock(counts: &[u32]) -> Clock {
        Clock {
            seen: counts.to_vec(),
        }
    }

    #[test]
    fn missing_entries_are_zero() {
        assert_eq!(clock(&[1, 0, 0]).compare(&clock(&[1])), Relation::Equal);
        assert_eq!(clock(&[1]).compare(&clock(&[1, 0, 2])), Relation::Before);
        assert_eq!(clock(&[1, 0, 2]).compare(&clock(&[1])), Relation::After);
        assert_eq!(
            clock(&[1, 0, 2]).compare(&clock(&[2])),
            Relation::Concurrent
        );
    }

    proptest! {
        #[test]
        fn a_merge_is_the_least_that_dominates_both(
            left in prop::collection::vec(0..3u32, 0..600),
            right in prop::collection::vec(0..3u32, 0..600),
        ) {
            let (left, right) = (clock(&left), clock(&right));
            let mut both = left.clone();
            both.merge(&right);
            prop_assert!(both.dominates(&left) && both.dominates(&right));
            for at in 0..600 {
                prop_assert_eq!(both.get(at), left.get(at).max(right.get(at)));
            }
            let relation = match (left.dominates(&right), right.dominates(&left)) {
                (true, true) => Relation::Equal,
                (true, false) => Relation::After,
                (false, true) => Relation::Before,
                (false, false) => Relation::Concurrent,
            };
            prop_assert_eq!(left.compare(&right), relation);
        }

        #[test]
        fn entries_come_back(
            entries in prop::collection::btree_map(any::<[u8; 32]>(), 1..u32::MAX, 0..9)
        ) {
            let mut entries: Vec<_> = entries.into_iter().collect();
            let bytes = write_entries(&mut entries);
            prop_assert_eq!(read_entries(&bytes).unwrap(), entries);
        }
    }

    #[test]
    fn holds_c15_giant_clocks_are_refused_before_they_cost_memory() {
        let mut giant = Writer::default();
        giant.array(REPLICAS_MAX + 1);
        (0..=REPLICAS_MAX).for_each(|_| giant.array(0));
        assert_eq!(read_entries(giant.as_slice()), Err(ClockError::TooMany));
        assert!(read_entries(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        let mut full = clock(&[u32::MAX]);
        assert_eq!(full.increment(0, 1), Err(ClockError::TooFar));
    }
}
