//! CRDT documents: signed changes in a hash graph, and the tree of values they make.

pub mod build;
pub mod change;
mod change_check;
mod change_ops;
#[cfg(test)]
mod change_tests;
mod column;
mod columns;
pub mod compact;
pub mod context;
pub mod fork;
pub mod graph;
mod graph_index;
mod graph_past;
mod graph_sync;
#[cfg(test)]
mod graph_tests;
pub mod pack;
mod pack_columns;
pub mod pack_read;
pub mod path;
pub mod pending;
pub mod reconcile;
pub mod snapshot;
mod snapshot_format;
mod snapshot_graph;
mod snapshot_read;
#[cfg(test)]
mod snapshot_tests;
mod snapshot_values;
mod snapshot_write;
pub mod value;

mod barren;
mod by_line;
pub mod carry;
pub mod conflict;
mod counter;
mod extra;
mod list;
mod live;
mod names;
mod node;
pub mod past;
mod register;
mod shown;
mod suspects;
pub mod tree;
pub mod view;

pub mod document;
mod heads;
pub mod history;
mod overlay;
pub mod read;
pub mod seal;
mod touched;
pub mod transaction;
mod written;

pub use graph_index::HashKey;
pub use graph_sync::Since;
pub use heads::{read_heads, write_heads};
pub use shown::Kind;

/// The digest of a CID; which CID it is of follows from its place.
pub type Cid = [u8; 32];

/// An Ed25519 public key: a replica.
pub type Key = [u8; 32];

/// An operation of this document, by the line it is on and its sequence number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    pub line: u32,
    pub seq: u32,
}
