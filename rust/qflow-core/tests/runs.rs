//! Chains that are followed in parts are followed as if one by one.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use qflow_core::chain::{Doubt, GENESIS, Live, Record, RecordView, Runs, Verifier, leaf_hash};

fn record(chain: u8, seq: u64, prev: [u8; 32], ends: bool) -> Vec<u8> {
    let kind = if ends {
        "q.qflow.exec.completed.v1"
    } else {
        "q.qflow.exec.continued.v1"
    };
    Record {
        chain: [chain; 16],
        seq,
        prev,
        kind,
        flow: "a/b/1",
        step: None,
        attempt: None,
        at: 1,
        actor: "ann",
        node: "n",
        subnet: "s",
        epoch: 0,
        payload: None,
        meta: b"\xa0",
    }
    .encode()
    .unwrap()
}

/// A log of `turns`: each says which chain goes on, and what is wrong with its record, if anything.
fn log(turns: &[(u8, u8)]) -> Vec<Vec<u8>> {
    let mut heads = [(0, GENESIS); 4];
    let mut records = Vec::new();
    for &(chain, wrong) in turns {
        let chain = chain % 4;
        let (seq, prev) = heads[usize::from(chain)];
        let made = match wrong {
            0 => record(chain, seq + 1, prev, false),
            1 => record(chain, seq, [9; 32], false),
            2 => record(chain, 0, GENESIS, false),
            _ => record(chain, seq, prev, wrong == 3),
        };
        if wrong > 2 {
            heads[usize::from(chain)] = (seq + 1, leaf_hash(&made));
        }
        records.push(made);
    }
    records
}

/// Which records are refused, and where the chains are then.
fn one_by_one(records: &[Vec<u8>]) -> (Vec<usize>, Vec<Live>, Vec<Doubt>) {
    let mut verifier = Verifier::new();
    let refused = (0..records.len()).filter(|at| verifier.push(&records[*at]).is_err());
    let refused = refused.collect();
    (refused, verifier.live(), verifier.take_doubts())
}

/// The same in parts of this length, as they are verified by many cores.
fn in_parts(records: &[Vec<u8>], length: usize) -> (Vec<usize>, Vec<Live>, Vec<Doubt>) {
    let (mut verifier, mut runs, mut refused) = (Verifier::new(), Runs::default(), Vec::new());
    for (part, from) in records.chunks(length).zip((0..).step_by(length)) {
        let numbered = || part.iter().zip(from..);
        let fits = numbered().all(|(data, index)| {
            let record = RecordView::parse(data).unwrap();
            runs.push(&record, leaf_hash(data), index as u64)
        });
        let found = runs.take();
        if fits && verifier.follow(&found) {
            continue;
        }
        for (data, index) in numbered() {
            let record = RecordView::parse(data).unwrap();
            let pushed = verifier.push_view(&record, leaf_hash(data), index as u64);
            refused.extend(pushed.is_err().then_some(index));
        }
    }
    (refused, verifier.live(), verifier.take_doubts())
}

proptest! {
    #[test]
    fn holds_h17_parts_refuse_what_one_pass_refuses(
        turns in prop::collection::vec((any::<u8>(), 0_u8..40), 0..120),
        length in 1_usize..50,
    ) {
        let records = log(&turns);
        prop_assert_eq!(one_by_one(&records), in_parts(&records, length));
    }
}

#[test]
fn holds_h17_a_chain_that_ended_does_not_begin_again_unnoticed() {
    let records = [
        record(1, 0, GENESIS, true),
        record(2, 0, GENESIS, true),
        record(1, 0, GENESIS, false),
    ];
    let chain = [1; 16];
    for length in 1..=3 {
        let (refused, live, doubts) = in_parts(&records, length);
        // Within a part it is refused, and else it is to be looked up.
        let noticed = refused == [2] || doubts == [Doubt { chain, index: 2 }];
        assert!(noticed, "{length}: {live:?}");
    }
}
