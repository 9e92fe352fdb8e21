//! Random graphs, forks among them, against sets: whatever the order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::change::Header;
use super::graph::{Added, Admission, Graph, Head, Refusal};
use super::graph_index::HashKey;
use super::pending::Pending;
use super::{Cid, Dot, Key};

const DOC: [u8; 16] = [7; 16];

/// One change of a random graph: who, which of its changes it follows, what it names, how long.
#[derive(Clone, Debug)]
pub(super) struct Step {
    replica: u8,
    prev: prop::sample::Index,
    forks: bool,
    deps: Vec<prop::sample::Index>,
    n: u32,
}

/// What sets say of a graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) changes: Vec<Header>,
    /// Of each change what it saw.
    pasts: Vec<BTreeSet<usize>>,
    lamports: Vec<u64>,
}

pub(super) fn key(replica: u8) -> Key {
    *blake3::hash(&[replica]).as_bytes()
}

fn cid(number: usize) -> Cid {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let deps = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let step = (
        0u8..4,
        any::<prop::sample::Index>(),
        prop::bool::weighted(0.15),
        deps,
        0u32..4,
    );
    let step = step.prop_map(|(replica, prev, forks, deps, n)| Step {
        replica,
        prev,
        forks,
        deps,
        n,
    });
    prop::collection::vec(step, 1..24)
}

impl Model {
    pub(super) fn of(steps: &[Step]) -> Self {
        let mut model = Self::default();
        for step in steps {
            model.add(step);
        }
        model
    }

    fn add(&mut self, step: &Step) {
        let own =
            (0..self.changes.len()).filter(|at| self.changes[*at].replica == key(step.replica));
        let own: Vec<usize> = own.collect();
        let prev = match own.last() {
            Some(last) if step.forks => Some(*last)
                .filter(|_| step.n > 0)
                .map(|_| own[step.prev.index(own.len())]),
            last => last.copied(),
        };
        let all = self.changes.len();
        let deps: BTreeSet<usize> = step
            .deps
            .iter()
            .filter(|_| all > 0)
            .map(|dep| dep.index(all))
            .collect();
        let mut deps: Vec<usize> = deps.into_iter().filter(|dep| Some(*dep) != prev).collect();
        deps.sort_by_key(|at| self.changes[*at].cid);
        let mut past = BTreeSet::new();
        for at in prev.iter().chain(&deps) {
            past.extend(self.pasts[*at].iter().copied());
            past.insert(*at);
        }
        let tops = past
            .iter()
            .map(|at| self.lamports[*at] + u64::from(self.changes[*at].n));
        let lamport = tops.max().unwrap_or(1);
        let seq0 = prev.map_or(0, |at| self.changes[at].seq0 + self.changes[at].n);
        self.changes.push(Header {
            doc: DOC,
            replica: key(step.replica),
            seq0,
            n: step.n,
            prev: prev.map(|at| self.changes[at].cid),
            deps: deps.iter().map(|at| self.changes[*at].cid).collect(),
            op: None,
            cid: cid(all),
        });
        self.pasts.push(past);
        self.lamports.push(lamport);
    }

    fn at(&self, cid: &Cid) -> usize {
        self.changes
            .iter()
            .position(|change| change.cid == *cid)
            .expect("a change of the model")
    }

    fn saw(&self, later: (usize, u32), earlier: (usize, u32)) -> bool {
        let within = later.0 == earlier.0 && earlier.1 < later.1;
        within || self.pasts[later.0].contains(&earlier.0)
    }

    fn head(&self, at: usize) -> Head {
        let change = &self.changes[at];
        Head {
            replica: change.replica,
            seq: change.seq0 + change.n,
            cid: change.cid,
        }
    }

    /// The heads of a set that has the past of all in it: what nothing in it follows.
    fn heads(&self, set: &BTreeSet<usize>) -> Vec<Head> {
        let followed: BTreeSet<Cid> = set.iter().filter_map(|at| self.changes[*at].prev).collect();
        let last = set
            .iter()
            .filter(|at| !followed.contains(&self.changes[**at].cid));
        let mut heads: Vec<Head> = last.map(|at| self.head(*at)).collect();
        heads.sort();
        heads
    }

