//! The hash graph of a document's changes: who wrote what after having seen what.
//!
//! A replica's changes form a *line*; one that equivocates has a line for every branch, the later
//! ones beginning where they leave the first. Numbers of lines and changes are this process's own
//! and depend on the order of arrival. Nothing that is read does: it is told by replica, sequence
//! number and CID.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::change::{CID_PREFIX, Header, cid_bytes};
use super::context::Context;
use super::fork::Forks;
use super::graph_index::{HashKey, Index};
use super::{Cid, Dot, Key};

/// No line, no change.
pub(super) const NONE: u32 = u32::MAX;

/// Lines of one document; as many as a clock may name.
pub const LINES_MAX: usize = 65_536;

/// A change's place in the order of admission, which is a causal order.
pub type ChangeId = u32;

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is here already.
    Known,
    /// Its place is below the snapshot's cut: one of those the snapshot stands for, or a branch
    /// that nobody who has the snapshot can take any more. Which of them cannot be told.
    Below,
    /// These must come first.
    Waits(Vec<Cid>),
    Added(Added),
}

/// Where an admitted change stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    pub id: ChangeId,
    pub line: u32,
    /// Sequence number of its first operation.
    pub first: u32,
    pub n: u32,
    /// Of its first operation; the others follow one by one.
    pub lamport: u64,
    /// Another change of the replica follows the same one: it equivocates.
    pub fork: bool,
}

/// Why a change can never be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the change belongs to another document")]
    Document,
    #[error("the change before it is another replica's")]
    Replica,
    #[error("it does not begin where the change before it ends")]
    Gap,
    #[error("it did not see what has been compacted")]
    Stale,
    #[error("the document has as many lines as it may have")]
    Lines,
}

/// The order of all operations: greater is later to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp<'a> {
    pub lamport: u64,
    pub replica: &'a Key,
    pub seq: u32,
    pub change: &'a Cid,
}

/// The end of a line: `seq` operations were seen, the last change is `cid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    pub replica: Key,
    pub seq: u32,
    pub cid: Cid,
}

/// Where the next change of a replica goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    pub prev: Option<Cid>,
    pub seq0: u32,
    /// All that `prev` did not see, sorted. More than one change can name are to be seen in
    /// several: changes without operations first.
    pub deps: Vec<Cid>,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) cid: Cid,
    /// One more than the greatest lamport in its context.
    pub(super) lamport: u64,
    pub(super) line: u32,
    pub(super) index: u32,
    pub(super) seq0: u32,
    pub(super) deps_at: u32,
    pub(super) deps_len: u16,
    pub(super) n: u16,
}

impl Record {
    /// The greatest lamport in it and its context.
    pub(super) fn top(&self) -> u64 {
        self.lamport + u64::from(self.n) - 1
    }

    pub(super) fn end(&self) -> u32 {
        self.seq0 + u32::from(self.n)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) replica: u32,
    /// The replica's line before this one.
    pub(super) sibling: u32,
    /// Where it leaves another line: the last shared change there. `NONE` for a line from nothing.
    pub(super) base: (u32, u32),
    /// First sequence number and number of every change.
    pub(super) changes: Vec<(u32, ChangeId)>,
    /// What its newest change saw; none where that is the floor.
    pub(super) context: Option<Box<Context>>,
    /// The context was given up for want of room and has to be walked.
    pub(super) dropped: bool,
    /// Only its past is left of it, below the cut: it has no end and does not go on.
    pub(super) buried: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub(super) key: Key,
    pub(super) last_line: u32,
}

/// All admitted changes of one document, without their operations.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(super) doc: [u8; 16],
    pub(super) changes: Vec<Record>,
    pub(super) lines: Vec<Line>,
    pub(super) replicas: Vec<Replica>,
    pub(super) deps: Vec<ChangeId>,
    pub(super) by_cid: Index,
    pub(super) by_key: Index,
    /// Sees what lies below the cut and nothing else.
    pub(super) floor: Context,
    /// The changes of the cut that no other of the cut saw: who names them all saw all of it.
    pub(super) tips: Vec<ChangeId>,
    /// Changes below the cut have lower numbers.
    pub(super) cut_at: ChangeId,
    /// The changes that no other names.
    pub(super) frontier: BTreeSet<ChangeId>,
    pub(super) forks: Forks,
    /// Entries of all contexts together, and the line whose context was dropped last.
    pub(super) entries: usize,
    pub(super) hand: u32,
    /// Lines that are buried: they do not count.
    pub(super) buried: usize,
}

