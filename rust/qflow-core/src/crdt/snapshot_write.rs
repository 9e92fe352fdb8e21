//! Writing a snapshot: the same operations give the same bytes, in whatever order they came and
//! whether or not some of them came in a snapshot.

use std::collections::BTreeSet;
use std::convert::Infallible;

use super::Dot;
use super::carry::{Items, ListItem};
use super::column::{deltas, write_column, write_number};
use super::columns::kind;
use super::graph::{ChangeId, Graph};
use super::snapshot_format::{MAGIC, Operation, item, write_deltas};
use super::tree::{NodeId, Tree};
use super::value::{Elements, ValueRef};
use crate::encoding::Writer;

/// A snapshot of all that a graph and its tree hold. `operations` are those to keep, sorted by id.
#[must_use]
pub fn write(graph: &Graph, tree: &Tree, operations: Vec<Operation>) -> Vec<u8> {
    let columns = Columns::of(graph, tree);
    let (mut past, places) = graph.to_past(columns.alive());
    past.operations = operations;
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(graph.doc());
    past.write(&mut out);
    columns.write(&places, &mut out);
    out
}

/// A dot as the number of its change and its place there.
type At = (ChangeId, u32);

/// The live items of a tree, node by node.
#[derive(Default)]
struct Columns {
    /// How many nodes up from the one before its parent is: 0 for its member.
    ups: Vec<u32>,
    name_lens: Vec<u32>,
    names: Vec<u8>,
    /// Items of each node, of the root first.
    counts: Vec<u32>,
    kinds: Vec<u8>,
    dots: Vec<At>,
    blinds: Vec<Option<At>>,
    ints: Vec<i64>,
    floats: Vec<u8>,
    text_lens: Vec<u32>,
    texts: Vec<u8>,
    blob_lens: Vec<u64>,
    blobs: Vec<u8>,
    sums: Vec<u8>,
}

impl Columns {
    fn of(graph: &Graph, tree: &Tree) -> Self {
        let mut columns = Self::default();
        let mut open: Vec<NodeId> = Vec::new();
        if tree.is_empty() {
            columns.put(&Items::default(), graph);
        }
        let done: Result<(), Infallible> = tree.each_node(|node| {
            if let Some(parent) = tree.parent(node) {
                let mut ups = 0;
                while open.last().is_some_and(|above| *above != parent) {
                    open.pop();
                    ups += 1;
                }
                let name = tree.nodes.name(node).as_bytes();
                columns.ups.push(ups);
                columns.name_lens.push(name.len() as u32);
                columns.names.extend_from_slice(name);
            }
            open.push(node);
            columns.put(&tree.items(node, graph), graph);
            Ok(())
        });
        let Ok(()) = done;
        columns
    }

    /// The changes that something refers to.
    fn alive(&self) -> BTreeSet<ChangeId> {
        let dots = self.dots.iter().chain(self.blinds.iter().flatten());
        dots.map(|(id, _)| *id).collect()
    }

    fn put(&mut self, items: &Items<'_>, graph: &Graph) {
        let at = |dot: Dot| {
            let record = graph.record(dot);
            (graph.change_of(dot), dot.seq - record.seq0)
        };
        let before = self.kinds.len();
        for (dot, value) in &items.registers {
            self.dots.push(at(*dot));
            self.put_value(value);
        }
        for (kind, dot) in items
            .mark
            .iter()
            .map(|dot| (item::MARK, dot))
            .chain(items.tombs.iter().map(|dot| (item::TOMB, dot)))
        {
            self.dots.push(at(*dot));
            self.kinds.push(kind);
        }
        if let Some(counter) = items.counter {
            self.dots.push(at(counter.greatest));
            self.blinds.push(counter.blind.map(at));
            self.kinds.push(item::COUNTER);
            self.sums.extend_from_slice(&counter.sum.to_be_bytes());
        }
        if let Some(list) = &items.list {
            self.dots.push(at(list.greatest));
            self.blinds.push(list.blind.map(at));
            self.kinds.push(item::LIST);
            let list = joined(list);
            self.put_blob(&list);
        }
        self.counts.push((self.kinds.len() - before) as u32);
    }

    fn put_value(&mut self, value: &ValueRef<'_>) {
        let kind = match *value {
            ValueRef::Null => kind::NULL,
            ValueRef::Bool(false) => kind::FALSE,
            ValueRef::Bool(true) => kind::TRUE,
            ValueRef::Int(value) => {
                self.ints.push(value);
                kind::INT
            }
            ValueRef::Float(value) => {
                self.floats.extend_from_slice(&value.to_be_bytes());
                kind::FLOAT
            }
            ValueRef::Text(value) => {
                self.text_lens.push(value.len() as u32);
                self.texts.extend_from_slice(value.as_bytes());
                kind::TEXT
            }
            ValueRef::Bytes(value) => self.blob(kind::BYTES, value),
            ValueRef::Link(value) => self.blob(kind::LINK, value),
            ValueRef::List(value) | ValueRef::Map(value) => self.blob(kind::LIST, value),
        };
        self.kinds.push(kind);
    }

    fn blob(&mut self, kind: u8, value: &[u8]) -> u8 {
        self.put_blob(value);
        kind
    }

    fn put_blob(&mut self, value: &[u8]) {
        self.blob_lens.push(value.len() as u64);
        self.blobs.extend_from_slice(value);
    }

    fn write(&self, places: &[u32], out: &mut Vec<u8>) {
        let place = |at: &At| u64::from(places[at.0 as usize]);
        write_number(out, self.ups.len() as u64);
        write_column(out, self.ups.iter().map(|up| u64::from(*up)));
        write_column(out, self.name_lens.iter().map(|len| u64::from(*len)));
        out.extend_from_slice(&self.names);
        write_column(out, self.counts.iter().map(|count| u64::from(*count)));
        write_column(out, self.kinds.iter().map(|kind| u64::from(*kind)));
        write_deltas(out, self.dots.iter().map(place));
        write_column(out, self.dots.iter().map(|at| u64::from(at.1)));
        let blind = |at: &Option<At>| at.as_ref().map_or(0, |at| 1 + place(at));
        write_column(out, self.blinds.iter().map(blind));
        write_column(out, self.blinds.iter().flatten().map(|at| u64::from(at.1)));
        write_column(out, deltas(self.ints.iter().copied()));
        out.extend_from_slice(&self.floats);
        write_column(out, self.text_lens.iter().map(|len| u64::from(*len)));
        out.extend_from_slice(&self.texts);
        write_column(out, self.blob_lens.iter().copied());
        out.extend_from_slice(&self.blobs);
        out.extend_from_slice(&self.sums);
    }
}

/// The values of all appends as one list.
fn joined(list: &ListItem<'_>) -> Vec<u8> {
    let len = list.appends.iter().map(ExactSizeIterator::len).sum();
    let mut out = Writer::with_capacity(16 * len);
    out.array(len);
    for values in &list.appends {
        values.clone().for_each(|value| value.write(&mut out));
    }
    debug_assert!(
        Elements::of_list(out.as_slice()).is_ok(),
        "a list has elements"
    );
    out.into_bytes()
}
