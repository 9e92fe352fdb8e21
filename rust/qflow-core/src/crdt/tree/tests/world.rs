//! Operations with their contexts, made by hand, and the orders in which they may arrive.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proptest::prelude::*;

use crate::crdt::change::Action;
use crate::crdt::past::{Past, Stamps};
use crate::crdt::tree::{NodeId, Tree};
use crate::crdt::value::{Elements, ValueRef};
use crate::crdt::{Cid, Dot};
use crate::encoding::Writer;

/// An action that owns its values; lists are lists of integers.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    Int(i64),
    /// By its bits.
    Float(u64),
    Text(&'static str),
    List(Vec<i64>),
    SetMap,
    Delete,
    Increment(i64),
    Append(Vec<i64>),
    Map,
}

#[derive(Clone, Debug)]
pub struct Op {
    pub replica: u8,
    pub seq: u32,
    /// The operation of its replica before it.
    pub prev: Option<usize>,
    pub path: Vec<&'static str>,
    pub deed: Deed,
    /// Everything that it saw.
    pub context: BTreeSet<usize>,
    pub lamport: u64,
}

/// Somebody who acts in the name of a replica. A replica that equivocates is several.
#[derive(Clone, Debug)]
struct Actor {
    replica: u8,
    last: Option<usize>,
    known: BTreeSet<usize>,
}

/// All operations there are.
#[derive(Clone, Default)]
pub struct World {
    pub ops: Vec<Op>,
    actors: Vec<Actor>,
}

/// A line for each operation, which is what one can read in a failed test.
impl fmt::Debug for World {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (
            id,
            Op {
                replica,
                seq,
                path,
                deed,
                context,
                ..
            },
        ) in self.ops.iter().enumerate()
        {
            writeln!(
                out,
                "\n{id}: {replica}.{seq} {path:?} {deed:?} saw {context:?}"
            )?;
        }
        Ok(())
    }
}

impl World {
    pub fn new(replicas: u8) -> Self {
        let actor = |replica| Actor {
            replica,
            last: None,
            known: BTreeSet::new(),
        };
        Self {
            ops: Vec::new(),
            actors: (0..replicas).map(actor).collect(),
        }
    }

    /// An actor does something at a path, such as `"a/b"`.
    pub fn act(&mut self, actor: usize, path: &'static str, deed: Deed) -> usize {
        let id = self.ops.len();
        let actor = &mut self.actors[actor];
        let context = actor.known.clone();
        let seq = actor.last.map_or(0, |last| self.ops[last].seq + 1);
        let lamport = context
            .iter()
            .map(|op| self.ops[*op].lamport)
            .max()
            .unwrap_or(0)
            + 1;
        self.ops.push(Op {
            replica: actor.replica,
            seq,
            prev: actor.last,
            path: path.split('/').filter(|part| !part.is_empty()).collect(),
            deed,
            context,
            lamport,
        });
        actor.known.insert(id);
        actor.last = Some(id);
        id
    }

    /// An actor hears of everything that another knows.
    pub fn hear(&mut self, actor: usize, from: usize) {
        let known = self.actors[from].known.clone();
        self.actors[actor].known.extend(known);
    }

    pub fn hear_all(&mut self) {
        let all: BTreeSet<usize> = (0..self.ops.len()).collect();
        self.actors
            .iter_mut()
            .for_each(|actor| actor.known.clone_from(&all));
    }

    /// Another actor goes on from an operation as if its replica had done nothing since.
    pub fn fork(&mut self, from: usize) -> usize {
        let op = &self.ops[from];
        let mut known = op.context.clone();
        known.insert(from);
        let replica = op.replica;
        self.actors.push(Actor {
            replica,
            last: Some(from),
            known,
        });
        self.actors.len() - 1
    }

    pub fn cmp(&self, left: usize, right: usize) -> Ordering {
        let key = |op: usize| {
            let Op {
                lamport,
                replica,
                seq,
                ..
            } = self.ops[op];
            (lamport, replica, seq, op)
        };
        key(left).cmp(&key(right))
    }

    /// A causal order, chosen by `picks`.
    pub fn order(&self, picks: &[u16]) -> Vec<usize> {
        let mut missing: Vec<usize> = self.ops.iter().map(|op| op.context.len()).collect();
        let mut ready: Vec<usize> = (0..missing.len()).filter(|op| missing[*op] == 0).collect();
        let mut order = Vec::new();
        let mut picks = picks.iter().cycle();
        while !ready.is_empty() {
            let pick = picks.next().copied().map_or(0, usize::from);
            let next = ready.swap_remove(pick % ready.len());
            order.push(next);
            for (later, op) in self.ops.iter().enumerate() {
                if op.context.contains(&next) {
                    missing[later] -= 1;
                    if missing[later] == 0 {
                        ready.push(later);
                    }
                }
            }
        }
        order
    }
}

/// What one replica has received, with its own numbers of lines.
pub struct Site<'a> {
    pub world: &'a World,
    pub tree: Tree,
    graph: Graph<'a>,
}

