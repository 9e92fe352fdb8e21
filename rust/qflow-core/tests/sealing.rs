//! Sealing: published vectors against the cipher, and what must not open.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its vectors fails"
)]

use std::collections::HashSet;
use std::path::PathBuf;

use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use proptest::prelude::*;
use qflow_core::sealing::{
    OVERHEAD, Place, Sealer, SealingError, is_sealed, seal_payload, sealed_with, slot_bound,
    unseal_payload, unwrap_key, wrap_key, wrapping_key,
};
use serde_json::Value as Json;

const CHAIN: [u8; 16] = [7; 16];
const PREV: [u8; 32] = [9; 32];

fn place() -> Place<'static> {
    Place {
        subnet: "default",
        chain: &CHAIN,
        seq: 5,
        epoch: 2,
        prev: &PREV,
    }
}

fn unhex(text: &Json) -> Vec<u8> {
    let text = text.as_str().unwrap();
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// `../shared/data` beside the checkout. A checkout alone may skip what needs it; CI may not.
fn wycheproof() -> Option<Json> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let folder = std::env::var("QFLOW_SHARED_DATA").unwrap_or_else(|_| beside.to_owned());
    let path = PathBuf::from(folder).join("xchacha/wycheproof.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(_) if std::env::var_os("CI").is_none() => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Ciphertext and tag, and whether they open again; None where the nonce has another length.
fn judged(case: &Json) -> Option<(Vec<u8>, bool)> {
    let nonce = XNonce::try_from(&unhex(&case["iv"])[..]).ok()?;
    let key: [u8; 32] = unhex(&case["key"]).try_into().unwrap();
    let cipher = XChaCha20Poly1305::new(&key.into());
    let (aad, mut made) = (unhex(&case["aad"]), unhex(&case["msg"]));
    let tag = cipher
        .encrypt_inout_detached(&nonce, &aad, (&mut made[..]).into())
        .unwrap();
    made.extend_from_slice(&tag);
    let mut given = unhex(&case["ct"]);
    let tag = Tag::try_from(&unhex(&case["tag"])[..]).unwrap();
    let opened = cipher.decrypt_inout_detached(&nonce, &aad, (&mut given[..]).into(), &tag);
    Some((made, opened.is_ok() && given == unhex(&case["msg"])))
}

#[test]
fn holds_s6_wycheproof_vectors_are_judged_as_published() {
    let Some(vectors) = wycheproof() else {
        return;
    };
    let mut count = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        for case in group["tests"].as_array().unwrap() {
            let valid = case["result"] == "valid";
            let judged = judged(case);
            count += 1;
            let Some((made, opened)) = judged else {
                assert!(!valid, "{case}");
                continue;
            };
            let given = [unhex(&case["ct"]), unhex(&case["tag"])].concat();
            assert_eq!(opened, valid, "{case}");
            assert_eq!(made == given, valid, "{case}");
        }
    }
    assert_eq!(vectors["numberOfTests"], count);
}

fn fixed<const N: usize>(text: &Json) -> [u8; N] {
    unhex(text).try_into().unwrap()
}

#[test]
fn golden_bytes() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/sealed-payload.json"
    );
    let vectors: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in vectors["payloads"].as_array().unwrap() {
        let place = Place {
            subnet: case["subnet"].as_str().unwrap(),
            chain: &fixed(&case["chain"]),
            seq: case["seq"].as_u64().unwrap(),
            epoch: case["epoch"].as_u64().unwrap(),
            prev: &fixed(&case["prev"]),
        };
        let sealer = Sealer::new(&fixed(&case["key"]));
        let number = case["number"].as_u64().unwrap();
        let block = seal_payload(&sealer, number, &place, &unhex(&case["text"]));
        assert_eq!(block, unhex(&case["block"]));
    }
    let keyring = &vectors["keyring"];
    let wrapping = Sealer::new(&wrapping_key(&fixed(&keyring["seed"])));
    for slot in keyring["slots"].as_array().unwrap() {
        let [number, epoch] = ["number", "epoch"].map(|name| slot[name].as_u64().unwrap());
        let wrapped = wrap_key(&wrapping, &slot_bound(number, epoch), &fixed(&slot["key"]));
        assert_eq!(wrapped, unhex(&slot["slot"])[24..]);
    }
}

