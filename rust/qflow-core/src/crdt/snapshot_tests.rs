//! Replicas that write, exchange and compact, beside one that never forgets.

use std::sync::Arc;

use proptest::prelude::*;

use super::build::Builder;
use super::change::{Action, Change, Origin};
use super::compact::{CompactError, compact};
use super::document::Document;
use super::graph::Head;
use super::snapshot::{Operation, load, write};
use super::value::{Elements, ValueRef};
use super::{Cid, Key};

const DOC: [u8; 16] = [3; 16];
/// BLAKE3 of the snapshot of a small document.
const GOLDEN: &str = "0a054c7a4c95c427a1250a9e5baba890c7125c317cb0ee50f12291008ac588e2";
const PATHS: [&[&str]; 4] = [&["a"], &["a", "b"], &["a", "b", "c"], &["d"]];

#[derive(Clone, Debug)]
enum Step {
    Write {
        who: usize,
        path: usize,
        kind: u8,
        value: i64,
    },
    Sync {
        to: usize,
        from: usize,
    },
    Compact,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write =
        (0..4usize, 0..4usize, 0..9u8, -2..3i64).prop_map(|(who, path, kind, value)| Step::Write {
            who,
            path,
            kind,
            value,
        });
    let sync = (0..4usize, 0..4usize).prop_map(|(to, from)| Step::Sync { to, from });
    prop::collection::vec(
        prop_oneof![4 => write, 5 => sync, 1 => Just(Step::Compact)],
        1..60,
    )
}

fn key(number: u8) -> Key {
    *blake3::hash(&[number]).as_bytes()
}

/// The next change of a writer after its own last one. A signature is not looked at here.
fn next(
    document: &Document,
    last: Option<&Change>,
    path: &[&str],
    action: Option<Action<'_>>,
) -> Arc<Change> {
    let mut builder = Builder::new(1);
    if let Some(action) = action {
        let mut at = 0;
        for part in path {
            at = builder.path(at, part).expect("a good part");
        }
        builder.push(at, action).expect("there is room");
    }
    let prev = last.map(|change| change.header.cid);
    let seq0 = last.map_or(0, |change| change.header.seq0 + change.header.n);
    let graph = document.graph();
    let frontier = graph.frontier.iter().map(|id| *graph.cid_of(*id));
    let mut deps: Vec<Cid> = frontier.filter(|cid| Some(*cid) != prev).collect();
    deps.sort_unstable();
    let op = seq0.to_be_bytes();
    let op = seq0.is_multiple_of(3).then_some(&op[..]);
    let (replica, deps) = (*document.replica(), &deps[..]);
    let origin = Origin {
        doc: DOC,
        replica,
        seq0,
        prev,
        deps,
        op,
    };
    let body = builder.finish(&origin).expect("a small change");
    Arc::new(Change::decode(&body, [0; 64]).expect("a good change"))
}

/// The next change of a document's only writer.
fn change(document: &Document, path: &[&str], action: Option<Action<'_>>) -> Arc<Change> {
    let prev = document.graph().deps_for(document.replica()).prev;
    let last = prev.and_then(|cid| document.change(&cid));
    next(document, last.map(AsRef::as_ref), path, action)
}

fn action(kind: u8, value: i64) -> Option<Action<'static>> {
    Some(match kind {
        0 | 1 => Action::Set(ValueRef::Int(value)),
        2 => Action::Set(ValueRef::List(&[0x82, 1, 2])),
        3 => Action::SetMap,
        4 => Action::Delete,
        5 => Action::Increment(value),
        6 => Action::Append(Elements::one(ValueRef::Int(value))),
        7 => Action::Map,
        _ => return None,
    })
}

fn document(number: u8) -> Document {
    Document::new(DOC, key(number), b"chance")
}

/// Three replicas and a second copy of one of them, which equivocates, and two that only read: one
/// that compacts and one that never does.
struct Room {
    writers: Vec<Document>,
    compacting: Document,
    whole: Document,
    lasts: [Option<Arc<Change>>; 4],
    all: Vec<Arc<Change>>,
}

