//! What is taken for a cosignature, and what is not.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;
use crate::log::{Signer, leaf_hash};

fn signer() -> Signer {
    Signer::new("example.org/log", &[7; 32]).expect("a good name and key")
}

fn cosigner() -> Cosigner {
    Cosigner::new("witness.example/w1", &[8; 32]).expect("a good name and key")
}

fn head() -> String {
    let root = leaf_hash(b"root");
    signer().sign(&Checkpoint { size: 7, root })
}

fn cosigned_at(note: &str) -> Result<Option<u64>, NoteError> {
    cosigner()
        .verifier()
        .cosigned_at(&Note::parse(note.as_bytes())?)
}

#[test]
fn the_example_of_the_specification_is_read() {
    let note = "example.com/behind-the-sofa\n20852163\n\
                CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
                \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8\
                npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
                \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwS\
                RaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBI\
                fZ+qnA==\n";
    let (origin, head, _) = Checkpoint::peek(note.as_bytes()).expect("a head");
    assert_eq!(
        (origin, head.size),
        ("example.com/behind-the-sofa", 20_852_163)
    );
}

#[test]
fn a_cosignature_says_who_and_when() {
    let note = head();
    let line = cosigner()
        .cosign(note.as_bytes(), signer().verifier(), 1_679_315_147)
        .expect("a head of this log");
    assert_eq!(cosigned_at(&note), Ok(None));
    assert_eq!(
        cosigned_at(&format!("{note}{line}")),
        Ok(Some(1_679_315_147))
    );
    let text = cosigner().verifier().to_string();
    assert_eq!(WitnessKey::parse(&text), Ok(cosigner().verifier().clone()));
    assert!(VerifierKey::parse(&text).is_err());
    assert!(WitnessKey::parse(&signer().verifier().to_string()).is_err());
}

#[test]
fn what_another_log_signed_is_not_cosigned() {
    let other = Signer::new("example.org/log", &[9; 32]).expect("a good name and key");
    let refused = cosigner().cosign(head().as_bytes(), other.verifier(), 1);
    assert!(refused.is_err());
    let elsewhere = Signer::new("example.org/other", &[7; 32]).expect("a good name and key");
    assert!(
        cosigner()
            .cosign(head().as_bytes(), elsewhere.verifier(), 1)
            .is_err()
    );
    assert!(
        cosigner()
            .cosign(head().as_bytes(), signer().verifier(), u64::MAX)
            .is_err()
    );
}

#[test]
fn one_key_signs_heads_and_cosigns_without_either_passing_for_the_other() {
    let both = Cosigner::new("example.org/log", &[7; 32]).expect("a good name and key");
    assert_ne!(both.verifier().0.id(), signer().verifier().id());
    let note = head();
    let line = both
        .cosign(note.as_bytes(), signer().verifier(), 1)
        .expect("a head of this log");
    let text = note.split_inclusive("\n\n").next().expect("the text");
    assert!(Checkpoint::parse(format!("{text}{line}").as_bytes(), signer().verifier()).is_err());
    let forged = format!("{note}{}", relabel(&note, both.verifier().0.id()));
    let read = Note::parse(forged.as_bytes()).expect("a note");
    assert!(both.verifier().cosigned_at(&read).is_err());
}

/// The log's own signature line under another key's id.
fn relabel(note: &str, id: [u8; 4]) -> String {
    let line = note.lines().last().expect("a signature line");
    let (head, encoded) = line.rsplit_once(' ').expect("a signature");
    let mut bytes = STANDARD.decode(encoded).expect("base 64");
    bytes[..4].copy_from_slice(&id);
    format!("{head} {}\n", STANDARD.encode(bytes))
}

#[test]
fn holds_h18_lines_that_are_not_exact_are_refused() {
    let note = head();
    let line = cosigner()
        .cosign(note.as_bytes(), signer().verifier(), 5)
        .expect("a head of this log");
    let encoded = line.trim_end().rsplit(' ').next().expect("a signature");
    let bytes = STANDARD.decode(encoded).expect("base 64");
    let with = |bytes: &[u8]| {
        let line = line.replace(encoded, &STANDARD.encode(bytes));
        cosigned_at(&format!("{note}{line}"))
    };
    assert_eq!(with(&bytes), Ok(Some(5)));
    for at in 4..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(with(&bad).is_err(), "byte {at}");
    }
    for short in 5..bytes.len() {
        assert!(with(&bytes[..short]).is_err(), "{short} bytes");
    }
    assert!(with(&[&bytes[..], &[0]].concat()).is_err());
    assert!(with(&signed_at(&note, TIME_MAX_S)).is_ok());
    assert!(with(&signed_at(&note, TIME_MAX_S + 1)).is_err());
    assert!(cosigned_at(&format!("{note}{line}{line}")).is_err());
    assert!(cosigned_at(&format!("{note}{}", line.replace('\n', "\r\n"))).is_err());
}

/// A signature of the witness itself, with a time that `cosign` refuses.
fn signed_at(note: &str, time_s: u64) -> Vec<u8> {
    let text = Note::parse(note.as_bytes()).expect("a note").text;
    let signature = cosigner()
        .key
        .sign(cosigned_message(time_s, text).as_bytes());
    let id = cosigner().verifier().0.id();
    [&id[..], &time_s.to_be_bytes(), &signature.to_bytes()].concat()
}