struct Graph<'a> {
    world: &'a World,
    dots: BTreeMap<usize, Dot>,
    /// The operations of each line from its first one, whose seq may not be 0.
    lines: Vec<Vec<usize>>,
    /// Below a snapshot's cut nothing is known of causality.
    cut: BTreeSet<usize>,
}

impl<'a> Site<'a> {
    pub fn new(world: &'a World) -> Self {
        let graph = Graph {
            world,
            dots: BTreeMap::new(),
            lines: Vec::new(),
            cut: BTreeSet::new(),
        };
        Self {
            world,
            tree: Tree::new(b"chance"),
            graph,
        }
    }

    pub fn of(world: &'a World, order: &[usize]) -> Self {
        let mut site = Self::new(world);
        order.iter().for_each(|op| site.receive(*op));
        site
    }

    pub fn receive(&mut self, op: usize) {
        let dot = self.graph.add(op);
        let Op { path, deed, .. } = &self.world.ops[op];
        let node = path
            .iter()
            .fold(NodeId::ROOT, |at, part| self.tree.intern(at, part));
        let past = self.graph.past(op);
        with_action(deed, |action| {
            self.tree.apply(node, dot, action, &past, &self.graph)
        });
    }

    pub fn settle(&mut self) {
        self.tree.settle(&self.graph);
    }

    pub fn stamps(&self) -> &impl Stamps {
        &self.graph
    }

    /// The same document from a snapshot.
    pub fn reload(&self) -> Self {
        let mut site = Self::new(self.world);
        site.graph.dots.clone_from(&self.graph.dots);
        site.graph.lines.clone_from(&self.graph.lines);
        site.graph.cut = self.graph.dots.keys().copied().collect();
        let Self { tree, graph, .. } = &mut site;
        let loaded: Result<(), ()> = self.tree.each_node(|from| {
            let parts = self.tree.parts(from);
            let node = parts
                .iter()
                .fold(NodeId::ROOT, |at, part| tree.intern(at, part));
            let items = self.tree.items(from, &self.graph);
            tree.put_items(node, &items, graph);
            Ok(())
        });
        loaded.unwrap();
        site
    }

    pub fn view(&self, path: &[&str]) -> Option<Vec<u8>> {
        let node = self.tree.find(path.iter().copied())?;
        let mut out = Writer::default();
        let present = self.tree.encode(node, &self.graph, &mut out);
        present.then(|| out.into_bytes())
    }

    pub fn operation(&self, dot: Dot) -> usize {
        self.graph.operation(dot)
    }

    pub fn newer(&self, one: Dot, other: Dot) -> bool {
        self.graph.cmp(one, other).is_gt()
    }

    /// Path, kind and operations of each conflict.
    pub fn conflicts(&self) -> Vec<(String, &'static str, Vec<Cid>)> {
        let conflicts = self.tree.conflicts(&self.graph, usize::MAX);
        let parts = conflicts
            .into_iter()
            .map(|one| (one.path, one.kind.name(), one.operations));
        let mut parts: Vec<_> = parts.collect();
        parts.sort();
        parts
    }
}

impl Graph<'_> {
    fn add(&mut self, op: usize) -> Dot {
        let prev = self.world.ops[op].prev;
        let goes_on = |line: &Vec<usize>| prev.is_some() && line.last().copied() == prev;
        let line = self.lines.iter().position(goes_on).unwrap_or_else(|| {
            self.lines.push(Vec::new());
            self.lines.len() - 1
        });
        self.lines[line].push(op);
        let dot = Dot {
            line: line as u32,
            seq: self.world.ops[op].seq,
        };
        self.dots.insert(op, dot);
        dot
    }

    fn operation(&self, dot: Dot) -> usize {
        let line = &self.lines[dot.line as usize];
        let at = line
            .iter()
            .position(|op| self.world.ops[*op].seq == dot.seq);
        line[at.unwrap()]
    }

    fn past(&self, op: usize) -> Seen {
        let mut seen = vec![0; self.lines.len()];
        let mut above_cut = vec![false; self.lines.len()];
        for earlier in &self.world.ops[op].context {
            let dot = self.dots[earlier];
            let line = dot.line as usize;
            seen[line] = seen[line].max(dot.seq + 1);
            above_cut[line] |= !self.cut.contains(earlier);
        }
        let own = self.dots[&op];
        seen[own.line as usize] = own.seq;
        Seen { seen, above_cut }
    }
}

struct Seen {
    seen: Vec<u32>,
    above_cut: Vec<bool>,
}

impl Past for Seen {
    fn seen(&self, line: u32) -> u32 {
        self.seen[line as usize]
    }

    fn entries(&self) -> impl Iterator<Item = (u32, u32)> {
        let entries = (0..).zip(&self.seen).zip(&self.above_cut);
        entries
            .filter(|(_, above)| **above)
            .map(|((line, seen), _)| (line, *seen))
    }

    fn width(&self) -> usize {
        self.above_cut.iter().filter(|above| **above).count()
    }
}

