//! Reading the live items of a snapshot: their columns side by side, strictly, in one pass.

use super::Dot;
use super::carry::{CounterItem, Items, ListItem};
use super::column::{Column, undelta};
use super::graph::Graph;
use super::path::{PARTS_MAX, PATH_BYTES_MAX, check_part};
use super::snapshot_format::{CUT, Input, SnapshotError, item, text};
use super::snapshot_values::{Counts, Values};
use super::tree::{NodeId, Tree};
use super::value::Elements;
use crate::encoding::key_order;

/// Items that are loaded, whatever the runs of the columns claim.
const ITEMS_MAX: usize = 1 << 25;

const TWICE: SnapshotError = SnapshotError("an item twice");

/// The columns of the live items.
pub(super) struct ItemReader<'a> {
    graph: &'a Graph,
    /// Which changes something refers to.
    used: Vec<bool>,
    nodes: usize,
    ups: Column<'a>,
    name_lens: Column<'a>,
    names: &'a str,
    counts: Column<'a>,
    kinds: Column<'a>,
    dots: Places<'a>,
    blinds: Column<'a>,
    blind_offsets: Column<'a>,
    values: Values<'a>,
}

/// The operations of the items: number of the change, by differences, and place in it.
struct Places<'a> {
    changes: Column<'a>,
    change: i64,
    offsets: Column<'a>,
}

impl<'a> ItemReader<'a> {
    /// Checks that the columns are there and of the lengths that they need; nothing may follow.
    pub(super) fn new(graph: &'a Graph, mut input: Input<'a>) -> Result<Self, SnapshotError> {
        let input = &mut input;
        let nodes = input.count(1)?;
        let ups = input.column(nodes, PARTS_MAX as u64)?;
        let (name_lens, bytes) = input.summed(nodes, PATH_BYTES_MAX as u64)?;
        let names = text(input.bytes(bytes)?)?;
        let (counts, items) = input.summed(nodes + 1, ITEMS_MAX as u64)?;
        if items > ITEMS_MAX {
            return Err(SnapshotError("more items than are loaded"));
        }
        let mut of_kind = Counts::default();
        let kinds = input.counted(items, u64::from(item::MAX), |kind| {
            of_kind[kind as usize] += 1;
        })?;
        let changes = input.column(items, u64::MAX)?;
        let dots = Places {
            changes,
            change: 0,
            offsets: input.column(items, 255)?,
        };
        let with_blinds = of_kind[usize::from(item::COUNTER)] + of_kind[usize::from(item::LIST)];
        let mut seeing = 0;
        let note = |blind| seeing += usize::from(blind > 0);
        let blinds = input.counted(with_blinds, u64::from(u32::MAX), note)?;
        let blind_offsets = input.column(seeing, 255)?;
        let values = Values::new(input, &of_kind)?;
        if !input.0.is_empty() {
            return Err(SnapshotError("bytes after the end"));
        }
        Ok(Self {
            graph,
            used: vec![false; graph.len()],
            nodes,
            ups,
            name_lens,
            names,
            counts,
            kinds,
            dots,
            blinds,
            blind_offsets,
            values,
        })
    }

    /// Puts all nodes and their items into an empty tree.
    pub(super) fn read(&mut self, tree: &mut Tree) -> Result<(), SnapshotError> {
        let mut way = Way::default();
        let mut items = Items::default();
        self.put(tree, NodeId::ROOT, &mut items)?;
        for _ in 0..self.nodes {
            let up = self.ups.next().ok_or(CUT)? as usize;
            let name = self.name()?;
            let node = way.enter(tree, up, name)?;
            way.leaf = self.put(tree, node, &mut items)? == 0;
        }
        if way.leaf {
            return Err(SnapshotError("a node for nothing"));
        }
        Ok(())
    }

    /// Every change that is kept has to be there for something.
    pub(super) fn check_used(mut self) -> Result<(), SnapshotError> {
        for id in self.graph.ends() {
            self.used[id as usize] = true;
        }
        let all = self.used.iter().all(|used| *used);
        all.then_some(())
            .ok_or(SnapshotError("a change for nothing"))
    }

