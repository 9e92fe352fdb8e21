//! Proving a log from its files and a public key: every byte of them, in one pass.
//!
//! Each record is hashed once, for the tree and for its chain. The journal is read in pieces. Every
//! core checks what a piece shows by itself: checksums, hashes, records, blocks, signatures, whole
//! tiles (`look`). One thread takes the pieces in their order: the heads of the chains, the edge of
//! the tree (`pass`, `growth`).

mod blocks;
mod compare;
mod conclude;
mod doubts;
mod files;
mod growth;
mod look;
mod pass;
mod run;
mod source;
mod start;
mod state;

use std::collections::BTreeMap;
use std::path::Path;

use qflow_core::log::{Hash, VerifierKey};

use crate::error::{LogError, Result};
use crate::pruned::Pruned;
use crate::recover::log_id;

/// Findings of one run that are kept; what follows from the first ones is only counted.
pub const FINDINGS_MAX: usize = 1000;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A file and a place in it, or a record.
    pub at: String,
    pub what: String,
}

/// What was counted of a log, also of what an earlier run read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Chains that begin in this log; after a pruning in what it keeps, or go on across the cut.
    pub chains: u64,
    /// Signed heads, one for each commit.
    pub heads: u64,
    pub blocks: u64,
    /// Payloads that records name and that do not lie in the same commit.
    pub absent: u64,
}

/// What a log is, as far as it could be proven. No findings: all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub size: u64,
    pub root: Hash,
    /// Index of the first record that the log keeps.
    pub first: u64,
    /// Records that an earlier run verified, and that were not read in this one.
    pub started: u64,
    /// Why all was read although there was a state to go on from.
    pub whole: Option<String>,
    pub counts: Counts,
    /// Size of the published tree.
    pub published: u64,
    /// Bytes at the end of the journal of a commit that a crash cut: it was never acknowledged.
    pub torn_bytes: u64,
    /// Bytes of the journal that were read.
    pub bytes: u64,
    /// The signed head of the last commit; empty when there is none.
    pub head: Vec<u8>,
    /// Roots of the tree at the sizes that were asked for, as far as it reaches.
    pub roots: BTreeMap<u64, Hash>,
    /// The head that witnesses cosigned, as it lies there.
    pub witnessed: Option<Vec<u8>>,
    /// What the next run needs to go on from here; None unless asked for, and with findings.
    pub state: Option<Vec<u8>>,
    pub findings: Vec<Finding>,
    /// Findings beyond `FINDINGS_MAX`.
    pub more: u64,
}

/// What is asked of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// Sizes at which the root of the tree is wanted.
    pub known: &'a [u64],
    /// What an earlier run left, and the signed head at which it ended.
    pub state: Option<(&'a [u8], &'a [u8])>,
    /// Whether to leave a state.
    pub keep: bool,
}

/// Told the bytes of the journal that are done and all of them; false stops the verification.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// Verify the log at `path`. Bad content is a finding; an error is returned only when there is
/// nothing to read, when the key is malformed, or when `progress` stopped it.
pub fn verify_log(
    path: &Path,
    vkey: &str,
    ask: &Ask<'_>,
    progress: Progress<'_>,
) -> Result<Report> {
    let key = VerifierKey::parse(vkey).map_err(|error| LogError::Invalid(error.to_string()))?;
    loop {
        let files = files::look(path, &key)?;
        let (live, first) = (files.live, files.pruned.segment);
        let report = run::run(path, &key, files, ask, progress)?;
        // A running node may have pruned what was just read.
        let pruned = || Pruned::load(path, log_id(&key)).is_ok_and(|now| now.segment > first);
        if !live || report.findings.is_empty() || !pruned() {
            return Ok(report);
        }
    }
}

/// The findings so far.
#[derive(Debug, Default)]
pub struct Findings {
    pub kept: Vec<Finding>,
    pub more: u64,
}

impl Findings {
    pub fn add(&mut self, at: impl Into<String>, what: impl Into<String>) {
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(Finding {
                at: at.into(),
                what: what.into(),
            });
        } else {
            self.more += 1;
        }
    }

    pub fn append(&mut self, other: Self) {
        self.more += other.more;
        for finding in other.kept {
            self.add(finding.at, finding.what);
        }
    }
}
