//! What is checked beside the hashing: tiles against their files, heads against the key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};

use qflow_core::log::{Checkpoint, TILE_WIDTH, Tile, TileKind, VerifierKey, tile_width};

use super::Findings;
use crate::journal::spot;
use crate::publish::CHECKPOINT;
use crate::segment::read_up_to;
use crate::tiles::partial_tiles;

pub const NOT_THERE: &str = "a tile of records that are not there";

/// Something to check.
pub enum Job {
    /// The tile as the journal has it; its width is what the journal has.
    Tile { tile: Tile, data: Vec<u8> },
    /// A signed head and the frame it is of.
    Head { at: u64, note: Vec<u8> },
}

/// The partial tiles that lie there: widths by kind and index.
pub type Partials = BTreeMap<(TileKind, u64), Vec<u16>>;

/// Checks jobs as they come.
pub struct Checker<'a> {
    path: &'a Path,
    key: &'a VerifierKey,
    /// Leaves of the published tree.
    published: u64,
    checkpoint: &'a [u8],
    partials: Partials,
    spares: Sender<Vec<u8>>,
    findings: Findings,
    /// What a file is read into.
    buffer: Vec<u8>,
}

impl<'a> Checker<'a> {
    pub fn new(
        path: &'a Path,
        key: &'a VerifierKey,
        published: u64,
        checkpoint: &'a [u8],
        partials: Partials,
        spares: Sender<Vec<u8>>,
    ) -> Self {
        let (findings, buffer) = (Findings::default(), Vec::new());
        Self {
            path,
            key,
            published,
            checkpoint,
            partials,
            spares,
            findings,
            buffer,
        }
    }

    /// Check all jobs, then what they left over; the findings.
    pub fn run(mut self, jobs: &Receiver<Job>) -> Findings {
        for job in jobs {
            let spare = match job {
                Job::Tile { tile, data } => {
                    self.check_tile(tile, &data);
                    data
                }
                Job::Head { at, note } => {
                    if let Err(error) = Checkpoint::parse(&note, self.key) {
                        self.findings.add(spot(at), format!("a head: {error}"));
                    }
                    note
                }
            };
            // Nobody may be there any more to use it.
            let _ = self.spares.send(spare);
        }
        for ((kind, index), widths) in std::mem::take(&mut self.partials) {
            for width in widths {
                let tile = Tile { kind, index, width };
                self.findings
                    .add(tile.path(), "a tile of records that are not there");
            }
        }
        self.findings
    }

    fn check_tile(&mut self, tile: Tile, data: &[u8]) {
        if usize::from(tile.width) == TILE_WIDTH {
            self.compare(tile, data);
        }
        let place = (tile.kind, tile.index);
        let there = self.partials.remove(&place).unwrap_or_default();
        let needed = partial_tiles(self.published)
            .find(|partial| (partial.kind, partial.index) == place)
            .filter(|partial| !there.contains(&partial.width));
        if let Some(needed) = needed.filter(|_| !self.was_republished()) {
            self.findings.add(needed.path(), "missing");
        }
        for width in there {
            let partial = Tile { width, ..tile };
            match prefix(tile, data, width) {
                Some(data) => self.compare(partial, data),
                None => self.findings.add(partial.path(), NOT_THERE),
            }
        }
    }

    /// Compare a file with what it must be. One that the published tree does not cover may be
    /// absent, or cut by a crash while it was written.
    fn compare(&mut self, tile: Tile, data: &[u8]) {
        let width = usize::from(tile.width);
        let published = tile_width(tile.kind.level(), tile.index, self.published) >= width;
        // A partial tile was there a moment ago: a running node has given it up.
        let required = published && width == TILE_WIDTH;
        let path = tile.path();
        let read = read_file(&self.path.join(&path), data.len(), &mut self.buffer);
        match read.map(|count| &self.buffer[..count]) {
            Ok(found) if found == data => {}
            Ok(found) if !published && data.starts_with(found) => {}
            Ok(_) => self.findings.add(path, "not what follows from the journal"),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {}
            Err(error) => self.findings.add(path, error.to_string()),
        }
    }

    /// Whether a running node has published since: it then may have given up a partial tile.
    fn was_republished(&self) -> bool {
        std::fs::read(self.path.join(CHECKPOINT)).is_ok_and(|now| now != self.checkpoint)
    }
}

/// The bytes of the first `width` hashes or entries; None when there are fewer.
fn prefix(tile: Tile, data: &[u8], width: u16) -> Option<&[u8]> {
    if width > tile.width {
        return None;
    }
    if let TileKind::Hashes(_) = tile.kind {
        return data.get(..usize::from(width) * 32);
    }
    let mut end = 0;
    for _ in 0..width {
        let length: &[u8; 2] = data.get(end..)?.first_chunk()?;
        end += 2 + usize::from(u16::from_be_bytes(*length));
    }
    data.get(..end)
}

/// Read a file of `expected` bytes, and one byte more if there is one.
fn read_file(path: &Path, expected: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if buffer.len() <= expected {
        buffer.resize(expected + 1, 0);
    }
    read_up_to(&File::open(path)?, &mut buffer[..=expected], 0)
}
