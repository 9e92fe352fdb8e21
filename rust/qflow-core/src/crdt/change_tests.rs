//! Changes and packs as a whole: they come back, have one spelling, and are bounded.

use proptest::prelude::*;

use super::Cid;
use super::build::Builder;
use super::change::{Action, BODY_BYTES_MAX, Change, ChangeError, DEPS_MAX, OPS_MAX, Origin};
use super::pack::pack;
use super::pack_read::{Limits, PackError, unpack};
use super::path::PathError;
use super::value::{Elements, Value, ValueError, ValueRef};
use crate::encoding::{Writer, raw_cid};

const DOC: [u8; 16] = *b"a document of 16";
const LIMITS: Limits = Limits {
    bytes: 1 << 24,
    changes: 1 << 12,
};

#[derive(Debug, Clone)]
enum Op {
    Set(Held),
    SetMap,
    Delete,
    Increment(i64),
    Append(Vec<Held>),
    Map,
}

#[derive(Debug, Clone)]
enum Held {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Link([u8; 36]),
    List(Vec<u8>),
}

impl Held {
    fn get(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Bool(value) => ValueRef::Bool(*value),
            Self::Int(value) => ValueRef::Int(*value),
            Self::Float(value) => ValueRef::Float(*value),
            Self::Text(value) => ValueRef::Text(value),
            Self::Bytes(value) => ValueRef::Bytes(value),
            Self::Link(value) => ValueRef::Link(value),
            Self::List(value) => ValueRef::List(value),
        }
    }
}

fn list_of(items: &[Held]) -> Vec<u8> {
    let mut out = Writer::default();
    out.array(items.len());
    items.iter().for_each(|item| item.get().write(&mut out));
    out.into_bytes()
}

fn scalar() -> impl Strategy<Value = Held> {
    prop_oneof![
        Just(Held::Null),
        any::<bool>().prop_map(Held::Bool),
        prop_oneof![-3..300i64, any::<i64>()].prop_map(Held::Int),
        any::<i32>().prop_map(|value| Held::Float(f64::from(value) / 8.0)),
        ".{0,20}".prop_map(Held::Text),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Held::Bytes),
        any::<u8>().prop_map(|seed| Held::Link(raw_cid(&[seed]))),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    let list = prop::collection::vec(scalar(), 0..4);
    prop_oneof![4 => scalar(), 1 => list.prop_map(|items| Held::List(list_of(&items)))]
}

fn op() -> impl Strategy<Value = (Vec<u8>, Op)> {
    let what = prop_oneof![
        4 => held().prop_map(Op::Set),
        1 => Just(Op::SetMap),
        1 => Just(Op::Delete),
        2 => prop_oneof![Just(1), any::<i64>()].prop_map(Op::Increment),
        2 => prop::collection::vec(held(), 1..4).prop_map(Op::Append),
        1 => Just(Op::Map),
    ];
    (prop::collection::vec(0..6u8, 1..5), what)
}

const NAMES: [&str; 6] = ["a", "users", "naïve", "日本", "user-12", "user-13"];

fn built(ops: &[(Vec<u8>, Op)], origin: &Origin<'_>) -> Vec<u8> {
    let mut builder = Builder::new(7);
    for (parts, op) in ops {
        let part = |at, part: &u8| builder.path(at, NAMES[usize::from(*part)]).unwrap();
        let path = parts.iter().fold(0, part);
        let list;
        let action = match op {
            Op::Set(value) => Action::Set(value.get()),
            Op::SetMap => Action::SetMap,
            Op::Delete => Action::Delete,
            Op::Increment(by) => Action::Increment(*by),
            Op::Append(items) => {
                list = list_of(items);
                Action::Append(Elements::of_list(&list).unwrap())
            }
            Op::Map => Action::Map,
        };
        builder.push(path, action).unwrap();
    }
    let body = builder.finish(origin).unwrap();
    let op = origin.op.map_or(0, <[u8]>::len);
    assert!(body.len() <= builder.bytes() + Origin::bytes_max(origin.deps.len(), op));
    body
}

