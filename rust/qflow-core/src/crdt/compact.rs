//! Compaction: the snapshot at a cut, from an older snapshot and the changes between.
//!
//! A pure function, so that it runs beside the document that goes on being written; every replica
//! that has the same cut gets the same bytes, and so the same CID.

use std::collections::BTreeMap;

use super::change::{Change, DEPS_MAX};
use super::graph::{Admission, Graph, Head, Refusal};
use super::graph_index::HashKey;
use super::snapshot::{Loaded, OPERATIONS_MAX, Operation, SnapshotError, load, write};
use super::tree::Tree;

/// Why a cut cannot be compacted. Nothing is lost: the document stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("a change was not taken: {0}")]
    Refused(#[from] Refusal),
    #[error("a change before its time: what it names has to come first")]
    Order,
    #[error("these changes do not end at the cut")]
    Cut,
    #[error("more than {DEPS_MAX} changes of the cut were seen by no other of it")]
    Wide,
}

/// The snapshot at a cut. `changes` are all that lie between the older snapshot, or nothing, and
/// the cut, in a causal order; their signatures were checked when they came. `cut` is as
/// [`Graph::stable`] gives it, or the heads of a document.
///
/// # Errors
///
/// [`CompactError`], and then nothing was made.
pub fn compact<'a>(
    doc: [u8; 16],
    older: Option<&[u8]>,
    changes: impl IntoIterator<Item = &'a Change>,
    cut: &[Head],
    chance: &[u8],
) -> Result<Vec<u8>, CompactError> {
    let Loaded {
        mut graph,
        mut tree,
        operations,
    } = match older {
        Some(older) => load(older, chance)?,
        None => empty(doc, chance),
    };
    let mut named = Named::of(operations);
    let mut nodes = Vec::new();
    for change in changes {
        match graph.add(&change.header)? {
            Admission::Added(added) => {
                tree.fold(&graph, change, &added, &mut nodes, |_| ());
                named.note(change, added.lamport);
            }
            Admission::Known | Admission::Below => {}
            Admission::Waits(_) => return Err(CompactError::Order),
        }
    }
    if graph.heads() != cut {
        return Err(CompactError::Cut);
    }
    if graph.frontier.len() > DEPS_MAX {
        return Err(CompactError::Wide);
    }
    tree.settle(&graph);
    Ok(write(&graph, &tree, named.newest()))
}

fn empty(doc: [u8; 16], chance: &[u8]) -> Loaded {
    let (graph, tree) = (Graph::new(doc, HashKey::of(chance)), Tree::new(chance));
    Loaded {
        graph,
        tree,
        operations: Vec::new(),
    }
}

/// Operation ids and the greatest lamport at which a change with them begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Named(BTreeMap<Box<[u8]>, u64>);

impl Named {
    pub(super) fn of(operations: Vec<Operation>) -> Self {
        Self(
            operations
                .into_iter()
                .map(|operation| (operation.id, operation.lamport))
                .collect(),
        )
    }

    pub(super) fn knows(&self, id: &[u8]) -> bool {
        self.0.contains_key(id)
    }

    pub(super) fn note(&mut self, change: &Change, lamport: u64) {
        if let Some(id) = &change.header.op {
            let known = self.0.entry(id.clone()).or_default();
            *known = lamport.max(*known);
        }
    }

    /// Those to keep, sorted by id. Which they are depends on no order: the greatest of the
    /// greatest of two parts are the greatest of the whole.
    pub(super) fn newest(self) -> Vec<Operation> {
        let all = self
            .0
            .into_iter()
            .map(|(id, lamport)| Operation { id, lamport });
        let mut all: Vec<Operation> = all.collect();
        if all.len() > OPERATIONS_MAX {
            all.sort_unstable_by(|left, right| {
                (right.lamport, &right.id).cmp(&(left.lamport, &left.id))
            });
            all.truncate(OPERATIONS_MAX);
            all.sort_unstable();
        }
        all
    }
}
