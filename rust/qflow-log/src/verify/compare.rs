//! Tiles and bundles against their files.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use qflow_core::log::{TILE_WIDTH, Tile, TileKind, bundle_entry, tile_width};

use super::Findings;
use crate::open::open_file;
use crate::segment::read_up_to;

pub const NOT_THERE: &str = "a tile of records that are not there";

/// The partial tiles that lie there: widths by kind and index.
pub type Partials = BTreeMap<(TileKind, u64), Vec<u16>>;

/// Compares what follows from the journal with what lies in the folder.
pub struct Compare<'a> {
    path: &'a Path,
    /// Leaves of the published tree.
    published: u64,
    partials: &'a Partials,
    pub findings: Findings,
    /// What a file is read into.
    buffer: Vec<u8>,
}

impl<'a> Compare<'a> {
    pub fn new(path: &'a Path, published: u64, partials: &'a Partials) -> Self {
        Self {
            path,
            published,
            partials,
            findings: Findings::default(),
            buffer: Vec::new(),
        }
    }

    /// A full bundle, by its entries.
    pub fn bundle<'r>(&mut self, index: u64, entries: impl Iterator<Item = &'r [u8]> + Clone) {
        let tile = Tile {
            kind: TileKind::Entries,
            index,
            width: TILE_WIDTH as u16,
        };
        let length = entries.clone().map(|entry| 2 + entry.len()).sum();
        let alone = !self.partials.contains_key(&(tile.kind, index));
        let read = read_file(&self.path.join(tile.path()), length, &mut self.buffer);
        // Entry by entry, so that the bundle need not be put together.
        let same = read.is_ok_and(|count| holds(&self.buffer[..count], entries.clone()));
        if !same || !alone {
            let mut data = Vec::with_capacity(length);
            entries.for_each(|entry| bundle_entry(&mut data, entry));
            self.tile(tile, &data);
        }
    }

    /// A tile as the journal has it; its width is what the journal has.
    pub fn tile(&mut self, tile: Tile, data: &[u8]) {
        if usize::from(tile.width) == TILE_WIDTH {
            self.file(tile, data);
        }
        self.partials(tile, data);
    }

    /// The partial tiles that lie in the place of one.
    pub fn partials(&mut self, tile: Tile, data: &[u8]) {
        let there = self.partials.get(&(tile.kind, tile.index));
        for &width in there.into_iter().flatten() {
            let partial = Tile { width, ..tile };
            match prefix(tile, data, width) {
                Some(data) => self.file(partial, data),
                None => self.findings.add(partial.path(), NOT_THERE),
            }
        }
    }

    /// Compare a file with what it must be. One that the published tree does not cover may be
    /// absent, or cut by a crash while it was written.
    fn file(&mut self, tile: Tile, data: &[u8]) {
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

    /// The hashes of a full tile whose records were pruned; None, and a finding, without it.
    pub fn read_hashes(&mut self, index: u64) -> Option<&[u8]> {
        let tile = Tile {
            kind: TileKind::Hashes(0),
            index,
            width: TILE_WIDTH as u16,
        };
        let due = TILE_WIDTH * 32;
        match read_file(&self.path.join(tile.path()), due, &mut self.buffer) {
            Ok(count) if count == due => return Some(&self.buffer[..count]),
            Ok(_) => self.findings.add(tile.path(), "not a full tile"),
            Err(error) => self.findings.add(tile.path(), error.to_string()),
        }
        None
    }
}

/// Whether a bundle has these entries and no more.
fn holds<'r>(bundle: &[u8], entries: impl Iterator<Item = &'r [u8]>) -> bool {
    let mut rest = bundle;
    for entry in entries {
        let length = (entry.len() as u16).to_be_bytes();
        let after = rest.strip_prefix(&length);
        match after.and_then(|after| after.strip_prefix(entry)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
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
    read_up_to(&open_file(path)?, &mut buffer[..=expected], 0)
}
