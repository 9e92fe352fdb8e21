//! Conflicts: where concurrent operations did not all get their way.
//!
//! They are read off what is live, so they are the same wherever the operations are, and each goes
//! away when an operation that saw it clears one side.

use super::change::{OPERATION_PREFIX, cid_bytes};
use super::node::Held;
use super::past::Stamps;
use super::path::write_pointer;
use super::tree::{NodeId, Tree};
use super::value::ValueRef;
use super::{Cid, Dot};
use crate::encoding::{Writer, key_order};

/// The kinds of conflict, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictKind {
    /// An append that did not see the list it is added to.
    Append,
    /// A deletion that did not see what is still there.
    Delete,
    /// An increment that did not see the integer it is added to.
    Increment,
    /// Registers of different values.
    Set,
    /// Slots of different types, of which one is not shown.
    Type,
}

impl ConflictKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Delete => "delete",
            Self::Increment => "increment",
            Self::Set => "set",
            Self::Type => "type",
        }
    }
}

/// Operations that disagree about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// A JSON Pointer.
    pub path: String,
    pub kind: ConflictKind,
    /// Digests of the operations' CIDs, sorted.
    pub operations: Vec<Cid>,
    /// Equal on every replica.
    pub id: [u8; 16],
}

impl Conflict {
    fn new(path: &str, kind: ConflictKind, mut operations: Vec<Cid>) -> Self {
        operations.sort_unstable();
        let id = conflict_id(path, kind, &operations);
        let path = path.to_owned();
        Self {
            path,
            kind,
            operations,
            id,
        }
    }
}

/// The first 16 bytes of the BLAKE3 of canonical DAG-CBOR `[path, kind, [CIDs as links]]`.
fn conflict_id(path: &str, kind: ConflictKind, operations: &[Cid]) -> [u8; 16] {
    let mut out = Writer::with_capacity(64 + path.len() + 48 * operations.len());
    out.array(3);
    out.text(path);
    out.text(kind.name());
    out.array(operations.len());
    for digest in operations {
        out.link(&cid_bytes(OPERATION_PREFIX, digest));
    }
    let hash = blake3::derive_key("qflow crdt conflict v1", out.as_slice());
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id
}

impl Tree {
    /// The conflicts, by path (part by part, in the canonical order of keys) and kind; at most
    /// `limit` of them.
    #[must_use]
    pub fn conflicts<S: Stamps>(&self, stamps: &S, limit: usize) -> Vec<Conflict> {
        let mut found = Vec::new();
        for node in self.suspects_in_order() {
            if found.len() >= limit {
                break;
            }
            self.conflicts_at(node, stamps, &mut found);
        }
        found.truncate(limit);
        found
    }

    /// The conflicts of one node, by kind.
    pub fn conflicts_at<S: Stamps>(&self, node: NodeId, stamps: &S, found: &mut Vec<Conflict>) {
        if !self.nodes.get(node).suspect {
            return;
        }
        let path = write_pointer(self.parts(node));
        let kinds = [
            (ConflictKind::Append, self.blind_append(node, stamps)),
            (ConflictKind::Delete, self.undone_delete(node, stamps)),
            (ConflictKind::Increment, self.blind_increment(node, stamps)),
            (ConflictKind::Set, self.different_registers(node)),
            (ConflictKind::Type, self.hidden_slots(node, stamps)),
        ];
        for (kind, dots) in kinds {
            if !dots.is_empty() {
                let operations = dots.iter().map(|dot| stamps.operation_cid(*dot));
                found.push(Conflict::new(&path, kind, operations.collect()));
            }
        }
    }

    fn suspects_in_order(&self) -> Vec<NodeId> {
        let suspects = self.suspects.iter().map(|node| (self.parts(node), node));
        let mut suspects: Vec<(Vec<&str>, NodeId)> = suspects.collect();
        suspects.sort_unstable_by(|(left, _), (right, _)| {
            let pairs = left.iter().zip(right);
            let mut orders = pairs.map(|(l, r)| key_order(l.as_bytes(), r.as_bytes()));
            let differs = orders.find(|order| order.is_ne());
            differs.unwrap_or(left.len().cmp(&right.len()))
        });
        suspects.into_iter().map(|(_, node)| node).collect()
    }

