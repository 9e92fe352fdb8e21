//! What concurrent operations mean, by brute force: every question is asked of the whole set.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Deed, World, cid};
use crate::crdt::Cid;
use crate::encoding::{Writer, key_order};

type Path<'a> = [&'a str];

/// A set of operations, closed under what they saw.
pub struct Specification<'a> {
    world: &'a World,
    ops: BTreeSet<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Register,
    Counter,
    List,
    Map,
    Tomb,
}

fn slot_of(deed: &Deed) -> Slot {
    match deed {
        Deed::Int(_) | Deed::Float(_) | Deed::Text(_) | Deed::List(_) => Slot::Register,
        Deed::SetMap | Deed::Map => Slot::Map,
        Deed::Delete => Slot::Tomb,
        Deed::Increment(_) => Slot::Counter,
        Deed::Append(_) => Slot::List,
    }
}

#[derive(Debug, PartialEq)]
enum View<'a> {
    Int(i128),
    Float(u64),
    Text(&'static str),
    List(Vec<i64>),
    Map(BTreeMap<&'a str, View<'a>>),
}

impl<'a> Specification<'a> {
    pub fn of(world: &'a World, ops: impl IntoIterator<Item = usize>) -> Self {
        Self {
            world,
            ops: ops.into_iter().collect(),
        }
    }

    /// A clearing operation at the path or above it, or any operation for a tomb at the path or
    /// beneath the tomb, takes away what it saw.
    fn clears(&self, later: usize, item: usize) -> bool {
        let (later, path) = (&self.world.ops[later], &self.world.ops[item].path);
        if !later.context.contains(&item) {
            return false;
        }
        let deed = &later.deed;
        let replaces =
            slot_of(deed) == Slot::Register || matches!(deed, Deed::SetMap | Deed::Delete);
        let tomb = slot_of(&self.world.ops[item].deed) == Slot::Tomb;
        replaces && path.starts_with(&later.path) || tomb && later.path.starts_with(path)
    }

    fn is_live(&self, item: usize) -> bool {
        !self.ops.iter().any(|later| self.clears(*later, item))
    }

    /// Live items of a slot at a path, by stamp.
    fn items(&self, path: &Path<'_>, slot: Slot) -> Vec<usize> {
        let here = |op: &usize| {
            let op = &self.world.ops[*op];
            op.path == path && slot_of(&op.deed) == slot
        };
        let live = self
            .ops
            .iter()
            .copied()
            .filter(here)
            .filter(|op| self.is_live(*op));
        let mut live: Vec<usize> = live.collect();
        live.sort_by(|left, right| self.world.cmp(*left, *right));
        live
    }

    /// Live items other than tombs, at the path too or only beneath it, by stamp.
    fn within(&self, path: &Path<'_>, at_too: bool) -> Vec<usize> {
        let inside = |op: &usize| {
            let op = &self.world.ops[*op];
            let inside = op.path.starts_with(path) && (at_too || op.path.len() > path.len());
            inside && slot_of(&op.deed) != Slot::Tomb
        };
        let live = self
            .ops
            .iter()
            .copied()
            .filter(inside)
            .filter(|op| self.is_live(*op));
        let mut live: Vec<usize> = live.collect();
        live.sort_by(|left, right| self.world.cmp(*left, *right));
        live
    }

    /// The greatest of each slot: register, counter, list, map.
    fn slots(&self, path: &Path<'_>) -> [Option<usize>; 4] {
        let last = |slot| self.items(path, slot).last().copied();
        let beneath = self.within(path, false).last().copied();
        let map = [last(Slot::Map), beneath].into_iter().flatten();
        let map = map.max_by(|left, right| self.world.cmp(*left, *right));
        [
            last(Slot::Register),
            last(Slot::Counter),
            last(Slot::List),
            map,
        ]
    }