#[test]
fn what_was_sealed_is_unsealed() {
    let sealer = Sealer::new(&[1; 32]);
    let block = seal_payload(&sealer, 77, &place(), b"what it says");
    assert_eq!(block.len(), OVERHEAD + 12);
    assert!(is_sealed(&block));
    assert_eq!(sealed_with(&block), Ok(77));
    assert_eq!(
        unseal_payload(&sealer, &place(), &block).as_deref(),
        Ok(&b"what it says"[..])
    );
}

#[test]
fn holds_s14_it_opens_in_its_place_alone() {
    let sealer = Sealer::new(&[1; 32]);
    let block = seal_payload(&sealer, 77, &place(), b"what it says");
    let elsewhere = [
        Place {
            subnet: "other",
            ..place()
        },
        Place {
            chain: &[8; 16],
            ..place()
        },
        Place { seq: 6, ..place() },
        Place {
            epoch: 3,
            ..place()
        },
        Place {
            prev: &[0; 32],
            ..place()
        },
    ];
    for place in elsewhere {
        let opened = unseal_payload(&sealer, &place, &block);
        assert_eq!(opened, Err(SealingError::Altered));
    }
}

#[test]
fn holds_s14_any_byte_changed_or_cut_is_refused() {
    let sealer = Sealer::new(&[1; 32]);
    let block = seal_payload(&sealer, 77, &place(), b"what it says");
    for at in 0..block.len() {
        let mut changed = block.clone();
        changed[at] ^= 1;
        assert!(unseal_payload(&sealer, &place(), &changed).is_err(), "{at}");
        assert!(
            unseal_payload(&sealer, &place(), &block[..at]).is_err(),
            "{at}"
        );
    }
}

#[test]
fn another_key_is_told_by_the_commitment() {
    let block = seal_payload(&Sealer::new(&[1; 32]), 77, &place(), b"what it says");
    let opened = unseal_payload(&Sealer::new(&[2; 32]), &place(), &block);
    assert_eq!(opened, Err(SealingError::OtherKey));
}

#[test]
fn a_key_opens_under_its_number_and_node_alone() {
    let wrapping = Sealer::new(&wrapping_key(&[3; 32]));
    let wrapped = wrap_key(&wrapping, &slot_bound(9, 0), &[4; 32]);
    assert_eq!(
        *unwrap_key(&wrapping, &slot_bound(9, 0), &wrapped).unwrap(),
        [4; 32]
    );
    assert_eq!(
        unwrap_key(&wrapping, &slot_bound(8, 0), &wrapped),
        Err(SealingError::Altered)
    );
    assert_eq!(
        unwrap_key(&wrapping, &slot_bound(9, 1), &wrapped),
        Err(SealingError::Altered)
    );
    let other = Sealer::new(&wrapping_key(&[5; 32]));
    assert_eq!(
        unwrap_key(&other, &slot_bound(9, 0), &wrapped),
        Err(SealingError::OtherKey)
    );
}

fn nonce(block: &[u8]) -> Vec<u8> {
    block[13 + 32..13 + 32 + 24].to_vec()
}

proptest! {
    #[test]
    fn holds_s15_the_same_is_sealed_to_the_same_and_nothing_else_has_its_nonce(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..20),
        seqs in prop::collection::vec(0_u64..3, 20),
    ) {
        let sealer = Sealer::new(&[1; 32]);
        let mut things = HashSet::new();
        let mut nonces = HashSet::new();
        for (text, seq) in texts.iter().zip(&seqs) {
            let place = Place { seq: *seq, ..place() };
            let block = seal_payload(&sealer, 77, &place, text);
            prop_assert_eq!(&block, &seal_payload(&sealer, 77, &place, text));
            let fresh = things.insert((*seq, text.clone()));
            prop_assert_eq!(nonces.insert(nonce(&block)), fresh);
        }
    }

    #[test]
    fn bytes_of_strangers_are_refused(data in prop::collection::vec(any::<u8>(), 0..300)) {
        let sealer = Sealer::new(&[1; 32]);
        prop_assert!(unseal_payload(&sealer, &place(), &data).is_err());
    }
}
