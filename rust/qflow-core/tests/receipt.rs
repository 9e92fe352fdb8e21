//! Receipts, and what a log and its witnesses send each other: what proves, and what does not.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot build its tree fails"
)]

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use qflow_core::chain::Record;
use qflow_core::log::{
    AddCheckpoint, Checkpoint, Cosigner, Frontier, Hash, Note, Policy, Proven, Receipt,
    ReceiptError, Signer, VerifierKey, WitnessKey, inclusion_proof, leaf_hash, verify_consistency,
};
use serde_json::Value as Json;

const ORIGIN: &str = "node.example/log";

fn signer() -> Signer {
    Signer::new(ORIGIN, &[7; 32]).unwrap()
}

fn witness() -> Cosigner {
    Cosigner::new("witness.example", &[8; 32]).unwrap()
}

/// The record `seq` of a chain.
fn record(chain: u8, seq: u64) -> Vec<u8> {
    let record = Record {
        chain: [chain; 16],
        seq,
        prev: [0; 32],
        kind: "q.qflow.exec.step_completed.v1",
        flow: "shop/order/1.0.0",
        step: Some("/do/0/charge"),
        attempt: Some(1),
        at: 1_764_000_000_000,
        actor: "ann",
        node: "node",
        subnet: "default",
        epoch: 0,
        payload: None,
        meta: &[0xa0],
    };
    record.encode().unwrap()
}

/// Twenty records, of two chains in turn, and their tree.
struct History {
    records: Vec<Vec<u8>>,
    nodes: HashMap<(u32, u64), Hash>,
    root: Hash,
}

fn history(count: u64) -> History {
    let records: Vec<_> = (0..count).map(|n| record((n % 2) as u8, n / 2)).collect();
    let (mut tree, mut nodes) = (Frontier::default(), HashMap::new());
    for record in &records {
        let at = tree.size();
        tree.push_with(leaf_hash(record), |level, hash| {
            nodes.insert((level as u32, at >> level), *hash);
        });
    }
    let root = tree.root();
    History {
        records,
        nodes,
        root,
    }
}

impl History {
    fn head(&self) -> Checkpoint {
        let (size, root) = (self.records.len() as u64, self.root);
        Checkpoint { size, root }
    }

    fn receipt(&self, index: u64, note: &str) -> Vec<u8> {
        let mut node = |level, index| self.nodes.get(&(level, index)).copied();
        let proof = inclusion_proof(index, self.head().size, &mut node).unwrap();
        let receipt = Receipt {
            record: Some(self.records[index as usize].clone()),
            index,
            proof,
            checkpoint: note.as_bytes(),
        };
        receipt.to_bytes()
    }
}

fn check(data: &[u8], policy: Option<&Policy>) -> Result<Proven, ReceiptError> {
    Receipt::parse(data)?.verify(signer().verifier(), policy)
}

fn with_record(data: &[u8], record: &[u8]) -> Vec<u8> {
    let mut receipt = Receipt::parse(data).unwrap();
    receipt.record = Some(record.to_vec());
    receipt.to_bytes()
}

#[test]
fn every_record_has_a_receipt_that_stands_alone() {
    let history = history(20);
    let note = signer().sign(&history.head());
    for index in 0..20 {
        let proven = check(&history.receipt(index, &note), None).unwrap();
        assert_eq!(proven.record, history.records[index as usize]);
        assert_eq!((proven.index, proven.head), (index, history.head()));
        assert!(!proven.witnessed && proven.cosignatures.is_empty());
    }
}

#[test]
fn holds_h16_too_few_cosignatures_is_never_a_witnessed_receipt() {
    let history = history(20);
    let note = signer().sign(&history.head());
    let other = Cosigner::new("other.example", &[9; 32]).unwrap();
    let line = |who: &Cosigner| {
        who.cosign(note.as_bytes(), signer().verifier(), 77)
            .unwrap()
    };
    let keys = (
        witness().verifier().to_string(),
        other.verifier().to_string(),
    );
    let both = format!(
        "witness a {}\nwitness b {}\ngroup g all a b\nquorum g\n",
        keys.0, keys.1
    );
    let both = Policy::parse(&both).unwrap();
    let one = history.receipt(3, &format!("{note}{}", line(&witness())));
    let two = history.receipt(3, &format!("{note}{}{}", line(&witness()), line(&other)));
    for (receipt, count, witnessed) in [
        (history.receipt(3, &note), 0, false),
        (one.clone(), 1, false),
        (two.clone(), 2, true),
    ] {
        let proven = check(&receipt, Some(&both)).unwrap();
        assert_eq!(
            (proven.cosignatures.len(), proven.witnessed),
            (count, witnessed)
        );
        assert!(!check(&receipt, None).unwrap().witnessed);
    }
    let twice = history.receipt(
        3,
        &format!("{note}{}{}", line(&witness()), line(&witness())),
    );
    assert!(check(&twice, Some(&both)).is_err());
    let stranger = format!(
        "log {}\nquorum none\n",
        Signer::new("x", &[1; 32]).unwrap().verifier()
    );
    assert!(check(&two, Some(&Policy::parse(&stranger).unwrap())).is_err());
}