    fn deed(&self, op: usize) -> &'a Deed {
        &self.world.ops[op].deed
    }

    fn sum(&self, path: &Path<'_>) -> i128 {
        let by = |op: usize| match self.deed(op) {
            Deed::Increment(by) => i128::from(*by),
            _ => 0,
        };
        self.items(path, Slot::Counter).into_iter().map(by).sum()
    }

    fn appended(&self, path: &Path<'_>) -> Vec<i64> {
        let values = |op: usize| match self.deed(op) {
            Deed::Append(values) => values.clone(),
            _ => Vec::new(),
        };
        self.items(path, Slot::List)
            .into_iter()
            .flat_map(values)
            .collect()
    }

    fn map(&self, path: &Path<'a>) -> View<'a> {
        let below = self.within(path, false);
        let names = below.iter().map(|op| self.world.ops[*op].path[path.len()]);
        let names: BTreeSet<&'a str> = names.collect();
        let members = names.into_iter().filter_map(|name| {
            let path: Vec<&str> = path.iter().copied().chain([name]).collect();
            Some((name, self.read(&path)?))
        });
        View::Map(members.collect())
    }

    fn read(&self, path: &Path<'a>) -> Option<View<'a>> {
        if path.is_empty() {
            return Some(self.map(path));
        }
        let [register, counter, list, map] = self.slots(path);
        let mut shown = match register {
            Some(_) => vec![register, map],
            None => vec![counter, list, map],
        };
        shown.retain(Option::is_some);
        let best = shown.into_iter().flatten();
        let best = best.max_by(|left, right| self.world.cmp(*left, *right))?;
        if Some(best) == map {
            return Some(self.map(path));
        }
        Some(match self.deed(best) {
            Deed::Int(value) => View::Int(i128::from(*value) + self.sum(path)),
            Deed::Float(bits) => View::Float(*bits),
            Deed::Text(text) => View::Text(text),
            Deed::List(values) => View::List([values.clone(), self.appended(path)].concat()),
            Deed::Increment(_) => View::Int(self.sum(path)),
            _ => View::List(self.appended(path)),
        })
    }

    pub fn view(&self, path: &Path<'a>) -> Option<Vec<u8>> {
        let mut out = Writer::default();
        write(&self.read(path)?, &mut out);
        Some(out.into_bytes())
    }

    /// The operations whose register items are live at a path, by stamp.
    pub fn registers(&self, path: &Path<'_>) -> Vec<usize> {
        self.items(path, Slot::Register)
    }

    pub fn conflicts(&self) -> Vec<(String, &'static str, Vec<Cid>)> {
        let paths: BTreeSet<Vec<&str>> = self
            .ops
            .iter()
            .flat_map(|op| {
                let path = &self.world.ops[*op].path;
                (0..=path.len()).map(|len| path[..len].to_vec())
            })
            .collect();
        let mut all: Vec<_> = paths
            .iter()
            .flat_map(|path| self.conflicts_at(path))
            .collect();
        all.sort();
        all
    }

    fn conflicts_at(&self, path: &Path<'_>) -> Vec<(String, &'static str, Vec<Cid>)> {
        let kinds = [
            ("append", self.blind(path, Slot::List)),
            ("delete", self.undone(path)),
            ("increment", self.blind(path, Slot::Counter)),
            ("set", self.different(path)),
            ("type", self.hidden(path)),
        ];
        let name: String = path.iter().map(|part| format!("/{part}")).collect();
        let found = kinds.into_iter().filter(|(_, ops)| !ops.is_empty());
        let named = found.map(|(kind, ops)| {
            let mut cids: Vec<Cid> = ops.into_iter().map(cid).collect();
            cids.sort_unstable();
            (name.clone(), kind, cids)
        });
        named.collect()
    }

    fn different(&self, path: &Path<'_>) -> Vec<usize> {
        let items = self.items(path, Slot::Register);
        let same = items
            .windows(2)
            .all(|two| self.deed(two[0]) == self.deed(two[1]));
        if same { Vec::new() } else { items }
    }

    fn undone(&self, path: &Path<'_>) -> Vec<usize> {
        let mut tombs = self.items(path, Slot::Tomb);
        match self.within(path, true).last() {
            Some(live) if !tombs.is_empty() => tombs.push(*live),
            _ => tombs.clear(),
        }
        tombs
    }

    fn blind(&self, path: &Path<'_>, slot: Slot) -> Vec<usize> {
        let Some(winner) = self.items(path, Slot::Register).last().copied() else {
            return Vec::new();
        };
        let fits = match self.deed(winner) {
            Deed::Int(_) => slot == Slot::Counter,
            Deed::List(_) => slot == Slot::List,
            _ => false,
        };
        let items = self.items(path, slot).into_iter();
        let blind = |op: &usize| !self.world.ops[*op].context.contains(&winner);
        match items.filter(|_| fits).find(blind) {
            Some(first) => vec![winner, first],
            None => Vec::new(),
        }
    }

    fn hidden(&self, path: &Path<'_>) -> Vec<usize> {
        let slots = self.slots(path);
        let [register, counter, list, map] = slots;
        let combined = match register.map(|winner| self.deed(winner)) {
            Some(Deed::Int(_)) => list.is_none() && map.is_none(),
            Some(Deed::List(_)) => counter.is_none() && map.is_none(),
            _ => false,
        };
        let live: Vec<usize> = slots.into_iter().flatten().collect();
        if live.len() < 2 || combined {
            Vec::new()
        } else {
            live
        }
    }
}

fn write(view: &View<'_>, out: &mut Writer) {
    match view {
        View::Int(value) => match (u64::try_from(*value), u64::try_from(-1 - *value)) {
            (Ok(value), _) => out.unsigned(value),
            (_, Ok(value)) => out.negative(value),
            _ => out.bytes(&value.to_be_bytes()),
        },
        View::Float(bits) => assert!(out.float(f64::from_bits(*bits))),
        View::Text(text) => out.text(text),
        View::List(values) => {
            out.array(values.len());
            values.iter().for_each(|value| out.integer(*value));
        }
        View::Map(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|left, right| key_order(left.0.as_bytes(), right.0.as_bytes()));
            out.map(members.len());
            for (name, view) in members {
                out.text(name);
                write(view, out);
            }
        }
    }
}
