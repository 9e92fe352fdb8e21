//! Where texts are cut: within bounds, always the same, and a change stays near its place.

use std::collections::HashSet;

use proptest::prelude::*;
use qflow_core::chunks::{Gear, PART_BYTES_MAX, PART_BYTES_MIN, PART_BYTES_USUAL};

const KEY: [u8; 32] = [7; 32];
const MIB: usize = 1 << 20;

/// Bytes that look like chance and are the same in every run.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    let seed = blake3::hash(&seed.to_le_bytes());
    blake3::Hasher::new_keyed(seed.as_bytes())
        .finalize_xof()
        .fill(&mut noise);
    noise
}

/// What a state looks like: items of one shape, with numbers in them.
fn items(count: usize) -> Vec<u8> {
    let item = |n| {
        format!(
            "{{\"name\":\"item {n}\",\"done\":{},\"cost\":{}}}",
            n % 3 == 0,
            n * 7
        )
    };
    (0..count).flat_map(|n| item(n).into_bytes()).collect()
}

fn parts<'a>(key: &[u8; 32], text: &'a [u8]) -> Vec<&'a [u8]> {
    Gear::new(key).parts(text).collect()
}

fn check(text: &[u8]) -> Result<(), TestCaseError> {
    let parts = parts(&KEY, text);
    prop_assert_eq!(parts.concat(), text);
    let (last, others) = parts.split_last().expect("a text has a part");
    prop_assert!(last.len() <= PART_BYTES_MAX);
    for part in others {
        prop_assert!((PART_BYTES_MIN..=PART_BYTES_MAX).contains(&part.len()));
    }
    Ok(())
}

#[test]
fn a_text_shorter_than_the_least_part_is_one_part() {
    for text in [&b""[..], b"a", &noise(1, PART_BYTES_MIN)] {
        assert_eq!(parts(&KEY, text), [text]);
    }
    assert_eq!(parts(&KEY, &[0; PART_BYTES_MIN + 1]).len(), 1);
}

#[test]
fn parts_are_about_as_long_as_is_usual() {
    for text in [noise(2, 64 * MIB), items(400_000)] {
        let mean = text.len() / parts(&KEY, &text).len();
        let usual = PART_BYTES_USUAL * 3 / 4..PART_BYTES_USUAL * 3 / 2;
        assert!(usual.contains(&mean), "{mean}");
    }
}

#[test]
fn a_text_that_never_says_where_is_cut_at_the_most() {
    let zeros = vec![0; 2 * PART_BYTES_MAX + 5];
    let lengths: Vec<usize> = parts(&KEY, &zeros).iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [PART_BYTES_MAX, PART_BYTES_MAX, 5]);
}

/// The cuts of a text that is known would tell that it is the one which was sealed.
#[test]
fn another_key_cuts_elsewhere() {
    let text = noise(3, 16 * MIB);
    let ends = |key| {
        let lengths = parts(&key, &text).into_iter().map(<[u8]>::len);
        let ends = lengths.scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        ends.collect::<HashSet<usize>>()
    };
    let (ours, others) = (ends(KEY), ends([8; 32]));
    assert!(ours.len() > 150);
    let both: Vec<&usize> = ours.intersection(&others).collect();
    assert_eq!(both, [&text.len()]);
}

/// The hash by its definition, a byte after the other.
fn slow_length(key: &[u8; 32], text: &[u8]) -> usize {
    let mut bytes = [0; 2048];
    blake3::Hasher::new_keyed(key)
        .finalize_xof()
        .fill(&mut bytes);
    let table = bytes.as_chunks::<8>().0;
    let mut hash = 0_u64;
    for at in PART_BYTES_MIN..text.len().min(PART_BYTES_MAX) {
        hash = (hash << 1).wrapping_add(u64::from_le_bytes(table[usize::from(text[at])]));
        let bits = if at < PART_BYTES_USUAL { 18 } else { 14 };
        if hash >> (64 - bits) == 0 {
            return at + 1;
        }
    }
    text.len().min(PART_BYTES_MAX)
}

#[test]
fn cuts_are_where_the_definition_has_them() {
    for text in [noise(4, 8 * MIB), items(50_000)] {
        let mut rest = &text[..];
        for part in parts(&KEY, &text) {
            assert_eq!(part.len(), slow_length(&KEY, rest));
            rest = &rest[part.len()..];
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn parts_are_the_text_within_bounds(
        seed: u64, bytes in 0..2 * MIB, from in 0..256_u16, step in 1..=256_usize,
    ) {
        check(&noise(seed, bytes))?;
        let flat: Vec<u8> = (0..bytes).map(|at| (at / step) as u8 ^ from as u8).collect();
        check(&flat)?;
    }

    #[test]
    fn an_insertion_changes_the_parts_near_it_alone(
        seed: u64, at in 0..4 * MIB, put in prop::collection::vec(any::<u8>(), 0..2000),
        taken in 0..2000_usize,
    ) {
        let before = noise(seed, 4 * MIB);
        let mut after = before.clone();
        after.splice(at..(at + taken).min(before.len()), put);
        let (old, new) = (parts(&KEY, &before), parts(&KEY, &after));
        let known: HashSet<&[u8]> = old.iter().copied().collect();
        let fresh = (0..new.len()).filter(|place| !known.contains(new[*place]));
        let fresh: Vec<usize> = fresh.collect();
        prop_assert!(fresh.len() <= 12, "{} of {} parts", fresh.len(), new.len());
        // Those before the place are certainly the same, and the changed ones stand together.
        if let (Some(first), Some(last)) = (fresh.first(), fresh.last()) {
            prop_assert_eq!(last - first + 1, fresh.len());
            let untouched: usize = new[..*first].iter().map(|part| part.len()).sum();
            prop_assert!(untouched <= at && at <= untouched + PART_BYTES_MAX);
        }
    }
}
