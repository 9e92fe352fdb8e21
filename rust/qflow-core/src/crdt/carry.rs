//! What is live at a node, taken out for a snapshot and put in from one.

use super::Dot;
use super::counter::Counter;
use super::list::List;
use super::node::Held;
use super::past::Stamps;
use super::tree::{NodeId, Tree};
use super::value::{Elements, Value, ValueRef};

/// What a snapshot has to keep of one path, given that every later operation saw all of it. The
/// same for every order in which the operations came.
///
/// Of marks, increments and appends only the greatest stamp can still matter, and of increments
/// and appends the one that is in conflict with the register. Tombs matter only while something
/// is live at the path or beneath it.
#[derive(Clone, Debug, Default)]
pub struct Items<'a> {
    /// By stamp.
    pub registers: Vec<(Dot, ValueRef<'a>)>,
    /// The mark with the greatest stamp.
    pub mark: Option<Dot>,
    /// By stamp.
    pub tombs: Vec<Dot>,
    pub counter: Option<CounterItem>,
    pub list: Option<ListItem<'a>>,
}

/// A counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterItem {
    pub sum: i128,
    /// The increment with the greatest stamp.
    pub greatest: Dot,
    /// The first increment that did not see the register that wins, where that is an integer.
    pub blind: Option<Dot>,
}

/// A list.
#[derive(Clone, Debug)]
pub struct ListItem<'a> {
    /// The values of each append, by stamp.
    pub appends: Vec<Elements<'a>>,
    pub greatest: Dot,
    /// The first append that did not see the register that wins, where that is a list.
    pub blind: Option<Dot>,
}

impl Items<'_> {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty()
            && self.mark.is_none()
            && self.tombs.is_empty()
            && self.counter.is_none()
            && self.list.is_none()
    }
}

/// A live value of a path, beside others that are concurrent with it.
#[derive(Clone, Copy, Debug)]
pub enum Sibling<'a> {
    Register(ValueRef<'a>),
    /// The sum of the live increments.
    Counter(i128),
    /// A list of appended elements: [`Tree::appended`].
    List,
    Map,
}

impl Tree {
    /// Shows every node with something to keep: those above before those beneath, members by the
    /// canonical order of keys.
    pub fn each_node<E>(&self, mut show: impl FnMut(NodeId) -> Result<(), E>) -> Result<(), E> {
        let mut open = vec![NodeId::ROOT];
        while let Some(node) = open.pop() {
            if self.is_alive(node) {
                show(node)?;
                open.extend(self.members(node).into_iter().rev());
            }
        }
        Ok(())
    }

    /// What is live at a node.
    #[must_use]
    pub fn items<S: Stamps>(&self, node: NodeId, stamps: &S) -> Items<'_> {
        if !self.is_alive(node) {
            return Items::default();
        }
        let mut tombs = self.tomb_dots(node);
        tombs.sort_unstable_by(|left, right| stamps.cmp(*left, *right));
        Items {
            registers: self.registers(node, stamps),
            mark: self.greatest_mark(node, stamps),
            tombs,
            counter: self.counter_item(node, stamps),
            list: self.list_item(node, stamps),
        }
    }

    /// The live registers of a node, by stamp: the last one wins.
    #[must_use]
    pub fn registers<S: Stamps>(&self, node: NodeId, stamps: &S) -> Vec<(Dot, ValueRef<'_>)> {
        let held = self.nodes.get(node);
        if held.held == Held::Register {
            return vec![(held.dot(), held.value.get())];
        }
        let Some(items) = self.extra(node).and_then(|extra| extra.items.as_deref()) else {
            return Vec::new();
        };
        let values = items.registers.iter().map(|(_, row)| row.value.get());
        let mut registers: Vec<_> = items.register_dots().zip(values).collect();
        registers.sort_unstable_by(|left, right| stamps.cmp(left.0, right.0));
        registers
    }

    /// Everything that is live at a node, by stamp, the greatest first. Of counter, list and map
    /// the stamp is the greatest in them.
    #[must_use]
    pub fn siblings<S: Stamps>(&self, node: NodeId, stamps: &S) -> Vec<(Dot, Sibling<'_>)> {
        let registers = self.registers(node, stamps).into_iter();
        let mut all: Vec<(Dot, Sibling<'_>)> = registers
            .map(|(dot, value)| (dot, Sibling::Register(value)))
            .collect();
        let slots = self.slot_stamps(node, stamps);
        let counter = self.extra(node).and_then(|extra| extra.counter.as_ref());
        let sum = counter.map_or(0, |counter| counter.sum());
        all.extend(slots.counter.map(|dot| (dot, Sibling::Counter(sum))));
        all.extend(slots.list.map(|dot| (dot, Sibling::List)));
        all.extend(slots.map.map(|dot| (dot, Sibling::Map)));
        all.sort_by(|left, right| stamps.cmp(right.0, left.0));
        all
    }

    /// Shows the values of each live append of a node, by stamp.
    pub fn appended<S: Stamps, E>(
        &self,
        node: NodeId,
        stamps: &S,
        show: impl FnMut(Elements<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.extra(node).and_then(|extra| extra.list.as_deref()) {
            Some(list) => list.each(stamps, show),
            None => Ok(()),
        }
    }

    fn counter_item<S: Stamps>(&self, node: NodeId, stamps: &S) -> Option<CounterItem> {
        let counter = self.extra(node)?.counter.as_ref()?;
        Some(CounterItem {
            sum: counter.sum(),
            greatest: counter.greatest(stamps)?,
            blind: self.blind_increment(node, stamps).pop(),
        })
    }

    fn list_item<S: Stamps>(&self, node: NodeId, stamps: &S) -> Option<ListItem<'_>> {
        let list = self.extra(node)?.list.as_ref()?;
        Some(ListItem {
            appends: list.appends(stamps),
            greatest: list.greatest(stamps)?,
            blind: self.blind_append(node, stamps).pop(),
        })
    }

    /// Puts the items of a snapshot at a node that has none. `stamps` has to know already what
    /// lies below the cut, and every operation that is applied afterwards has to have seen that.
    pub fn put_items<S: Stamps>(&mut self, node: NodeId, items: &Items<'_>, stamps: &S) {
        for (dot, value) in &items.registers {
            self.hold(node, Held::Register, *dot, Value::of(*value), stamps);
        }
        let null = || Value::of(ValueRef::Null);
        if let Some(dot) = items.mark {
            self.hold(node, Held::Mark, dot, null(), stamps);
        }
        for dot in &items.tombs {
            self.hold(node, Held::Tomb, *dot, null(), stamps);
        }
        if let Some(CounterItem {
            sum,
            greatest,
            blind,
        }) = items.counter
        {
            let counter = Counter::loaded(sum, greatest, blind);
            self.extra_mut(node).counter = Some(Box::new(counter));
        }
        if let Some(ListItem {
            appends,
            greatest,
            blind,
        }) = &items.list
        {
            let list = List::loaded(*greatest, *blind, appends);
            self.extra_mut(node).list = Some(Box::new(list));
        }
        self.refresh(node, stamps);
    }
}
