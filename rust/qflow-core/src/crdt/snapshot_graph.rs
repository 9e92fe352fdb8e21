//! The hash graph as a snapshot keeps it: how lines end at the cut, and the changes of which
//! something is alive.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::change::DEPS_MAX;
use super::context::Context;
use super::graph::{ChangeId, Graph, LINES_MAX, Line, NONE, Record};
use super::graph_index::HashKey;
use super::snapshot_format::{End, Kept, Past, SnapshotError};

impl Graph {
    /// The last changes of all lines that have an end.
    pub(super) fn ends(&self) -> impl Iterator<Item = ChangeId> + '_ {
        let open = self.lines.iter().filter(|line| !line.buried);
        open.filter_map(|line| line.changes.last().map(|change| change.1))
    }

    /// What a snapshot of all that is here keeps, and the place there of each change that is kept;
    /// `alive` are the changes of which something is.
    pub(super) fn to_past(&self, mut alive: BTreeSet<ChangeId>) -> (Past, Vec<u32>) {
        alive.extend(self.ends());
        let key = |id: &ChangeId| {
            let record = &self.changes[*id as usize];
            (self.key_of(record.line), record.seq0, record.cid)
        };
        let mut kept: Vec<ChangeId> = alive.into_iter().collect();
        kept.sort_unstable_by(|left, right| key(left).cmp(&key(right)));
        let places = numbered(&kept, self.changes.len());
        let mut replicas: Vec<u32> = self.ends().map(|id| self.replica_at(id)).collect();
        replicas.sort_unstable_by_key(|replica| self.replicas[*replica as usize].key);
        replicas.dedup();
        let numbers = numbered(&replicas, self.replicas.len());
        let number = |id: ChangeId| numbers[self.replica_at(id) as usize];
        let ends = self.ends().map(|id| {
            let record = &self.changes[id as usize];
            let (replica, seq, cid) = (number(id), record.end(), record.cid);
            End {
                replica,
                seq,
                tip: self.frontier.contains(&id),
                cid,
            }
        });
        let mut ends: Vec<End> = ends.collect();
        ends.sort_unstable_by_key(|end| (end.replica, end.seq, end.cid));
        let changes = kept.iter().map(|id| {
            let record = &self.changes[*id as usize];
            let (replica, seq0, n) = (number(*id), record.seq0, u32::from(record.n));
            Kept {
                replica,
                seq0,
                n,
                lamport: record.lamport,
                cid: record.cid,
            }
        });
        let changes = changes.collect();
        let replicas = replicas
            .iter()
            .map(|at| self.replicas[*at as usize].key)
            .collect();
        (
            Past {
                replicas,
                ends,
                changes,
                operations: Vec::new(),
            },
            places,
        )
    }

    fn replica_at(&self, id: ChangeId) -> u32 {
        let line = self.changes[id as usize].line;
        self.lines[line as usize].replica
    }

    /// A graph that begins at the cut. Its changes are numbered as they are in the snapshot.
    pub(super) fn of_past(doc: [u8; 16], key: HashKey, past: &Past) -> Result<Self, SnapshotError> {
        if past.ends.len() > LINES_MAX {
            return Err(SnapshotError("more lines than a document may have"));
        }
        let mut graph = Self::new(doc, key);
        past.replicas
            .iter()
            .for_each(|replica| _ = graph.intern(replica));
        past.changes
            .iter()
            .try_for_each(|kept| graph.put_kept(kept))?;
        let (mut ends, mut changes) = (past.ends.as_slice(), past.changes.as_slice());
        for replica in 0..past.replicas.len() as u32 {
            let of_ends = ends.partition_point(|end| end.replica == replica);
            let of_changes = changes.partition_point(|change| change.replica == replica);
            let first = (past.changes.len() - changes.len()) as ChangeId;
            let own = first..first + of_changes as ChangeId;
            graph.put_lines(replica, &ends[..of_ends], own)?;
            (ends, changes) = (&ends[of_ends..], &changes[of_changes..]);
        }
        let tips = past.ends.iter().filter(|end| end.tip);
        graph.tips = tips.filter_map(|end| graph.id_of(&end.cid)).collect();
        let tips = 1..=DEPS_MAX;
        if !past.ends.is_empty() && !tips.contains(&graph.tips.len()) {
            return Err(SnapshotError("too few or too many changes name the cut"));
        }
        graph.frontier = graph.tips.iter().copied().collect();
        graph.cut_at = past.changes.len() as ChangeId;
        let lines = 0..graph.lines.len() as u32;
        graph.floor = Context::above(&Arc::new(lines.map(|line| graph.whole(line)).collect()));
        Ok(graph)
    }

    fn put_kept(&mut self, kept: &Kept) -> Result<(), SnapshotError> {
        if self.knows(&kept.cid) {
            return Err(SnapshotError("a change twice"));
        }
        let id = self.changes.len() as ChangeId;
        let (cid, lamport, seq0, n) = (kept.cid, kept.lamport, kept.seq0, kept.n as u16);
        let (line, index, deps_at, deps_len) = (NONE, NONE, 0, 0);
        self.changes.push(Record {
            cid,
            lamport,
            line,
            index,
            seq0,
            deps_at,
            deps_len,
            n,
        });
        let changes = &self.changes;
        self.by_cid
            .insert(&kept.cid, id, |id| &changes[id as usize].cid);
        Ok(())
    }

    /// The lines of one replica. With one end all that is kept lies on its line. With several it
    /// is not told on which, and need not be: each change that does not end a line lies on one of
    /// its own, of which only the past is left. Two of them on one line would be taken to have
    /// seen each other.
    fn put_lines(
        &mut self,
        replica: u32,
        ends: &[End],
        changes: std::ops::Range<ChangeId>,
    ) -> Result<(), SnapshotError> {
        let ids = ends
            .iter()
            .map(|end| self.id_of(&end.cid).filter(|id| changes.contains(id)));
        let ids: Option<Vec<ChangeId>> = ids.collect();
        let ids = ids
            .filter(|ids| !ids.is_empty())
            .ok_or(SnapshotError("an end of no line"))?;
        let end = |id: &ChangeId| self.changes[*id as usize].end();
        if !ids.iter().map(end).eq(ends.iter().map(|end| end.seq)) {
            return Err(SnapshotError("an end that is elsewhere"));
        }
        if let [only] = ids[..] {
            return self.put_single(replica, only, changes);
        }
        for id in &ids {
            let line = self.put_line(replica, false);
            self.put_change(line, *id);
        }
        let ids: BTreeSet<ChangeId> = ids.into_iter().collect();
        for id in changes.filter(|id| !ids.contains(id)) {
            let line = self.put_line(replica, true);
            self.buried += 1;
            self.put_change(line, id);
        }
        Ok(())
    }

    fn put_single(
        &mut self,
        replica: u32,
        last: ChangeId,
        changes: std::ops::Range<ChangeId>,
    ) -> Result<(), SnapshotError> {
        let line = self.put_line(replica, false);
        for id in changes.clone() {
            if self.changes[id as usize].seq0 < self.whole(line).operations() {
                return Err(SnapshotError("changes of one line that overlap"));
            }
            self.put_change(line, id);
        }
        let ends = changes.last() == Some(last);
        ends.then_some(())
            .ok_or(SnapshotError("a change after the end of its line"))
    }

    fn put_line(&mut self, replica: u32, buried: bool) -> u32 {
        let line = self.lines.len() as u32;
        let known = &mut self.replicas[replica as usize];
        let sibling = std::mem::replace(&mut known.last_line, line);
        let (base, changes, context, dropped) = ((NONE, NONE), Vec::new(), None, false);
        self.lines.push(Line {
            replica,
            sibling,
            base,
            changes,
            context,
            dropped,
            buried,
        });
        line
    }

    fn put_change(&mut self, line: u32, id: ChangeId) {
        let changes = &mut self.lines[line as usize].changes;
        let record = &mut self.changes[id as usize];
        (record.line, record.index) = (line, changes.len() as u32);
        changes.push((record.seq0, id));
    }
}

/// The place of each number in a list of some of them.
fn numbered(list: &[u32], all: usize) -> Vec<u32> {
    let mut places = vec![NONE; all];
    for (place, number) in (0u32..).zip(list) {
        places[*number as usize] = place;
    }
    places
}