impl Graph {
    /// A document without a change.
    #[must_use]
    pub fn new(doc: [u8; 16], key: HashKey) -> Self {
        Self {
            doc,
            changes: Vec::new(),
            lines: Vec::new(),
            replicas: Vec::new(),
            deps: Vec::new(),
            by_cid: Index::new(key),
            by_key: Index::new(key),
            floor: Context::above(&Arc::default()),
            tips: Vec::new(),
            cut_at: 0,
            frontier: BTreeSet::new(),
            forks: Forks::default(),
            entries: 0,
            hand: 0,
            buried: 0,
        }
    }

    #[must_use]
    pub fn doc(&self) -> &[u8; 16] {
        &self.doc
    }

    /// Takes a change in behind all it names, or says what it waits for. Nothing changes unless it
    /// is added. Its signature and columns are the caller's to have checked.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where it can never be admitted here.
    pub fn add(&mut self, header: &Header) -> Result<Admission, Refusal> {
        if header.doc != self.doc {
            return Err(Refusal::Document);
        }
        if self.id_of(&header.cid).is_some() {
            return Ok(Admission::Known);
        }
        if let Some(below) = self.below(header)? {
            return Ok(below);
        }
        let named = header.prev.iter().chain(&header.deps);
        let missing: Vec<Cid> = named.filter(|cid| !self.knows(cid)).copied().collect();
        if !missing.is_empty() {
            return Ok(Admission::Waits(missing));
        }
        let prev = header.prev.and_then(|cid| self.id_of(&cid));
        let deps: Vec<ChangeId> = header
            .deps
            .iter()
            .filter_map(|cid| self.id_of(cid))
            .collect();
        self.check(header, prev, &deps)?;
        Ok(Admission::Added(self.admit(header, prev, &deps)))
    }

    fn check(
        &self,
        header: &Header,
        prev: Option<ChangeId>,
        deps: &[ChangeId],
    ) -> Result<(), Refusal> {
        let before = prev.map(|id| &self.changes[id as usize]);
        if before.is_some_and(|record| self.key_of(record.line) != &header.replica) {
            return Err(Refusal::Replica);
        }
        if header.seq0 != before.map_or(0, Record::end) {
            return Err(Refusal::Gap);
        }
        if header.seq0.checked_add(header.n).is_none() || header.n > u32::from(u16::MAX) {
            return Err(Refusal::Gap);
        }
        if !self.contains_cut(prev, deps) {
            return Err(Refusal::Stale);
        }
        if self.lines.len() - self.buried >= LINES_MAX && prev.is_none_or(|id| !self.is_last(id)) {
            return Err(Refusal::Lines);
        }
        Ok(())
    }

    fn admit(&mut self, header: &Header, prev: Option<ChangeId>, deps: &[ChangeId]) -> Added {
        let id = self.changes.len() as ChangeId;
        let fork = self.note_fork(header, prev);
        let line = match prev {
            Some(prev) if self.is_last(prev) => self.changes[prev as usize].line,
            _ => self.open_line(&header.replica, prev),
        };
        let above = prev
            .iter()
            .chain(deps)
            .map(|id| self.changes[*id as usize].top());
        let lamport = above.max().unwrap_or_default() + 1;
        self.see(line, deps);
        let held = &mut self.lines[line as usize].changes;
        let index = held.len() as u32;
        held.push((header.seq0, id));
        let deps_at = self.deps.len() as u32;
        self.deps.extend_from_slice(deps);
        self.changes.push(Record {
            cid: header.cid,
            lamport,
            line,
            index,
            seq0: header.seq0,
            deps_at,
            deps_len: deps.len() as u16,
            n: header.n as u16,
        });
        let changes = &self.changes;
        self.by_cid
            .insert(&header.cid, id, |id| &changes[id as usize].cid);
        for named in prev.iter().chain(deps) {
            self.frontier.remove(named);
        }
        self.frontier.insert(id);
        let (first, n) = (header.seq0, header.n);
        Added {
            id,
            line,
            first,
            n,
            lamport,
            fork,
        }
    }

    fn open_line(&mut self, key: &Key, prev: Option<ChangeId>) -> u32 {
        let line = self.lines.len() as u32;
        let replica = self.intern(key);
        let known = &mut self.replicas[replica as usize];
        let sibling = std::mem::replace(&mut known.last_line, line);
        let base = prev.map(|id| &self.changes[id as usize]);
        let base = base.map_or((NONE, NONE), |record| (record.line, record.index));
        let changes = Vec::with_capacity(1);
        self.lines.push(Line {
            replica,
            sibling,
            base,
            changes,
            context: None,
            dropped: false,
            buried: false,
        });
        line
    }

