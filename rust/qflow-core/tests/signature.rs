//! Ed25519 by the strict rules, on published vectors.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its vectors fails"
)]

use std::path::PathBuf;

use qflow_core::signature::{parse_key, public_key, sign, verify};
use serde_json::Value as Json;

/// `../shared/data` beside the checkout. A checkout alone may skip what needs it; CI may not.
fn shared(name: &str) -> Option<Json> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let folder = std::env::var("QFLOW_SHARED_DATA").unwrap_or_else(|_| beside.to_owned());
    let path = PathBuf::from(folder).join("ed25519").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(_) if std::env::var_os("CI").is_none() => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn unhex(text: &Json) -> Vec<u8> {
    let text = text.as_str().unwrap();
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn holds_h6_wycheproof_vectors_are_judged_as_published() {
    let Some(vectors) = shared("wycheproof.json") else {
        return;
    };
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = unhex(&group["publicKey"]["pk"]);
        for case in group["tests"].as_array().unwrap() {
            let good = verify(&key, &unhex(&case["msg"]), &unhex(&case["sig"]));
            assert_eq!(good, case["result"] == "valid", "{case}");
        }
    }
}

#[test]
fn of_the_twelve_edge_cases_only_the_third_is_good() {
    let Some(cases) = shared("speccheck.json") else {
        return;
    };
    for (number, case) in cases.as_array().unwrap().iter().enumerate() {
        let (key, message) = (unhex(&case["pub_key"]), unhex(&case["message"]));
        assert_eq!(
            verify(&key, &message, &unhex(&case["signature"])),
            number == 3,
            "{number}"
        );
    }
}

#[test]
fn keys_of_small_order_are_refused_at_the_door() {
    let identity = [[1].as_slice(), &[0; 31]].concat();
    let order_two = [[0xec].as_slice(), &[0xff; 30], &[0x7f]].concat();
    for weak in [identity, vec![0; 32], order_two] {
        assert!(parse_key(&weak).is_none());
        assert!(!verify(&weak, b"", &[0; 64]));
    }
    assert!(parse_key(&public_key(&[7; 32])).is_some());
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let (key, signature) = (public_key(&[7; 32]), sign(&[7; 32], b"message"));
    assert!(verify(&key, b"message", &signature));
    for bit in 0..8 * (32 + 64 + 7) {
        let (mut key, mut signature, mut message) = (key, signature, *b"message");
        match bit / 8 {
            at @ 0..32 => key[at] ^= 1 << (bit % 8),
            at @ 32..96 => signature[at - 32] ^= 1 << (bit % 8),
            at => message[at - 96] ^= 1 << (bit % 8),
        }
        assert!(!verify(&key, &message, &signature), "bit {bit}");
    }
}
