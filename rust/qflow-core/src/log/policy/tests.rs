//! What is taken for a policy, and what a policy takes.

use super::*;
use crate::log::{Cosigner, Signer, leaf_hash};

fn log(number: u8) -> Signer {
    Signer::new(&format!("example.org/log{number}"), &[number; 32]).expect("a good key")
}

fn witness(number: u8) -> Cosigner {
    Cosigner::new(&format!("w{number}.example"), &[100 + number; 32]).expect("a good key")
}

fn head(log: &Signer, witnesses: &[u8]) -> String {
    let root = leaf_hash(b"root");
    let note = log.sign(&Checkpoint { size: 7, root });
    let lines = witnesses.iter().map(|number| {
        witness(*number)
            .cosign(note.as_bytes(), log.verifier(), 5)
            .expect("a good head")
    });
    lines.fold(note.clone(), |note, line| note + &line)
}

/// The example of the specification: two of X1 to X3, and any of Y4 to Y6.
fn two_levels() -> String {
    let mut text = format!("# two operators\n\nlog {}\n", log(1).verifier());
    for number in 1..=6 {
        let letter = if number < 4 { 'X' } else { 'Y' };
        let key = witness(number).verifier().to_string();
        text += &format!("\twitness  {letter}{number} {key} \thttps://w.example/{number}\n");
    }
    text + "group X-witnesses 2 X1 X2 X3\n  group Y-witnesses any Y4 Y5 Y6\n\
            group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
}

fn is_met(policy: &str, head: &str) -> Result<bool, PolicyError> {
    Policy::parse(policy)?.is_met(head.as_bytes())
}

#[test]
fn the_example_of_the_specification_decides_as_it_says() {
    for (witnesses, enough) in [
        (&[1, 2, 4][..], true),
        (&[1, 2, 3, 4, 5, 6], true),
        (&[3, 2, 6], true),
        (&[1, 2], false),
        (&[1, 4], false),
        (&[4, 5, 6], false),
        (&[], false),
    ] {
        assert_eq!(
            is_met(&two_levels(), &head(&log(1), witnesses)),
            Ok(enough),
            "{witnesses:?}"
        );
    }
    let policy = Policy::parse(&two_levels()).expect("a policy");
    assert_eq!((policy.logs().len(), policy.witnesses().len()), (1, 6));
    assert_eq!(policy.quorum(), "X-and-Y");
    assert_eq!(
        policy.witnesses()[5].url.as_deref(),
        Some("https://w.example/6")
    );
}

#[test]
fn holds_h16_a_policy_without_witnesses_must_say_so() {
    assert_eq!(
        Policy::parse("# nothing\n").map(|_| ()),
        Err(PolicyError::NoQuorum)
    );
    assert_eq!(is_met("quorum none\n", &head(&log(1), &[])), Ok(true));
    let one = format!("witness a {}\nquorum a\n", witness(1).verifier());
    assert_eq!(is_met(&one, &head(&log(1), &[])), Ok(false));
    assert_eq!(is_met(&one, &head(&log(1), &[2])), Ok(false));
    assert_eq!(is_met(&one, &head(&log(1), &[1, 2])), Ok(true));
}

#[test]
fn holds_h18_a_log_that_is_not_listed_is_not_believed() {
    let text = two_levels();
    assert_eq!(is_met(&text, &head(&log(2), &[1, 2, 4])), Ok(false));
    let policy = Policy::parse(&text).expect("a policy");
    assert!(policy.check_log(log(1).verifier()).is_ok());
    assert!(policy.check_log(log(2).verifier()).is_err());
    // Another key under the name of a log that is listed.
    let impostor = Signer::new("example.org/log1", &[9; 32]).expect("a good key");
    assert_eq!(is_met(&text, &head(&impostor, &[1, 2, 4])), Ok(false));
    assert!(policy.check_log(impostor.verifier()).is_err());
}

#[test]
fn a_log_does_not_witness_itself() {
    let own = Cosigner::new("w.example", &[1; 32]).expect("a good key");
    let text = format!("witness own {}\nquorum own\n", own.verifier());
    let note = head(&log(1), &[]);
    let line = own
        .cosign(note.as_bytes(), log(1).verifier(), 5)
        .expect("a good head");
    assert_eq!(is_met(&text, &format!("{note}{line}")), Ok(false));
    let other = head(&log(2), &[]);
    let line = own
        .cosign(other.as_bytes(), log(2).verifier(), 5)
        .expect("a good head");
    assert_eq!(is_met(&text, &format!("{other}{line}")), Ok(true));
}

