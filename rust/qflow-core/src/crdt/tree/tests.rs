mod claims;
mod specification;
mod world;

use proptest::prelude::*;

use self::specification::Specification;
use self::world::{PATHS, Site, World, worlds, worlds_with_cut};

fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

/// Every view, the registers and the conflicts are those of the specification.
fn check(site: &Site<'_>, world: &World, ops: &[usize]) {
    let meant = Specification::of(world, ops.iter().copied());
    for path in PATHS {
        let path = parts(path);
        let expected = meant.view(&path);
        let root = (path.is_empty()).then(|| vec![0xa0]);
        assert_eq!(site.view(&path).or(root), expected, "{path:?}");
        if let Some(node) = site.tree.find(path.iter().copied()) {
            let registers = site.tree.registers(node, site.stamps());
            let registers = registers.into_iter().map(|(dot, _)| site.operation(dot));
            assert_eq!(registers.collect::<Vec<_>>(), meant.registers(&path));
        }
    }
    assert_eq!(site.conflicts(), meant.conflicts());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn holds_c4_any_order_gives_what_is_specified(
        world in worlds(40),
        picks in prop::collection::vec(any::<u16>(), 1..60),
    ) {
        let order = world.order(&picks);
        let mut site = Site::new(&world);
        for (at, op) in order.iter().enumerate() {
            site.receive(*op);
            if at % 7 == 3 {
                site.settle();
            }
            if at % 5 == 0 {
                check(&site, &world, &order[..=at]);
            }
        }
        check(&site, &world, &order);
        site.settle();
        check(&site, &world, &order);
    }

    #[test]
    fn holds_c3_what_a_snapshot_keeps_is_enough(
        (world, cut) in worlds_with_cut(20),
        picks in prop::collection::vec(any::<u16>(), 1..60),
    ) {
        let order = world.order(&picks);
        let (below, above) = order.split_at(cut);
        let mut site = Site::of(&world, below);
        let mut loaded = site.reload();
        prop_assert_eq!(loaded.conflicts(), site.conflicts());
        check(&loaded, &world, below);
        for (at, op) in above.iter().enumerate() {
            site.receive(*op);
            loaded.receive(*op);
            check(&loaded, &world, &order[..=cut + at]);
            prop_assert_eq!(loaded.conflicts(), site.conflicts());
        }
        check(&loaded.reload(), &world, &order);
    }

    #[test]
    fn holds_c3_what_a_snapshot_keeps_does_not_depend_on_the_order(
        world in worlds(30),
        picks in prop::collection::vec(any::<u16>(), 1..60),
    ) {
        let (one, other) = (world.order(&[0]), world.order(&picks));
        prop_assert_eq!(kept(&Site::of(&world, &one)), kept(&Site::of(&world, &other)));
    }
}

/// What a snapshot keeps, in words that do not depend on numbers of lines.
fn kept(site: &Site<'_>) -> Vec<String> {
    let mut kept = Vec::new();
    let shown: Result<(), ()> = site.tree.each_node(|node| {
        let items = site.tree.items(node, site.stamps());
        let op = |dot| site.operation(dot);
        let registers: Vec<_> = items.registers.iter().map(|(dot, _)| op(*dot)).collect();
        let marks = items.mark.map(op);
        let tombs: Vec<_> = items.tombs.iter().map(|dot| op(*dot)).collect();
        let counter = items
            .counter
            .map(|it| (it.sum, op(it.greatest), it.blind.map(op)));
        let list = items.list.map(|it| {
            let values = it.appends.iter().cloned().map(Iterator::collect::<Vec<_>>);
            (
                format!("{:?}", values.collect::<Vec<_>>()),
                op(it.greatest),
                it.blind.map(op),
            )
        });
        let path = site.tree.parts(node);
        kept.push(format!(
            "{path:?} {registers:?} {marks:?} {tombs:?} {counter:?} {list:?}"
        ));
        Ok(())
    });
    shown.unwrap();
    kept
}
