//! Checking the columns of a change, once, so that reading them later cannot fail.

use super::change::{ChangeError, OPS_MAX};
use super::column::{Column, read_number, undelta};
use super::columns::kind::{self, Lies};
use super::path::{Bounds, PATH_BYTES_MAX};
use super::value::{Elements, ValueError, ValueRef};
use crate::encoding::{Reader, is_cid};

/// The last field of a body: its name, the head of its bytes, and a key.
const REPLICA_BYTES: usize = 8 + 2 + 32;
const CUT: ChangeError = ChangeError::Columns("cut short, or not in their one spelling");

/// Where in a body each column begins. A body is at most 64 KiB and ends with its replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    pub(super) paths: u16,
    pub(super) parents: u16,
    pub(super) key_lens: u16,
    pub(super) keys: u16,
    pub(super) places: u16,
    pub(super) kinds: u16,
    pub(super) ints: u16,
    pub(super) floats: u16,
    pub(super) text_lens: u16,
    pub(super) texts: u16,
    pub(super) blob_lens: u16,
    pub(super) blobs: u16,
    pub(super) to: u16,
}

/// The bytes between two places of a body.
#[inline]
pub fn section(body: &[u8], from: u16, to: u16) -> &[u8] {
    &body[usize::from(from)..usize::from(to)]
}

/// What is read of the columns while they are checked.
struct Cursor<'a> {
    rest: &'a [u8],
    /// The end of the columns in the body.
    to: usize,
}

impl<'a> Cursor<'a> {
    fn at(&self) -> u16 {
        (self.to - self.rest.len()) as u16
    }

    fn numbers(
        &mut self,
        count: usize,
        max: u64,
        visit: impl FnMut(u64),
    ) -> Result<(), ChangeError> {
        Column::check(&mut self.rest, count, max, visit)
            .map(|_| ())
            .ok_or(CUT)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ChangeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn text(&mut self, len: usize) -> Result<&'a str, ChangeError> {
        let not_text = |_| ChangeError::Columns("text that is not UTF-8");
        std::str::from_utf8(self.take(len)?).map_err(not_text)
    }
}

/// The operations of a change as far as the columns after them depend on it.
struct Kinds {
    places: [u32; OPS_MAX],
    kinds: [u8; OPS_MAX],
    ints: usize,
    floats: usize,
    texts: usize,
    blobs: usize,
}

impl Kinds {
    fn new() -> Self {
        Self {
            places: [0; OPS_MAX],
            kinds: [0; OPS_MAX],
            ints: 0,
            floats: 0,
            texts: 0,
            blobs: 0,
        }
    }
}

/// Check the columns (a part of the body) of a change of `n` operations.
pub fn check_columns(body: &[u8], columns: &[u8], n: u32) -> Result<Layout, ChangeError> {
    let n = n as usize;
    // The replica stands last in a body, so its columns end 42 bytes before its end.
    let to = body.len() - REPLICA_BYTES;
    let mut cursor = Cursor { rest: columns, to };
    let mut layout = Layout {
        to: to as u16,
        ..Layout::default()
    };
    let paths = read_number(&mut cursor.rest).ok_or(CUT)?;
    // A part has at least one byte, so no number of paths can claim more.
    if paths > cursor.rest.len() as u64 {
        return Err(ChangeError::Columns("more paths than bytes"));
    }
    layout.paths = paths as u16;
    layout.parents = cursor.at();
    let above;
    (above, layout.key_lens, layout.keys) = check_paths(&mut cursor, paths as usize)?;
    layout.places = cursor.at();
    let mut ops = Kinds::new();
    read_places(&mut cursor, &mut ops, n, above.len())?;
    check_use(&ops.places[..n], &above)?;
    layout.kinds = cursor.at();
    check_kinds(&mut cursor, &mut ops, n)?;
    layout.ints = cursor.at();
    cursor.numbers(ops.ints, u64::MAX, |_| {})?;
    layout.floats = cursor.at();
    check_floats(cursor.take(8 * ops.floats)?)?;
    layout.text_lens = cursor.at();
    layout.texts = check_texts(&mut cursor, ops.texts)?;
    layout.blob_lens = cursor.at();
    layout.blobs = check_blobs(&mut cursor, &ops.kinds[..n], ops.blobs)?;
    if cursor.rest.is_empty() {
        Ok(layout)
    } else {
        Err(ChangeError::Columns("bytes after their end"))
    }
}