fn origin(replica: u8, seq0: u32, prev: Option<Cid>) -> Origin<'static> {
    Origin {
        doc: DOC,
        replica: [replica; 32],
        seq0,
        prev,
        deps: &[],
        op: None,
    }
}

/// Each operation as path and text, and the change built again from what it says.
fn read(change: &Change) -> (Vec<String>, Vec<u8>) {
    let mut builder = Builder::new(11);
    let (mut names, mut ids) = (vec![String::new()], vec![0]);
    for (parent, part) in change.paths() {
        names.push(format!("{}/{part}", names[parent as usize]));
        ids.push(builder.path(ids[parent as usize], part).unwrap());
    }
    let mut said = Vec::new();
    for (path, action) in change.ops() {
        said.push(format!("{} {}", names[path as usize], say(&action)));
        builder.push(ids[path as usize], action).unwrap();
    }
    let header = &change.header;
    let origin = Origin {
        doc: header.doc,
        replica: header.replica,
        seq0: header.seq0,
        prev: header.prev,
        deps: &header.deps,
        op: header.op.as_deref(),
    };
    (said, builder.finish(&origin).unwrap())
}

fn say(action: &Action<'_>) -> String {
    match action {
        Action::Append(elements) => format!("append {:?}", elements.clone().collect::<Vec<_>>()),
        Action::Set(value) => format!("set {:?}", Value::of(*value).get()),
        other => format!("{other:?}"),
    }
}

fn said_of(ops: &[(Vec<u8>, Op)]) -> Vec<String> {
    let path = |parts: &[u8]| -> String {
        let part = |part: &u8| format!("/{}", NAMES[usize::from(*part)]);
        parts.iter().map(part).collect()
    };
    let what = |op: &Op| match op {
        Op::Set(value) => format!("set {:?}", value.get()),
        Op::SetMap => "SetMap".to_owned(),
        Op::Delete => "Delete".to_owned(),
        Op::Increment(by) => format!("Increment({by})"),
        Op::Append(items) => {
            format!(
                "append {:?}",
                items.iter().map(Held::get).collect::<Vec<_>>()
            )
        }
        Op::Map => "Map".to_owned(),
    };
    ops.iter()
        .map(|(parts, op)| format!("{} {}", path(parts), what(op)))
        .collect()
}