impl Stamps for Graph<'_> {
    fn lamport(&self, dot: Dot) -> u64 {
        self.world.ops[self.operation(dot)].lamport
    }

    fn cmp(&self, left: Dot, right: Dot) -> Ordering {
        self.world.cmp(self.operation(left), self.operation(right))
    }

    fn tie(&self, dot: Dot) -> u64 {
        u64::from(self.world.ops[self.operation(dot)].replica)
    }

    fn saw(&self, later: Dot, earlier: Dot) -> bool {
        let later = self.operation(later);
        !self.cut.contains(&later)
            && self.world.ops[later]
                .context
                .contains(&self.operation(earlier))
    }

    fn operation_cid(&self, dot: Dot) -> Cid {
        cid(self.operation(dot))
    }

    fn is_below_cut(&self, dot: Dot) -> bool {
        self.cut.contains(&self.operation(dot))
    }
}

pub fn cid(op: usize) -> Cid {
    let mut cid = [0; 32];
    cid[..8].copy_from_slice(&(op as u64).to_be_bytes());
    cid
}

pub fn list_bytes(values: &[i64]) -> Vec<u8> {
    let mut out = Writer::default();
    out.array(values.len());
    values.iter().for_each(|value| out.integer(*value));
    out.into_bytes()
}

fn with_action<T>(deed: &Deed, act: impl FnOnce(&Action<'_>) -> T) -> T {
    let bytes = match deed {
        Deed::List(values) | Deed::Append(values) => list_bytes(values),
        _ => Vec::new(),
    };
    act(&match deed {
        Deed::Int(value) => Action::Set(ValueRef::Int(*value)),
        Deed::Float(bits) => Action::Set(ValueRef::Float(f64::from_bits(*bits))),
        Deed::Text(text) => Action::Set(ValueRef::Text(text)),
        Deed::List(_) => Action::Set(ValueRef::List(&bytes)),
        Deed::SetMap => Action::SetMap,
        Deed::Delete => Action::Delete,
        Deed::Increment(by) => Action::Increment(*by),
        Deed::Append(_) => Action::Append(Elements::of_list(&bytes).unwrap()),
        Deed::Map => Action::Map,
    })
}

/// Few paths, so that operations meet.
pub const PATHS: [&str; 9] = [
    "",
    "a",
    "a/b",
    "a/b/c",
    "a/b/d",
    "a/long-name-1",
    "a/long-name-2",
    "z",
    "z/y",
];

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (-2_i64..3).prop_map(Deed::Int),
        1 => prop_oneof![Just("x"), Just("a text that is long")].prop_map(Deed::Text),
        2 => prop::collection::vec(0_i64..9, 0..3).prop_map(Deed::List),
        2 => Just(Deed::SetMap),
        3 => Just(Deed::Delete),
        3 => prop_oneof![Just(0), Just(1), Just(1), -5_i64..6, Just(i64::MAX), Just(i64::MIN)]
            .prop_map(Deed::Increment),
        3 => prop::collection::vec(0_i64..9, 1..3).prop_map(Deed::Append),
        2 => Just(Deed::Map),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Act(usize, usize, Deed),
    Hear(usize, usize),
    Fork(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0_usize..64;
    prop_oneof![
        8 => (any.clone(), 0..PATHS.len(), deed()).prop_map(|(a, p, d)| Step::Act(a, p, d)),
        4 => (any.clone(), any.clone()).prop_map(|(a, b)| Step::Hear(a, b)),
        1 => any.prop_map(Step::Fork),
    ]
}

impl World {
    fn take(&mut self, step: Step) {
        let actors = self.actors.len();
        match step {
            Step::Act(actor, path, deed) => {
                let fit = path != 0 || deed == Deed::Map;
                self.act(
                    actor % actors,
                    PATHS[path],
                    if fit { deed } else { Deed::Map },
                );
            }
            Step::Hear(actor, from) => self.hear(actor % actors, from % actors),
            Step::Fork(op) if !self.ops.is_empty() => {
                self.fork(op % self.ops.len());
            }
            Step::Fork(_) => {}
        }
    }
}

/// Random operations of up to four replicas, some of which equivocate.
pub fn worlds(steps: usize) -> impl Strategy<Value = World> {
    (1_u8..5, prop::collection::vec(step(), 1..steps)).prop_map(|(replicas, steps)| {
        let mut world = World::new(replicas);
        steps.into_iter().for_each(|step| world.take(step));
        world
    })
}

/// A world, how many of its operations came before everybody knew of all, and the rest.
pub fn worlds_with_cut(steps: usize) -> impl Strategy<Value = (World, usize)> {
    (worlds(steps), prop::collection::vec(step(), 1..steps)).prop_map(|(mut world, steps)| {
        let before = world.ops.len();
        world.hear_all();
        for step in steps {
            // Nobody goes on from below the cut any more.
            if !matches!(step, Step::Fork(_)) {
                world.take(step);
            }
        }
        (world, before)
    })
}