    /// What every branch of these replicas has seen.
    fn stable(&self, members: &[Key]) -> Vec<Head> {
        let all: BTreeSet<usize> = (0..self.changes.len()).collect();
        let mut common = Some(all.clone());
        for member in members {
            let heads = self
                .heads(&all)
                .into_iter()
                .filter(|head| head.replica == *member);
            let seen = heads.map(|head| {
                let at = self.at(&head.cid);
                let mut seen = self.pasts[at].clone();
                seen.insert(at);
                seen
            });
            let member = seen.reduce(|one, other| &one & &other).unwrap_or_default();
            common = common.map(|common| &common & &member);
        }
        let mut common = common.unwrap_or_default();
        // Whatever is not in it has to have seen all of it.
        loop {
            let beside = all.difference(&common);
            let seen = beside.fold(common.clone(), |seen, at| &seen & &self.pasts[*at]);
            if seen == common {
                return self.heads(&common);
            }
            common = seen;
        }
    }
}

/// Adds all of it in the given order, which need not be a causal one.
fn arrive<'a>(
    graph: &mut Graph,
    order: impl IntoIterator<Item = &'a Header>,
) -> BTreeMap<Cid, Added> {
    let mut pending = Pending::default();
    let mut added = BTreeMap::new();
    for header in order {
        let mut open = vec![header.clone()];
        while let Some(header) = open.pop() {
            match graph.add(&header) {
                Ok(Admission::Added(at)) => {
                    open.extend(pending.arrived(&header.cid));
                    added.insert(header.cid, at);
                }
                Ok(Admission::Waits(missing)) => {
                    pending
                        .wait(header.cid, 1, header, &missing)
                        .expect("there is room");
                }
                other => panic!("a change that was not admitted: {other:?}"),
            }
        }
    }
    assert!(pending.is_empty(), "all of it arrived");
    added
}

fn dots(graph: &Graph, model: &Model) -> Vec<((usize, u32), Dot)> {
    let mut dots = Vec::new();
    for (at, change) in model.changes.iter().enumerate() {
        let id = graph.id_of(&change.cid).expect("it is here");
        let place = graph.place(id);
        dots.extend((0..change.n).map(|i| {
            (
                (at, i),
                Dot {
                    line: place.line,
                    seq: place.first + i,
                },
            )
        }));
    }
    dots
}

fn check(graph: &Graph, model: &Model) {
    let dots = dots(graph, model);
    for ((at, i), dot) in &dots {
        let stamp = graph.stamp(*dot);
        let change = &model.changes[*at];
        assert_eq!(stamp.lamport, model.lamports[*at] + u64::from(*i));
        assert_eq!(
            (stamp.replica, stamp.change),
            (&change.replica, &change.cid)
        );
        assert_eq!(stamp.seq, change.seq0 + i);
    }
    for (later, at_later) in &dots {
        for (earlier, at_earlier) in &dots {
            let saw = graph.saw(*at_later, *at_earlier);
            assert_eq!(saw, model.saw(*later, *earlier), "{later:?} {earlier:?}");
            let order = graph.cmp(*at_later, *at_earlier);
            assert_eq!(order, graph.stamp(*at_later).cmp(&graph.stamp(*at_earlier)));
            assert!(!saw || order.is_gt(), "what was seen comes before");
        }
    }
    let all = (0..model.changes.len()).collect();
    assert_eq!(graph.heads(), model.heads(&all));
}

