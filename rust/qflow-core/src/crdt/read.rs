//! What is read of a document.

use std::borrow::Cow;

use super::carry::Sibling;
use super::change::Change;
use super::conflict::Conflict;
use super::context::Context;
use super::document::Document;
use super::graph::{ChangeId, Graph, Head};
use super::heads::write_heads;
use super::shown::Kind;
use super::tree::NodeId;
use super::view::Visitor;
use super::{Cid, Key};
use crate::encoding::Writer;

/// A value that was set at a path and not covered by who saw it.
pub struct Sides<'a> {
    pub value: Sibling<'a>,
    pub replica: &'a Key,
    pub lamport: u64,
    /// Digest of the CID of the operation.
    pub operation: Cid,
}

/// Changes that another replica lacks.
pub struct Lacking<'a> {
    pub changes: Vec<&'a Change>,
    /// Some are only in the snapshot: the other needs that first.
    pub snapshot: bool,
}

/// A clock that this document cannot be shown at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    #[error("the clock names changes that are not here")]
    Unknown,
    #[error("the clock does not contain what has been compacted")]
    Stale,
}

impl Document {
    pub(super) fn node_at(&self, parts: &[Cow<'_, str>]) -> Option<NodeId> {
        self.tree.find(parts.iter().map(AsRef::as_ref))
    }

    pub(super) fn kind_at(&self, parts: &[Cow<'_, str>]) -> Kind {
        self.node_at(parts)
            .map_or(Kind::Absent, |node| self.tree.kind_of(node, &self.graph))
    }

    /// How many of register, counter, list and map are live at a path.
    pub(super) fn slots_at(&self, parts: &[Cow<'_, str>]) -> usize {
        self.node_at(parts).map_or(0, |node| self.tree.slots(node))
    }

    /// Show what is at a path; false when nothing is.
    pub fn view<V: Visitor>(
        &mut self,
        parts: &[Cow<'_, str>],
        visitor: &mut V,
    ) -> Result<bool, V::Error> {
        self.settle();
        match self.node_at(parts) {
            Some(node) => self.tree.view(node, &self.graph, visitor),
            None => Ok(false),
        }
    }

    /// Everything that is live at a path, the greatest stamp first.
    #[must_use]
    pub fn siblings(&self, parts: &[Cow<'_, str>]) -> Vec<Sides<'_>> {
        let Some(node) = self.node_at(parts) else {
            return Vec::new();
        };
        let live = self.tree.siblings(node, &self.graph).into_iter();
        let sides = live.map(|(dot, value)| Sides {
            value,
            replica: self.graph.key_of(dot.line),
            lamport: self.graph.lamport(dot),
            operation: self.graph.operation_cid(dot),
        });
        sides.collect()
    }

    /// At most so many conflicts, by path and kind.
    #[must_use]
    pub fn conflicts(&self, limit: usize) -> Vec<Conflict> {
        self.tree.conflicts(&self.graph, limit)
    }

    /// The heads, as they go over the wire.
    #[must_use]
    pub fn clock(&self) -> Vec<u8> {
        write_heads(&self.heads())
    }

    /// What one with these heads lacks, in a causal order.
    #[must_use]
    pub fn since(&self, heads: &[Head]) -> Lacking<'_> {
        let since = self.graph.since(heads);
        let held = |id: &ChangeId| self.changes.get(*id as usize)?.as_deref();
        let changes: Vec<&Change> = since.changes.iter().filter_map(held).collect();
        let snapshot = since.snapshot || changes.len() < since.changes.len();
        Lacking { changes, snapshot }
    }

    /// The changes with these CIDs that are here themselves.
    #[must_use]
    pub fn changes_of(&self, cids: &[Cid]) -> Vec<&Change> {
        let mut ids: Vec<ChangeId> = cids
            .iter()
            .filter_map(|cid| self.graph.id_of(cid))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let held = |id: ChangeId| self.changes.get(id as usize)?.as_deref();
        ids.into_iter().filter_map(held).collect()
    }

    /// CIDs of all changes that are here themselves, sorted, for reconciling by ranges.
    #[must_use]
    pub fn cids(&self) -> Vec<Cid> {
        let held = self.changes.iter().flatten();
        let mut cids: Vec<Cid> = held.map(|change| change.header.cid).collect();
        cids.sort_unstable();
        cids
    }

    /// What all of these replicas have shown to have seen.
    #[must_use]
    pub fn stable(&self, members: &[Key]) -> Vec<Head> {
        self.graph.stable(members)
    }

    /// The document as it was at a clock, and nothing of it can be written.
    pub fn at(&self, heads: &[Head]) -> Result<Self, CutError> {
        let context = self.past_of(heads)?;
        let mut past = self.begin_again().map_err(|_| CutError::Stale)?;
        let held = (0..).zip(&self.changes);
        let within = held.filter(|(id, _)| self.graph.is_within(*id, &context));
        let changes: Vec<_> = within.filter_map(|(_, change)| change.clone()).collect();
        past.apply(&changes);
        Ok(past)
    }

    pub(super) fn past_of(&self, heads: &[Head]) -> Result<Context, CutError> {
        let named: Option<Vec<ChangeId>> = heads
            .iter()
            .map(|head| self.graph.id_of(&head.cid))
            .collect();
        let named = named.ok_or(CutError::Unknown)?;
        if !self.graph.contains_cut(None, &named) {
            return Err(CutError::Stale);
        }
        Ok(self.graph.closure(&named))
    }

    /// What two replicas with the same operations have alike, one that compacted too: the heads,
    /// the view of the root and the conflicts.
    #[must_use]
    pub fn state_bytes(&mut self) -> Vec<u8> {
        self.settle();
        let mut out = Writer::default();
        out.array(3);
        out.raw(&self.clock());
        self.tree.encode(NodeId::ROOT, &self.graph, &mut out);
        let conflicts = self.conflicts(usize::MAX);
        out.array(conflicts.len());
        for conflict in conflicts {
            out.array(4);
            out.text(&conflict.path);
            out.text(conflict.kind.name());
            out.array(conflict.operations.len());
            conflict
                .operations
                .iter()
                .for_each(|operation| out.bytes(operation));
            out.bytes(&conflict.id);
        }
        out.into_bytes()
    }

    /// The view of a path as canonical DAG-CBOR; none when nothing is there.
    pub fn encode(&mut self, parts: &[Cow<'_, str>]) -> Option<Vec<u8>> {
        self.settle();
        let mut out = Writer::default();
        let node = self.node_at(parts)?;
        self.tree
            .encode(node, &self.graph, &mut out)
            .then(|| out.into_bytes())
    }
}

impl Graph {
    pub(super) fn is_within(&self, id: ChangeId, context: &Context) -> bool {
        let record = &self.changes[id as usize];
        record.index < context.extent(record.line).changes()
    }
}
