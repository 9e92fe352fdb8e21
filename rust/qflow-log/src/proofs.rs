//! Proofs and receipts from the files that a log publishes. Reads the few tiles that each needs,
//! asks nobody, and takes no lock: a running node may publish meanwhile.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use qflow_core::chain::RECORD_BYTES_MAX;
use qflow_core::log::{
    self as tree, Checkpoint, EMPTY_ROOT, Frontier, Hash, NOTE_BYTES_MAX, ProofError, Receipt,
    TILE_WIDTH, Tile, TileKind, leaf_hash, parse_bundle, parse_hashes, tile_width,
};

use crate::error::{LogError, Result, corrupt};
use crate::open::read_bounded;
use crate::pruned::PRUNED;
use crate::publish::{CHECKPOINT, WITNESSED};
use crate::tiles::{LEVELS, partial_tiles};

/// A tile that is not there although the checkpoint needs it is looked for again this often: the
/// node that publishes may have given it up for a larger one since the checkpoint was read.
const ATTEMPTS: usize = 5;
const BUNDLE_BYTES_MAX: usize = TILE_WIDTH * (RECORD_BYTES_MAX + 2);

/// Prove that the record at `index` is in the tree of `size` records.
pub fn inclusion_proof(path: &Path, index: u64, size: u64) -> Result<Vec<Hash>> {
    with_tiles(path, |tiles| tiles.inclusion(index, size).map(|(_, p)| p))
}

/// Prove that the tree of `second` records begins with that of `first`.
pub fn consistency_proof(path: &Path, first: u64, second: u64) -> Result<Vec<Hash>> {
    with_tiles(path, |tiles| tiles.consistency(first, second))
}

/// The root of the tree of the first `size` records.
pub fn root_at(path: &Path, size: u64) -> Result<Hash> {
    with_tiles(path, |tiles| tiles.root_at(size))
}

/// The record at `index` with all that proves it, under this head of the log; without one, under
/// the head that witnesses cosigned when it covers the record, and else under the published one.
pub fn make_receipt(path: &Path, index: u64, head: Option<&[u8]>) -> Result<Vec<u8>> {
    with_tiles(path, |tiles| {
        let (note, head) = tiles.head_for(index, head)?;
        let (leaf, proof) = tiles.inclusion(index, head.size)?;
        let record = tiles.record(index, &leaf)?;
        let receipt = Receipt {
            record: Some(record),
            index,
            proof,
            checkpoint: &note,
        };
        Ok(receipt.to_bytes())
    })
}

