//! Ed25519 by the strict rules, on published vectors.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its vectors fails"
)]

use std::path::PathBuf;

use qflow_core::mac;
use qflow_core::signature::{parse_key, public_key, sign, verify, verify_all};
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

#[test]
fn holds_h6_a_batch_gives_each_signature_its_own_verdict() {
    let seeds: Vec<[u8; 32]> = (1..=5).map(|seed| [seed; 32]).collect();
    let mut rows = Vec::new();
    for number in 0..500_usize {
        let seed = &seeds[number / 3 % seeds.len()];
        let message = number.to_le_bytes().to_vec();
        let mut signature = sign(seed, &message).to_vec();
        match number % 7 {
            0 => signature[number % 64] ^= 1,
            1 => signature.truncate(number % 64),
            _ => {}
        }
        let key = if number % 11 == 0 {
            vec![0; 32]
        } else {
            public_key(seed).to_vec()
        };
        rows.push((key, message, signature));
    }
    let claims: Vec<_> = rows
        .iter()
        .map(|(k, m, s)| (&k[..], &m[..], &s[..]))
        .collect();
    let alone: Vec<bool> = claims.iter().map(|&(k, m, s)| verify(k, m, s)).collect();
    assert_eq!(verify_all(&claims), alone);
    assert!(alone.contains(&true) && alone.contains(&false));
    assert!(verify_all(&[]).is_empty());
}

/// RFC 4231, test case 6: a key longer than a block.
#[test]
fn a_code_is_good_whole_or_as_short_as_the_receiver_says() {
    let (key, message) = (
        [0xaa; 131],
        b"Test Using Larger Than Block-Size Key - Hash Key First",
    );
    let tag = unhex(&Json::from(
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ));
    assert!(mac::verify(&key, message, &tag, 32));
    assert!(mac::verify(&key, message, &tag[..16], 16));
    assert!(
        !mac::verify(&key, message, &tag[..16], 32),
        "cut by the sender"
    );
    assert!(!mac::verify(&key, message, &tag, 16));
    assert!(!mac::verify(&key, message, &tag[..8], 8));
    assert!(!mac::verify(&key, message, &[], 0));
}

#[test]
fn an_empty_or_short_key_never_verifies() {
    for length in [0, 1, 15] {
        // The very tag that the key makes: zeros beyond the key do not change it.
        let made = mac_of(&vec![0; length], b"message");
        assert!(mac::verify(&[0; 16], b"message", &made, 32));
        assert!(!mac::verify(&vec![0; length], b"message", &made, 32));
    }
}

fn mac_of(key: &[u8], message: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    let outer = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner);
    outer.finalize().to_vec()
}
