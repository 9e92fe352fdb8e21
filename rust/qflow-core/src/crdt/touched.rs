//! Which paths operations have changed, within bounds.

use super::tree::{NodeId, Tree};

/// Paths that are told of; beyond, the paths above them.
pub const TOUCHED_MAX: usize = 1_024;
/// Operations of a change whose paths are told one by one.
const SINGLY_MAX: usize = 32;

/// Nodes at or beneath which something has changed.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    nodes: Vec<NodeId>,
    change: Vec<NodeId>,
}

impl Touched {
    #[inline]
    pub(super) fn note(&mut self, node: NodeId) {
        self.change.push(node);
    }

    /// A change of many operations is told of by the paths above theirs, which are few.
    pub(super) fn end_change(&mut self, tree: &Tree) {
        if self.change.len() > SINGLY_MAX {
            self.change
                .iter_mut()
                .for_each(|node| *node = tree.above(*node));
        }
        self.change.dedup();
        self.nodes.append(&mut self.change);
        if self.nodes.len() > TOUCHED_MAX {
            self.once();
            while self.nodes.len() > TOUCHED_MAX / 2 {
                self.nodes
                    .iter_mut()
                    .for_each(|node| *node = tree.above(*node));
                self.once();
            }
        }
    }

    fn once(&mut self) {
        self.nodes.sort_unstable();
        self.nodes.dedup();
    }

    /// The nodes, each once.
    #[must_use]
    pub fn nodes(mut self) -> Vec<NodeId> {
        self.once();
        self.nodes
    }
}

impl Tree {
    /// The node above; of the root itself.
    fn above(&self, node: NodeId) -> NodeId {
        self.parent(node).unwrap_or(NodeId::ROOT)
    }
}