    pub(super) fn intern(&mut self, key: &Key) -> u32 {
        if let Some(known) = self.replica_of(key) {
            return known;
        }
        let replica = self.replicas.len() as u32;
        self.replicas.push(Replica {
            key: *key,
            last_line: NONE,
        });
        let replicas = &self.replicas;
        self.by_key
            .insert(key, replica, |number| &replicas[number as usize].key);
        replica
    }

    pub(super) fn replica_of(&self, key: &Key) -> Option<u32> {
        self.by_key
            .find(key, |number| &self.replicas[number as usize].key)
    }

    /// The number of a change that is here, below the cut only if something of it is alive.
    #[must_use]
    pub fn id_of(&self, cid: &Cid) -> Option<ChangeId> {
        self.by_cid.find(cid, |id| &self.changes[id as usize].cid)
    }

    #[must_use]
    pub fn knows(&self, cid: &Cid) -> bool {
        self.id_of(cid).is_some()
    }

    /// Where a change stands: its line, first sequence number and how many operations it has.
    #[must_use]
    pub fn place(&self, id: ChangeId) -> Added {
        let record = &self.changes[id as usize];
        let (line, first, n) = (record.line, record.seq0, record.n.into());
        Added {
            id,
            line,
            first,
            n,
            lamport: record.lamport,
            fork: false,
        }
    }

    #[must_use]
    pub fn cid_of(&self, id: ChangeId) -> &Cid {
        &self.changes[id as usize].cid
    }

    /// The changes one names beside the one before it.
    #[must_use]
    pub fn deps_of(&self, id: ChangeId) -> &[ChangeId] {
        let record = &self.changes[id as usize];
        let (from, len) = (record.deps_at as usize, usize::from(record.deps_len));
        &self.deps[from..from + len]
    }

    /// How many changes are held, those below the cut of which something is alive included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// The replica whose line it is.
    #[must_use]
    pub fn key_of(&self, line: u32) -> &Key {
        &self.replicas[self.lines[line as usize].replica as usize].key
    }

    /// The change that holds an operation.
    pub(super) fn record(&self, dot: Dot) -> &Record {
        let changes = &self.lines[dot.line as usize].changes;
        // The newest is asked for most often: what is applied is what just came.
        let at = match changes.last() {
            Some((seq0, _)) if *seq0 <= dot.seq => changes.len(),
            _ => changes.partition_point(|(seq0, _)| *seq0 <= dot.seq),
        };
        &self.changes[changes[at - 1].1 as usize]
    }

    /// The number of the change that holds an operation.
    #[must_use]
    pub fn change_of(&self, dot: Dot) -> ChangeId {
        let record = self.record(dot);
        self.lines[record.line as usize].changes[record.index as usize].1
    }

    #[must_use]
    pub fn lamport(&self, dot: Dot) -> u64 {
        let record = self.record(dot);
        record.lamport + u64::from(dot.seq - record.seq0)
    }

    #[must_use]
    pub fn stamp(&self, dot: Dot) -> Stamp<'_> {
        let record = self.record(dot);
        let lamport = record.lamport + u64::from(dot.seq - record.seq0);
        let replica = self.key_of(dot.line);
        Stamp {
            lamport,
            replica,
            seq: dot.seq,
            change: &record.cid,
        }
    }

    #[must_use]
    pub fn cmp(&self, left: Dot, right: Dot) -> Ordering {
        if left.line == right.line {
            return left.seq.cmp(&right.seq);
        }
        self.stamp(left).cmp(&self.stamp(right))
    }

    /// The digest of an operation's CID: raw, sha2-256 over its change's CID and its sequence
    /// number as 8 bytes, most significant first.
    #[must_use]
    pub fn operation_cid(&self, dot: Dot) -> Cid {
        operation_cid(&self.record(dot).cid, dot.seq)
    }
}

/// As [`Graph::operation_cid`], of any change.
#[must_use]
pub fn operation_cid(change: &Cid, seq: u32) -> Cid {
    let mut named = [0; 44];
    named[..36].copy_from_slice(&cid_bytes(CID_PREFIX, change));
    named[36..].copy_from_slice(&u64::from(seq).to_be_bytes());
    crate::encoding::digest(&named)
}
