//! What goes on across a cut: read from the journal, which is about to be the last chance.

use std::fs;
use std::path::Path;

use qflow_core::chain::{Begun, Live, RecordView, Verifier};
use qflow_core::log::{Tile, TileKind, leaf_hashes};

use super::read_pruning;
use crate::error::{LogError, Result, corrupt};
use crate::frames::Frames;
use crate::journal::{Journal, address};
use crate::pruned::Pruned;

/// The chains that have begun and not ended before a segment. Reads the journal up to there, checks
/// it against the roots that the segment begins with, and the hash tiles below it against the
/// journal: one that differs is written again, since later nothing could.
pub fn survey(path: &Path, journal: &Journal, segment: u32) -> Result<Vec<Live>> {
    let log_id = journal.log_id();
    let pruned = Pruned::load(path, log_id)?;
    let mut builder = pruned.builder().unwrap_or_default();
    let live = carried(path, log_id, &pruned)?;
    let mut chains = Verifier::resume(live, Begun::default());
    let due = journal.header(segment)?.base;
    let (from, to) = (address(pruned.segment, 0), address(segment, 0));
    let mut frames = Frames::new(&path.join("journal"), log_id, from, to);
    let mut leaves = Vec::new();
    while let Some(commit) = frames.next_commit()? {
        leaves.clear();
        leaf_hashes(commit.leaves(), &mut leaves);
        for ((index, record), leaf) in (commit.first()..).zip(commit.leaves()).zip(&leaves) {
            let read = RecordView::parse(&record[1..]).map_err(Into::into);
            let pushed = read.and_then(|record| chains.push_view(&record, *leaf, index));
            pushed.or_else(|error| corrupt(format!("record {index}: {error}")))?;
        }
        let records = commit.leaves().map(|leaf| &leaf[1..]);
        builder.extend(records, &leaves, |tile, bytes| keep(path, tile, bytes))?;
    }
    if *builder.tree() != due {
        return corrupt("the records before the cut are not those that its segment names");
    }
    Ok(chains.live())
}

/// The chains that go on from before the first record that the log keeps.
pub fn carried(path: &Path, log_id: u64, pruned: &Pruned) -> Result<Vec<Live>> {
    if pruned.segment == 0 {
        return Ok(Vec::new());
    }
    let (at, index) = (pruned.address, pruned.record);
    Ok(read_pruning(&path.join("journal"), log_id, at, index)?.carried)
}

fn keep(path: &Path, tile: Tile, bytes: &[u8]) -> Result<()> {
    if tile.kind == TileKind::Entries {
        return Ok(());
    }
    let file = path.join(tile.path());
    if !fs::read(&file).is_ok_and(|found| found == bytes) {
        fs::write(file, bytes).map_err(LogError::Io)?;
    }
    Ok(())
}