impl Room {
    fn new() -> Self {
        let writers = [0, 1, 2, 0].map(document).into();
        let (compacting, whole) = (document(8), document(9));
        let (lasts, all) = ([const { None }; 4], Vec::new());
        let mut room = Self {
            writers,
            compacting,
            whole,
            lasts,
            all,
        };
        // Every line is begun: what never wrote can be left behind by a cut.
        for who in 0..4 {
            room.write(who, &["d"], Some(Action::Set(ValueRef::Int(who as i64))));
        }
        room
    }

    fn write(&mut self, who: usize, path: &[&str], action: Option<Action<'_>>) {
        let last = self.lasts[who].as_deref();
        let new = next(&self.writers[who], last, path, action);
        self.lasts[who] = Some(Arc::clone(&new));
        for document in [
            &mut self.writers[who],
            &mut self.compacting,
            &mut self.whole,
        ] {
            let outcome = document.apply(&[Arc::clone(&new)]);
            assert!(
                outcome.refused.is_empty() && outcome.waiting == 0,
                "{outcome:?}"
            );
        }
        self.all.push(new);
    }

    fn stable(&self) -> Vec<Head> {
        let members = [key(0), key(1), key(2)];
        let stable = self.compacting.stable(&members);
        assert_eq!(stable, self.whole.stable(&members));
        stable
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Write {
                who,
                path,
                kind,
                value,
            } => {
                self.write(who, PATHS[path], action(kind, value));
            }
            Step::Sync { to, from } => {
                let heads = self.writers[to].heads();
                let lacks = self.writers[from].graph().since(&heads).changes;
                let cids = lacks
                    .iter()
                    .map(|id| *self.writers[from].graph().cid_of(*id));
                let known = |cid| Arc::clone(self.whole.change(&cid).expect("all are there"));
                let new: Vec<Arc<Change>> = cids.map(known).collect();
                self.writers[to].apply(&new);
            }
            Step::Compact => {
                let cut = self.stable();
                self.compacting
                    .compact(&cut)
                    .expect("a stable cut can be compacted");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn holds_c3_compaction_changes_no_value_and_no_conflict(steps in steps()) {
        let mut room = Room::new();
        for step in &steps {
            room.take(step);
            prop_assert_eq!(room.compacting.state_bytes(), room.whole.state_bytes());
        }
        let snapshot = room.whole.snapshot();
        prop_assert_eq!(&room.compacting.snapshot(), &snapshot);
        // Against the order in which all of it was written, most of it waits first.
        let mut late = document(7);
        room.all.reverse();
        late.apply(&room.all);
        prop_assert_eq!(&late.snapshot(), &snapshot);
        let mut loaded = Document::load(&snapshot, key(7), b"other").expect("a snapshot");
        prop_assert_eq!(&loaded.snapshot(), &snapshot);
        prop_assert_eq!(loaded.state_bytes(), room.whole.state_bytes());
        let cut = room.stable();
        let bytes = room.compacting.compact(&cut).expect("a stable cut");
        prop_assert_eq!(bytes, room.whole.compact(&cut).expect("a stable cut"));
    }

    #[test]
    fn holds_c15_a_snapshot_that_is_none_is_refused(
        steps in steps(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut room = Room::new();
        steps.iter().for_each(|step| room.take(step));
        let bytes = room.whole.snapshot();
        let at = at.index(bytes.len());
        prop_assert!(load(&bytes[..at], b"chance").is_err());
        prop_assert!(load(&[&bytes[..], &[0]].concat(), b"chance").is_err());
        let mut other = bytes.clone();
        other[at] ^= byte.max(1);
        if let Ok(mut document) = Document::load(&other, key(7), b"chance") {
            prop_assert!(!document.state_bytes().is_empty());
            prop_assert!(!document.snapshot().is_empty());
        }
    }
}

#[test]
fn holds_c15_a_sum_that_could_overflow_is_refused() {
    let mut document = document(1);
    let change = change(&document, &["a"], Some(Action::Increment(1)));
    assert_eq!(document.apply(&[change]).applied, 1);
    let mut snapshot = document.snapshot();
    let sums = snapshot.len() - 16;
    let mut load = |sum: i128| {
        snapshot[sums..].copy_from_slice(&sum.to_be_bytes());
        Document::load(&snapshot, key(1), b"chance").map(|_| ())
    };
    assert_eq!(load(i128::from(i64::MIN)), Ok(()));
    for sum in [i128::MIN, i128::MAX, 1 << 112] {
        assert!(load(sum).is_err(), "{sum}");
    }
}

#[test]
fn holds_c12_a_lagging_peer_comes_back_and_a_delete_stays() {
    let (mut one, mut other, mut lagging) = (document(0), document(1), document(2));
    let set = change(&one, &["a"], Some(Action::Set(ValueRef::Int(1))));
    for document in [&mut one, &mut other, &mut lagging] {
        document.apply(&[Arc::clone(&set)]);
    }
    // Written before the delete was seen, and never sent.
    let unsent = change(&lagging, &["a", "b"], Some(Action::Increment(1)));
    lagging.apply(&[Arc::clone(&unsent)]);
    let delete = change(&one, &["a"], Some(Action::Delete));
    one.apply(&[Arc::clone(&delete)]);
    other.apply(&[Arc::clone(&delete)]);
    let seen = change(&other, &[], None);
    one.apply(&[Arc::clone(&seen)]);
    let cut = one.stable(&[key(0), key(1)]);
    let snapshot = one.compact(&cut).expect("a stable cut");
    assert!(one.graph().since(&lagging.heads()).snapshot);
    let refused = one.apply(&[unsent, set]);
    assert_eq!(refused.applied, 0);
    let mut again = Document::load(&snapshot, key(2), b"chance").expect("a snapshot");
    let tail = one.graph().since(&again.heads());
    assert!(!tail.snapshot);
    again.apply(&[seen]);
    assert_eq!(again.state_bytes(), one.state_bytes());
    assert!(again.tree().is_empty());
    let anew = change(&again, &["a", "b"], Some(Action::Increment(1)));
    assert_eq!(one.apply(&[Arc::clone(&anew)]).applied, 1);
    again.apply(&[anew]);
    assert_eq!(again.state_bytes(), one.state_bytes());
}

#[test]
fn changes_that_do_not_make_the_cut_are_no_snapshot() {
    let mut one = document(0);
    let first = change(&one, &["a"], Some(Action::Set(ValueRef::Int(1))));
    one.apply(&[Arc::clone(&first)]);
    let second = change(&one, &["a"], Some(Action::Set(ValueRef::Int(2))));
    let heads = one.heads();
    let made = |changes: &[&Change], cut: &[Head]| {
        compact(DOC, None, changes.iter().copied(), cut, b"chance")
    };
    assert_eq!(made(&[&second], &heads), Err(CompactError::Order));
    assert_eq!(made(&[&first, &second], &heads), Err(CompactError::Cut));
    assert!(made(&[&first], &heads).is_ok());
}

#[test]
fn the_bytes_of_a_snapshot_are_these() {
    let mut one = document(0);
    for (path, action) in [
        (&["a", "n"][..], Action::Increment(-7)),
        (&["a", "t"], Action::Set(ValueRef::Text("text"))),
        (&["l"], Action::Append(Elements::one(ValueRef::Null))),
        (&["f"], Action::Set(ValueRef::Float(-0.5))),
        (&["t"], Action::Set(ValueRef::Bool(true))),
        (&["t"], Action::Delete),
    ] {
        let next = change(&one, path, Some(action));
        one.apply(&[next]);
    }
    let bytes = one.snapshot();
    assert_eq!(blake3::hash(&bytes).to_hex().as_str(), GOLDEN);
    let kept = vec![Operation {
        id: (*b"op").into(),
        lamport: 5,
    }];
    let with = write(one.graph(), one.tree(), kept.clone());
    assert_eq!(load(&with, b"other").expect("a snapshot").operations, kept);
}
