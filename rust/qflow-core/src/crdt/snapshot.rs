//! Snapshots: what is live at a cut, and what of the hash graph is needed to go on from there
//! (docs/formats/crdt-snapshot.md, docs/decisions/0027).

use super::graph::Graph;
use super::graph_index::HashKey;
use super::snapshot_format::{Input, MAGIC, Past};
pub use super::snapshot_format::{OPERATIONS_MAX, Operation, SnapshotError};
use super::snapshot_read::ItemReader;
pub use super::snapshot_write::write;
use super::tree::Tree;

/// A document as far as a snapshot tells.
#[derive(Debug)]
pub struct Loaded {
    pub graph: Graph,
    pub tree: Tree,
    /// Operation ids that were taken below the cut, sorted by id.
    pub operations: Vec<Operation>,
}

/// Reads a snapshot. `chance` keys the hash tables. What it says of the past has to be trusted:
/// the signatures below the cut are not in it.
///
/// # Errors
///
/// [`SnapshotError`] for bytes that [`write`] does not make; they cost little until they are known
/// for that.
pub fn load(bytes: &[u8], chance: &[u8]) -> Result<Loaded, SnapshotError> {
    let mut input = Input(bytes);
    if input.bytes(MAGIC.len())? != MAGIC {
        return Err(SnapshotError("not a snapshot, or of another version"));
    }
    let doc = input.fixed::<16>(1)?[0];
    let past = Past::read(&mut input)?;
    let graph = Graph::of_past(doc, HashKey::of(chance), &past)?;
    let mut tree = Tree::new(chance);
    let mut reader = ItemReader::new(&graph, input)?;
    reader.read(&mut tree)?;
    reader.check_used()?;
    let operations = past.operations;
    Ok(Loaded {
        graph,
        tree,
        operations,
    })
}
