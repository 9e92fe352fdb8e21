//! Chains that seem to begin a second time, looked up in the log.

use std::collections::HashMap;
use std::path::Path;

use qflow_core::chain::{Doubt, RecordView};

use super::source::journal_of;
use crate::error::Result;
use crate::frames::Frames;
use crate::journal::address;

/// Those of the doubts whose chain begins at an earlier record too. Reads the journal from its
/// first segment that far: it was verified, or was in an earlier run.
pub fn began_before(
    path: &Path,
    log_id: u64,
    first: u32,
    end: u64,
    doubts: &[Doubt],
) -> Result<Vec<Doubt>> {
    let mut found: HashMap<[u8; 16], Option<u64>> =
        doubts.iter().map(|doubt| (doubt.chain, None)).collect();
    let last = doubts.iter().map(|doubt| doubt.index).max().unwrap_or(0);
    let mut frames = Frames::new(&journal_of(path), log_id, address(first, 0), end);
    while let Some(commit) = frames.next_commit()? {
        if commit.first() > last {
            break;
        }
        for (index, leaf) in (commit.first()..).zip(commit.leaves()) {
            let record = RecordView::parse(&leaf[1..]).ok();
            let begins = record.filter(|record| record.seq == 0);
            if let Some(first) = begins.and_then(|record| found.get_mut(&record.chain)) {
                first.get_or_insert(index);
            }
        }
    }
    let again = |doubt: &&Doubt| {
        let first = found.get(&doubt.chain).copied().flatten();
        first.is_some_and(|first| first < doubt.index)
    };
    Ok(doubts.iter().filter(again).copied().collect())
}
