use proptest::prelude::*;

use super::specification::Specification;
use super::world::{Deed, PATHS, Site, World, cid, worlds};
use super::{check, parts};
use crate::crdt::Kind;
use crate::crdt::carry::Sibling;
use crate::crdt::conflict::ConflictKind;
use crate::crdt::tree::NodeId;
use crate::crdt::value::ValueRef;
use crate::encoding::Reader;

/// Two replicas that have not heard of each other do one thing each.
fn concurrent(one: (&'static str, Deed), other: (&'static str, Deed)) -> World {
    let mut world = World::new(2);
    world.act(0, one.0, one.1);
    world.act(1, other.0, other.1);
    world
}

fn all(world: &World) -> Site<'_> {
    Site::of(world, &world.order(&[0]))
}

fn node(site: &Site<'_>, path: &'static str) -> NodeId {
    site.tree.find(parts(path)).unwrap()
}

fn kinds(site: &Site<'_>) -> Vec<&'static str> {
    site.conflicts()
        .into_iter()
        .map(|(_, kind, _)| kind)
        .collect()
}

fn integer(bytes: Option<Vec<u8>>) -> i128 {
    let bytes = bytes.unwrap();
    match Reader::new(&bytes).item().unwrap() {
        crate::encoding::Item::Unsigned(value) => i128::from(value),
        crate::encoding::Item::Negative(value) => -1 - i128::from(value),
        crate::encoding::Item::Bytes(sum) => i128::from_be_bytes(sum.try_into().unwrap()),
        item => panic!("{item:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn holds_c1_reads_change_nothing(world in worlds(30)) {
        let site = all(&world);
        let before = format!("{:?}", site.tree);
        for path in PATHS {
            let _ = site.view(&parts(path));
            if let Some(node) = site.tree.find(parts(path)) {
                let _ = site.tree.siblings(node, site.stamps());
                let _ = site.tree.items(node, site.stamps());
                let _ = site.tree.kind_of(node, site.stamps());
            }
        }
        let _ = site.conflicts();
        prop_assert_eq!(before, format!("{:?}", site.tree));
    }

    #[test]
    fn holds_c5_what_comes_after_a_merge_dominates_it(mut world in worlds(30), at in 1_usize..9) {
        world.hear_all();
        world.act(0, PATHS[at], Deed::Int(77));
        let path = parts(PATHS[at]);
        let site = all(&world);
        prop_assert_eq!(integer(site.view(&path)), 77);
        let pointer = format!("/{}", PATHS[at]);
        for (conflict, ..) in site.conflicts() {
            prop_assert!(!conflict.starts_with(&pointer), "{} is left", conflict);
        }
        check(&site, &world, &(0..world.ops.len()).collect::<Vec<_>>());
    }

    #[test]
    fn holds_c6_a_reader_sees_what_the_conflicts_say_won(world in worlds(30)) {
        let site = all(&world);
        let stamps = site.stamps();
        for conflict in site.tree.conflicts(stamps, usize::MAX) {
            let path = parts(&conflict.path);
            let node = site.tree.find(path.iter().copied()).unwrap();
            let siblings = site.tree.siblings(node, stamps);
            let kind = site.tree.kind_of(node, stamps);
            if conflict.kind == ConflictKind::Set {
                let mut told: Vec<_> = conflict.operations.clone();
                let registers = siblings.iter().filter(|it| matches!(it.1, Sibling::Register(_)));
                let mut held: Vec<_> = registers.map(|it| cid(site.operation(it.0))).collect();
                told.sort_unstable();
                held.sort_unstable();
                prop_assert_eq!(told, held);
            }
            let register = siblings.iter().find(|it| matches!(it.1, Sibling::Register(_)));
            let map = siblings.iter().find(|it| matches!(it.1, Sibling::Map));
            let shown = match (register, map) {
                (Some(register), Some(map)) if site.newer(map.0, register.0) => Sibling::Map,
                (Some(register), _) => register.1,
                (None, _) => siblings[0].1,
            };
            let expected = match shown {
                Sibling::Register(ValueRef::Int(_)) => Kind::Integer,
                Sibling::Register(ValueRef::List(_)) | Sibling::List => Kind::List,
                Sibling::Register(_) => Kind::Scalar,
                Sibling::Counter(_) => Kind::Counter,
                Sibling::Map => Kind::Map,
            };
            let expected = if path.is_empty() { Kind::Map } else { expected };
            prop_assert_eq!(kind, expected, "{}", conflict.path);
        }
    }
}

#[test]
fn holds_c7_values_that_only_look_equal_are_in_conflict() {
    let float = |value: f64| Deed::Float(value.to_bits());
    for (one, other) in [
        (Deed::Int(1), float(1.0)),
        (float(0.0), float(-0.0)),
        (Deed::Text("1"), Deed::Int(1)),
        (Deed::List(vec![1]), Deed::List(vec![1, 1])),
    ] {
        assert_eq!(kinds(&all(&concurrent(("a", one), ("a", other)))), ["set"]);
    }
    let equal = concurrent(("a", Deed::Int(1)), ("a", Deed::Int(1)));
    assert!(kinds(&all(&equal)).is_empty());
    assert_eq!(all(&equal).tree.suspects(), 1);
}

#[test]
fn holds_c7_each_kind_of_conflict_is_told() {
    for (one, other, kind) in [
        (("a", Deed::Int(1)), ("a", Deed::Increment(0)), "increment"),
        (
            ("a", Deed::List(vec![])),
            ("a", Deed::Append(vec![1])),
            "append",
        ),
        (("a", Deed::Int(1)), ("a/b", Deed::Int(1)), "type"),
        (("a", Deed::Text("x")), ("a", Deed::Increment(1)), "type"),
        (
            ("a", Deed::Increment(1)),
            ("a", Deed::Append(vec![1])),
            "type",
        ),
        (("a", Deed::Map), ("a", Deed::Append(vec![1])), "type"),
        (("a", Deed::Delete), ("a", Deed::Int(1)), "delete"),
        (("a", Deed::Delete), ("a/b/c", Deed::Increment(0)), "delete"),
    ] {
        let world = concurrent(one, other);
        assert_eq!(kinds(&all(&world)), [kind], "{world:?}");
        let meant = Specification::of(&world, [0, 1]);
        assert_eq!(all(&world).conflicts(), meant.conflicts());
    }
}

#[test]
fn holds_c9_an_increment_by_nothing_makes_a_counter_of_nothing() {
    let mut world = World::new(1);
    world.act(0, "a", Deed::Increment(0));
    let site = all(&world);
    assert_eq!(integer(site.view(&["a"])), 0);
    assert_eq!(
        site.tree.kind_of(node(&site, "a"), site.stamps()),
        Kind::Counter
    );
}

#[test]
fn holds_c9_sums_are_exact_beyond_64_bits() {
    for (by, times) in [(i64::MAX, 5), (i64::MIN, 5), (i64::MAX, 2), (i64::MIN, 2)] {
        let mut world = World::new(1);
        (0..times).for_each(|_| {
            world.act(0, "a", Deed::Increment(by));
        });
        assert_eq!(integer(all(&world).view(&["a"])), i128::from(by) * times);
    }
    let mut world = World::new(1);
    world.act(0, "a", Deed::Int(i64::MAX));
    world.act(0, "a", Deed::Increment(1));
    assert_eq!(integer(all(&world).view(&["a"])), i128::from(i64::MAX) + 1);
}

#[test]
fn holds_c4_an_append_of_several_is_not_torn() {
    let mut world = World::new(2);
    world.act(0, "a", Deed::Append(vec![1, 2, 3]));
    world.act(1, "a", Deed::Append(vec![4, 5, 6]));
    world.act(0, "a", Deed::Append(vec![7]));
    for picks in [[0], [1]] {
        let site = Site::of(&world, &world.order(&picks));
        assert_eq!(site.view(&["a"]).unwrap(), [0x87, 1, 2, 3, 4, 5, 6, 7]);
    }
}

#[test]
fn a_map_that_loses_its_last_member_is_absent_unless_it_was_made() {
    let mut world = World::new(1);
    world.act(0, "a/b", Deed::Int(1));
    world.act(0, "z", Deed::SetMap);
    world.act(0, "z/y", Deed::Int(1));
    world.act(0, "a/b", Deed::Delete);
    world.act(0, "z/y", Deed::Delete);
    let site = all(&world);
    assert_eq!(site.view(&["a"]), None);
    assert_eq!(site.view(&["z"]).unwrap(), [0xa0]);
    assert_eq!(site.tree.suspects(), 0);
}

#[test]
fn the_id_of_a_conflict_is_what_the_decision_says() {
    let world = concurrent(("a", Deed::Int(1)), ("a", Deed::Int(2)));
    let site = all(&world);
    let conflicts = site.tree.conflicts(site.stamps(), 10);
    let [conflict] = &conflicts[..] else {
        panic!("{conflicts:?}")
    };
    let mut material = b"\x83\x62/a\x63set\x82".to_vec();
    for digest in [cid(0), cid(1)] {
        material.extend_from_slice(b"\xd8\x2a\x58\x25\x00\x01\x55\x12\x20");
        material.extend_from_slice(&digest);
    }
    let id = blake3::derive_key("qflow crdt conflict v1", &material);
    assert_eq!(conflict.id, id[..16]);
    assert_eq!(site.tree.conflicts(site.stamps(), 0), []);
}

#[test]
fn a_map_mark_takes_the_place_of_those_it_saw() {
    let mut world = concurrent(("a", Deed::Map), ("a", Deed::Map));
    world.hear_all();
    world.act(0, "a", Deed::Map);
    let mut site = Site::of(&world, &[0, 1]);
    let extra = |site: &Site<'_>| site.tree.extra(node(site, "a")).is_some();
    assert!(extra(&site));
    site.receive(2);
    assert!(!extra(&site));
}

#[test]
fn nodes_are_small() {
    assert_eq!(size_of::<crate::crdt::node::Node>(), 48);
}
