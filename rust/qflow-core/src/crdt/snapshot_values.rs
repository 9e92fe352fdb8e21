//! The values of a snapshot's items, by type.

use super::column::{Column, undelta};
use super::columns::kind;
use super::graph::LINES_MAX;
use super::snapshot_format::{CUT, Input, SnapshotError, item, text};
use super::value::ValueRef;
use crate::encoding::parse_cid;

/// The greatest sum: every operation that a document can have is an increment by 2^63.
const SUM_MAX: u128 = (LINES_MAX as u128) << (32 + 63);

/// How many items there are of each kind.
pub(super) type Counts = [usize; item::MAX as usize + 1];

/// Columns of values, which are read as the kinds come.
pub(super) struct Values<'a> {
    ints: Column<'a>,
    int: i64,
    floats: Input<'a>,
    text_lens: Column<'a>,
    texts: &'a str,
    blob_lens: Column<'a>,
    blobs: Input<'a>,
    sums: Input<'a>,
}

impl<'a> Values<'a> {
    /// Checks that the columns are there.
    pub(super) fn new(input: &mut Input<'a>, counts: &Counts) -> Result<Self, SnapshotError> {
        let of = |kind: u8| counts[usize::from(kind)];
        let ints = input.column(of(kind::INT), u64::MAX)?;
        let floats = Input(input.fixed::<8>(of(kind::FLOAT))?.as_flattened());
        let (text_lens, bytes) = input.summed(of(kind::TEXT), u64::MAX)?;
        let texts = text(input.bytes(bytes)?)?;
        let blobs = of(kind::BYTES) + of(kind::LINK) + of(kind::LIST) + of(item::LIST);
        let (blob_lens, bytes) = input.summed(blobs, u64::MAX)?;
        let blobs = Input(input.bytes(bytes)?);
        let sums = Input(input.fixed::<16>(of(item::COUNTER))?.as_flattened());
        Ok(Self {
            ints,
            int: 0,
            floats,
            text_lens,
            texts,
            blob_lens,
            blobs,
            sums,
        })
    }

    /// The value of a register.
    pub(super) fn read(&mut self, kind: u8) -> Result<ValueRef<'a>, SnapshotError> {
        Ok(match kind {
            kind::NULL => ValueRef::Null,
            kind::FALSE => ValueRef::Bool(false),
            kind::TRUE => ValueRef::Bool(true),
            kind::INT => {
                self.int = undelta(self.int, self.ints.next().ok_or(CUT)?);
                ValueRef::Int(self.int)
            }
            kind::FLOAT => {
                let value = f64::from_be_bytes(self.floats.fixed::<8>(1)?[0]);
                let finite = value.is_finite().then_some(value);
                ValueRef::Float(finite.ok_or(SnapshotError("a float that is refused"))?)
            }
            kind::TEXT => {
                let len = self.text_lens.next().ok_or(CUT)? as usize;
                let (value, rest) = self.texts.split_at_checked(len).ok_or(CUT)?;
                self.texts = rest;
                ValueRef::Text(value)
            }
            kind::BYTES => ValueRef::Bytes(self.blob()?),
            kind::LINK => {
                let link = self.blob()?;
                let named = parse_cid(link).ok_or(SnapshotError("a link that is not a CID"));
                named.map(|_| ValueRef::Link(link))?
            }
            _ => ValueRef::list(self.blob()?).map_err(|_| SnapshotError("a list that is none"))?,
        })
    }

    /// The next of the byte strings.
    pub(super) fn blob(&mut self) -> Result<&'a [u8], SnapshotError> {
        let len = self.blob_lens.next().ok_or(CUT)?;
        self.blobs.bytes(len as usize)
    }

    /// The next sum of a counter, which is one that increments can come to: so what is added to it
    /// does not overflow.
    pub(super) fn sum(&mut self) -> Result<i128, SnapshotError> {
        let sum = i128::from_be_bytes(self.sums.fixed::<16>(1)?[0]);
        if sum.unsigned_abs() > SUM_MAX {
            return Err(SnapshotError("a sum beyond all increments"));
        }
        Ok(sum)
    }
}
