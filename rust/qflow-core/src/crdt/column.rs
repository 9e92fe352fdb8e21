//! Columns of whole numbers: runs of equal ones, and stretches of others, in one spelling.
//!
//! A column is a sequence of chunks, each begun by a number: its length, and in the lowest bit
//! whether it is a stretch. A run is two or more equal numbers, of which one is written; a stretch
//! is numbers of which no two neighbours are equal. Numbers are LEB128 in their shortest form. The
//! reader is told how many there are, so that no chunk can claim more.

/// Append a number in LEB128.
#[inline]
pub fn write_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number at the start of `bytes`, which then begin after it. None when it is cut short, beyond
/// 64 bits, or longer than need be.
#[inline]
pub fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        *bytes = rest;
        return Some(u64::from(*first));
    }
    read_long(bytes)
}

fn read_long(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            let shortest = *byte != 0 && (at < 9 || *byte == 1);
            *bytes = &bytes[at + 1..];
            return shortest.then_some(value);
        }
    }
    None
}

/// Small numbers of either sign as small numbers.
#[inline]
#[must_use]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
#[must_use]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The difference from the number before, which wraps and so always exists.
#[inline]
#[must_use]
pub fn delta(before: i64, value: i64) -> u64 {
    zigzag(value.wrapping_sub(before))
}

/// The number whose difference from `before` this is.
#[inline]
#[must_use]
pub fn undelta(before: i64, delta: u64) -> i64 {
    before.wrapping_add(unzigzag(delta))
}

/// The difference of each number from the one before it, of the first from 0.
pub fn deltas(values: impl Iterator<Item = i64> + Clone) -> impl Iterator<Item = u64> + Clone {
    values.scan(0, |before, value| {
        Some(delta(std::mem::replace(before, value), value))
    })
}

/// Append a column.
pub fn write_column(out: &mut Vec<u8>, values: impl Iterator<Item = u64> + Clone) {
    let mut ahead = values.clone();
    let mut at = values;
    loop {
        // `ahead` is where the next chunk begins, and so is `at`.
        let Some(first) = ahead.next() else { return };
        let mut len = 1;
        let mut next = ahead.clone();
        let mut second = next.next();
        if second == Some(first) {
            while second == Some(first) {
                len += 1;
                ahead = next.clone();
                second = next.next();
            }
            write_number(out, len << 1);
            write_number(out, first);
            at = ahead.clone();
            continue;
        }
        // A stretch ends before the first of two equal ones.
        while let Some(value) = second {
            let after = next.next();
            if after == Some(value) {
                break;
            }
            len += 1;
            ahead.next();
            second = after;
        }
        write_number(out, len << 1 | 1);
        for value in at.by_ref().take(len as usize) {
            write_number(out, value);
        }
    }
}

/// A column that is read. After [`Column::check`] has passed, `next` has as many numbers as that
/// found, and allocates nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Column<'a> {
    rest: &'a [u8],
    left: u64,
    /// What the run repeats; of a stretch, the number before.
    value: u64,
    run: bool,
}

impl<'a> Column<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            ..Self::default()
        }
    }

    /// Read `count` numbers that are at most `max` and give each to `visit`; the bytes after them
    /// are left in `bytes`. None when the column is not in its one spelling.
    #[inline]
    pub fn check(
        bytes: &mut &'a [u8],
        count: usize,
        max: u64,
        mut visit: impl FnMut(u64),
    ) -> Option<Self> {
        let column = Self::new(bytes);
        let mut left = count as u64;
        let (mut before, mut stretch_before) = (None, false);
        while left > 0 {
            let head = read_number(bytes)?;
            let (len, stretch) = (head >> 1, head & 1 == 1);
            let least = if stretch { 1 } else { 2 };
            if len < least || len > left || (stretch && stretch_before) {
                return None;
            }
            left -= len;
            for _ in 0..if stretch { len } else { 1 } {
                let value = read_number(bytes)?;
                if value > max || before == Some(value) {
                    return None;
                }
                visit(value);
                before = Some(value);
            }
            if let (false, Some(value)) = (stretch, before) {
                (1..len).for_each(|_| visit(value));
            }
            stretch_before = stretch;
        }
        Some(column)
    }
}

impl Column<'_> {
    /// Whether every number was read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left == 0 && self.rest.is_empty()
    }
}

impl Iterator for Column<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.left == 0 {
            let head = read_number(&mut self.rest)?;
            self.left = head >> 1;
            self.run = head & 1 == 0;
            if self.run {
                self.value = read_number(&mut self.rest)?;
            }
        }
        self.left = self.left.checked_sub(1)?;
        if !self.run {
            self.value = read_number(&mut self.rest)?;
        }
        Some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(values: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        write_column(&mut out, values.iter().copied());
        out
    }

    fn checked(mut bytes: &[u8], count: usize) -> Option<Vec<u64>> {
        let mut values = Vec::new();
        Column::check(&mut bytes, count, u64::MAX, |value| values.push(value))?;
        bytes.is_empty().then_some(values)
    }

    #[test]
    fn a_column_is_runs_and_stretches() {
        assert!(written(&[]).is_empty());
        assert_eq!(written(&[7]), [3, 7]);
        assert_eq!(written(&[7, 7]), [4, 7]);
        assert_eq!(written(&[1, 2, 2, 3]), [3, 1, 4, 2, 3, 3]);
        assert_eq!(written(&[1, 2, 1, 300]), [9, 1, 2, 1, 0xac, 2]);
        assert_eq!(written(&[5, 5, 6, 6]), [4, 5, 4, 6]);
    }

    #[test]
    fn holds_c15_run_lengths_and_other_spellings_are_refused() {
        for (bytes, count) in [
            (&[2, 7][..], 1),
            (&[5, 7, 7], 2),
            (&[3, 7, 3, 8], 2),
            (&[4, 7, 4, 7], 4),
            (&[3, 7, 4, 7], 3),
            (&[4, 7, 3, 7], 3),
            (&[6, 7], 2),
            (&[1, 7], 1),
            (&[0, 7], 1),
            (&[3, 0x87, 0], 1),
            (&[3], 1),
            (&[3, 0x80], 1),
            (
                &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 7],
                256,
            ),
            (
                &[3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
                1,
            ),
        ] {
            assert_eq!(checked(bytes, count), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn columns_come_back(
            values in prop::collection::vec(prop_oneof![0..3u64, any::<u64>()], 0..80)
        ) {
            let bytes = written(&values);
            prop_assert_eq!(checked(&bytes, values.len()), Some(values.clone()));
            prop_assert_eq!(Column::new(&bytes).collect::<Vec<_>>(), values);
        }

        #[test]
        fn a_column_has_one_spelling(
            bytes in prop::collection::vec(0..9u8, 0..24),
            count in 0..12usize
        ) {
            if let Some(values) = checked(&bytes, count) {
                prop_assert_eq!(written(&values), bytes);
            }
        }

        #[test]
        fn numbers_come_back(value: u64, signed: i64, before: i64) {
            let mut bytes = Vec::new();
            write_number(&mut bytes, value);
            prop_assert_eq!(read_number(&mut &bytes[..]), Some(value));
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
            prop_assert_eq!(undelta(before, delta(before, signed)), signed);
        }
    }
}
