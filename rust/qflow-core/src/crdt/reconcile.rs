//! Which changes each of two documents lacks, in a few rounds, where clocks do not tell.
//!
//! Range-based set reconciliation: both sort their changes by CID and compare fingerprints of
//! ranges; a range that differs is split, a short one is listed. Nothing is believed: whatever a
//! message says, only changes whose signatures hold are taken in.
//! Source: Aljoscha Meyer, "Range-Based Set Reconciliation", SRDS 2023.

use super::Cid;

/// Ranges of one message.
pub const RANGES_MAX: usize = 4_096;
/// CIDs of one message.
pub const LISTED_MAX: usize = 131_072;
/// A range of at most this many is listed.
const LIST: usize = 24;
/// Parts into which a range that differs is split.
const PARTS: usize = 16;

const SETTLED: u8 = 0;
const FINGERPRINT: u8 = 1;
const LISTED: u8 = 2;
const WANTED: u8 = 3;

/// A message that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ranges are malformed: {0}")]
pub struct RangesError(&'static str);

/// What a message of the other brought to light.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Changes to send: the other lacks them.
    pub have: Vec<Cid>,
    /// What to send back; nothing when all ranges are settled. The other sends of itself what is
    /// lacking here.
    pub reply: Option<Vec<u8>>,
}

/// The CIDs from where the range before ended up to `end`, which is not among them; to the last
/// where there is no end.
struct Range<'a> {
    end: Option<Cid>,
    holds: Holds<'a>,
}

enum Holds<'a> {
    Settled,
    Fingerprint([u8; 16]),
    Listed(&'a [[u8; 32]]),
    Wanted(&'a [[u8; 32]]),
}

/// The first message, of sorted changes.
#[must_use]
pub fn open(sorted: &[Cid]) -> Vec<u8> {
    let mut out = Message::default();
    out.split(sorted, None);
    out.bytes
}

/// Takes in a message of the other, beside sorted changes.
///
/// # Errors
///
/// [`RangesError`] where it is malformed, or larger than a message may be.
pub fn answer(sorted: &[Cid], message: &[u8]) -> Result<Reconciled, RangesError> {
    let mut have = Vec::new();
    let mut out = Message::default();
    let mut from = 0;
    for range in parse(message)? {
        let upto = range
            .end
            .map_or(sorted.len(), |end| sorted.partition_point(|cid| *cid < end));
        let mine = &sorted[from..upto];
        if out.is_full() {
            out.fingerprint(&sorted[from..], None);
            break;
        }
        from = upto;
        match range.holds {
            Holds::Settled => out.settle(range.end),
            Holds::Fingerprint(theirs) if theirs == fingerprint(mine) => out.settle(range.end),
            Holds::Fingerprint(_) => out.split(mine, range.end),
            Holds::Listed(theirs) => {
                let lacks = |cid: &&Cid| theirs.binary_search(cid).is_err();
                have.extend(mine.iter().filter(lacks));
                let wanted = theirs.iter().filter(|cid| mine.binary_search(cid).is_err());
                out.want(&wanted.copied().collect::<Vec<Cid>>(), range.end);
            }
            Holds::Wanted(theirs) => {
                have.extend(theirs.iter().filter(|cid| mine.binary_search(cid).is_ok()));
                out.settle(range.end);
            }
        }
    }
    let reply = (out.ranges > 0).then_some(out.bytes);
    Ok(Reconciled { have, reply })
}

/// A message as it is written. Settled ranges are only told where an open one follows.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
    ranges: usize,
    listed: usize,
    settled: Option<Cid>,
}

impl Message {
    /// What follows is better told in another round.
    fn is_full(&self) -> bool {
        self.ranges + 2 * PARTS > RANGES_MAX || self.listed * 2 > LISTED_MAX
    }

    fn settle(&mut self, end: Option<Cid>) {
        self.settled = end;
    }

    fn split(&mut self, mine: &[Cid], end: Option<Cid>) {
        if mine.len() <= LIST {
            return self.list(LISTED, mine, end);
        }
        let size = mine.len().div_ceil(PARTS);
        let mut rest = mine;
        while rest.len() > size {
            let (part, after) = rest.split_at(size);
            self.fingerprint(part, Some(after[0]));
            rest = after;
        }
        self.fingerprint(rest, end);
    }

    fn want(&mut self, wanted: &[Cid], end: Option<Cid>) {
        if wanted.is_empty() {
            return self.settle(end);
        }
        self.list(WANTED, wanted, end);
    }

    fn fingerprint(&mut self, mine: &[Cid], end: Option<Cid>) {
        self.begin(FINGERPRINT, end);
        self.bytes.extend_from_slice(&fingerprint(mine));
    }