    /// How many nodes have to be looked at for conflicts.
    #[must_use]
    pub fn suspects(&self) -> usize {
        self.suspects.len()
    }

    /// The winner and the first increment that did not see it.
    pub(super) fn blind_increment<S: Stamps>(&self, node: NodeId, stamps: &S) -> Vec<Dot> {
        let Some((winner, value)) = self.winner(node) else {
            return Vec::new();
        };
        let counter = self.extra(node).and_then(|extra| extra.counter.as_deref());
        match (value.get(), counter) {
            (ValueRef::Int(_), Some(counter)) => both(winner, counter.first_blind(winner, stamps)),
            _ => Vec::new(),
        }
    }

    /// The winner and the first append that did not see it.
    pub(super) fn blind_append<S: Stamps>(&self, node: NodeId, stamps: &S) -> Vec<Dot> {
        let Some((winner, value)) = self.winner(node) else {
            return Vec::new();
        };
        let list = self.extra(node).and_then(|extra| extra.list.as_deref());
        match (value.get(), list) {
            (ValueRef::List(_), Some(list)) => both(winner, list.first_blind(winner, stamps)),
            _ => Vec::new(),
        }
    }

    /// The tombs, and of what is live there or beneath the one with the greatest stamp.
    fn undone_delete<S: Stamps>(&self, node: NodeId, stamps: &S) -> Vec<Dot> {
        let mut dots = self.tomb_dots(node);
        if dots.is_empty() {
            return dots;
        }
        match self.greatest(node, stamps) {
            Some(greatest) => dots.push(greatest),
            None => dots.clear(),
        }
        dots
    }

    /// All registers, when they are not all of one value.
    fn different_registers(&self, node: NodeId) -> Vec<Dot> {
        let Some(items) = self.extra(node).and_then(|extra| extra.items.as_deref()) else {
            return Vec::new();
        };
        let mut values = items.registers.iter().map(|(_, row)| &row.value);
        let first = values.next();
        if values.all(|value| Some(value) == first) {
            return Vec::new();
        }
        items.register_dots().collect()
    }

    /// The greatest of each slot, when the view neither shows nor combines all of them.
    fn hidden_slots<S: Stamps>(&self, node: NodeId, stamps: &S) -> Vec<Dot> {
        if self.slots(node) < 2 || self.shows_all(node) {
            return Vec::new();
        }
        let slots = self.slot_stamps(node, stamps);
        let all = [slots.register, slots.counter, slots.list, slots.map];
        all.into_iter().flatten().collect()
    }

    /// Whether several slots are all in the view: an integer and increments, or a list and
    /// appends, and no map.
    fn shows_all(&self, node: NodeId) -> bool {
        let Some((_, value)) = self.winner(node) else {
            return false;
        };
        let extra = self.extra(node);
        let counter = extra.is_some_and(|extra| extra.counter.is_some());
        let list = extra.is_some_and(|extra| extra.list.is_some());
        let fits = match value.get() {
            ValueRef::Int(_) => !list,
            ValueRef::List(_) => !counter,
            _ => false,
        };
        fits && !self.has_map(node)
    }

    pub(super) fn tomb_dots(&self, node: NodeId) -> Vec<Dot> {
        let held = self.nodes.get(node);
        if held.held == Held::Tomb {
            return vec![held.dot()];
        }
        let items = self.extra(node).and_then(|extra| extra.items.as_deref());
        items.map_or_else(Vec::new, |items| items.tomb_dots().collect())
    }
}

fn both(winner: Dot, blind: Option<Dot>) -> Vec<Dot> {
    blind.map_or_else(Vec::new, |blind| vec![winner, blind])
}
