//! The bytes of a snapshot: sections of columns, in one spelling (docs/formats/crdt-snapshot.md).

use super::change::{OP_BYTES_MAX, OPS_MAX};
use super::column::{Column, deltas, read_number, write_column, write_number};
use super::{Cid, Key};

/// Begins every snapshot.
pub(super) const MAGIC: &[u8] = b"qflow crdt snapshot v1\n";
/// Operation ids that a snapshot keeps: those of the greatest lamports.
pub const OPERATIONS_MAX: usize = 65_536;
/// Above every lamport: each operation of a document takes one.
const LAMPORT_LIMIT: u64 = 1 << 62;

/// What an item is; a register is the type of its value, numbered as in a change.
pub(super) mod item {
    /// The type of a list, and the greatest of a register.
    pub const REGISTER_MAX: u8 = 8;
    pub const MARK: u8 = 9;
    pub const TOMB: u8 = 10;
    pub const COUNTER: u8 = 11;
    pub const LIST: u8 = 12;
    pub const MAX: u8 = LIST;
}

/// Why bytes are no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot is malformed: {0}")]
pub struct SnapshotError(pub(super) &'static str);

pub(super) const CUT: SnapshotError = SnapshotError("cut short");

pub(super) fn text(bytes: &[u8]) -> Result<&str, SnapshotError> {
    std::str::from_utf8(bytes).map_err(|_| SnapshotError("text that is not UTF-8"))
}

/// A line's end at the cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub replica: u32,
    pub seq: u32,
    /// No other change of the cut saw it.
    pub tip: bool,
    pub cid: Cid,
}

/// A change of which something is alive, or that ends a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub replica: u32,
    pub seq0: u32,
    pub n: u32,
    pub lamport: u64,
    pub cid: Cid,
}

/// What lies below the cut, but for the values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// Sorted.
    pub replicas: Vec<Key>,
    /// Sorted by replica, sequence number and CID.
    pub ends: Vec<End>,
    /// Sorted by replica, first sequence number and CID.
    pub changes: Vec<Kept>,
    /// Operation ids that must not be taken again, sorted by id.
    pub operations: Vec<Operation>,
}

/// An operation id, and the greatest lamport of the first operation of a change that carries it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    pub id: Box<[u8]>,
    pub lamport: u64,
}

impl Past {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_number(out, self.replicas.len() as u64);
        out.extend_from_slice(self.replicas.as_flattened());
        write_number(out, self.ends.len() as u64);
        write_deltas(out, self.ends.iter().map(|end| u64::from(end.replica)));
        write_column(out, self.ends.iter().map(|end| u64::from(end.seq)));
        write_column(out, self.ends.iter().map(|end| u64::from(end.tip)));
        self.ends
            .iter()
            .for_each(|end| out.extend_from_slice(&end.cid));
        write_number(out, self.changes.len() as u64);
        write_deltas(
            out,
            self.changes.iter().map(|change| u64::from(change.replica)),
        );
        write_deltas(
            out,
            self.changes.iter().map(|change| u64::from(change.seq0)),
        );
        write_column(out, self.changes.iter().map(|change| u64::from(change.n)));
        write_deltas(out, self.changes.iter().map(|change| change.lamport));
        self.changes
            .iter()
            .for_each(|change| out.extend_from_slice(&change.cid));
        write_number(out, self.operations.len() as u64);
        write_column(
            out,
            self.operations
                .iter()
                .map(|operation| operation.id.len() as u64),
        );
        write_deltas(
            out,
            self.operations.iter().map(|operation| operation.lamport),
        );
        self.operations
            .iter()
            .for_each(|operation| out.extend_from_slice(&operation.id));
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, SnapshotError> {
        let replicas: Vec<Key> = input.fixed_all()?.to_vec();
        if !replicas.is_sorted_by(|left, right| left < right) {
            return Err(SnapshotError("replicas out of order"));
        }
        let ends = read_ends(input, replicas.len())?;
        let changes = read_changes(input, replicas.len())?;
        let operations = read_operations(input)?;
        Ok(Self {
            replicas,
            ends,
            changes,
            operations,
        })
    }
}

fn read_ends(input: &mut Input<'_>, replicas: usize) -> Result<Vec<End>, SnapshotError> {
    let count = input.count(32)?;
    let owners = input.deltas(count, replicas as u64)?;
    let seqs = input.column(count, u64::from(u32::MAX))?;
    let tips = input.column(count, 1)?;
    let cids = input.fixed::<32>(count)?;
    let columns = owners.into_iter().zip(seqs).zip(tips).zip(cids);
    let ends = columns.map(|(((replica, seq), tip), cid)| {
        let (replica, seq) = (replica as u32, seq as u32);
        End {
            replica,
            seq,
            tip: tip == 1,
            cid: *cid,
        }
    });
    let ends: Vec<End> = ends.collect();
    let key = |end: &End| (end.replica, end.seq, end.cid);
    if !ends.is_sorted_by(|left, right| key(left) < key(right)) {
        return Err(SnapshotError("heads out of order"));
    }
    Ok(ends)
}