proptest! {
    #[test]
    fn changes_come_back(
        ops in prop::collection::vec(op(), 0..40),
        deps in 0..3u8,
        id in any::<bool>()
    ) {
        let deps: Vec<Cid> = (0..deps).map(|dep| [dep; 32]).collect();
        let id = id.then_some(&b"an operation"[..]);
        let origin = Origin { deps: &deps, op: id, ..origin(1, 5, Some([9; 32])) };
        let body = built(&ops, &origin);
        let change = Change::decode(&body, [0; 64]).unwrap();
        let (said, again) = read(&change);
        prop_assert_eq!(said, said_of(&ops));
        prop_assert_eq!(&again, &body);
        prop_assert_eq!(&change.header.deps, &deps);
        prop_assert_eq!(change.header.op.as_deref(), id);
    }

    /// Whatever is accepted is what its own content would be written as.
    #[test]
    fn holds_c15_a_change_has_one_spelling(
        ops in prop::collection::vec(op(), 0..12),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in 0..3usize,
    ) {
        let mut body = built(&ops, &origin(1, 0, None));
        for (at, byte) in flips {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if cut == 0 {
            body.truncate(body.len() - 1);
        }
        if let Ok(change) = Change::decode(&body, [0; 64]) {
            prop_assert_eq!(read(&change).1, body);
        }
    }

    #[test]
    fn packs_come_back(
        changes in prop::collection::vec(
            (0..3u8, prop::collection::vec(op(), 0..9), any::<bool>()),
            0..12
        )
    ) {
        let changes = history(&changes);
        let packed = pack(&DOC, &changes.iter().collect::<Vec<_>>());
        let (doc, found) = unpack(&packed, LIMITS).unwrap();
        prop_assert_eq!(doc, DOC);
        let parts = |changes: &[Change]| -> Vec<_> {
            changes.iter().map(|change| (change.body.clone(), change.signature)).collect()
        };
        prop_assert_eq!(parts(&found), parts(&changes));
    }

    #[test]
    fn holds_c15_a_damaged_pack_is_refused_or_is_another(
        ops in prop::collection::vec(op(), 0..9),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let changes = history(&[(0, ops.clone(), true), (1, ops, false)]);
        let mut packed = pack(&DOC, &changes.iter().collect::<Vec<_>>());
        for (at, byte) in flips {
            let at = at.index(packed.len());
            packed[at] = byte;
        }
        if let Ok((_, changes)) = unpack(&packed, LIMITS) {
            for change in changes {
                prop_assert_eq!(read(&change).1, change.body.to_vec());
            }
        }
    }
}

/// The parts of its path, and what it does there.
type Written = (Vec<u8>, Op);

/// Changes of several replicas; where the flag is set, one that saw the change before it.
fn history(content: &[(u8, Vec<Written>, bool)]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (replica, ops, sees) in content {
        let own = changes
            .iter()
            .rev()
            .find(|change| change.header.replica == [*replica; 32]);
        let prev = own.map(|change| change.header.cid);
        let seq0 = own.map_or(0, |change| change.header.seq0 + change.header.n);
        let last = changes.last().map(|change| change.header.cid);
        let deps: Vec<Cid> = last
            .filter(|last| *sees && Some(*last) != prev)
            .into_iter()
            .collect();
        let origin = Origin {
            deps: &deps,
            op: sees.then_some(b"id"),
            ..origin(*replica, seq0, prev)
        };
        changes.push(Change::decode(&built(ops, &origin), [*replica; 64]).unwrap());
    }
    changes
}

/// A body around columns that a liar wrote.
fn forged(n: u32, columns: &[u8]) -> Result<Change, ChangeError> {
    Change::decode(&origin(1, 0, None).body(n, columns), [0; 64])
}

/// Operations, columns in hexadecimal, and why they are refused.
const LIES: [(u32, &str, &str); 24] = [
    (1, "010300030161030203", "cut short"),
    (2, "0103000301610302031c", "cut short"),
    (1, "01030003016180800402031c", "cut short"),
    (1, "c8010300", "more paths than bytes"),
    (1, "0103010301610302031c", "before the one above"),
    (1, "0103000301610304031c", "cut short"),
    (1, "0103000301610301031c", "path that is not there"),
    (1, "0103000301610300031e", "no operation uses"),
    (1, "000300031c", "root is always a map"),
    (1, "01030003016103020309", "unknown kind"),
    (1, "0103000301610302031f", "cut short"),
    (1, "0103000301610302031c00", "after their end"),
    (1, "0103000301ff0302031c", "not UTF-8"),
    (2, "020400040161610402041c", "a path twice"),
    (2, "02040004016162050401041c", "order of their use"),
    (2, "0204000401c3a90402041c", "within a character"),
    (1, "0103000301240302031c", "reserved"),
    (1, "010300030365cc810302031c", "normal form C"),
    (1, "010300030161030203047ff8000000000000", "not finite"),
    (1, "0103000301610302031a03028101", "without a list"),
    (1, "0103000301610302031a030180", "nothing to append"),
    (1, "010300030161030203080301a0", "not a list"),
    (1, "01030003016103020319030180", "only as an element"),
    (1, "01030003016103020307030100", "not a CID"),
];

#[test]
fn holds_c15_columns_that_lie_are_refused() {
    let unhex = |text: &str| -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    };
    assert!(forged(1, &unhex("0103000301610302031c")).is_ok());
    for (n, columns, why) in LIES {
        let found = forged(n, &unhex(columns))
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(found.contains(why), "{columns}: {found}");
    }
}

