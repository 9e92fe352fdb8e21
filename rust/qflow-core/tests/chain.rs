//! A chain is whole, or where it breaks is found.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its vectors fails"
)]

use proptest::prelude::*;
use qflow_core::chain::{ChainError, GENESIS, Record, RecordView, Verifier, leaf_hash};
use serde_json::Value as Json;

const EMPTY_MAP: &[u8] = &[0xa0];
const COMPLETED: &str = "q.qflow.exec.completed.v1";

fn record(chain: u8, seq: u64, prev: [u8; 32], kind: &str) -> Vec<u8> {
    let record = Record {
        chain: [chain; 16],
        seq,
        prev,
        kind,
        flow: "demo/a/1.0.0",
        step: Some("/do/0/a"),
        attempt: Some(1),
        at: 1,
        actor: "local",
        node: "node",
        subnet: "local",
        epoch: 0,
        payload: None,
        meta: EMPTY_MAP,
    };
    record.encode().unwrap()
}

/// Records 0 to `len - 1` of a chain, the last one terminal.
fn chain(number: u8, len: u64) -> Vec<Vec<u8>> {
    let mut records: Vec<Vec<u8>> = Vec::new();
    for seq in 0..len {
        let prev = records.last().map_or(GENESIS, |last| leaf_hash(last));
        let kind = if seq + 1 == len {
            COMPLETED
        } else {
            "q.qflow.exec.step_completed.v1"
        };
        records.push(record(number, seq, prev, kind));
    }
    records
}

/// The first record that is refused.
fn verify(records: &[Vec<u8>]) -> Result<usize, (usize, ChainError)> {
    let mut verifier = Verifier::new();
    for (at, record) in records.iter().enumerate() {
        assert_eq!(
            verifier.push(record).map_err(|error| (at, error))?,
            leaf_hash(record)
        );
    }
    Ok(verifier.live_chains())
}

#[test]
fn holds_h1_one_changed_byte_is_found_in_its_record_or_the_next() {
    let records = chain(1, 4);
    assert_eq!(verify(&records), Ok(0));
    for at in 0..records.len() - 1 {
        for byte in 0..records[at].len() {
            let mut changed = records.clone();
            changed[at][byte] ^= 1;
            let (found, _) = verify(&changed).unwrap_err();
            assert!(
                found == at || found == at + 1,
                "record {at}, byte {byte}: {found}"
            );
        }
    }
}

#[test]
fn holds_h2_replacing_an_early_record_invalidates_the_later_ones() {
    let mut records = chain(1, 5);
    let prev = leaf_hash(&records[0]);
    records[1] = record(1, 1, prev, "q.qflow.exec.step_failed.v1");
    let (found, error) = verify(&records).unwrap_err();
    assert_eq!(found, 2);
    assert!(matches!(error, ChainError::Prev { seq: 2, .. }));
}

#[test]
fn holds_h3_a_missing_head_or_middle_is_found() {
    let records = chain(1, 5);
    for at in 0..records.len() - 1 {
        let mut cut = records.clone();
        cut.remove(at);
        let (found, _) = verify(&cut).unwrap_err();
        assert_eq!(found, at);
    }
    // A missing tail leaves the chain open; the log's tree head says that records are missing.
    assert_eq!(verify(&records[..3]), Ok(1));
}

#[test]
fn records_out_of_order_twice_or_of_another_chain_are_refused() {
    let (one, two) = (chain(1, 4), chain(2, 4));
    let mut swapped = one.clone();
    swapped.swap(1, 2);
    assert!(matches!(
        verify(&swapped),
        Err((
            1,
            ChainError::Seq {
                expected: 1,
                found: 2,
                ..
            }
        ))
    ));
    let mut twice = one.clone();
    twice.insert(2, one[1].clone());
    assert!(matches!(
        verify(&twice),
        Err((
            2,
            ChainError::Seq {
                expected: 2,
                found: 1,
                ..
            }
        ))
    ));
    let spliced = [&one[..2], &two[2..]].concat();
    assert!(matches!(
        verify(&spliced),
        Err((2, ChainError::Start { found: 2, .. }))
    ));
    let after_its_end = [&one[..], &one[3..]].concat();
    assert!(matches!(
        verify(&after_its_end),
        Err((4, ChainError::Start { found: 3, .. }))
    ));
    let first = record(1, 0, [1; 32], "t");
    assert!(matches!(
        verify(&[first]),
        Err((0, ChainError::Prev { seq: 0, .. }))
    ));
}

#[test]
fn chains_may_interleave_and_only_live_ones_are_kept() {
    let mut verifier = Verifier::new();
    let chains: Vec<_> = (0..100).map(|number| chain(number, 3)).collect();
    for seq in 0..3 {
        for chain in &chains {
            verifier.push(&chain[seq]).unwrap();
        }
        assert_eq!(verifier.live_chains(), if seq == 2 { 0 } else { 100 });
    }
}

#[test]
fn a_refused_record_changes_nothing() {
    let records = chain(1, 3);
    let mut verifier = Verifier::new();
    verifier.push(&records[0]).unwrap();
    for bad in [
        &records[2][..],
        &records[0],
        b"",
        b"\xa0",
        &records[1][..50],
    ] {
        assert!(verifier.push(bad).is_err());
    }
    verifier.push(&records[1]).unwrap();
    verifier.push(&records[2]).unwrap();
    assert_eq!(verifier.live_chains(), 0);
}

#[test]
fn holds_h10_a_record_without_a_flow_is_refused() {
    let whole = record(1, 0, GENESIS, "t");
    let mut fields = RecordView::parse(&whole).unwrap();
    assert_eq!(fields.encode().unwrap(), whole);
    fields.flow = "";
    assert!(fields.encode().is_err());
}

#[test]
fn records_have_at_most_8000_bytes() {
    let whole = record(1, 0, GENESIS, "t");
    let mut fields = RecordView::parse(&whole).unwrap();
    let long = "x".repeat(8_000 - whole.len() + "/do/0/a".len() - 2);
    fields.step = Some(&long);
    assert_eq!(fields.encode().unwrap().len(), 8_000);
    let longer = format!("{long}x");
    fields.step = Some(&longer);
    assert!(fields.encode().is_err());
}

#[test]
fn a_golden_chain_has_golden_bytes() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/record.json"
    );
    let golden: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut verifier = Verifier::new();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    for (at, text) in golden["records"].as_array().unwrap().iter().enumerate() {
        let text = text.as_str().unwrap();
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        let data: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
        let fields = RecordView::parse(&data).unwrap();
        assert_eq!(fields.kind, golden["facts"][at]["type"].as_str().unwrap());
        assert_eq!(fields.encode().unwrap(), data);
        assert_eq!(
            hex(&verifier.push(&data).unwrap()),
            golden["hashes"][at].as_str().unwrap()
        );
    }
    assert_eq!(verifier.live_chains(), 0);
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(data in any::<Vec<u8>>()) {
        let _ = RecordView::parse(&data);
    }

    #[test]
    fn what_is_parsed_is_written_the_same(at in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut data = record(1, 7, [3; 32], "t");
        let at = at.index(data.len());
        data[at] ^= change;
        if let Ok(fields) = RecordView::parse(&data) {
            prop_assert_eq!(fields.encode().unwrap(), data);
        }
    }
}