#[test]
fn a_forged_line_of_a_known_witness_is_an_error() {
    let good = head(&log(1), &[1, 2, 4]);
    let line = good.lines().find(|line| line.contains("w1.example"));
    let line = line.expect("its line");
    // The same line under the head of another size: a good signature of something else.
    let root = leaf_hash(b"root");
    let other = log(1).sign(&Checkpoint { size: 8, root });
    assert!(is_met(&two_levels(), &format!("{other}{line}\n")).is_err());
    assert!(is_met(&two_levels(), &format!("{good}{line}\n")).is_err());
}

#[test]
fn holds_h18_policies_that_are_not_exact_are_refused_by_line() {
    let (log, key) = (
        log(1).verifier().to_string(),
        witness(1).verifier().to_string(),
    );
    let other = witness(2).verifier().to_string();
    let same = Cosigner::new("again.example", &[101; 32]).expect("a good key");
    let again = same.verifier().to_string();
    for (line, text) in [
        (1, "quorum none".to_owned()),
        (1, "quorum none\r\n".into()),
        (1, "quorum\u{7f} none\n".into()),
        (1, "quorum\u{a0}none\n".into()),
        (1, "# a\rquorum none\nquorum none\n".into()),
        (2, "quorum none\n#\u{7f}\n".into()),
        (2, "quorum none\n# \u{0}\n".into()),
        (2, "quorum none\nquorum none\n".into()),
        (1, "quorum a\n".into()),
        (1, "quorum none extra\n".into()),
        (1, "quorum\n".into()),
        (1, "Quorum none\n".into()),
        (1, "log\n".into()),
        (1, format!("log {key}\n")),
        (1, format!("witness a {log}\n")),
        (1, format!("log {log} https://a b\n")),
        (2, format!("log {log}\nlog {log}\n")),
        (2, format!("witness a {key}\nwitness b {again}\n")),
        (2, format!("witness a {key}\nwitness a {other}\n")),
        (1, format!("witness none {key}\n")),
        (1, format!("witness a {key}A\n")),
        (2, format!("witness a {key}\ngroup g 1\n")),
        (2, format!("witness a {key}\ngroup g 0 a\n")),
        (2, format!("witness a {key}\ngroup g 2 a\n")),
        (2, format!("witness a {key}\ngroup g 01 a\n")),
        (2, format!("witness a {key}\ngroup g +1 a\n")),
        (2, format!("witness a {key}\ngroup g some a\n")),
        (2, format!("witness a {key}\ngroup g 1 a a\n")),
        (2, format!("witness a {key}\ngroup a any a\n")),
        (2, format!("witness a {key}\ngroup g any g\n")),
        (2, format!("witness a {key}\ngroup g any none\n")),
        (2, format!("witness a {key}\ngroup none any a\n")),
        (
            3,
            format!("witness a {key}\ngroup g any a\ngroup h any a\n"),
        ),
        (1, format!("group g any a\nwitness a {key}\n")),
    ] {
        match Policy::parse(&text) {
            Err(PolicyError::Line { line: found, .. }) => assert_eq!(found, line, "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
    let swapped = Policy::parse(&format!("log {key}\n"));
    assert!(swapped.is_err_and(|error| error.to_string().contains("the key of a witness")));
    let long = "#".repeat(POLICY_BYTES_MAX) + "\nquorum none\n";
    assert_eq!(Policy::parse(&long).map(|_| ()), Err(PolicyError::TooLong));
    let many = "log ".to_owned() + &log + "\n";
    assert!(Policy::parse(&(many + "quorum none\n")).is_ok());
}

#[test]
fn as_much_is_taken_as_the_specification_recommends() {
    let mut text = String::new();
    for number in 1..=32 {
        text += &format!("log {}\n", log(number).verifier());
        text += &format!("witness w{number} {}\n", witness(number).verifier());
        text += &format!(
            "group g{number} any {}\n",
            if number == 1 {
                "w1".into()
            } else {
                format!("w{number} g{}", number - 1)
            }
        );
    }
    text += "quorum g32\n";
    assert_eq!(is_met(&text, &head(&log(3), &[1])), Ok(true));
    assert_eq!(is_met(&text, &head(&log(3), &[])), Ok(false));
}
