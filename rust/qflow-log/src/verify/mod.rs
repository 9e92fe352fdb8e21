//! Proving a log from its files and a public key: every byte of them, in one pass.
//!
//! Each record is hashed once, for the tree and for its chain. Three threads share the work: one
//! reads the journal and hashes its records, one follows the chains and the tree, one compares
//! tiles and checks signatures.

mod files;
mod jobs;
mod pass;
mod source;

use std::path::Path;

use qflow_core::log::{Hash, VerifierKey};

use crate::error::{LogError, Result};

/// Findings of one run that are kept; what follows from the first ones is only counted.
pub const FINDINGS_MAX: usize = 1000;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A file and a place in it, or a record.
    pub at: String,
    pub what: String,
}

/// What a log is, as far as it could be proven. No findings: all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub size: u64,
    pub root: Hash,
    /// Chains that begin in this log.
    pub chains: u64,
    /// Signed heads, one for each commit.
    pub heads: u64,
    pub blocks: u64,
    /// Payloads that records name and that do not lie in the same commit.
    pub absent: u64,
    /// Size of the published tree.
    pub published: u64,
    /// Bytes at the end of the journal of a commit that a crash cut: it was never acknowledged.
    pub torn_bytes: u64,
    /// Bytes of the journal that were read.
    pub bytes: u64,
    pub findings: Vec<Finding>,
    /// Findings beyond `FINDINGS_MAX`.
    pub more: u64,
}

/// Told the bytes of the journal that are done and all of them; false stops the verification.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// Verify the log at `path`. Bad content is a finding; an error is returned only when there is
/// nothing to read, when the key is malformed, or when `progress` stopped it.
pub fn verify_log(path: &Path, vkey: &str, progress: Progress<'_>) -> Result<Report> {
    let key = VerifierKey::parse(vkey).map_err(|error| LogError::Invalid(error.to_string()))?;
    let files = files::look(path, &key)?;
    pass::run(path, &key, files, progress)
}

/// The findings so far.
#[derive(Default)]
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
