//! A replica of a document in memory: the graph of its changes, the tree of what is live, and the
//! changes as they were signed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::change::Change;
use super::compact::{CompactError, Named, compact};
use super::graph::{Added, Admission, Graph, Head};
use super::pending::Pending;
use super::snapshot::{self, Loaded, SnapshotError};
use super::touched::Touched;
use super::tree::{NodeId, Tree};
use super::{Cid, HashKey, Key};

/// Changes that were verified, in any order.
pub type Changes = Vec<Arc<Change>>;

/// What became of changes that were given to a document.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Changes that are new in the document, with those that had waited for them.
    pub applied: usize,
    /// Operations of those.
    pub operations: usize,
    /// Changes that were here.
    pub known: usize,
    /// Changes that wait for others.
    pub waiting: usize,
    /// Changes that were not taken, with the reason.
    pub refused: Vec<(Cid, String)>,
    pub touched: Touched,
    /// A change that came is one of two after the same change of its replica.
    pub forked: bool,
}

/// A document as one replica has it.
pub struct Document {
    pub(super) graph: Graph,
    pub(super) tree: Tree,
    /// By number in the graph; none for a change of which only a snapshot tells.
    pub(super) changes: Vec<Option<Arc<Change>>>,
    pub(super) pending: Pending<Arc<Change>>,
    pub(super) me: Key,
    pub(super) chance: Arc<[u8]>,
    /// The snapshot that it began with.
    pub(super) base: Option<Arc<[u8]>>,
    pub(super) unsaved: Option<Unsaved>,
    pub(super) names: Named,
    /// Grows when what numbers of lines mean changes.
    pub(super) epoch: u64,
    operations: u64,
    bytes: u64,
    /// Nodes of the paths of the change that is applied.
    nodes: Vec<NodeId>,
}

/// The end of what was signed here and not applied yet.
#[derive(Clone, Debug)]
pub(super) struct Unsaved {
    pub last: Cid,
    pub seq: u32,
    /// What the changes up to it name.
    pub named: Vec<Cid>,
}

impl Document {
    /// An empty one. `me` is the replica that writes here. `chance` is known to nobody else: hash
    /// tables are keyed with it.
    #[must_use]
    pub fn new(doc: [u8; 16], me: Key, chance: &[u8]) -> Self {
        let (graph, tree) = (Graph::new(doc, HashKey::of(chance)), Tree::new(chance));
        Self::of(graph, tree, me, chance)
    }

    pub(super) fn of(graph: Graph, tree: Tree, me: Key, chance: &[u8]) -> Self {
        let changes = vec![None; graph.len()];
        Self {
            graph,
            tree,
            changes,
            pending: Pending::default(),
            me,
            chance: chance.into(),
            base: None,
            unsaved: None,
            names: Named::default(),
            epoch: 0,
            operations: 0,
            bytes: 0,
            nodes: Vec::new(),
        }
    }

    /// As a snapshot has it. What lies below its cut has to be trusted: it is not signed.
    pub fn load(bytes: &[u8], me: Key, chance: &[u8]) -> Result<Self, SnapshotError> {
        let Loaded {
            graph,
            tree,
            operations,
        } = snapshot::load(bytes, chance)?;
        let mut document = Self::of(graph, tree, me, chance);
        document.names = Named::of(operations);
        document.base = Some(bytes.into());
        Ok(document)
    }

    /// The document as this one began: empty, or as its snapshot has it.
    pub(super) fn begin_again(&self) -> Result<Self, SnapshotError> {
        match &self.base {
            Some(base) => Self::load(base, self.me, &self.chance),
            None => Ok(Self::new(*self.doc(), self.me, &self.chance)),
        }
    }

    /// A snapshot of all that is here, whoever makes it and in whatever order it came.
    #[must_use]
    pub fn snapshot(&mut self) -> Vec<u8> {
        self.settle();
        snapshot::write(&self.graph, &self.tree, self.names.clone().newest())
    }

    /// Put a snapshot at a cut in the place of the changes before it, and give it. Nothing that is
    /// read becomes another.
    pub fn compact(&mut self, cut: &[Head]) -> Result<Vec<u8>, CompactError> {
        let context = self.past_of(cut).map_err(|_| CompactError::Cut)?;
        let (below, above): (Vec<u32>, Vec<u32>) = (0..self.changes.len() as u32)
            .filter(|id| self.changes[*id as usize].is_some())
            .partition(|id| self.graph.is_within(*id, &context));
        let held = |id: &u32| self.changes[*id as usize].clone();
        let below: Changes = below.iter().filter_map(held).collect();
        let above: Changes = above.iter().filter_map(held).collect();
        let older = self.base.as_deref();
        let changes = below.iter().map(AsRef::as_ref);
        let bytes = compact(*self.doc(), older, changes, cut, &self.chance)?;
        let mut next = Self::load(&bytes, self.me, &self.chance)?;
        // A change beside the cut that did not see it would be lost.
        if next.apply(&above).applied < above.len() {
            return Err(CompactError::Cut);
        }
        next.pending = std::mem::take(&mut self.pending);
        (next.unsaved, next.epoch) = (self.unsaved.take(), self.epoch + 1);
        *self = next;
        Ok(bytes)
    }