#[test]
fn holds_h17_a_valid_proof_on_another_record_is_refused() {
    let history = history(20);
    let note = signer().sign(&history.head());
    for index in 0..20 {
        let good = history.receipt(index, &note);
        for other in 0..20 {
            let moved = with_record(&good, &history.records[other as usize]);
            assert_eq!(
                check(&moved, None).is_ok(),
                other == index,
                "{index} and {other}"
            );
        }
    }
}

#[test]
fn holds_h17_a_record_moved_from_another_chain_is_refused() {
    let history = history(20);
    let note = signer().sign(&history.head());
    // Index 6 is record 3 of chain 0: record 3 of chain 1, and one that was rewritten into it.
    let good = history.receipt(6, &note);
    assert!(check(&with_record(&good, &record(0, 3)), None).is_ok());
    for moved in [record(1, 3), record(2, 3), record(0, 4)] {
        assert!(check(&with_record(&good, &moved), None).is_err());
    }
}

#[test]
fn holds_h17_an_old_entry_under_a_head_of_a_newer_key_is_refused() {
    let history = history(20);
    let newer = Signer::new(ORIGIN, &[8; 32]).unwrap();
    let renamed = Signer::new("node.example/new", &[7; 32]).unwrap();
    for signer in [&newer, &renamed] {
        assert!(check(&history.receipt(6, &signer.sign(&history.head())), None).is_err());
    }
    // The newer key's line beside the log's own, which does not fit.
    let old = signer().sign(&Checkpoint {
        size: 20,
        root: leaf_hash(b"another history"),
    });
    let line = old.lines().last().unwrap();
    let note = format!("{}{line}\n", newer.sign(&history.head()));
    assert!(check(&history.receipt(6, &note), None).is_err());
}

#[test]
fn holds_h18_receipts_that_are_not_exact_are_refused() {
    let history = history(20);
    let note = signer().sign(&history.head());
    let good = String::from_utf8(history.receipt(6, &note)).unwrap();
    assert!(check(good.as_bytes(), None).is_ok());
    let extra = good.lines().nth(1).unwrap();
    let hash = good.lines().nth(3).unwrap();
    for bad in [
        good.replace('\n', "\r\n"),
        good.replace("v1", "v2"),
        good.replace("index 6", "index 06"),
        good.replace("index 6", "index +6"),
        good.replace("index 6", "index 6 "),
        good.replace("index 6", "index -1"),
        good.replace("index 6", "index 5"),
        good.replace("index 6", "index 1000000000000000000"),
        good.replace("index 6\n", ""),
        good.replace("index 6\n", "index 6\nindex 6\n"),
        good.replace(extra, "extra "),
        good.replace(extra, ""),
        good.replace(&format!("{extra}\n"), ""),
        good.replace(extra, &format!("{extra} ")),
        good.replace(extra, &format!("{extra}\n{extra}")),
        good.replace("extra ", "extra  "),
        good.replace("extra ", "Extra "),
        good.replace(&format!("{hash}\n"), ""),
        good.replace(hash, &format!("{hash}\n{hash}")),
        good.replace(hash, &hash.replace('=', "")),
        good.replace(hash, &format!("{}\n", &hash[..40])),
        good.replace("\n\nnode", "\nnode"),
        good.replace("\n\nnode", "\n\n\nnode"),
        good.replace(hash, &format!("A=\n{hash}")),
        good.replace(&format!("{hash}\n"), &format!("{hash}\n").repeat(64)),
        format!("{good}\n"),
        format!("{good}x"),
        format!("\n{good}"),
        good.trim_end().to_owned(),
        good.replace("node.example/log\n20", "node.example/log\n020"),
        good.replace("extra ", &format!("extra {}", "A".repeat(1 << 20))),
        String::new(),
    ] {
        assert_ne!(bad, good);
        assert!(check(bad.as_bytes(), None).is_err(), "{bad}");
    }
}