proptest! {
    #[test]
    fn holds_c14_every_order_of_arrival_gives_the_same_graph(
        steps in steps(),
        order in any::<u64>(),
    ) {
        let model = Model::of(&steps);
        let mut shuffled: Vec<&Header> = model.changes.iter().collect();
        shuffled.sort_by_key(|change| {
            blake3::keyed_hash(&[order as u8; 32], &change.cid).as_bytes()[..8].to_vec()
        });
        let mut graph = Graph::new(DOC, HashKey::of(b"one"));
        arrive(&mut graph, shuffled);
        check(&graph, &model);
        let mut straight = Graph::new(DOC, HashKey::of(b"other"));
        arrive(&mut straight, &model.changes);
        for members in [&[0u8, 1, 2][..], &[0], &[3, 1], &[9, 0], &[]] {
            let members: Vec<Key> = members.iter().copied().map(key).collect();
            let stable = graph.stable(&members);
            prop_assert_eq!(&stable, &straight.stable(&members));
            if !members.is_empty() {
                prop_assert_eq!(&stable, &model.stable(&members));
            }
        }
        prop_assert_eq!(graph.deps_for(&key(0)), straight.deps_for(&key(0)));
        prop_assert!(graph.forks().eq(straight.forks()));
    }

    #[test]
    fn a_context_is_what_the_newest_change_saw(steps in steps()) {
        let model = Model::of(&steps);
        let mut graph = Graph::new(DOC, HashKey::of(b"one"));
        for at in 0..model.changes.len() {
            arrive(&mut graph, [&model.changes[at]]);
            let id = graph.id_of(&model.changes[at].cid).expect("it is here");
            let line = graph.place(id).line;
            let known = Model { changes: model.changes[..=at].to_vec(), ..model.clone() };
            for ((other, i), dot) in dots(&graph, &known) {
                if dot.line != line {
                    let covers = graph.context(line).covers(dot);
                    prop_assert_eq!(covers, model.saw((at, 0), (other, i)));
                }
            }
        }
    }

    #[test]
    fn the_answer_to_a_clock_is_what_the_other_lacks_in_causal_order(
        steps in steps(),
        part in any::<prop::sample::Index>(),
    ) {
        let model = Model::of(&steps);
        let mut graph = Graph::new(DOC, HashKey::of(b"one"));
        arrive(&mut graph, &model.changes);
        let has = part.index(model.changes.len() + 1);
        let mut other = Graph::new(DOC, HashKey::of(b"other"));
        arrive(&mut other, &model.changes[..has]);
        let mut clock = other.heads();
        // What nobody has claims nothing.
        clock.push(Head { replica: key(0), seq: u32::MAX, cid: [9; 32] });
        let since = graph.since(&clock);
        prop_assert_eq!(since.changes.len(), model.changes.len() - has);
        prop_assert_eq!(since.unknown.len(), 1);
        prop_assert!(!since.snapshot);
        for id in &since.changes {
            let header = &model.changes[model.at(graph.cid_of(*id))];
            prop_assert!(matches!(other.add(header), Ok(Admission::Added(_))));
        }
        prop_assert_eq!(other.heads(), graph.heads());
    }

    #[test]
    fn the_next_change_sees_everything_by_the_least_that_names_it(steps in steps()) {
        let model = Model::of(&steps);
        let mut graph = Graph::new(DOC, HashKey::of(b"one"));
        arrive(&mut graph, &model.changes);
        let next = graph.deps_for(&key(1));
        let named = next.prev.iter().chain(&next.deps);
        let named: Vec<usize> = named.map(|cid| model.at(cid)).collect();
        let seen = named.iter().flat_map(|at| model.pasts[*at].iter().chain([at]));
        prop_assert_eq!(seen.collect::<BTreeSet<_>>().len(), model.changes.len());
        for dep in &next.deps {
            let at = model.at(dep);
            prop_assert!(named.iter().all(|other| !model.pasts[*other].contains(&at)));
        }
    }
}

fn header(replica: u8, number: usize, prev: Option<usize>, seq0: u32, deps: &[usize]) -> Header {
    let mut deps: Vec<Cid> = deps.iter().copied().map(cid).collect();
    deps.sort_unstable();
    let (prev, cid) = (prev.map(cid), cid(number));
    Header {
        doc: DOC,
        replica: key(replica),
        seq0,
        n: 1,
        prev,
        deps,
        op: None,
        cid,
    }
}