    fn name(&mut self) -> Result<&'a str, SnapshotError> {
        let len = self.name_lens.next().ok_or(CUT)?;
        let (name, rest) = self.names.split_at_checked(len as usize).ok_or(CUT)?;
        self.names = rest;
        check_part(name).map_err(|_| SnapshotError("a part of a path that is refused"))?;
        Ok(name)
    }

    /// Reads the items of a node; how many there are.
    fn put(
        &mut self,
        tree: &mut Tree,
        node: NodeId,
        items: &mut Items<'a>,
    ) -> Result<u64, SnapshotError> {
        let graph = self.graph;
        let count = self.counts.next().ok_or(CUT)?;
        clear(items);
        let mut before = None;
        for _ in 0..count {
            let kind = self.kinds.next().ok_or(CUT)? as u8;
            let dot = self.dot()?;
            if count > 1 {
                let rank = Some((kind.max(item::REGISTER_MAX), graph.stamp(dot)));
                if before >= rank {
                    return Err(SnapshotError("items out of order"));
                }
                before = rank;
            }
            self.item(kind, dot, items)?;
        }
        if count > 0 {
            tree.put_items(node, items, self.graph);
        }
        Ok(count)
    }

    fn item(&mut self, kind: u8, dot: Dot, items: &mut Items<'a>) -> Result<(), SnapshotError> {
        match kind {
            item::MARK if items.mark.is_some() => return Err(TWICE),
            item::COUNTER if items.counter.is_some() => return Err(TWICE),
            item::LIST if items.list.is_some() => return Err(TWICE),
            item::MARK => items.mark = Some(dot),
            item::TOMB => items.tombs.push(dot),
            item::COUNTER => {
                let blind = self.blind()?;
                let sum = self.values.sum()?;
                items.counter = Some(CounterItem {
                    sum,
                    greatest: dot,
                    blind,
                });
            }
            item::LIST => {
                let blind = self.blind()?;
                let values = Elements::of_list(self.values.blob()?);
                let values = values.map_err(|_| SnapshotError("a list that is none"))?;
                items.list = Some(ListItem {
                    appends: vec![values],
                    greatest: dot,
                    blind,
                });
            }
            _ => items.registers.push((dot, self.values.read(kind)?)),
        }
        Ok(())
    }

    fn dot(&mut self) -> Result<Dot, SnapshotError> {
        self.dots.change = undelta(self.dots.change, self.dots.changes.next().ok_or(CUT)?);
        let offset = self.dots.offsets.next().ok_or(CUT)?;
        self.operation(self.dots.change as u64, offset)
    }

    fn blind(&mut self) -> Result<Option<Dot>, SnapshotError> {
        let Some(change) = self.blinds.next().ok_or(CUT)?.checked_sub(1) else {
            return Ok(None);
        };
        let offset = self.blind_offsets.next().ok_or(CUT)?;
        self.operation(change, offset).map(Some)
    }

    fn operation(&mut self, change: u64, offset: u64) -> Result<Dot, SnapshotError> {
        let bad = SnapshotError("an operation that is not there");
        let used = usize::try_from(change)
            .ok()
            .and_then(|at| self.used.get_mut(at));
        *used.ok_or(bad)? = true;
        let place = self.graph.place(change as u32);
        if offset >= u64::from(place.n) {
            return Err(bad);
        }
        Ok(Dot {
            line: place.line,
            seq: place.first + offset as u32,
        })
    }
}

/// The nodes from the root to the one that was read last.
#[derive(Default)]
struct Way<'a> {
    nodes: Vec<(NodeId, &'a str)>,
    bytes: usize,
    /// The last one has no items, so it has to have members.
    leaf: bool,
}

impl<'a> Way<'a> {
    fn enter(
        &mut self,
        tree: &mut Tree,
        up: usize,
        name: &'a str,
    ) -> Result<NodeId, SnapshotError> {
        let bad = SnapshotError("nodes out of order");
        if self.leaf && up > 0 {
            return Err(SnapshotError("a node for nothing"));
        }
        let mut before = None;
        for _ in 0..up {
            let (_, name) = self.nodes.pop().ok_or(bad)?;
            self.bytes -= name.len();
            before = Some(name);
        }
        if before.is_some_and(|before| key_order(before.as_bytes(), name.as_bytes()).is_ge()) {
            return Err(bad);
        }
        let parent = self.nodes.last().map_or(NodeId::ROOT, |(node, _)| *node);
        self.bytes += name.len();
        if self.nodes.len() == PARTS_MAX || self.bytes > PATH_BYTES_MAX {
            return Err(SnapshotError("a path that is too long"));
        }
        let node = tree.intern(parent, name);
        self.nodes.push((node, name));
        Ok(node)
    }
}

fn clear(items: &mut Items<'_>) {
    items.registers.clear();
    items.tombs.clear();
    (items.mark, items.counter, items.list) = (None, None, None);
}
