//! The tree of a document: what is live at every path after the operations that were applied.
//!
//! Operations come in causal order, so whatever an operation saw is here before it. What is live
//! then is the same whatever the order (docs/decisions/0026).

use super::Dot;
use super::barren::Barren;
use super::change::{Action, Change};
use super::context::Seen;
use super::extra::Extras;
use super::graph::{Added, Graph};
use super::names::NameHash;
use super::node::{Held, Nodes};
use super::past::{Past, Stamps};
use super::suspects::Suspects;
use super::value::{Value, ValueRef};

/// A path within one tree, for as long as the tree lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    pub const ROOT: Self = Self(0);

    /// Dense from 0, which is the root.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Everything that is live in a document.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(super) nodes: Nodes,
    pub(super) extras: Extras,
    pub(super) suspects: Suspects,
    /// Live tombs: while there are none, nobody looks for them.
    pub(super) tombs: usize,
    /// Lists that are not in order.
    pub(super) unsettled: Vec<NodeId>,
    pub(super) barren: Barren,
}

impl Tree {
    /// An empty one. `chance` is a secret of this process: names are hashed with it, and whoever
    /// does not know it cannot make names that collide.
    #[must_use]
    pub fn new(chance: &[u8]) -> Self {
        Self {
            nodes: Nodes::new(NameHash::of(chance)),
            extras: Extras::default(),
            suspects: Suspects::default(),
            tombs: 0,
            unsettled: Vec::new(),
            barren: Barren::default(),
        }
    }

    /// The node of a part beneath another; made when it is not there. Makes nothing live.
    #[inline]
    pub fn intern(&mut self, parent: NodeId, part: &str) -> NodeId {
        self.nodes.intern(parent, part)
    }

    /// The node of a part beneath another, if it was ever made.
    #[must_use]
    pub fn child(&self, parent: NodeId, part: &str) -> Option<NodeId> {
        self.nodes.find(parent, part)
    }

    /// The node of a path, if it was ever made.
    #[must_use]
    pub fn find<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Option<NodeId> {
        let mut parts = parts.into_iter();
        parts.try_fold(NodeId::ROOT, |node, part| self.child(node, part))
    }

    /// The parts of a node's path.
    #[must_use]
    pub fn parts(&self, node: NodeId) -> Vec<&str> {
        let mut parts = Vec::new();
        let mut at = node;
        while let Some(above) = self.parent(at) {
            parts.push(self.nodes.name(at));
            at = above;
        }
        parts.reverse();
        parts
    }

    /// The node above; none is above the root.
    #[must_use]
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        (node != NodeId::ROOT).then(|| NodeId(self.nodes.get(node).parent))
    }

    /// Nodes that were made, the root among them; they are never freed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing is live in it but tombs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_alive(NodeId::ROOT)
    }

    /// Bytes it holds, but for values of their own on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.nodes.bytes() + self.extras.bytes() + self.suspects.bytes() + self.barren.bytes()
    }

    /// Applies one operation. `past` is what it saw, all of which was applied before.
    #[inline]
    pub fn apply<P: Past, S: Stamps>(
        &mut self,
        node: NodeId,
        dot: Dot,
        action: &Action<'_>,
        past: &P,
        stamps: &S,
    ) {
        match action {
            Action::Set(value) => {
                self.replace(node, Held::Register, dot, Value::of(*value), past, stamps);
            }
            Action::SetMap => self.replace(node, Held::Mark, dot, null(), past, stamps),
            Action::Delete => self.replace(node, Held::Tomb, dot, null(), past, stamps),
            Action::Map => self.mark(node, dot, past, stamps),
            Action::Increment(by) => self.increment(node, dot, *by, stamps),
            Action::Append(elements) => self.append(node, dot, elements, past, stamps),
        }
        if self.tombs > 0 {
            self.clear_tombs_above(node, past, stamps);
        }
        if !self.barren.is_empty() {
            self.tell_barren(node, dot);
        }
    }

    /// Applies the operations of a change that was just added to the graph, and shows where each
    /// was. `nodes` is room for the nodes of its paths.
    #[inline]
    pub(super) fn fold(
        &mut self,
        graph: &Graph,
        change: &Change,
        added: &Added,
        nodes: &mut Vec<NodeId>,
        mut show: impl FnMut(NodeId),
    ) {
        nodes.clear();
        nodes.push(NodeId::ROOT);
        for (parent, part) in change.paths() {
            nodes.push(self.intern(nodes[parent as usize], part));
        }
        let context = graph.context(added.line);
        for (seq, (path, action)) in (added.first..).zip(change.ops()) {
            let dot = Dot {
                line: added.line,
                seq,
            };
            let node = nodes[path as usize];
            self.apply(node, dot, &action, &Seen { context, dot }, graph);
            show(node);
        }
    }

    /// Brings lists in order, so that reads find them so. Changes nothing that can be read.
    pub fn settle<S: Stamps>(&mut self, stamps: &S) {
        for node in std::mem::take(&mut self.unsettled) {
            let extra = self.nodes.get(node).extra;
            let extra = self.extras.get_mut(extra);
            if let Some(list) = extra.and_then(|extra| extra.list.as_deref_mut()) {
                list.settle(stamps);
            }
        }
    }
}

fn null() -> Value {
    Value::of(ValueRef::Null)
}

#[cfg(test)]
mod tests;
