//! The sections of a pack: columns of many changes, each for itself made small.

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::column::{
    Column, deltas, read_number, undelta, unzigzag, write_column, write_number, zigzag,
};

/// A shorter section stays as it is: a compressor costs more than it saves.
const WORTH_IT: usize = 192;
/// Of the effort that DEFLATE can make (1 to 10).
const LEVEL: u8 = 6;

const PLAIN: u64 = 0;
const DEFLATED: u64 = 1;

const UNSIGNED: u8 = 0;
const SIGNED: u8 = 1;
const DELTAS: u8 = 2;

/// Append a section: its length twice and in the lowest bit whether it is deflated, and then, if
/// so, the length of what it inflates to.
pub fn write_section(out: &mut Vec<u8>, section: &[u8]) {
    if section.len() >= WORTH_IT {
        let deflated = compress_to_vec(section, LEVEL);
        if deflated.len() + 4 < section.len() {
            write_number(out, (deflated.len() as u64) << 1 | DEFLATED);
            write_number(out, section.len() as u64);
            out.extend_from_slice(&deflated);
            return;
        }
    }
    write_number(out, (section.len() as u64) << 1 | PLAIN);
    out.extend_from_slice(section);
}

/// The next section, of which `budget` bytes may be inflated; they are taken from it.
pub fn read_section(bytes: &mut &[u8], budget: &mut usize) -> Option<Vec<u8>> {
    let head = read_number(bytes)?;
    let deflated = head & 1 == DEFLATED;
    let inflated = if deflated {
        read_number(bytes)?
    } else {
        head >> 1
    };
    *budget = budget.checked_sub(usize::try_from(inflated).ok()?)?;
    let section = bytes.split_off(..usize::try_from(head >> 1).ok()?)?;
    if !deflated {
        return Some(section.to_vec());
    }
    let section = decompress_to_vec_with_limit(section, inflated as usize).ok()?;
    (section.len() as u64 == inflated).then_some(section)
}

/// Numbers as the bytes of a section: as they are or by their differences, whatever is shorter.
pub fn pack_numbers(values: &[i64]) -> Vec<u8> {
    if values.is_empty() {
        return Vec::new();
    }
    let signed = values.iter().any(|value| *value < 0);
    let mut plain = vec![if signed { SIGNED } else { UNSIGNED }];
    let spell = |value: &i64| {
        if signed {
            zigzag(*value)
        } else {
            *value as u64
        }
    };
    write_column(&mut plain, values.iter().map(spell));
    let mut differences = vec![DELTAS];
    write_column(&mut differences, deltas(values.iter().copied()));
    if differences.len() < plain.len() {
        differences
    } else {
        plain
    }
}

/// The numbers of a section, one after the other.
pub struct Numbers<'a> {
    column: Column<'a>,
    mode: u8,
    before: i64,
}

impl<'a> Numbers<'a> {
    pub fn new(section: &'a [u8]) -> Self {
        let (mode, rest) = section.split_first().unwrap_or((&UNSIGNED, &[]));
        Self {
            column: Column::new(rest),
            mode: *mode,
            before: 0,
        }
    }

    #[inline]
    pub fn next(&mut self) -> Option<i64> {
        let value = self.column.next()?;
        match self.mode {
            UNSIGNED => i64::try_from(value).ok(),
            SIGNED => Some(unzigzag(value)),
            DELTAS => {
                self.before = undelta(self.before, value);
                Some(self.before)
            }
            _ => None,
        }
    }

    /// The next one if it is from 0 to `max`.
    #[inline]
    pub fn below(&mut self, max: usize) -> Option<usize> {
        let value = usize::try_from(self.next()?).ok()?;
        (value <= max).then_some(value)
    }

    pub fn is_done(&self) -> bool {
        self.column.is_done()
    }
}

/// Floats, eight bytes each, as all their first bytes, all their second bytes, and so on.
pub fn to_planes(floats: &[u8]) -> Vec<u8> {
    let (floats, _) = floats.as_chunks::<8>();
    (0..8)
        .flat_map(|plane| floats.iter().map(move |float| float[plane]))
        .collect()
}

pub fn from_planes(planes: &[u8]) -> Option<Vec<u8>> {
    let count = planes.len() / 8;
    let float = |at| (0..8).map(move |plane| planes[plane * count + at]);
    planes
        .len()
        .is_multiple_of(8)
        .then(|| (0..count).flat_map(float).collect())
}
