//! Proofs that other people made, good and bad: tests/vectors/merkle.

use base64::{Engine, engine::general_purpose::STANDARD};
use qflow_core::log::{Hash, sha256, verify_consistency, verify_inclusion};
use serde_json::Value;

fn cases(name: &str) -> Vec<Value> {
    let path = format!(
        "{}/../../tests/vectors/merkle/{name}.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).expect("the vectors are there");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

/// A hash, if it has the length of one: what has another never gets to a proof.
fn hash(value: &Value) -> Option<Hash> {
    STANDARD.decode(value.as_str()?).ok()?.try_into().ok()
}

/// A root. Where the case does not care which it is, it is no hash: one is made of it.
fn root(value: &Value) -> Option<Hash> {
    hash(value).or_else(|| Some(sha256(value.as_str()?.as_bytes())))
}

fn proof(case: &Value) -> Option<Vec<Hash>> {
    let Some(hashes) = case["proof"].as_array() else {
        return Some(Vec::new());
    };
    hashes.iter().map(hash).collect()
}

fn includes(case: &Value) -> Option<bool> {
    let (index, size) = (case["leafIdx"].as_u64()?, case["treeSize"].as_u64()?);
    let (leaf, root) = (hash(&case["leafHash"])?, hash(&case["root"])?);
    Some(verify_inclusion(index, size, &leaf, &proof(case)?, &root).is_ok())
}

fn is_consistent(case: &Value) -> Option<bool> {
    let (first, second) = (case["size1"].as_u64()?, case["size2"].as_u64()?);
    let (old, new) = (root(&case["root1"])?, root(&case["root2"])?);
    Some(verify_consistency(first, second, &proof(case)?, &old, &new).is_ok())
}

/// A subtree from a multiple of its power of two on is a tree of its own; another is none.
fn subtree_includes(case: &Value) -> Option<bool> {
    let (start, end) = (case["start"].as_u64()?, case["end"].as_u64()?);
    let size = end.checked_sub(start)?;
    let index = case["leafIdx"].as_u64()?.checked_sub(start)?;
    let (leaf, root) = (hash(&case["leafHash"])?, hash(&case["root"])?);
    let aligned = start == 0 || start.is_multiple_of(size.checked_next_power_of_two()?);
    let proof = proof(case)?;
    Some(aligned && verify_inclusion(index, size, &leaf, &proof, &root).is_ok())
}

/// The consistency of a subtree that begins with the tree is that of two trees. One that is empty,
/// or begins later, has no like here.
fn subtree_is_consistent(case: &Value) -> Option<bool> {
    let (first, second) = (case["end"].as_u64()?, case["size"].as_u64()?);
    let (old, new) = (root(&case["root1"])?, root(&case["root2"])?);
    Some(verify_consistency(first, second, &proof(case)?, &old, &new).is_ok())
}

fn check(name: &str, accepts: fn(&Value) -> Option<bool>, maps: fn(&Value) -> bool) {
    let mut cases = cases(name);
    cases.retain(maps);
    assert!(cases.len() > 90, "{} cases", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter(|case| case["wantErr"].as_bool() == Some(accepts(case).unwrap_or(false)))
        .map(|case| format!("{} {}", case["case"], case))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn holds_h18_inclusion_proofs_are_taken_and_refused_as_elsewhere() {
    check("inclusion", includes, |_| true);
}

#[test]
fn holds_h18_consistency_proofs_are_taken_and_refused_as_elsewhere() {
    check("consistency", is_consistent, |_| true);
}

#[test]
fn holds_h18_inclusion_proofs_of_subtrees_are_taken_and_refused_as_elsewhere() {
    check("subtreeinclusion", subtree_includes, |_| true);
}

#[test]
fn holds_h18_consistency_proofs_of_subtrees_from_the_beginning_are_taken_and_refused_too() {
    let maps = |case: &Value| case["start"] == 0 && case["end"] != 0;
    check("subtreeconsistency", subtree_is_consistent, maps);
}
