//! Which of the slots of a path is shown.

use super::Dot;
use super::list::List;
use super::node::{Held, NONE, Place};
use super::past::{Stamps, greater};
use super::register::Items;
use super::tree::{NodeId, Tree};
use super::value::{Value, ValueRef};

/// What a reader sees at a path.
pub(super) enum Shown<'a> {
    Absent,
    Scalar(&'a Value),
    /// A register's integer and what was added since, or a counter alone.
    Sum {
        register: Option<i64>,
        counter: i128,
    },
    /// A register's list and what was appended since, or a list alone.
    List {
        register: Option<&'a [u8]>,
        list: Option<&'a List>,
    },
    Map,
}

/// Of what kind the view of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Absent,
    /// An integer of a register, whatever was added to it.
    Integer,
    /// Increments without a register.
    Counter,
    List,
    Map,
    /// Any other value of a register.
    Scalar,
}

/// The greatest stamp of each live slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots {
    pub register: Option<Dot>,
    pub counter: Option<Dot>,
    pub list: Option<Dot>,
    pub map: Option<Dot>,
}

impl Tree {
    /// Of what kind the view of a node is.
    #[must_use]
    pub fn kind_of<S: Stamps>(&self, node: NodeId, stamps: &S) -> Kind {
        match self.shown(node, stamps) {
            Shown::Absent => Kind::Absent,
            Shown::Sum {
                register: Some(_), ..
            } => Kind::Integer,
            Shown::Sum { register: None, .. } => Kind::Counter,
            Shown::List { .. } => Kind::List,
            Shown::Map => Kind::Map,
            Shown::Scalar(value) => match value.get() {
                ValueRef::Int(_) => Kind::Integer,
                _ => Kind::Scalar,
            },
        }
    }

