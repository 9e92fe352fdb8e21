//! Checking rows that were read back: each against its record's canonical form, its chain, the
//! question that was asked, and, beside the log, against the log.

mod beside;
mod links;

use std::path::Path;

use qflow_core::chain::{GENESIS, RecordView, is_terminal};
use qflow_core::encoding::{block_cid, is_cid};
use qflow_core::log::{Frontier, Hash, leaf_hashes};

use crate::error::Result;
use crate::parts::Parts;
use crate::scan::{Selection, Summary};
use beside::{Beside, Found};
use links::Links;

/// Findings that are kept; what is beyond is counted.
pub const FINDINGS_MAX: usize = 1000;
/// Rows that are hashed at once.
const BATCH_ROWS: usize = 256;

/// What the rows are said to be all of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complete {
    /// All records of the log from one index to another.
    Range,
    /// All records of one chain.
    Chain,
    /// Those that somebody chose.
    Claimed,
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub at: String,
    pub what: String,
}

/// What was seen.
#[derive(Clone, Default)]
pub struct Checked {
    pub summary: Summary,
    /// For a range: the root of the log's tree up to its end.
    pub end_root: Option<Hash>,
    /// Of the last row: its hash, and whether its chain ends with it.
    pub last: Option<(Hash, bool)>,
    /// Pairs of records that follow each other in their chain.
    pub links: u64,
    /// Of the log beside: its root at the size that the export is of.
    pub log_root: Option<Hash>,
    /// Rows whose records the log beside no longer keeps.
    pub pruned: u64,
    pub findings: Vec<Finding>,
    pub more: u64,
}

/// Takes rows in order. Memory is bounded, whatever their number.
pub struct Check {
    selection: Selection,
    complete: Complete,
    /// For a range: the tree before it, which grows with the rows.
    tree: Option<Frontier>,
    next_seq: u64,
    next_prev: Hash,
    links: Links,
    beside: Option<Beside>,
    waiting: Vec<(u64, Vec<u8>)>,
    rows: u64,
    seen: Checked,
}

impl Check {
    /// `before` is the tree of the records before `selection.first`, for a range.
    #[must_use]
    pub fn new(selection: Selection, complete: Complete, before: Option<Frontier>) -> Self {
        let seen = Checked {
            summary: Summary {
                position: selection.first,
                ..Summary::default()
            },
            ..Checked::default()
        };
        Self {
            tree: before.filter(|_| complete == Complete::Range),
            selection,
            complete,
            next_seq: 0,
            next_prev: GENESIS,
            links: Links::default(),
            beside: None,
            waiting: Vec::with_capacity(BATCH_ROWS),
            rows: 0,
            seen,
        }
    }

    /// Compare with the log at `path` as it was when it had `size` records. It keeps those that
    /// come after the tree `before`.
    pub fn beside(mut self, path: &Path, size: u64, before: Frontier) -> Result<Self> {
        self.beside = Some(Beside::open(path, &self.selection, size, before)?);
        Ok(self)
    }

    /// Note what is wrong with the rows as such.
    pub fn find(&mut self, at: impl Into<String>, what: impl Into<String>) {
        add(&mut self.seen, at.into(), what.into());
    }