#[test]
fn holds_c15_bodies_are_bounded() {
    let long = vec![0; BODY_BYTES_MAX + 1];
    assert_eq!(
        Change::decode(&long, [0; 64]).map(|_| ()),
        Err(ChangeError::TooLong)
    );
    assert_eq!(
        forged(OPS_MAX as u32 + 1, &[0]).map(|_| ()),
        Err(ChangeError::TooMany)
    );
    let mut deps: Vec<Cid> = vec![[0; 32]; DEPS_MAX + 1];
    for (at, dep) in deps.iter_mut().enumerate() {
        dep[..8].copy_from_slice(&(at as u64).to_be_bytes());
    }
    let of = |deps: &[Cid]| {
        let body = Origin {
            deps,
            ..origin(1, 0, None)
        }
        .body(0, &[0]);
        Change::decode(&body, [0; 64]).is_ok()
    };
    assert!(of(&deps[1..]));
    assert!(!of(&deps));
    assert!(!of(&[deps[1], deps[0]]));
    assert!(!of(&[deps[1], deps[1]]));
    let gap = origin(1, 3, None).body(0, &[0]);
    assert!(Change::decode(&gap, [0; 64]).is_err());
    let endless = origin(1, u32::MAX, Some([2; 32])).body(1, &[0]);
    assert!(Change::decode(&endless, [0; 64]).is_err());
}

/// 20,000 lists in one another, and 20,000 parts of one path.
#[test]
fn holds_c15_levels_are_bounded() {
    let mut nested = vec![0x81; 20_000];
    nested.push(0x80);
    let mut columns = vec![1, 3, 0, 3, 1, b'a', 3, 2, 3, 8, 3];
    super::column::write_number(&mut columns, nested.len() as u64);
    columns.extend_from_slice(&nested);
    let why = forged(1, &columns).map(|_| ());
    assert_eq!(why, Err(ValueError::TooDeep.into()));

    let mut columns = Vec::new();
    super::column::write_number(&mut columns, 20_000);
    super::column::write_column(&mut columns, 0..20_000);
    super::column::write_column(&mut columns, (0..20_000).map(|_| 1));
    columns.extend_from_slice(&[b'a'; 20_000]);
    columns.extend_from_slice(&[3, 0xc0, 0xb8, 2, 3, 28]);
    assert!(columns.len() > BODY_BYTES_MAX || forged(1, &columns).is_err());
    let mut builder = Builder::new(0);
    let deep = (0..64).try_fold(0, |at, _| builder.path(at, "a")).unwrap();
    assert_eq!(builder.path(deep, "a"), Err(PathError::TooDeep));
}

/// Parts made so that they fall into one place of the table cost no more than sorting.
#[test]
fn holds_c15_colliding_parts_are_no_work() {
    let count = 4_000;
    let crowded = (0_u32..)
        .map(|at| format!("{at:08x}"))
        .filter(|part| super::change_check::hash_part(0, 0, part) >> 58 == 0)
        .take(count);
    let parts: Vec<String> = crowded.collect();
    let mut parts: Vec<(u32, &str)> = parts.iter().map(|part| (0, part.as_str())).collect();
    assert!(super::change_check::are_distinct(&parts));
    parts.push(parts[17]);
    assert!(!super::change_check::are_distinct(&parts));
}

#[test]
fn holds_c15_packs_are_bounded() {
    let ops: Vec<_> = (0..200).map(|_| (vec![1], Op::Increment(1))).collect();
    let changes = history(&vec![(1, ops, false); 100]);
    let packed = pack(&DOC, &changes.iter().collect::<Vec<_>>());
    assert!(packed.len() < 100 * 64 + 200, "{}", packed.len());
    let few = Limits {
        changes: 99,
        ..LIMITS
    };
    assert_eq!(unpack(&packed, few).map(|_| ()), Err(PackError::TooLarge));
    let small = Limits {
        bytes: 10_000,
        ..LIMITS
    };
    assert_eq!(unpack(&packed, small).map(|_| ()), Err(PackError::TooLarge));
    assert!(unpack(&packed, LIMITS).is_ok());
}