    #[must_use]
    pub fn doc(&self) -> &[u8; 16] {
        self.graph.doc()
    }

    #[must_use]
    pub fn replica(&self) -> &Key {
        &self.me
    }

    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Take in changes whose signatures are good, each behind what it names. Each is applied
    /// wholly or not at all; again is no harm.
    pub fn apply(&mut self, changes: &[Arc<Change>]) -> Outcome {
        let mut outcome = Outcome::default();
        let mut free = VecDeque::new();
        for change in changes {
            free.push_back(Arc::clone(change));
            while let Some(change) = free.pop_front() {
                self.take(change, &mut outcome, &mut free);
            }
        }
        self.settle_unsaved();
        outcome.waiting = self.pending.len().min(outcome.waiting);
        outcome
    }

    fn take(
        &mut self,
        change: Arc<Change>,
        outcome: &mut Outcome,
        free: &mut VecDeque<Arc<Change>>,
    ) {
        let cid = change.header.cid;
        match self.graph.add(&change.header) {
            Ok(Admission::Added(added)) => {
                self.fold(&change, &added, &mut outcome.touched);
                outcome.applied += 1;
                outcome.operations += added.n as usize;
                outcome.forked |= added.fork;
                self.keep(change, added.lamport);
                if !self.pending.is_empty() {
                    free.extend(self.pending.arrived(&cid));
                }
            }
            Ok(Admission::Known | Admission::Below) => outcome.known += 1,
            Ok(Admission::Waits(missing)) => {
                let bytes = change.body.len();
                match self.pending.wait(cid, bytes, change, &missing) {
                    Ok(_) => outcome.waiting += 1,
                    Err(busy) => outcome.refused.push((cid, format!("busy: {busy}"))),
                }
            }
            Err(refusal) => {
                outcome.refused.push((cid, refusal.to_string()));
                for lost in self.pending.refused(&cid) {
                    let why = "it builds on a change that was refused".to_owned();
                    outcome.refused.push((lost.header.cid, why));
                }
            }
        }
    }

    /// Apply the operations of a change that is in the graph.
    fn fold(&mut self, change: &Change, added: &Added, touched: &mut Touched) {
        let nodes = &mut self.nodes;
        self.tree
            .fold(&self.graph, change, added, nodes, |node| touched.note(node));
        touched.end_change(&self.tree);
    }

    fn keep(&mut self, change: Arc<Change>, lamport: u64) {
        self.operations += u64::from(change.header.n);
        self.bytes += change.body.len() as u64;
        self.names.note(&change, lamport);
        self.changes.push(Some(change));
    }

    /// Whether it began with a snapshot.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.base.is_some()
    }

    /// Whether a change here carries this operation id.
    #[must_use]
    pub fn knows_operation(&self, name: &[u8]) -> bool {
        self.names.knows(name)
    }

    /// Bring lists in order before something is read.
    pub fn settle(&mut self) {
        self.tree.settle(&self.graph);
    }

    /// The last change of every line, sorted: several of a replica show that it equivocated.
    #[must_use]
    pub fn heads(&self) -> Vec<Head> {
        self.graph.heads()
    }

    /// The change of a CID, if it is here itself.
    #[must_use]
    pub fn change(&self, cid: &Cid) -> Option<&Arc<Change>> {
        self.changes.get(self.graph.id_of(cid)? as usize)?.as_ref()
    }

    /// Counts: operations, changes and bytes that are here themselves, lines, changes that wait,
    /// nodes of the tree.
    #[must_use]
    pub fn stats(&self) -> [(&'static str, u64); 7] {
        [
            ("operations", self.operations),
            ("changes", self.changes.iter().flatten().count() as u64),
            ("bytes", self.bytes),
            ("lines", self.graph.lines() as u64),
            ("waiting", self.pending.len() as u64),
            ("nodes", self.tree.len() as u64),
            ("tree_bytes", self.tree.bytes() as u64),
        ]
    }

    fn settle_unsaved(&mut self) {
        let arrived = |unsaved: &mut Unsaved| self.graph.knows(&unsaved.last);
        self.unsaved.take_if(arrived);
    }
}