fn read_changes(input: &mut Input<'_>, replicas: usize) -> Result<Vec<Kept>, SnapshotError> {
    let count = input.count(32)?;
    let owners = input.deltas(count, replicas as u64)?;
    let firsts = input.deltas(count, u64::from(u32::MAX))?;
    let lens = input.column(count, OPS_MAX as u64)?;
    let lamports = input.deltas(count, LAMPORT_LIMIT)?;
    let cids = input.fixed::<32>(count)?;
    let columns = owners
        .into_iter()
        .zip(firsts)
        .zip(lens)
        .zip(lamports)
        .zip(cids);
    let changes = columns.map(|((((replica, seq0), n), lamport), cid)| {
        let (replica, seq0, n) = (replica as u32, seq0 as u32, n as u32);
        Kept {
            replica,
            seq0,
            n,
            lamport,
            cid: *cid,
        }
    });
    let changes: Vec<Kept> = changes.collect();
    let key = |change: &Kept| (change.replica, change.seq0, change.cid);
    if !changes.is_sorted_by(|left, right| key(left) < key(right)) {
        return Err(SnapshotError("changes out of order"));
    }
    let whole = |change: &Kept| change.lamport > 0 && change.seq0.checked_add(change.n).is_some();
    if !changes.iter().all(whole) {
        return Err(SnapshotError("a change beyond all numbers"));
    }
    Ok(changes)
}

fn read_operations(input: &mut Input<'_>) -> Result<Vec<Operation>, SnapshotError> {
    let count = input.count(1)?;
    let (lens, total) = input.summed(count, OP_BYTES_MAX as u64)?;
    let lamports = input.deltas(count, LAMPORT_LIMIT)?;
    let mut ids = Input(input.bytes(total)?);
    let mut operations = Vec::with_capacity(count);
    for (len, lamport) in lens.zip(lamports) {
        operations.push(Operation {
            id: ids.bytes(len as usize)?.into(),
            lamport,
        });
    }
    let sorted = operations.is_sorted_by(|left, right| left.id < right.id);
    let named = operations.first().is_none_or(|first| !first.id.is_empty());
    if count > OPERATIONS_MAX || !sorted || !named {
        return Err(SnapshotError("operation ids out of order"));
    }
    Ok(operations)
}

/// The differences of each number from the one before it, the first from 0.
pub(super) fn write_deltas(out: &mut Vec<u8>, values: impl Iterator<Item = u64> + Clone) {
    write_column(out, deltas(values.map(|value| value as i64)));
}

/// Bytes that are read from the front, strictly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn number(&mut self) -> Result<u64, SnapshotError> {
        read_number(&mut self.0).ok_or(SnapshotError("a number that is none"))
    }

    /// How many of what takes at least so many bytes each: nothing is allocated for more than can
    /// be there.
    pub(super) fn count(&mut self, bytes_each: usize) -> Result<usize, SnapshotError> {
        let count = self.number()?;
        let most = (self.0.len() / bytes_each) as u64;
        let within = count <= most && count < u64::from(u32::MAX);
        within
            .then_some(count as usize)
            .ok_or(SnapshotError("more than there can be"))
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], SnapshotError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn fixed<const N: usize>(
        &mut self,
        count: usize,
    ) -> Result<&'a [[u8; N]], SnapshotError> {
        let len = count.checked_mul(N).ok_or(CUT)?;
        Ok(self.bytes(len)?.as_chunks().0)
    }

    fn fixed_all<const N: usize>(&mut self) -> Result<&'a [[u8; N]], SnapshotError> {
        let count = self.count(N)?;
        self.fixed(count)
    }

    /// A column of so many numbers, none above `max`, to be read in its turn.
    pub(super) fn column(&mut self, count: usize, max: u64) -> Result<Column<'a>, SnapshotError> {
        self.counted(count, max, |_| ())
    }

    /// A column of so many numbers, each of which is shown.
    pub(super) fn counted(
        &mut self,
        count: usize,
        max: u64,
        visit: impl FnMut(u64),
    ) -> Result<Column<'a>, SnapshotError> {
        let bad = SnapshotError("a column that is none");
        Column::check(&mut self.0, count, max, visit).ok_or(bad)
    }

    /// A column of so many numbers, and their sum.
    pub(super) fn summed(
        &mut self,
        count: usize,
        max: u64,
    ) -> Result<(Column<'a>, usize), SnapshotError> {
        let mut sum = 0usize;
        let add = |value: u64| sum = sum.saturating_add(value as usize);
        let column = self.counted(count, max, add)?;
        Ok((column, sum))
    }

    /// Numbers below `limit`, written by their differences.
    pub(super) fn deltas(&mut self, count: usize, limit: u64) -> Result<Vec<u64>, SnapshotError> {
        let column = self.column(count, u64::MAX)?;
        let mut before = 0;
        let mut values = Vec::with_capacity(count);
        for delta in column.take(count) {
            before = super::column::undelta(before, delta);
            if u64::try_from(before).is_ok_and(|value| value < limit) {
                values.push(before as u64);
            } else {
                return Err(SnapshotError("a number out of its range"));
            }
        }
        Ok(values)
    }
}
