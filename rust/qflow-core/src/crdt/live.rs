//! What operations add to a tree and what they clear.

use super::Dot;
use super::barren::Walk;
use super::extra::Extra;
use super::node::{Held, NONE, Place};
use super::past::{Past, Stamps};
use super::register::{Cleared, Items};
use super::tree::{NodeId, Tree};
use super::value::{Elements, Value, ValueRef};

impl Tree {
    /// Clears what the operation saw at the node and beneath it, then adds its item.
    #[inline]
    pub(super) fn replace<P: Past, S: Stamps>(
        &mut self,
        at: NodeId,
        held: Held,
        dot: Dot,
        value: Value,
        past: &P,
        stamps: &S,
    ) {
        let node = self.nodes.get_mut(at);
        let before = node.held;
        if node.extra == NONE && (before == Held::Nothing || past.covers(node.dot())) {
            node.hold(held, dot, value);
            self.tombs += usize::from(held == Held::Tomb);
            self.tombs -= usize::from(before == Held::Tomb);
            if before != held {
                self.refresh(at, stamps);
            }
            return;
        }
        self.clear_own(at, past);
        if !self.walks_in_vain(at, past) {
            let mut walk = Walk::default();
            self.clear_beneath(at, past, stamps, &mut walk);
            self.learn(at, walk);
        }
        self.hold(at, held, dot, value, stamps);
        self.refresh(at, stamps);
    }

    /// Adds a map mark. It takes the place of the marks that it saw: who clears it clears them,
    /// and their stamps are less.
    pub(super) fn mark<P: Past, S: Stamps>(&mut self, at: NodeId, dot: Dot, past: &P, stamps: &S) {
        let node = self.nodes.get_mut(at);
        if node.held == Held::Mark && past.covers(node.dot()) {
            node.release();
        }
        if let Some(items) = self.items_mut(at) {
            items.clear_marks(past);
        }
        self.hold(at, Held::Mark, dot, Value::of(ValueRef::Null), stamps);
        self.refresh(at, stamps);
    }

    pub(super) fn increment<S: Stamps>(&mut self, at: NodeId, dot: Dot, by: i64, stamps: &S) {
        let counter = &mut self.extra_mut(at).counter;
        if let Some(counter) = counter.as_mut() {
            counter.add(dot, by);
            return;
        }
        counter.insert(Box::default()).add(dot, by);
        self.refresh(at, stamps);
    }

    pub(super) fn append<P: Past, S: Stamps>(
        &mut self,
        at: NodeId,
        dot: Dot,
        elements: &Elements<'_>,
        past: &P,
        stamps: &S,
    ) {
        let list = &mut self.extra_mut(at).list;
        let new = list.is_none();
        let list = list.get_or_insert_default();
        let settled = list.is_sorted();
        list.add(dot, elements, past);
        if settled && !list.is_sorted() {
            self.unsettled.push(at);
        }
        if new {
            self.refresh(at, stamps);
        }
    }

    /// Clears the tombs that the operation saw at the node and above it.
    pub(super) fn clear_tombs_above<P: Past, S: Stamps>(
        &mut self,
        from: NodeId,
        past: &P,
        stamps: &S,
    ) {
        let mut id = from.0;
        while id != NONE {
            let at = NodeId(id);
            if self.clear_tombs(at, past) {
                self.refresh(at, stamps);
            }
            id = self.nodes.get(at).parent;
        }
    }

    fn clear_tombs<P: Past>(&mut self, at: NodeId, past: &P) -> bool {
        let node = self.nodes.get_mut(at);
        let mut gone = 0;
        if node.held == Held::Tomb && past.covers(node.dot()) {
            node.release();
            gone = 1;
        } else if let Some(items) = self.items_mut(at) {
            gone = items.clear_tombs(past);
        }
        self.tombs -= gone;
        gone > 0
    }

    /// Clears what was seen at the node itself; whether there was anything.
    fn clear_own<P: Past>(&mut self, at: NodeId, past: &P) -> bool {
        let node = self.nodes.get_mut(at);
        let mut cleared = Cleared::default();
        if node.held != Held::Nothing && past.covers(node.dot()) {
            cleared.tombs = usize::from(node.held == Held::Tomb);
            cleared.any = true;
            node.release();
        }
        if let Some(extra) = self.extras.get_mut(node.extra) {
            if let Some(items) = &mut extra.items {
                cleared = items.clear(past);
            }
            if let Some(counter) = &mut extra.counter {
                cleared.any |= counter.clear(past);
            }
            if let Some(list) = &mut extra.list {
                cleared.any |= list.clear(past);
            }
            extra.counter.take_if(|counter| counter.is_empty());
            extra.list.take_if(|list| list.is_empty());
        }
        self.tombs -= cleared.tombs;
        cleared.any
    }

    /// Clears what was seen beneath the node, which has to be placed anew then.
    fn clear_beneath<P: Past, S: Stamps>(
        &mut self,
        at: NodeId,
        past: &P,
        stamps: &S,
        walk: &mut Walk,
    ) -> bool {
        let mut any = false;
        // A child may go from the present ones to those with tombs, never back.
        for place in [Place::Tombed, Place::Alive] {
            // From the end: whatever takes the place of a child that goes was visited before.
            for index in (0..self.children(at, place).len()).rev() {
                let child = self.children(at, place)[index];
                let own = self.clear_own(child, past);
                walk.visited += 1;
                walk.cleared += usize::from(own);
                if self.clear_beneath(child, past, stamps, walk) | own {
                    self.place(child, stamps);
                    any = true;
                }
            }
        }
        any
    }

