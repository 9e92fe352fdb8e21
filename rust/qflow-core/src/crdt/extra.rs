//! What most nodes do not need: children, a second item, a counter, a list.

use super::counter::Counter;
use super::list::List;
use super::node::{NONE, Place};
use super::register::Items;
use super::tree::NodeId;

#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// Children that are present.
    pub alive: Vec<NodeId>,
    /// Children in and beneath which only tombs are live.
    pub tombed: Vec<NodeId>,
    /// All register items, marks and tombs of the node, when they are more than one.
    pub items: Option<Box<Items>>,
    pub counter: Option<Box<Counter>>,
    pub list: Option<Box<List>>,
}

impl Extra {
    pub fn children(&self, place: Place) -> &[NodeId] {
        match place {
            Place::Nowhere => &[],
            Place::Alive => &self.alive,
            Place::Tombed => &self.tombed,
        }
    }

    pub fn children_mut(&mut self, place: Place) -> Option<&mut Vec<NodeId>> {
        match place {
            Place::Nowhere => None,
            Place::Alive => Some(&mut self.alive),
            Place::Tombed => Some(&mut self.tombed),
        }
    }

    fn is_empty(&self) -> bool {
        self.alive.is_empty()
            && self.tombed.is_empty()
            && self.items.is_none()
            && self.counter.is_none()
            && self.list.is_none()
    }

    fn bytes(&self) -> usize {
        let children = (self.alive.capacity() + self.tombed.capacity()) * size_of::<NodeId>();
        children
            + self.items.as_ref().map_or(0, |items| items.bytes())
            + self.counter.as_ref().map_or(0, |counter| counter.bytes())
            + self.list.as_ref().map_or(0, |list| list.bytes())
    }
}

/// The extras of a tree, by the number that a node holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    all: Vec<Extra>,
    free: Vec<u32>,
}

impl Extras {
    #[inline]
    pub fn get(&self, at: u32) -> Option<&Extra> {
        self.all.get(at as usize)
    }

    #[inline]
    pub fn get_mut(&mut self, at: u32) -> Option<&mut Extra> {
        self.all.get_mut(at as usize)
    }

    /// The extra of a node, which gets one when it has none.
    pub fn of(&mut self, at: &mut u32) -> &mut Extra {
        if *at == NONE {
            *at = self.free.pop().unwrap_or_else(|| {
                self.all.push(Extra::default());
                self.all.len() as u32 - 1
            });
        }
        &mut self.all[*at as usize]
    }

    /// Takes the extra from a node when nothing is in it.
    pub fn tidy(&mut self, at: &mut u32) {
        if self.get(*at).is_some_and(Extra::is_empty) {
            self.all[*at as usize] = Extra::default();
            self.free.push(std::mem::replace(at, NONE));
        }
    }

    pub fn bytes(&self) -> usize {
        let own =
            self.all.capacity() * size_of::<Extra>() + self.free.capacity() * size_of::<u32>();
        own + self.all.iter().map(Extra::bytes).sum::<usize>()
    }
}