    /// Rows that were read.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Take the next row, or what could not be read as one.
    pub fn push(&mut self, row: Result<Parts, String>) -> Result<()> {
        self.rows += 1;
        let number = self.rows;
        let parts = match row {
            Ok(parts) => parts,
            Err(what) => {
                self.find(format!("row {number}"), what);
                return Ok(());
            }
        };
        let at = format!("record {}", parts.index);
        match parts.encode() {
            Ok(record) => {
                if !is_content_of(&parts) {
                    self.find(at, "its content is not what its payload names");
                }
                let mut leaf = Vec::with_capacity(record.len() + 1);
                leaf.push(0);
                leaf.extend_from_slice(&record);
                self.waiting.push((parts.index, leaf));
            }
            Err(error) => self.find(at, error.to_string()),
        }
        if self.waiting.len() >= BATCH_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    /// After the last row.
    pub fn finish(mut self) -> Result<Checked> {
        self.flush()?;
        let (at, end) = (self.seen.summary.position, self.selection.end);
        if self.complete == Complete::Range && at != end {
            let what = format!("missing, and all to record {end}");
            self.find(format!("record {at}"), what);
        }
        if let Some(beside) = self.beside.take() {
            let seen = &mut self.seen;
            self.seen.log_root = beside.finish(&mut |index| missing(seen, index))?;
        }
        self.seen.end_root = self.tree.as_ref().map(Frontier::root);
        self.seen.links = self.links.proven;
        Ok(self.seen)
    }

    fn flush(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut hashes = Vec::with_capacity(waiting.len());
        leaf_hashes(waiting.iter().map(|(_, leaf)| leaf.as_slice()), &mut hashes);
        for ((index, leaf), hash) in waiting.iter().zip(&hashes) {
            // What was encoded was parsed.
            if let Ok(record) = RecordView::parse(&leaf[1..]) {
                self.check(*index, &record, hash)?;
            }
        }
        let indices: Vec<u64> = waiting.iter().map(|(index, _)| *index).collect();
        self.seen.summary.take(&indices, &hashes);
        if let Some(tree) = &mut self.tree {
            tree.extend_with(&hashes, |_, _| ());
        }
        self.waiting = waiting;
        self.waiting.clear();
        Ok(())
    }

    fn check(&mut self, index: u64, record: &RecordView<'_>, hash: &Hash) -> Result<()> {
        let at = || format!("record {index}");
        let (due, end) = (self.seen.summary.position, self.selection.end);
        if index < due || index >= end {
            let what = format!("out of place: {due} to {end} may follow");
            self.find(at(), what);
        } else if self.complete == Complete::Range {
            (due..index)
                .take(FINDINGS_MAX)
                .for_each(|index| missing(&mut self.seen, index));
        }
        self.seen.summary.position = due.max(index + 1);
        let asked = self.selection.filter.as_ref();
        if !asked.is_none_or(|filter| filter.matches(record)) {
            self.find(at(), "is not what was asked for");
        }
        self.follow(index, record, *hash);
        self.seen.last = Some((*hash, is_terminal(record.kind)));
        let Some(beside) = &mut self.beside else {
            return Ok(());
        };
        let seen = &mut self.seen;
        let found = beside.compare(index, hash, &mut |index| missing(seen, index))?;
        match found {
            Found::Same => {}
            Found::Pruned => self.seen.pruned += 1,
            Found::Other => self.find(at(), "is not the record that the log has there"),
            Found::Extra => self.find(at(), "the log has no such record that was asked for"),
        }
        Ok(())
    }

    fn follow(&mut self, index: u64, record: &RecordView<'_>, hash: Hash) {
        let at = format!("record {index}");
        let gaps = self.complete == Complete::Claimed;
        if self.complete != Complete::Chain {
            if let Err(what) = self.links.push(record, hash, gaps) {
                self.find(at, format!("chain {}: {what}", chain_text(record)));
            }
            return;
        }
        if record.seq != self.next_seq {
            let what = format!(
                "record {} of chain {} is missing",
                self.next_seq,
                chain_text(record)
            );
            self.find(at, what);
        } else if record.prev != self.next_prev {
            self.find(at, "does not name the record before it by its hash");
        } else if record.seq > 0 {
            self.links.proven += 1;
        }
        (self.next_seq, self.next_prev) = (record.seq + 1, hash);
    }
}

fn chain_text(record: &RecordView<'_>) -> String {
    String::from_utf8_lossy(&crate::text::id_text(&record.chain)).into_owned()
}

fn missing(seen: &mut Checked, index: u64) {
    add(seen, format!("record {index}"), "missing".into());
}

fn add(seen: &mut Checked, at: String, what: String) {
    if seen.findings.len() < FINDINGS_MAX {
        seen.findings.push(Finding { at, what });
    } else {
        seen.more += 1;
    }
}

/// Whether a content is what the payload's CID names. Of what was sealed, the CID names what only
/// its key opens: of that the file's digest is all the proof.
fn is_content_of(parts: &Parts) -> bool {
    match (&parts.content, &parts.payload) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(content), Some(cid)) => {
            debug_assert!(is_cid(cid));
            !cid.starts_with(&[0x01, 0x71]) || block_cid(content) == cid[..]
        }
    }
}