#[test]
fn holds_h18_what_is_too_long_is_refused_unread() {
    let long = vec![b'x'; 1 << 20];
    let text = |error: &dyn ToString| error.to_string();
    assert!(Receipt::parse(&long).is_err_and(|error| text(&error).ends_with("too long")));
    assert!(AddCheckpoint::parse(&long).is_err_and(|error| text(&error).ends_with("too long")));
    let empty = b"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\n";
    assert!(Receipt::parse(empty).is_err_and(|error| text(&error).ends_with("extra data")));
}

#[test]
fn a_leaf_that_is_no_record_has_no_receipt() {
    let data = b"in the tree, and no record";
    let head = Checkpoint {
        size: 1,
        root: leaf_hash(data),
    };
    let note = signer().sign(&head);
    let receipt = Receipt {
        record: Some(data.to_vec()),
        index: 0,
        proof: Vec::new(),
        checkpoint: note.as_bytes(),
    };
    let refused = check(&receipt.to_bytes(), None);
    assert!(
        matches!(refused, Err(ReceiptError::Record(_))),
        "{refused:?}"
    );
}

#[test]
fn holds_h18_base_64_has_one_spelling() {
    let history = history(19);
    let note = signer().sign(&history.head());
    let good = String::from_utf8(history.receipt(6, &note)).unwrap();
    // The last character of a hash has two bits that mean nothing: another spelling of the same.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hash = good.lines().nth(3).unwrap();
    let last = alphabet.find(&hash[42..43]).unwrap();
    let other = &alphabet[last + 1..last + 2];
    let bad = good.replace(hash, &format!("{}{other}=", &hash[..42]));
    assert!(check(bad.as_bytes(), None).is_err());
}