/// The table of paths: the number above each, and where lengths and keys begin.
fn check_paths(cursor: &mut Cursor<'_>, count: usize) -> Result<(Vec<u32>, u16, u16), ChangeError> {
    let mut above = Vec::with_capacity(count);
    cursor.numbers(count, count as u64, |parent| above.push(parent as u32))?;
    let key_lens = cursor.at();
    let mut lens = Vec::with_capacity(count);
    cursor.numbers(count, PATH_BYTES_MAX as u64, |len| lens.push(len as u32))?;
    let keys_at = cursor.at();
    let total = lens.iter().map(|len| *len as usize).sum();
    let keys = cursor.text(total)?;
    let mut bounds = Vec::with_capacity(count + 1);
    bounds.push(Bounds::default());
    let mut parts = Vec::with_capacity(count);
    let mut rest = keys;
    for (parent, len) in above.iter().zip(&lens) {
        let mut bound = *bounds
            .get(*parent as usize)
            .ok_or(ChangeError::Columns("a path before the one above it"))?;
        let (part, after) = rest
            .split_at_checked(*len as usize)
            .ok_or(ChangeError::Columns("text that is cut within a character"))?;
        bound.enter(part)?;
        bounds.push(bound);
        parts.push((*parent, part));
        rest = after;
    }
    if !are_distinct(&parts) {
        return Err(ChangeError::Columns("a path twice"));
    }
    Ok((above, key_lens, keys_at))
}

/// Whether no path is there twice. Linear for honest parts; with parts made to collide no worse
/// than sorting.
pub(super) fn are_distinct(parts: &[(u32, &str)]) -> bool {
    let bits = (2 * parts.len() + 1).next_power_of_two().trailing_zeros();
    let mask = (1_usize << bits) - 1;
    let mut table = vec![0_u16; mask + 1];
    let mut probes = 8 * parts.len() + 64;
    for (index, part) in parts.iter().enumerate() {
        let mut slot = (hash_part(0, part.0, part.1) >> (64 - bits)) as usize;
        while let Some(other) = usize::from(table[slot]).checked_sub(1) {
            if parts[other] == *part {
                return false;
            }
            probes -= 1;
            if probes == 0 {
                return are_distinct_sorted(parts);
            }
            slot = (slot + 1) & mask;
        }
        table[slot] = index as u16 + 1;
    }
    true
}

/// A fast hash of a path, which whoever does not know `key` cannot foresee.
#[inline]
#[must_use]
pub fn hash_part(key: u64, parent: u32, part: &str) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(key ^ ODD);
        product as u64 ^ (product >> 64) as u64
    };
    let (words, tail) = part.as_bytes().as_chunks::<8>();
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    let start = mix(key, u64::from(parent) << 32 | part.len() as u64);
    let word = |hash, word: &[u8; 8]| mix(hash, u64::from_le_bytes(*word));
    let hash = words.iter().fold(start, word);
    mix(hash, u64::from_le_bytes(last)).wrapping_mul(ODD)
}

#[cold]
fn are_distinct_sorted(parts: &[(u32, &str)]) -> bool {
    let mut sorted = parts.to_vec();
    sorted.sort_unstable();
    sorted.is_sorted_by(|left, right| left != right)
}

/// The path of each operation, one of `paths` or the root.
fn read_places(
    cursor: &mut Cursor<'_>,
    ops: &mut Kinds,
    n: usize,
    paths: usize,
) -> Result<(), ChangeError> {
    let (mut index, mut place, mut fits) = (0, 0, true);
    cursor.numbers(n, 2 * paths as u64 + 1, |delta| {
        place = undelta(place, delta);
        fits &= (0..=paths as i64).contains(&place);
        ops.places[index] = place as u32;
        index += 1;
    })?;
    if fits {
        Ok(())
    } else {
        Err(ChangeError::Columns(
            "an operation at a path that is not there",
        ))
    }
}