    fn list(&mut self, kind: u8, cids: &[Cid], end: Option<Cid>) {
        self.begin(kind, end);
        self.bytes
            .extend_from_slice(&(cids.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(cids.as_flattened());
        self.listed += cids.len();
    }

    fn begin(&mut self, kind: u8, end: Option<Cid>) {
        if let Some(settled) = self.settled.take() {
            self.begin(SETTLED, Some(settled));
        }
        self.ranges += 1;
        self.bytes.extend_from_slice(&[kind, end.is_some().into()]);
        self.bytes.extend(end.into_iter().flatten());
    }
}

fn fingerprint(cids: &[Cid]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(cids.as_flattened()).as_bytes()[..16]);
    short
}

fn parse(message: &[u8]) -> Result<Vec<Range<'_>>, RangesError> {
    let mut rest = message;
    let mut ranges: Vec<Range<'_>> = Vec::new();
    let mut listed = 0;
    while !rest.is_empty() {
        if ranges.len() == RANGES_MAX {
            return Err(RangesError("too many ranges"));
        }
        let before = ranges.last().map(|range| range.end);
        let range = parse_range(&mut rest, before)?;
        if let Holds::Listed(cids) | Holds::Wanted(cids) = range.holds {
            listed += cids.len();
        }
        if listed > LISTED_MAX {
            return Err(RangesError("too many changes"));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

fn parse_range<'a>(
    rest: &mut &'a [u8],
    before: Option<Option<Cid>>,
) -> Result<Range<'a>, RangesError> {
    let [kind, ends] = *take::<2>(rest)?;
    let end = match ends {
        0 => None,
        1 => Some(*take::<32>(rest)?),
        _ => return Err(RangesError("an end that is none")),
    };
    let from = match before {
        Some(None) => return Err(RangesError("a range after the last")),
        Some(Some(from)) => Some(from),
        None => None,
    };
    if end.is_some() && end <= from {
        return Err(RangesError("ranges out of order"));
    }
    let holds = match kind {
        SETTLED => Holds::Settled,
        FINGERPRINT => Holds::Fingerprint(*take(rest)?),
        LISTED => Holds::Listed(take_list(rest, from, end)?),
        WANTED => Holds::Wanted(take_list(rest, from, end)?),
        _ => return Err(RangesError("an unknown kind of range")),
    };
    Ok(Range { end, holds })
}

fn take_list<'a>(
    rest: &mut &'a [u8],
    from: Option<Cid>,
    end: Option<Cid>,
) -> Result<&'a [[u8; 32]], RangesError> {
    let len = u32::from_be_bytes(*take(rest)?) as usize;
    let (cids, _) = rest.as_chunks::<32>();
    let cids = cids.get(..len).ok_or(RangesError("cut short"))?;
    *rest = &rest[len * 32..];
    let sorted = cids.is_sorted_by(|left, right| left < right);
    let begins = cids.first().is_none_or(|first| Some(*first) >= from);
    let ends = cids
        .last()
        .is_none_or(|last| end.is_none_or(|end| *last < end));
    let within = sorted && begins && ends;
    within
        .then_some(cids)
        .ok_or(RangesError("changes out of order"))
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], RangesError> {
    let (taken, after) = rest.split_first_chunk().ok_or(RangesError("cut short"))?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn cid(number: u32) -> Cid {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    /// Messages to and fro until both are quiet; the rounds it took.
    fn talk(left: &mut BTreeSet<Cid>, right: &mut BTreeSet<Cid>) -> usize {
        let sorted = |set: &BTreeSet<Cid>| set.iter().copied().collect::<Vec<Cid>>();
        let (at_left, at_right) = (sorted(left), sorted(right));
        let mut message = Some(open(&at_left));
        let mut rounds = 0;
        while let Some(bytes) = message {
            let to_left = rounds % 2 == 1;
            let mine = if to_left { &at_left } else { &at_right };
            let found = answer(mine, &bytes).expect("a message of this code is well formed");
            let other = if to_left { &mut *right } else { &mut *left };
            other.extend(found.have);
            message = found.reply;
            rounds += 1;
        }
        rounds
    }

    #[test]
    fn two_large_sets_that_differ_a_little_need_few_rounds() {
        let mut left: BTreeSet<Cid> = (0..20_000).map(cid).collect();
        let mut right: BTreeSet<Cid> = (3..20_007).map(cid).collect();
        assert!(talk(&mut left, &mut right) <= 8);
        assert_eq!(left.len(), 20_007);
        assert_eq!(left, right);
    }

    #[test]
    fn sets_without_anything_in_common_are_exchanged_within_the_bounds_of_a_message() {
        let mut left: BTreeSet<Cid> = (0..30_000).map(cid).collect();
        let mut right: BTreeSet<Cid> = (30_000..90_000).map(cid).collect();
        talk(&mut left, &mut right);
        assert_eq!(left.len(), 90_000);
        assert_eq!(left, right);
    }

    #[test]
    fn holds_c15_a_message_that_is_none_is_refused() {
        let (low, high) = ([1; 32], [2; 32]);
        let list = |cids: &[Cid]| {
            let mut out = Message::default();
            out.list(LISTED, cids, None);
            out.bytes
        };
        let twice = [open(&[]), open(&[])].concat();
        let mut endless = list(&[low]);
        endless[2..6].copy_from_slice(&u32::MAX.to_be_bytes());
        let many = [[SETTLED, 1].as_slice(), &low]
            .concat()
            .repeat(RANGES_MAX + 1);
        for message in [
            twice,
            list(&[high, low]),
            list(&[low, low]),
            endless,
            many,
            vec![9, 0],
        ] {
            assert!(answer(&[low], &message).is_err());
        }
        assert!(answer(&[low], &open(&[low])[..3]).is_err());
    }

    proptest! {
        #[test]
        fn both_end_with_the_union(
            left in proptest::collection::btree_set(0u32..400, 0..300),
            right in proptest::collection::btree_set(0u32..400, 0..300),
        ) {
            let mut left: BTreeSet<Cid> = left.into_iter().map(cid).collect();
            let mut right: BTreeSet<Cid> = right.into_iter().map(cid).collect();
            let both: BTreeSet<Cid> = left.union(&right).copied().collect();
            talk(&mut left, &mut right);
            prop_assert_eq!(&left, &both);
            prop_assert_eq!(&right, &both);
        }

        #[test]
        fn holds_c15_any_bytes_are_answered_or_refused(
            bytes in proptest::collection::vec(0u8.., 0..200),
        ) {
            let _ = answer(&[[7; 32], [9; 32]], &bytes);
        }
    }
}
