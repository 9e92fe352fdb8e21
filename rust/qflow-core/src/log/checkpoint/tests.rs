//! What is taken for a head, and what is not.

use super::*;
use crate::log::{EMPTY_ROOT, leaf_hash};

fn signer() -> Signer {
    Signer::new("example.org/log", &[7; 32]).expect("a good name and key")
}

fn head() -> Checkpoint {
    Checkpoint {
        size: 20_852_163,
        root: leaf_hash(b"root"),
    }
}

#[test]
fn a_head_comes_back_as_it_was_signed() {
    let note = signer().sign(&head());
    assert_eq!(
        Checkpoint::parse(note.as_bytes(), signer().verifier()),
        Ok(head())
    );
    let empty = Checkpoint {
        size: 0,
        root: EMPTY_ROOT,
    };
    let note = signer().sign(&empty);
    assert_eq!(
        Checkpoint::parse(note.as_bytes(), signer().verifier()),
        Ok(empty)
    );
}

#[test]
fn a_verifier_key_comes_back_from_its_text() {
    let text = signer().verifier().to_string();
    assert_eq!(VerifierKey::parse(&text), Ok(signer().verifier().clone()));
    for bad in [
        format!("{text} "),
        text.replacen('+', "+0", 1),
        text.to_uppercase(),
    ] {
        assert!(VerifierKey::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn the_key_of_the_go_checksum_database_is_read() {
    let text = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    assert_eq!(
        VerifierKey::parse(text)
            .map(|key| key.to_string())
            .as_deref(),
        Ok(text)
    );
}

/// Signed by the right key, so that only the parser can refuse it.
fn sign_text(text: &str) -> String {
    let mut note = format!("{text}\n");
    let signature = signer().key.sign(text.as_bytes()).to_bytes();
    write_signature(&mut note, signer().verifier(), &signature);
    note
}

#[test]
fn holds_h18_malformed_heads_are_refused_although_signed() {
    let root = STANDARD.encode(leaf_hash(b"root"));
    let good = format!("example.org/log\n7\n{root}\n");
    let read = |text: &str| Checkpoint::parse(sign_text(text).as_bytes(), signer().verifier());
    assert!(read(&good).is_ok());
    assert!(read(&format!("{good}extension\n")).is_ok());
    for bad in [
        good.replace('\n', "\r\n"),
        good.replace("\n7\n", "\n07\n"),
        good.replace("\n7\n", "\n+7\n"),
        good.replace("\n7\n", "\n-7\n"),
        good.replace("\n7\n", "\n7 \n"),
        good.replace("\n7\n", "\n\n"),
        good.replace("\n7\n", "\n1000000000000000000\n"),
        good.replace("\n7\n", "\n18446744073709551617\n"),
        good.replace('=', ""),
        good.replace(&root, "AAAA"),
        good.replace("example.org/log", "example.org/other"),
        good.replace(&root, ""),
        format!("{good}\nextension\n"),
        format!("\n{good}"),
        "example.org/log\n7\n".to_owned(),
    ] {
        assert!(read(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn holds_h18_malformed_notes_are_refused() {
    let good = signer().sign(&head());
    let read = |note: &str| Checkpoint::parse(note.as_bytes(), signer().verifier());
    let line = good.lines().last().expect("a signature line").to_owned();
    for bad in [
        good.replace('\n', "\r\n"),
        good.trim_end().to_owned(),
        format!("{good}\n"),
        format!("{good} "),
        format!("{good}{line}\n"),
        good.replace("\u{2014} ", "- "),
        good.replace("\n\n", "\n"),
        good.replace("=\n", "\n"),
        good.replace(&line, &line.replace("log ", "log  ")),
        good.replace("\n\n", "\n\n\n"),
        format!("{good}{}", "\u{2014} other AAAAAAAA\n".repeat(100)),
        format!("{good}{}", "x".repeat(1 << 20)),
    ] {
        assert!(read(&bad).is_err(), "{bad:?}");
    }
    let cosigned = format!("{good}\u{2014} witness.example AAAAAAAA\n");
    assert_eq!(read(&cosigned), Ok(head()));
}

#[test]
fn a_head_that_another_key_signed_is_refused() {
    let other = Signer::new("example.org/log", &[8; 32]).expect("a good name and key");
    let note = other.sign(&head());
    assert!(Checkpoint::parse(note.as_bytes(), signer().verifier()).is_err());
}
