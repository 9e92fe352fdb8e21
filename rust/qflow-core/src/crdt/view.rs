//! What a reader sees: a walk that makes Python objects or bytes directly, with no tree between.

use std::cmp::Ordering;
use std::convert::Infallible;

use super::list::List;
use super::node::Place;
use super::past::Stamps;
use super::shown::Shown;
use super::tree::{NodeId, Tree};
use super::value::{Elements, ValueRef};
use crate::encoding::Writer;

/// Is told what a view consists of, in order; members of a map by the canonical order of keys.
pub trait Visitor {
    type Error;

    /// A value of a register that is no list, or an element of a list.
    fn value(&mut self, value: ValueRef<'_>) -> Result<(), Self::Error>;
    /// A sum, which may need more than 64 bits.
    fn sum(&mut self, sum: i128) -> Result<(), Self::Error>;
    /// So many elements follow, then [`Visitor::leave_list`].
    fn enter_list(&mut self, len: usize) -> Result<(), Self::Error>;
    fn leave_list(&mut self) -> Result<(), Self::Error>;
    /// So many members follow, each a key and what it stands for, then [`Visitor::leave_map`].
    fn enter_map(&mut self, len: usize) -> Result<(), Self::Error>;
    fn key(&mut self, key: &str) -> Result<(), Self::Error>;
    fn leave_map(&mut self) -> Result<(), Self::Error>;
}

impl Tree {
    /// Shows the view of a node. Nothing is shown, and the answer is false, when it is absent.
    pub fn view<S: Stamps, V: Visitor>(
        &self,
        node: NodeId,
        stamps: &S,
        visitor: &mut V,
    ) -> Result<bool, V::Error> {
        match self.shown(node, stamps) {
            Shown::Absent => return Ok(false),
            Shown::Scalar(value) => visitor.value(value.get())?,
            Shown::Sum { register, counter } => {
                visitor.sum(i128::from(register.unwrap_or(0)) + counter)?;
            }
            Shown::List { register, list } => {
                let literal = register.map(Elements::of_checked);
                let len = literal.as_ref().map_or(0, ExactSizeIterator::len);
                visitor.enter_list(len + list.map_or(0, List::len))?;
                literal
                    .into_iter()
                    .flatten()
                    .try_for_each(|element| visitor.value(element))?;
                if let Some(list) = list {
                    list.each(stamps, |mut elements| {
                        elements.try_for_each(|element| visitor.value(element))
                    })?;
                }
                visitor.leave_list()?;
            }
            Shown::Map => {
                let members = self.members(node);
                visitor.enter_map(members.len())?;
                for member in members {
                    visitor.key(self.nodes.name(member))?;
                    self.view(member, stamps, visitor)?;
                }
                visitor.leave_map()?;
            }
        }
        Ok(true)
    }

    /// The view of a node as canonical DAG-CBOR, appended to `out`; false when it is absent.
    ///
    /// A sum that DAG-CBOR has no integer for is 16 bytes, big-endian, in two's complement.
    pub fn encode<S: Stamps>(&self, node: NodeId, stamps: &S, out: &mut Writer) -> bool {
        let Ok(present) = self.view(node, stamps, &mut Encoding(out));
        present
    }

    /// The children of a node that are present, by the canonical order of keys.
    #[must_use]
    pub fn members(&self, node: NodeId) -> Vec<NodeId> {
        self.sorted(self.children(node, Place::Alive).iter().copied())
    }

    pub(super) fn sorted(&self, nodes: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        let mut ranked: Vec<(u128, NodeId)> =
            nodes.map(|node| (self.nodes.rank(node), node)).collect();
        ranked.sort_unstable_by(|left, right| {
            left.0.cmp(&right.0).then_with(|| match left.1 == right.1 {
                true => Ordering::Equal,
                false => self.nodes.name(left.1).cmp(self.nodes.name(right.1)),
            })
        });
        ranked.into_iter().map(|(_, node)| node).collect()
    }
}

struct Encoding<'a>(&'a mut Writer);

impl Visitor for Encoding<'_> {
    type Error = Infallible;

    fn value(&mut self, value: ValueRef<'_>) -> Result<(), Infallible> {
        value.write(self.0);
        Ok(())
    }

    fn sum(&mut self, sum: i128) -> Result<(), Infallible> {
        match (u64::try_from(sum), u64::try_from(-1 - sum)) {
            (Ok(sum), _) => self.0.unsigned(sum),
            (_, Ok(below)) => self.0.negative(below),
            _ => self.0.bytes(&sum.to_be_bytes()),
        }
        Ok(())
    }

    fn enter_list(&mut self, len: usize) -> Result<(), Infallible> {
        self.0.array(len);
        Ok(())
    }

    fn leave_list(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn enter_map(&mut self, len: usize) -> Result<(), Infallible> {
        self.0.map(len);
        Ok(())
    }

    fn key(&mut self, key: &str) -> Result<(), Infallible> {
        self.0.text(key);
        Ok(())
    }

    fn leave_map(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
