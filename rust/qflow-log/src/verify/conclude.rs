//! What a run comes to, when all pieces were taken.

use qflow_core::log::{Checkpoint, NOTE_BYTES_MAX, TILE_WIDTH, Tile, VerifierKey, tile_width};

use super::compare::{NOT_THERE, Partials};
use super::files::Files;
use super::growth::Growth;
use super::look::full;
use super::pass::Pass;
use super::start::Start;
use super::{Ask, Report, state};
use crate::open::read_bounded;
use crate::prune::Pruning;
use crate::publish::CHECKPOINT;
use crate::tiles::partial_tiles;

/// Put together what was found.
pub fn conclude(
    key: &VerifierKey,
    start: Start,
    mut pass: Pass<'_>,
    files: &Files,
    partials: &Partials,
    ask: &Ask<'_>,
) -> Report {
    pass.finish();
    if let Some(pruning) = &start.pruning {
        check_pruning(pruning, key, &mut pass.growth);
    }
    check_files(&mut pass, files, partials);
    let growth = pass.growth;
    let clean = growth.findings.kept.is_empty() && !growth.last.note.is_empty();
    let state = (ask.keep && clean).then(|| state::encode(pass.log_id, &files.pruned, &growth));
    Report {
        size: growth.size(),
        root: growth.builder.root(),
        first: files.pruned.minimum,
        started: start.size,
        whole: start.why,
        counts: growth.counts,
        published: files.published.as_ref().map_or(0, |head| head.size),
        torn_bytes: pass.torn_bytes,
        bytes: pass.read,
        head: growth.last.note,
        roots: growth.roots,
        witnessed: files.witnessed.as_ref().map(|(note, _)| note.clone()),
        state,
        findings: growth.findings.kept,
        more: growth.findings.more,
    }
}

/// The files that the pass did not meet.
fn check_files(pass: &mut Pass<'_>, files: &Files, partials: &Partials) {
    let (size, findings) = (pass.growth.builder.size(), &mut pass.growth.findings);
    if files.closed && pass.torn_bytes > 0 {
        let what = "bytes after the last commit, and the log was closed";
        findings.add("journal", what);
    }
    for (&kind, &index) in &files.full {
        if tile_width(kind.level(), index, size) < TILE_WIDTH {
            findings.add(full(kind, index).path(), NOT_THERE);
        }
    }
    for (&(kind, index), widths) in partials {
        if tile_width(kind.level(), index, size) == 0 {
            let beyond = widths.iter().map(|&width| Tile { kind, index, width });
            beyond.for_each(|tile| findings.add(tile.path(), NOT_THERE));
        }
    }
    let published = files.published.as_ref().map_or(0, |head| head.size);
    for tile in partial_tiles(published) {
        let there = partials.get(&(tile.kind, tile.index));
        let reached = tile_width(tile.kind.level(), tile.index, size) > 0;
        let absent = !there.is_some_and(|widths| widths.contains(&tile.width));
        // A running node has published since, and may have given it up.
        let now = || read_bounded(&pass.path.join(CHECKPOINT), NOTE_BYTES_MAX).unwrap_or_default();
        if reached && absent && now() == files.checkpoint {
            findings.add(tile.path(), "missing");
        }
    }
}

/// What the record of a pruning claims, against what the journal has.
fn check_pruning(pruning: &Pruning, key: &VerifierKey, growth: &mut Growth<'_>) {
    let at = format!("record {}", pruning.index);
    if growth.watch.is_some() {
        let what = "is not the record of the pruning that lies at its address";
        growth.findings.add(at.clone(), what);
    }
    if !growth.carried.is_empty() {
        let what = "names a chain whose last record is none of those that were pruned";
        growth.findings.add(at.clone(), what);
    }
    let what = match Checkpoint::parse(&pruning.head, key) {
        Ok(head) if head.size < pruning.minimum || head.size > pruning.index => {
            "names a head that is not of its time".into()
        }
        Ok(head) if growth.roots.get(&head.size) != Some(&head.root) => {
            "names a head that signed another tree".into()
        }
        Ok(_) => return,
        Err(error) => format!("names a head that is none: {error}"),
    };
    growth.findings.add(at, what);
}
