//! Changes and packs against tests/vectors/crdt-change.json, which another writer of the format
//! made.

use qflow_core::crdt::change::Change;
use qflow_core::crdt::pack::pack;
use qflow_core::crdt::pack_read::{Limits, unpack};
use qflow_core::signature;
use serde_json::Value as Json;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    changes: 100,
};

fn vectors() -> Json {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/crdt-change.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors are whole"))
        .expect("the vectors are whole")
}

fn unhex(text: &Json) -> Vec<u8> {
    let text = text.as_str().expect("the vectors are whole");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("the vectors are whole");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn changes(vectors: &Json) -> Vec<Change> {
    let change = |case: &Json| {
        let signature = unhex(&case["signature"])
            .try_into()
            .expect("the vectors are whole");
        Change::decode(&unhex(&case["body"]), signature).expect("the vectors are whole")
    };
    let cases = vectors["changes"]
        .as_array()
        .expect("the vectors are whole");
    cases.iter().map(change).collect()
}

#[test]
fn golden_changes_are_taken() {
    let vectors = vectors();
    let cases = vectors["changes"]
        .as_array()
        .expect("the vectors are whole");
    for (case, change) in cases.iter().zip(changes(&vectors)) {
        assert_eq!(
            u64::from(change.header.seq0),
            case["seq0"].as_u64().expect("the vectors are whole")
        );
        let operations = case["operations"]
            .as_array()
            .expect("the vectors are whole");
        assert_eq!(change.ops().count(), operations.len());
        let mut pointers = vec![String::new()];
        for (parent, part) in change.paths() {
            pointers.push(format!("{}/{part}", pointers[parent as usize]));
        }
        for ((path, _), operation) in change.ops().zip(operations) {
            assert_eq!(
                pointers[path as usize],
                operation[1].as_str().expect("the vectors are whole")
            );
        }
        let seed = unhex(&case["seed"])
            .try_into()
            .expect("the vectors are whole");
        assert_eq!(signature::public_key(&seed), change.header.replica);
        assert_eq!(Change::sign(&seed, &change.header.cid), change.signature);
    }
}

#[test]
fn holds_c10_only_the_signature_of_the_replica_counts() {
    let mut changes = changes(&vectors());
    assert!(Change::verify_all(&changes).iter().all(|good| *good));
    let foreign = changes[2].signature;
    changes[0].signature = foreign;
    changes[1].signature[63] ^= 1;
    let verdicts = Change::verify_all(&changes);
    assert_eq!(verdicts, [false, false, true, true, true]);
}

#[test]
fn the_golden_pack_is_read_and_written() {
    let vectors = vectors();
    let golden = unhex(&vectors["pack"]);
    let changes = changes(&vectors);
    let refs: Vec<_> = changes.iter().collect();
    assert_eq!(pack(&changes[0].header.doc, &refs), golden);
    let (doc, found) = unpack(&golden, LIMITS).expect("the vectors are whole");
    assert_eq!(doc, changes[0].header.doc);
    for (found, change) in found.iter().zip(&changes) {
        assert_eq!(
            (&found.body, found.signature),
            (&change.body, change.signature)
        );
    }
    assert_eq!(found.len(), changes.len());
}

/// Bytes that inflate to more than they say, or say more than is allowed, or lead to nothing.
#[test]
fn holds_c15_bombs_are_refused() {
    let golden = unhex(&vectors()["pack"]);
    for cut in 0..golden.len() {
        assert!(unpack(&golden[..cut], LIMITS).is_err());
    }
    let mut zeros = Vec::new();
    zeros.extend_from_slice(b"QFCP\x01a document of 16\x01\x01\x00");
    zeros.extend_from_slice(&[0; 96]);
    let deflated = miniz_oxide::deflate::compress_to_vec(&vec![0; 64 << 20], 9);
    assert!(deflated.len() < 70_000);
    for said in [1_u64 << 10, LIMITS.bytes as u64, 64 << 20, u64::MAX >> 1] {
        let mut bomb = zeros.clone();
        for number in [(deflated.len() as u64) << 1 | 1, said] {
            let mut number = number;
            while number >= 0x80 {
                bomb.push(number as u8 | 0x80);
                number >>= 7;
            }
            bomb.push(number as u8);
        }
        bomb.extend_from_slice(&deflated);
        bomb.extend_from_slice(&[0; 20]);
        assert!(unpack(&bomb, LIMITS).is_err());
    }
}