/// Paths stand in the order in which operations first use them, each after those above it that no
/// operation used before: so a change has one table.
fn check_use(places: &[u32], above: &[u32]) -> Result<(), ChangeError> {
    let mut used = 0;
    for place in places {
        // The first new path stands below one that is known, each after it below the one before.
        let chain = above
            .get(used as usize + 1..*place as usize)
            .unwrap_or_default();
        if !(used + 1..)
            .zip(chain)
            .all(|(number, parent)| number == *parent)
        {
            return Err(ChangeError::Columns(
                "paths are not in the order of their use",
            ));
        }
        used = used.max(*place);
    }
    if used as usize == above.len() {
        Ok(())
    } else {
        Err(ChangeError::Columns("a path that no operation uses"))
    }
}

fn check_kinds(cursor: &mut Cursor<'_>, ops: &mut Kinds, n: usize) -> Result<(), ChangeError> {
    let mut index = 0;
    cursor.numbers(n, u64::from(kind::MAX), |kind| {
        ops.kinds[index] = kind as u8;
        index += 1;
    })?;
    for (kind, place) in ops.kinds.iter().zip(&ops.places).take(n) {
        match kind::lies(*kind) {
            Lies::Nowhere => {}
            Lies::Ints => ops.ints += 1,
            Lies::Floats => ops.floats += 1,
            Lies::Texts => ops.texts += 1,
            Lies::Blobs => ops.blobs += 1,
            Lies::Refused => return Err(ChangeError::Columns("an unknown kind of operation")),
        }
        if *place == 0 && *kind != kind::MAKE_MAP {
            return Err(ChangeError::Columns("the root is always a map"));
        }
    }
    Ok(())
}

fn check_floats(floats: &[u8]) -> Result<(), ChangeError> {
    let (floats, _) = floats.as_chunks();
    if floats
        .iter()
        .all(|float| f64::from_be_bytes(*float).is_finite())
    {
        Ok(())
    } else {
        Err(ValueError::Number.into())
    }
}

fn check_texts(cursor: &mut Cursor<'_>, count: usize) -> Result<u16, ChangeError> {
    let mut ends = [0; OPS_MAX];
    let (mut index, mut end) = (0, 0);
    let max = cursor.rest.len() as u64;
    cursor.numbers(count, max, |len| {
        end += len as usize;
        ends[index] = end;
        index += 1;
    })?;
    let at = cursor.at();
    let text = cursor.text(end)?;
    if ends[..count].iter().all(|end| text.is_char_boundary(*end)) {
        Ok(at)
    } else {
        Err(ChangeError::Columns("text that is cut within a character"))
    }
}

fn check_blobs(cursor: &mut Cursor<'_>, kinds: &[u8], count: usize) -> Result<u16, ChangeError> {
    let mut lens = [0; OPS_MAX];
    let mut index = 0;
    let max = cursor.rest.len() as u64;
    cursor.numbers(count, max, |len| {
        lens[index] = len as usize;
        index += 1;
    })?;
    let at = cursor.at();
    let mut lens = lens.iter();
    for kind in kinds {
        if kind::lies(*kind) == Lies::Blobs {
            let len = lens.next().copied().unwrap_or_default();
            check_blob(*kind, cursor.take(len)?)?;
        }
    }
    Ok(at)
}

fn check_blob(kind: u8, blob: &[u8]) -> Result<(), ChangeError> {
    const APPEND_BYTES: u8 = kind::APPEND + kind::BYTES;
    const APPEND_LINK: u8 = kind::APPEND + kind::LINK;
    const APPEND_ONE_LIST: u8 = kind::APPEND + kind::LIST;
    match kind {
        kind::BYTES | APPEND_BYTES => Ok(()),
        kind::LINK | APPEND_LINK if is_cid(blob) => Ok(()),
        kind::LINK | APPEND_LINK => Err(ValueError::Link.into()),
        kind::LIST | APPEND_ONE_LIST => Ok(ValueRef::list(blob).map(|_| ())?),
        kind::APPEND_LIST => match Elements::of_list(blob)?.len() {
            0 | 1 => Err(ChangeError::Columns(
                "one element is appended without a list",
            )),
            _ => Ok(()),
        },
        _ => {
            let mut reader = Reader::new(blob);
            let value = ValueRef::read(&mut reader, 0)?;
            reader.finish().map_err(ValueError::from)?;
            match value {
                ValueRef::Map(_) => Ok(()),
                _ => Err(ValueError::Map.into()),
            }
        }
    }
}