/// Read a note; None when there is no such file.
pub fn read_note(path: &Path) -> Result<Option<Vec<u8>>> {
    match read_bounded(path, NOTE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn with_tiles<T>(path: &Path, make: impl Fn(&mut Tiles) -> Result<T>) -> Result<T> {
    for _ in 1..ATTEMPTS {
        let mut tiles = Tiles::open(path)?;
        let made = make(&mut tiles);
        if tiles.missing.is_none() || Tiles::open(path)?.note == tiles.note {
            return made;
        }
    }
    make(&mut Tiles::open(path)?)
}

/// What is published, as of one reading of the checkpoint.
struct Tiles {
    root: PathBuf,
    note: Vec<u8>,
    origin: String,
    published: Checkpoint,
    hashes: HashMap<Tile, Vec<Hash>>,
    /// The first tile that was not there.
    missing: Option<Tile>,
}

impl Tiles {
    fn open(path: &Path) -> Result<Self> {
        let Some(note) = read_note(&path.join(CHECKPOINT))? else {
            return Err(LogError::Invalid(format!(
                "{}: no checkpoint was published here",
                path.display()
            )));
        };
        let (origin, published) = match Checkpoint::peek(&note) {
            Ok((origin, head, _)) => (origin.to_owned(), head),
            Err(error) => return corrupt(format!("{CHECKPOINT}: {error}")),
        };
        Ok(Self {
            root: path.to_owned(),
            note,
            origin,
            published,
            hashes: HashMap::new(),
            missing: None,
        })
    }

    /// The head that a receipt gets, with its note: of this log, and of a tree that these tiles
    /// are of.
    fn head_for(&mut self, index: u64, given: Option<&[u8]>) -> Result<(Vec<u8>, Checkpoint)> {
        let Some(note) = given else {
            return Ok(match self.witnessed_head()? {
                Some(head) if index < head.1.size => head,
                _ => (self.note.clone(), self.published.clone()),
            });
        };
        let unproven = |what: String| LogError::Unproven(format!("the head: {what}"));
        let (origin, head, _) = Checkpoint::peek(note).map_err(|e| unproven(e.to_string()))?;
        if origin != self.origin {
            return Err(unproven(format!("of another log, {origin}")));
        }
        if self.root_at(head.size)? != head.root {
            return Err(unproven("of another history than this log's".into()));
        }
        Ok((note.to_vec(), head))
    }

    fn witnessed_head(&mut self) -> Result<Option<(Vec<u8>, Checkpoint)>> {
        let Some(note) = read_note(&self.root.join(WITNESSED))? else {
            return Ok(None);
        };
        let head = match Checkpoint::peek(&note) {
            Ok((origin, head, _)) if origin == self.origin => head,
            Ok((origin, ..)) => return corrupt(format!("{WITNESSED}: of another log, {origin}")),
            Err(error) => return corrupt(format!("{WITNESSED}: {error}")),
        };
        // Written after the checkpoint was read: it needs tiles that were not looked for.
        if head.size > self.published.size {
            return Ok(None);
        }
        if self.root_at(head.size)? != head.root {
            return corrupt(format!("{WITNESSED}: of another history than the tiles'"));
        }
        Ok(Some((note, head)))
    }

    /// The leaf at `index` and the proof that it is in the tree of `size` leaves.
    fn inclusion(&mut self, index: u64, size: u64) -> Result<(Hash, Vec<Hash>)> {
        self.check_size(size)?;
        if index >= size {
            return Err(LogError::Invalid(format!(
                "record {index} is not among the {size} that this head proves"
            )));
        }
        let leaf = self.node(0, index)?;
        let proof = self.make(|node| tree::inclusion_proof(index, size, node))?;
        let root = self.root_at(size)?;
        match tree::verify_inclusion(index, size, &leaf, &proof, &root) {
            Ok(()) => Ok((leaf, proof)),
            Err(_) => Err(self.blame()),
        }
    }

    fn consistency(&mut self, first: u64, second: u64) -> Result<Vec<Hash>> {
        self.check_size(second)?;
        if first > second {
            return Err(LogError::Invalid(format!(
                "the tree of {second} records does not begin with {first}"
            )));
        }
        let (old, new) = (self.root_at(first)?, self.root_at(second)?);
        if first == 0 {
            return Ok(Vec::new());
        }
        let proof = self.make(|node| tree::consistency_proof(first, second, node))?;
        match tree::verify_consistency(first, second, &proof, &old, &new) {
            Ok(()) => Ok(proof),
            Err(_) => Err(self.blame()),
        }
    }

    /// The root of the tree of `size` leaves, which is proven to be the beginning of the published
    /// one.
    fn root_at(&mut self, size: u64) -> Result<Hash> {
        self.check_size(size)?;
        let (published, due) = (self.published.size, self.published.root);
        if size == published || size == 0 {
            return Ok(if size == 0 { EMPTY_ROOT } else { due });
        }
        let root = self.computed_root(size)?;
        let proof = self.make(|node| tree::consistency_proof(size, published, node))?;
        match tree::verify_consistency(size, published, &proof, &root, &due) {
            Ok(()) => Ok(root),
            Err(_) => Err(self.blame()),
        }
    }

    fn computed_root(&mut self, size: u64) -> Result<Hash> {
        let levels = (0..u64::BITS).filter(|level| size >> level & 1 == 1);
        let nodes = levels.map(|level| self.node(level, (size >> level) - 1));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        let tree = Frontier::from_hashes(size, &nodes);
        Ok(tree.map_or(EMPTY_ROOT, |tree| tree.root()))
    }

    /// The record at `index`, whose leaf was proven.
    fn record(&mut self, index: u64, leaf: &Hash) -> Result<Vec<u8>> {
        let (kind, width) = (TileKind::Entries, TILE_WIDTH as u64);
        let (tile, bytes) = self.read(kind, index / width, BUNDLE_BYTES_MAX)?;
        let entries = match parse_bundle(&bytes, usize::from(tile.width)) {
            Ok(entries) => entries,
            Err(error) => return corrupt(format!("{}: {error}", tile.path())),
        };
        match entries.get((index % width) as usize) {
            Some(record) if leaf_hash(record) == *leaf => Ok(record.to_vec()),
            _ => corrupt(format!("{}: record {index} was changed", tile.path())),
        }
    }

    fn check_size(&self, size: u64) -> Result<()> {
        if size <= self.published.size {
            return Ok(());
        }
        Err(LogError::Invalid(format!(
            "{} records are published, and not {size}",
            self.published.size
        )))
    }

    /// Make a proof from the nodes of the tree; what a tile had to say comes before its error.
    fn make(&mut self, make: impl FnOnce(&mut NodeOf<'_>) -> ProofOf) -> Result<Vec<Hash>> {
        let mut failed = None;
        let proof = make(&mut |level, index| match self.node(level, index) {
            Ok(hash) => Some(hash),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        match failed {
            Some(error) => Err(error),
            None => proof.map_err(|error| LogError::Invalid(error.to_string())),
        }
    }

    /// The root of the complete subtree of 2^level leaves from `index << level` on.
    fn node(&mut self, level: u32, index: u64) -> Result<Hash> {
        let within = level % 8;
        let first = index << within;
        let (tile, offset) = (
            first / TILE_WIDTH as u64,
            (first % TILE_WIDTH as u64) as usize,
        );
        let hashes = self.tile((level / 8) as u8, tile)?;
        match hashes.get(offset..offset + (1 << within)) {
            Some(hashes) => Ok(root_of(hashes)),
            None => Err(LogError::Invalid(format!(
                "level {level} has no node {index}"
            ))),
        }
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<&[Hash]> {
        let kind = TileKind::Hashes(level);
        let key = Tile {
            kind,
            index,
            width: TILE_WIDTH as u16,
        };
        if !self.hashes.contains_key(&key) {
            let (tile, bytes) = self.read(kind, index, TILE_WIDTH * 32)?;
            let hashes = match parse_hashes(&bytes, usize::from(tile.width)) {
                Ok(hashes) => hashes.to_vec(),
                Err(error) => return corrupt(format!("{}: {error}", tile.path())),
            };
            self.hashes.insert(key, hashes);
        }
        Ok(&self.hashes[&key])
    }

    /// The bytes of a tile of the published tree. Where a partial one is gone the full one serves,
    /// which begins with it.
    fn read(&mut self, kind: TileKind, index: u64, bytes_max: usize) -> Result<(Tile, Vec<u8>)> {
        let width = tile_width(kind.level(), index, self.published.size) as u16;
        let due = Tile { kind, index, width };
        if width == 0 {
            return Err(LogError::Invalid(format!(
                "{} is not published",
                due.path()
            )));
        }
        let full = Tile {
            width: TILE_WIDTH as u16,
            ..due
        };
        for tile in [due, full] {
            match read_bounded(&self.root.join(tile.path()), bytes_max) {
                Ok(bytes) => return Ok((tile, bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        if kind == TileKind::Entries && self.root.join(PRUNED).exists() {
            return Err(LogError::Invalid(format!(
                "{} was pruned with the records in it",
                due.path()
            )));
        }
        self.missing = Some(due);
        corrupt(format!("{} is missing", due.path()))
    }

    /// Which tile is to blame for a proof that does not lead to the published root.
    fn blame(&mut self) -> LogError {
        match self.find_damage() {
            Ok(what) => LogError::Corrupt(what),
            Err(error) => error,
        }
    }

    /// The tiles at the right edge make the root; every full tile is in the one above it.
    fn find_damage(&mut self) -> Result<String> {
        if self.computed_root(self.published.size)? != self.published.root {
            return self.find_damage_at_edge();
        }
        // From the top: the first that does not fit lies below tiles that do.
        let read: Vec<(u8, u64)> = self
            .hashes
            .keys()
            .map(|t| (t.kind.level(), t.index))
            .collect();
        let above = (0..LEVELS as u8).rev().flat_map(|level| {
            let below = read.iter().filter(move |(at, _)| *at <= level);
            below.map(move |(at, index)| (level, index >> (8 * (level - at))))
        });
        for (level, index) in above.collect::<Vec<_>>() {
            if tile_width(level, index, self.published.size) < TILE_WIDTH {
                continue;
            }
            let found = root_of(self.tile(level, index)?);
            if found != self.node(8 * (u32::from(level) + 1), index)? {
                let (kind, width) = (TileKind::Hashes(level), TILE_WIDTH as u16);
                let path = Tile { kind, index, width }.path();
                return Ok(format!("{path}: not what the tile above it says"));
            }
        }
        Ok("the tiles lead to another root than the checkpoint has".into())
    }

    /// Each hash at the edge is that of a full tile below it, or of a record.
    fn find_damage_at_edge(&mut self) -> Result<String> {
        for tile in partial_tiles(self.published.size) {
            let TileKind::Hashes(level) = tile.kind else {
                continue;
            };
            let hashes = self.tile(level, tile.index)?[..usize::from(tile.width)].to_vec();
            for (at, hash) in (tile.index * TILE_WIDTH as u64..).zip(hashes) {
                let fits = match level.checked_sub(1) {
                    Some(below) => root_of(self.tile(below, at)?) == hash,
                    None => self.record(at, &hash).is_ok(),
                };
                if !fits {
                    return Ok(format!("{}: not what lies below it", tile.path()));
                }
            }
        }
        Ok(format!("{CHECKPOINT}: the tiles lead to another root"))
    }
}

type ProofOf = std::result::Result<Vec<Hash>, ProofError>;
type NodeOf<'a> = dyn FnMut(u32, u64) -> Option<Hash> + 'a;

/// The root over the hashes of a tile, or of a power of two of them.
fn root_of(hashes: &[Hash]) -> Hash {
    let mut part = Frontier::default();
    part.extend_with(hashes, |_, _| ());
    part.root()
}

#[cfg(test)]
mod tests;
