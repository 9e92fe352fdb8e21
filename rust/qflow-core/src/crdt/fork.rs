//! Replicas that wrote two changes after the same one: what shows it.

use std::collections::BTreeMap;

use super::change::Header;
use super::graph::{ChangeId, Graph, NONE};
use super::{Cid, Key};

/// Changes that are kept as evidence; more prove nothing new.
pub const EVIDENCE_MAX: usize = 1_024;

/// Changes of one replica after the same one, sorted by CID: two or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    pub replica: Key,
    pub prev: Option<Cid>,
    pub branches: Vec<Cid>,
}

/// By replica and the change before: what follows it, where that is more than one.
#[derive(Clone, Debug, Default)]
pub(super) struct Forks {
    points: BTreeMap<(Key, Option<Cid>), Vec<Cid>>,
    held: usize,
}

impl Graph {
    /// Where replicas equivocated, by replica and place. At most [`EVIDENCE_MAX`] changes in all;
    /// forks beyond are still taken in, and show as several heads of one replica.
    pub fn forks(&self) -> impl Iterator<Item = Fork> + '_ {
        let points = self.forks.points.iter();
        points.map(|((replica, prev), branches)| {
            let (mut branches, replica, prev) = (branches.clone(), *replica, *prev);
            branches.sort_unstable();
            Fork {
                replica,
                prev,
                branches,
            }
        })
    }

    /// Whether another change follows the same one, which is noted as evidence.
    pub(super) fn note_fork(&mut self, header: &Header, prev: Option<ChangeId>) -> bool {
        let Some(other) = self.after(&header.replica, prev) else {
            return false;
        };
        // Below the cut the other branch is not here any more to be shown.
        if other < self.cut_at {
            return true;
        }
        let other = self.changes[other as usize].cid;
        let forks = &mut self.forks;
        let point = (header.replica, header.prev);
        let noted = forks.points.get(&point).map_or(0, Vec::len);
        let new = if noted == 0 { 2 } else { 1 };
        if forks.held + new <= EVIDENCE_MAX {
            let branches = forks.points.entry(point).or_default();
            if noted == 0 {
                branches.push(other);
            }
            branches.push(header.cid);
            forks.held += new;
        }
        true
    }

    /// A change of the replica that follows this one, or that begins its line.
    fn after(&self, key: &Key, prev: Option<ChangeId>) -> Option<ChangeId> {
        let Some(prev) = prev else {
            return self.first_of(key);
        };
        let record = &self.changes[prev as usize];
        let line = &self.lines[record.line as usize];
        line.changes
            .get(record.index as usize + 1)
            .map(|change| change.1)
    }

    fn first_of(&self, key: &Key) -> Option<ChangeId> {
        let mut line = self.replicas[self.replica_of(key)? as usize].last_line;
        while line != NONE {
            let held = &self.lines[line as usize];
            if held.base.0 == NONE {
                return held.changes.first().map(|change| change.1);
            }
            line = held.sibling;
        }
        None
    }

    pub(super) fn is_last(&self, id: ChangeId) -> bool {
        let record = &self.changes[id as usize];
        let line = &self.lines[record.line as usize];
        line.changes.len() == record.index as usize + 1
    }
}