    /// Whether the path is present: anything but tombs is live there or beneath.
    #[inline]
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.nodes.get(node).place == Place::Alive
    }

    pub(super) fn shown<S: Stamps>(&self, at: NodeId, stamps: &S) -> Shown<'_> {
        let node = self.nodes.get(at);
        let Some(extra) = self.extra(at) else {
            return match node.held {
                Held::Register => alone(&node.value),
                Held::Mark => Shown::Map,
                _ if at == NodeId::ROOT => Shown::Map,
                _ => Shown::Absent,
            };
        };
        let counter = extra.counter.as_deref();
        let list = extra.list.as_deref();
        if at == NodeId::ROOT || self.has_map(at) && self.map_wins(at, stamps) {
            return Shown::Map;
        }
        match (self.winner(at), counter, list) {
            (Some((_, value)), counter, list) => match (value.get(), counter, list) {
                (ValueRef::Int(register), Some(counter), _) => Shown::Sum {
                    register: Some(register),
                    counter: counter.sum(),
                },
                (ValueRef::List(register), _, list) => Shown::List {
                    register: Some(register),
                    list,
                },
                _ => alone(value),
            },
            (None, Some(counter), Some(list)) => {
                let (sum, appended) = (counter.greatest(stamps), list.greatest(stamps));
                if greater(stamps, sum, appended) == sum {
                    Shown::Sum {
                        register: None,
                        counter: counter.sum(),
                    }
                } else {
                    Shown::List {
                        register: None,
                        list: Some(list),
                    }
                }
            }
            (None, Some(counter), None) => Shown::Sum {
                register: None,
                counter: counter.sum(),
            },
            (None, None, Some(list)) => Shown::List {
                register: None,
                list: Some(list),
            },
            (None, None, None) => Shown::Absent,
        }
    }

    /// The register with the greatest stamp.
    pub(super) fn winner(&self, at: NodeId) -> Option<(Dot, &Value)> {
        let node = self.nodes.get(at);
        if node.held == Held::Register {
            return Some((node.dot(), &node.value));
        }
        self.extra(at)?.items.as_ref()?.winner()
    }

    /// How many slots are live.
    pub(super) fn slots(&self, at: NodeId) -> usize {
        let node = self.nodes.get(at);
        let Some(extra) = self.extra(at) else {
            return usize::from(matches!(node.held, Held::Register | Held::Mark));
        };
        usize::from(self.winner(at).is_some())
            + usize::from(extra.counter.is_some())
            + usize::from(extra.list.is_some())
            + usize::from(self.has_map(at))
    }

    /// Whether several registers are live.
    pub(super) fn has_siblings(&self, at: NodeId) -> bool {
        let items = self.extra(at).and_then(|extra| extra.items.as_ref());
        items.is_some_and(|items| items.registers.len() > 1)
    }

    pub(super) fn has_map(&self, at: NodeId) -> bool {
        let extra = self.extra(at);
        let marked = |items: &Items| !items.marks.is_empty();
        self.nodes.get(at).held == Held::Mark
            || extra.is_some_and(|extra| {
                !extra.alive.is_empty() || extra.items.as_deref().is_some_and(marked)
            })
    }

    /// Whether the map has the greatest stamp of the slots that stand beside each other.
    fn map_wins<S: Stamps>(&self, at: NodeId, stamps: &S) -> bool {
        let register = self.winner(at).map(|(dot, _)| dot);
        let other = register.or_else(|| {
            let counter = self.counter_stamp(at, stamps);
            greater(stamps, counter, self.list_stamp(at, stamps))
        });
        let Some(other) = other else { return true };
        let mark = self.greatest_mark(at, stamps);
        mark.is_some_and(|mark| stamps.cmp(mark, other).is_gt())
            || self.has_greater_beneath(at, other, stamps)
    }

    /// Whether something live beneath, tombs apart, has a greater stamp. What was written last is
    /// looked at first.
    fn has_greater_beneath<S: Stamps>(&self, at: NodeId, than: Dot, stamps: &S) -> bool {
        self.children(at, Place::Alive).iter().rev().any(|child| {
            let own = self.greatest_own(*child, stamps);
            own.is_some_and(|own| stamps.cmp(own, than).is_gt())
                || self.has_greater_beneath(*child, than, stamps)
        })
    }

    pub(super) fn slot_stamps<S: Stamps>(&self, at: NodeId, stamps: &S) -> Slots {
        let beneath = self.children(at, Place::Alive).iter();
        Slots {
            register: self.winner(at).map(|(dot, _)| dot),
            counter: self.counter_stamp(at, stamps),
            list: self.list_stamp(at, stamps),
            map: beneath
                .map(|child| self.greatest(*child, stamps))
                .fold(self.greatest_mark(at, stamps), |most, dot| {
                    greater(stamps, most, dot)
                }),
        }
    }

    /// The greatest stamp of what is live in and beneath the node, tombs apart. Walks all of it.
    pub(super) fn greatest<S: Stamps>(&self, at: NodeId, stamps: &S) -> Option<Dot> {
        let beneath = self.children(at, Place::Alive).iter();
        beneath
            .map(|child| self.greatest(*child, stamps))
            .fold(self.greatest_own(at, stamps), |most, dot| {
                greater(stamps, most, dot)
            })
    }

    /// The greatest stamp of what is live at the node itself, tombs apart.
    fn greatest_own<S: Stamps>(&self, at: NodeId, stamps: &S) -> Option<Dot> {
        let node = self.nodes.get(at);
        if node.extra == NONE {
            return matches!(node.held, Held::Register | Held::Mark).then(|| node.dot());
        }
        let register = self.winner(at).map(|(dot, _)| dot);
        let marked = greater(stamps, register, self.greatest_mark(at, stamps));
        let counter = self.counter_stamp(at, stamps);
        let appended = greater(stamps, counter, self.list_stamp(at, stamps));
        greater(stamps, marked, appended)
    }

    fn counter_stamp<S: Stamps>(&self, at: NodeId, stamps: &S) -> Option<Dot> {
        self.extra(at)?.counter.as_ref()?.greatest(stamps)
    }

    fn list_stamp<S: Stamps>(&self, at: NodeId, stamps: &S) -> Option<Dot> {
        self.extra(at)?.list.as_ref()?.greatest(stamps)
    }

    pub(super) fn greatest_mark<S: Stamps>(&self, at: NodeId, stamps: &S) -> Option<Dot> {
        let node = self.nodes.get(at);
        if node.held == Held::Mark {
            return Some(node.dot());
        }
        let items = self.extra(at)?.items.as_ref()?;
        items
            .mark_dots()
            .fold(None, |most, dot| greater(stamps, most, Some(dot)))
    }
}

fn alone(value: &Value) -> Shown<'_> {
    match value.get() {
        ValueRef::List(register) => Shown::List {
            register: Some(register),
            list: None,
        },
        _ => Shown::Scalar(value),
    }
}