#[test]
fn holds_h18_requests_to_a_witness_that_are_not_exact_are_refused() {
    let note = signer().sign(&history(20).head());
    let request = AddCheckpoint {
        old: 7,
        proof: vec![leaf_hash(b"a"), leaf_hash(b"b")],
        checkpoint: note.as_bytes(),
    };
    let good = String::from_utf8(request.to_bytes().unwrap()).unwrap();
    assert_eq!(AddCheckpoint::parse(good.as_bytes()), Ok(request.clone()));
    let empty = AddCheckpoint {
        old: 0,
        proof: Vec::new(),
        ..request.clone()
    };
    assert_eq!(
        AddCheckpoint::parse(&empty.to_bytes().unwrap()),
        Ok(empty.clone())
    );
    let hash = good.lines().nth(1).unwrap();
    for bad in [
        good.replace('\n', "\r\n"),
        good.replace("old 7", "old 07"),
        good.replace("old 7", "old  7"),
        good.replace("old 7", "old -7"),
        good.replace("old 7", "old"),
        good.replace("old 7", "old 1000000000000000000"),
        good.replace("old 7", "Old 7"),
        good.replace(hash, &hash[..43]),
        good.replace(hash, &format!("{hash} ")),
        good.replace(hash, ""),
        good.replace(&format!("{hash}\n"), &format!("{hash}\n").repeat(63)),
        good.replace("\n\nnode", "\nnode"),
        good.replace("log\n20\n", "log\n020\n"),
        good.replace("\u{2014}", "-"),
        format!("{good} "),
        format!("{good}{}", "x".repeat(1 << 20)),
        "old 0\n\n".into(),
        String::new(),
    ] {
        assert!(AddCheckpoint::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let most = good.replace(&format!("{hash}\n"), &format!("{hash}\n").repeat(62));
    assert!(AddCheckpoint::parse(most.as_bytes()).is_ok());
    let long = AddCheckpoint {
        proof: vec![leaf_hash(b"a"); 64],
        ..request
    };
    assert!(long.to_bytes().is_err());
}

fn vectors() -> Json {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/receipt.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn seed(vectors: &Json, name: &str) -> [u8; 32] {
    STANDARD
        .decode(vectors[name].as_str().unwrap())
        .unwrap()
        .try_into()
        .unwrap()
}

#[test]
fn what_leaves_is_byte_for_byte_what_it_was() {
    let vectors = vectors();
    let text = |name: &str| vectors[name].as_str().unwrap().to_owned();
    let log = Signer::new(&text("origin"), &seed(&vectors, "log_seed")).unwrap();
    let witness = Cosigner::new(&text("witness"), &seed(&vectors, "witness_seed")).unwrap();
    assert_eq!(log.verifier().to_string(), text("log_vkey"));
    assert_eq!(witness.verifier().to_string(), text("witness_vkey"));
    let (_, head, _) =
        Checkpoint::peek(vectors["checkpoint"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(log.sign(&head), text("checkpoint"));
    let time_s = vectors["time_s"].as_u64().unwrap();
    let line = witness
        .cosign(text("checkpoint").as_bytes(), log.verifier(), time_s)
        .unwrap();
    assert_eq!(line, text("cosignature"));
    let request = text("add_checkpoint");
    let read = AddCheckpoint::parse(request.as_bytes()).unwrap();
    assert_eq!(read.to_bytes().unwrap(), request.as_bytes());
    let receipt = text("receipt");
    let read = Receipt::parse(receipt.as_bytes()).unwrap();
    assert_eq!(read.to_bytes(), receipt.as_bytes());
    let policy = Policy::parse(&text("policy")).unwrap();
    let proven = read.verify(log.verifier(), Some(&policy)).unwrap();
    assert!(proven.witnessed);
    assert_eq!(proven.cosignatures[0].time_s, time_s);
    assert_eq!(proven.index, vectors["index"].as_u64().unwrap());
}

/// What somebody does to bytes.
fn mutation() -> impl Strategy<Value = (u8, prop::sample::Index, u8)> {
    (0u8..4, any::<prop::sample::Index>(), any::<u8>())
}

fn mutate(data: &mut Vec<u8>, (how, at, byte): &(u8, prop::sample::Index, u8)) {
    if data.is_empty() {
        return;
    }
    let at = at.index(data.len());
    match how {
        0 => data[at] ^= (*byte).max(1),
        1 => data.insert(at, *byte),
        2 => drop(data.remove(at)),
        _ => data.truncate(at),
    }
}

proptest! {
    #[test]
    fn holds_h17_a_changed_receipt_proves_nothing(
        index in 0u64..20, changes in prop::collection::vec(mutation(), 1..4)
    ) {
        let history = history(20);
        let good = history.receipt(index, &signer().sign(&history.head()));
        let mut bad = good.clone();
        changes.iter().for_each(|change| mutate(&mut bad, change));
        prop_assert!(bad == good || check(&bad, None).is_err());
    }

    #[test]
    fn holds_h16_a_changed_receipt_is_not_witnessed(
        changes in prop::collection::vec(mutation(), 1..4)
    ) {
        let history = history(20);
        let note = signer().sign(&history.head());
        let line = witness().cosign(note.as_bytes(), signer().verifier(), 5).unwrap();
        let good = history.receipt(6, &format!("{note}{line}"));
        let policy = format!("witness a {}\nquorum a\n", witness().verifier());
        let policy = Policy::parse(&policy).unwrap();
        prop_assert!(check(&good, Some(&policy)).is_ok_and(|proven| proven.witnessed));
        let mut bad = good.clone();
        changes.iter().for_each(|change| mutate(&mut bad, change));
        let witnessed = check(&bad, Some(&policy)).is_ok_and(|proven| proven.witnessed);
        prop_assert!(bad == good || !witnessed);
    }

    #[test]
    fn bytes_of_strangers_are_never_a_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&data).into_owned();
        let key = signer();
        for data in [&data[..], &[b"c2sp.org/tlog-proof@v1\nindex 0\n", &data[..]].concat()] {
            prop_assert!(check(data, None).is_err());
            prop_assert!(Checkpoint::parse(data, key.verifier()).is_err());
            let _ = (AddCheckpoint::parse(data), Note::parse(data), Checkpoint::peek(data));
        }
        let _ = (Policy::parse(&text), VerifierKey::parse(&text), WitnessKey::parse(&text));
    }

    #[test]
    fn mutated_policies_are_read_or_refused(changes in prop::collection::vec(mutation(), 1..6)) {
        let key = witness().verifier().to_string();
        let text = format!("# x\nwitness a {key} https://a\ngroup g 1 a\nquorum g\n");
        let mut bytes = text.into_bytes();
        changes.iter().for_each(|change| mutate(&mut bytes, change));
        if let Ok(policy) = Policy::parse(&String::from_utf8_lossy(&bytes)) {
            let note = signer().sign(&history(3).head());
            prop_assert!(policy.is_met(note.as_bytes()).is_ok_and(|met| !met)
                || policy.quorum() == "none");
        }
    }

    #[test]
    fn holds_h18_proofs_of_chance_prove_nothing(
        first in any::<u64>(), second in any::<u64>(), count in 0usize..70, byte in any::<u8>()
    ) {
        let hash = leaf_hash(&[byte]);
        let proof = vec![hash; count];
        let other = leaf_hash(b"root");
        prop_assert!(verify_consistency(first, second, &proof, &hash, &other).is_err());
        let proven = qflow_core::log::verify_inclusion(first, second, &hash, &proof, &other);
        prop_assert!(proven.is_err());
    }
}
