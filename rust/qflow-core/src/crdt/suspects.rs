//! The nodes at which there may be a conflict.

use hashbrown::HashTable;

use super::by_line::mix;
use super::tree::NodeId;

/// Kept while operations are applied, so that nobody has to look for conflicts at every node.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects(HashTable<u32>);

impl Suspects {
    pub fn insert(&mut self, node: NodeId) {
        self.0.insert_unique(mix(node.0), node.0, |id| mix(*id));
    }

    pub fn remove(&mut self, node: NodeId) {
        if let Ok(entry) = self.0.find_entry(mix(node.0), |id| *id == node.0) {
            entry.remove();
        }
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> {
        self.0.iter().map(|id| NodeId(*id))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn bytes(&self) -> usize {
        self.0.allocation_size()
    }
}