    /// Adds an item after what it clears is gone.
    pub(super) fn hold<S: Stamps>(
        &mut self,
        at: NodeId,
        held: Held,
        dot: Dot,
        value: Value,
        stamps: &S,
    ) {
        self.tombs += usize::from(held == Held::Tomb);
        let node = self.nodes.get_mut(at);
        let boxed = self
            .extras
            .get(node.extra)
            .is_some_and(|extra| extra.items.is_some());
        if !boxed && node.held == Held::Nothing {
            node.hold(held, dot, value);
            return;
        }
        let (other, other_dot, other_value) = node.release();
        let items = self.extra_mut(at).items.get_or_insert_default();
        add(items, other, other_dot, other_value, stamps);
        add(items, held, dot, value, stamps);
    }

    /// Places the node, and those above it as far as that changes anything.
    pub(super) fn refresh<S: Stamps>(&mut self, from: NodeId, stamps: &S) {
        let mut at = from;
        while self.place(at, stamps) {
            at = NodeId(self.nodes.get(at).parent);
        }
    }

    /// Puts the node among the children of its parent where it belongs by what is live in and
    /// beneath it; whether that is another place than before.
    fn place<S: Stamps>(&mut self, at: NodeId, stamps: &S) -> bool {
        if self.nodes.get(at).extra != NONE {
            self.tidy(at, stamps);
        }
        let (alive, tombs, tombs_beneath) = self.liveness(at);
        let to = match (alive, tombs || tombs_beneath) {
            (true, _) => Place::Alive,
            (false, true) => Place::Tombed,
            (false, false) => Place::Nowhere,
        };
        let suspect = alive && (tombs || self.slots(at) > 1 || self.has_siblings(at));
        let node = self.nodes.get_mut(at);
        if std::mem::replace(&mut node.suspect, suspect) != suspect {
            if suspect {
                self.suspects.insert(at);
            } else {
                self.suspects.remove(at);
            }
        }
        let from = std::mem::replace(&mut self.nodes.get_mut(at).place, to);
        if from == to || at == NodeId::ROOT {
            return false;
        }
        self.leave(at, from);
        self.enter(at, to);
        true
    }

    fn leave(&mut self, child: NodeId, from: Place) {
        let &super::node::Node { parent, at, .. } = self.nodes.get(child);
        let extra = self.nodes.get(NodeId(parent)).extra;
        let extra = self.extras.get_mut(extra);
        let Some(children) = extra.and_then(|extra| extra.children_mut(from)) else {
            return;
        };
        children.swap_remove(at as usize);
        if let Some(moved) = children.get(at as usize) {
            self.nodes.get_mut(*moved).at = at;
        }
    }

    fn enter(&mut self, child: NodeId, to: Place) {
        let parent = NodeId(self.nodes.get(child).parent);
        if let Some(children) = self.extra_mut(parent).children_mut(to) {
            children.push(child);
            self.nodes.get_mut(child).at = children.len() as u32 - 1;
        }
    }

    /// Whether anything but tombs is live in the node or beneath it, whether tombs are in it, and
    /// whether only tombs are in some child.
    fn liveness(&self, at: NodeId) -> (bool, bool, bool) {
        let node = self.nodes.get(at);
        let mut alive = matches!(node.held, Held::Register | Held::Mark);
        let mut tombs = node.held == Held::Tomb;
        let Some(extra) = self.extras.get(node.extra) else {
            return (alive, tombs, false);
        };
        alive |= !extra.alive.is_empty() || extra.counter.is_some() || extra.list.is_some();
        if let Some(items) = &extra.items {
            tombs |= !items.tombs.is_empty();
            alive |= !items.registers.is_empty() || !items.marks.is_empty();
        }
        (alive, tombs, !extra.tombed.is_empty())
    }

    /// Gives back what the node does not need any more.
    fn tidy<S: Stamps>(&mut self, at: NodeId, stamps: &S) {
        let node = self.nodes.get_mut(at);
        let Some(Extra { items, .. }) = self.extras.get_mut(node.extra) else {
            return;
        };
        if let Some(some) = items {
            some.elect(stamps);
            if let Some((held, dot, value)) = some.only() {
                node.hold(held, dot, value);
            }
        }
        items.take_if(|items| items.len() == 0);
        self.extras.tidy(&mut node.extra);
    }

    pub(super) fn extra_mut(&mut self, at: NodeId) -> &mut Extra {
        self.extras.of(&mut self.nodes.get_mut(at).extra)
    }

    pub(super) fn extra(&self, at: NodeId) -> Option<&Extra> {
        self.extras.get(self.nodes.get(at).extra)
    }

    pub(super) fn children(&self, at: NodeId, place: Place) -> &[NodeId] {
        self.extra(at).map_or(&[], |extra| extra.children(place))
    }

    fn items_mut(&mut self, at: NodeId) -> Option<&mut Items> {
        let extra = self.nodes.get(at).extra;
        self.extras.get_mut(extra)?.items.as_deref_mut()
    }
}

fn add<S: Stamps>(items: &mut Items, held: Held, dot: Dot, value: Value, stamps: &S) {
    if held != Held::Nothing && stamps.is_below_cut(dot) {
        items.mark_loaded();
    }
    match held {
        Held::Nothing => {}
        Held::Register => items.add_register(dot, value, stamps),
        Held::Mark => items.marks.put(dot.line, dot.seq),
        Held::Tomb => items.tombs.put(dot.line, dot.seq),
    }
}
