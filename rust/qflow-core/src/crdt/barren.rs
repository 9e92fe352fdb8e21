//! Subtrees through which clears walk in vain.
//!
//! An operation that clears a path has to clear what it saw beneath, and where it saw little of
//! much that is there it walks for nothing. So that nobody can have everybody walk again and
//! again, such a walk leaves behind what the next one has to have seen to find anything.

use hashbrown::HashTable;

use super::Dot;
use super::by_line::{ByLine, mix};
use super::extra::Extra;
use super::node::{Held, Place};
use super::past::Past;
use super::tree::{NodeId, Tree};

/// Walks that visit fewer nodes are not worth remembering. In the tests all trees are small.
const VISITED_MIN: usize = if cfg!(test) { 2 } else { 64 };
/// Nor are those that clear something at one of so many nodes.
const VAIN: usize = if cfg!(test) { 1 } else { 4 };

/// What a walk did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    pub visited: usize,
    pub cleared: usize,
}

impl Walk {
    fn was_in_vain(&self) -> bool {
        self.visited >= VISITED_MIN && self.cleared * VAIN < self.visited
    }
}

#[derive(Clone, Debug)]
struct Subtree {
    top: NodeId,
    /// Of each line with something live beneath: none of it has a lesser sequence number.
    least: ByLine<u32>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Barren(HashTable<Subtree>);

impl Barren {
    /// Whether what is beneath the node is known, and none of it was seen.
    fn has_nothing_for<P: Past>(&self, top: NodeId, past: &P) -> bool {
        let subtree = self.0.find(mix(top.0), |subtree| subtree.top == top);
        subtree.is_some_and(|subtree| !subtree.least.any_seen(past, |least, seen| *least < seen))
    }

    fn forget(&mut self, top: NodeId) {
        if let Ok(entry) = self.0.find_entry(mix(top.0), |subtree| subtree.top == top) {
            entry.remove();
        }
    }

    fn remember(&mut self, top: NodeId, least: ByLine<u32>) {
        self.forget(top);
        let subtree = Subtree { top, least };
        self.0
            .insert_unique(mix(top.0), subtree, |subtree| mix(subtree.top.0));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&self) -> usize {
        let rows: usize = self.0.iter().map(|subtree| subtree.least.bytes()).sum();
        self.0.allocation_size() + rows
    }
}

impl Tree {
    pub(super) fn walks_in_vain<P: Past>(&self, top: NodeId, past: &P) -> bool {
        !self.barren.is_empty() && self.barren.has_nothing_for(top, past)
    }

    /// Remembers a walk that was in vain, and forgets the node after one that was not.
    pub(super) fn learn(&mut self, top: NodeId, walk: Walk) {
        if walk.was_in_vain() {
            let least = self.least_beneath(top);
            self.barren.remember(top, least);
        } else if !self.barren.is_empty() {
            self.barren.forget(top);
        }
    }

    /// Tells the subtrees around a node of an operation at it. Later ones of its line have greater
    /// numbers, so of each line only the first has to be told.
    pub(super) fn tell_barren(&mut self, from: NodeId, dot: Dot) {
        let mut at = from;
        while let Some(above) = self.parent(at) {
            let found = self
                .barren
                .0
                .find_mut(mix(above.0), |subtree| subtree.top == above);
            if let Some(subtree) = found
                && subtree.least.get(dot.line).is_none()
            {
                subtree.least.put(dot.line, dot.seq);
            }
            at = above;
        }
    }

    fn least_beneath(&self, top: NodeId) -> ByLine<u32> {
        let mut least: ByLine<u32> = ByLine::default();
        let mut open = vec![top];
        while let Some(node) = open.pop() {
            for place in [Place::Alive, Place::Tombed] {
                open.extend(self.children(node, place));
            }
            if node != top {
                self.each_dot(node, |dot| match least.get_mut(dot.line) {
                    Some(seq) => *seq = dot.seq.min(*seq),
                    None => least.put(dot.line, dot.seq),
                });
            }
        }
        least
    }

    /// Shows of everything that is live at a node the least of each line.
    fn each_dot(&self, at: NodeId, mut show: impl FnMut(Dot)) {
        let node = self.nodes.get(at);
        if node.held != Held::Nothing {
            show(node.dot());
        }
        let Some(Extra {
            items,
            counter,
            list,
            ..
        }) = self.extra(at)
        else {
            return;
        };
        if let Some(items) = items {
            let others = items.mark_dots().chain(items.tomb_dots());
            items.register_dots().chain(others).for_each(&mut show);
        }
        counter
            .iter()
            .flat_map(|counter| counter.firsts())
            .for_each(&mut show);
        list.iter()
            .flat_map(|list| list.firsts())
            .for_each(&mut show);
    }
}