#[test]
fn holds_c15_gaps_and_what_belongs_elsewhere_are_refused() {
    let mut graph = Graph::new(DOC, HashKey::of(b"one"));
    arrive(&mut graph, [&header(0, 0, None, 0, &[])]);
    let before = graph.heads();
    let other = Header {
        doc: [8; 16],
        ..header(0, 1, Some(0), 1, &[])
    };
    let long = Header {
        n: u32::MAX,
        ..header(0, 1, Some(0), 1, &[])
    };
    for (header, why) in [
        (other, Refusal::Document),
        (header(0, 1, Some(0), 2, &[]), Refusal::Gap),
        (header(0, 1, Some(0), 0, &[]), Refusal::Gap),
        (header(0, 1, None, 1, &[]), Refusal::Gap),
        (header(1, 1, Some(0), 1, &[]), Refusal::Replica),
        (long, Refusal::Gap),
    ] {
        assert_eq!(graph.add(&header), Err(why));
    }
    assert_eq!(graph.heads(), before);
    let waits = graph.add(&header(1, 2, None, 0, &[7, 8]));
    let Ok(Admission::Waits(missing)) = waits else {
        panic!("it names what is not here")
    };
    assert_eq!(missing.len(), 2);
    assert_eq!(graph.add(&header(0, 0, None, 0, &[])), Ok(Admission::Known));
}

#[test]
fn holds_c14_two_changes_after_the_same_one_are_kept_both_and_told() {
    let mut graph = Graph::new(DOC, HashKey::of(b"one"));
    let changes = [
        header(0, 0, None, 0, &[]),
        header(0, 1, Some(0), 1, &[]),
        header(0, 2, Some(0), 1, &[]),
        header(1, 3, None, 0, &[2]),
    ];
    let added = arrive(&mut graph, &changes);
    assert!(added[&cid(2)].fork && !added[&cid(1)].fork);
    let [fork] = &graph.forks().collect::<Vec<_>>()[..] else {
        panic!("one place")
    };
    let mut branches = vec![cid(1), cid(2)];
    branches.sort_unstable();
    assert_eq!((fork.prev, &fork.branches), (Some(cid(0)), &branches));
    // One who saw a branch saw what the branches share, and nothing of the other.
    let context = graph.context(added[&cid(3)].line);
    let dot = |number: usize| Dot {
        line: added[&cid(number)].line,
        seq: added[&cid(number)].first,
    };
    assert!(context.covers(dot(0)) && context.covers(dot(2)) && !context.covers(dot(1)));
    assert_eq!(graph.heads().len(), 3);
}

#[test]
fn lines_are_bounded() {
    let mut graph = Graph::new(DOC, HashKey::of(b"one"));
    let one = |number: usize| Header {
        replica: cid(number),
        ..header(0, number, None, 0, &[])
    };
    for number in 0..super::graph::LINES_MAX {
        assert!(matches!(graph.add(&one(number)), Ok(Admission::Added(_))));
    }
    assert_eq!(
        graph.add(&one(super::graph::LINES_MAX)),
        Err(Refusal::Lines)
    );
    let next = Header {
        replica: cid(5),
        ..header(0, 1_000_000, Some(5), 1, &[])
    };
    assert!(matches!(graph.add(&next), Ok(Admission::Added(_))));
}

#[test]
fn contexts_that_were_dropped_for_want_of_room_are_walked_again() {
    let mut graph = Graph::new(DOC, HashKey::of(b"one"));
    let mut number = 0;
    let mut newest = [0usize; 40];
    for round in 0..6 {
        for (replica, newest) in newest.iter_mut().enumerate() {
            let prev = (round > 0).then_some(*newest);
            let deps: Vec<usize> = if number == 0 {
                vec![]
            } else {
                vec![number - 1]
            };
            let deps: Vec<usize> = deps.into_iter().filter(|dep| Some(*dep) != prev).collect();
            let header = header(replica as u8, number, prev, round, &deps);
            arrive(&mut graph, [&header]);
            *newest = number;
            number += 1;
        }
        let mut walked = graph.clone();
        for line in 0..40 {
            walked.lines[line].context = None;
            walked.lines[line].dropped = true;
        }
        for line in 0..40 {
            let (kept, anew) = (graph.shown(line), walked.shown(line));
            assert!((0..40).all(|line| kept.extent(line) == anew.extent(line)));
        }
    }
}
