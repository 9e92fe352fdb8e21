//! Pruning: what is before a segment goes, after a record of it is durable.
//!
//! The file `pruned` is the point of no return: it is written whole and synced after all checks and
//! before the first deletion, and from then on the log begins where it says. What a crash leaves of
//! the deletions is done when the log is opened. All hash tiles stay, 32 bytes a record: with them
//! every proof can be made as before, also between heads from before the cut.

mod record;
mod survey;

use std::fs;
use std::io;
use std::path::Path;

use qflow_core::chain::Live;
use qflow_core::log::{Checkpoint, TILE_WIDTH, Tile, TileKind, VerifierKey};

pub use record::{Pruning, read_pruning};
pub use survey::{carried, survey};

use crate::error::{LogError, Result, corrupt};
use crate::journal::{Journal, place};
use crate::proofs::root_at;
use crate::pruned::Pruned;
use crate::segment::{SegmentHeader, list_segments, segment_path, sync_directory};
use crate::tiles::TileBuilder;

/// A log that is to be cut, and the record that says so.
pub struct Cut<'a> {
    pub path: &'a Path,
    pub journal: &'a Journal,
    pub key: &'a VerifierKey,
    /// Behind the last durable frame.
    pub end: u64,
    /// Index of the record.
    pub record: u64,
    /// A segment and the chains that go on across its beginning, as `survey` found them.
    pub surveyed: Option<&'a (u32, Vec<Live>)>,
}

impl Cut<'_> {
    /// Check all that the record says, make what is needed durable, and write the file that says
    /// where the log begins. Deletes nothing. The tiles of the record's tree are published.
    pub fn decide(&self) -> Result<Pruned> {
        let at = self.journal.frame_of(self.record, self.end)?;
        let log_id = self.journal.log_id();
        let pruning = read_pruning(&self.path.join("journal"), log_id, at, self.record)?;
        let header = self.header(pruning.segment)?;
        let minimum = header.base.size();
        if minimum != pruning.minimum || minimum > self.record {
            return invalid("the record names another cut than its segment begins with");
        }
        if pruning.carried != self.carried(pruning.segment)? {
            return invalid("the record names other chains than those that go on across the cut");
        }
        self.check_head(&pruning)?;
        let builder = read_edge(self.path, minimum);
        let Some(builder) = builder.filter(|builder| *builder.tree() == header.base) else {
            return corrupt("the tiles at the cut are not those of the journal");
        };
        sync_files(self.path)?;
        let pruned = Pruned::new(pruning.segment, self.record, at, &builder);
        pruned.save(self.path, log_id)?;
        Ok(pruned)
    }

    fn carried(&self, segment: u32) -> Result<Vec<Live>> {
        match self.surveyed.filter(|(number, _)| *number == segment) {
            Some((_, found)) => Ok(found.clone()),
            None => survey(self.path, self.journal, segment),
        }
    }

    fn header(&self, segment: u32) -> Result<SegmentHeader> {
        if segment <= self.journal.first() || segment > place(self.end).0 {
            return invalid("no segment that can be cut off before begins there");
        }
        self.journal.header(segment)
    }

    fn check_head(&self, pruning: &Pruning) -> Result<()> {
        let head = Checkpoint::parse(&pruning.head, self.key);
        let head =
            head.map_err(|error| LogError::Invalid(format!("the record's head: {error}")))?;
        if head.size < pruning.minimum || head.size > self.record {
            return invalid("the record's head is not of its time");
        }
        if root_at(self.path, head.size)? != head.root {
            return invalid("the record's head is of another tree");
        }
        Ok(())
    }
}

fn invalid<T>(what: &str) -> Result<T> {
    Err(LogError::Invalid(what.into()))
}

/// Have everything on the disk that was written to the file system of the log: tiles are not synced
/// when they are written, since they can be made again, which ends here.
fn sync_files(path: &Path) -> io::Result<()> {
    let folder = fs::File::open(path)?;
    Ok(rustix::fs::syncfs(&folder)?)
}

/// The partial tiles of the tree of `size` records, from the tiles that have grown since.
fn read_edge(path: &Path, size: u64) -> Option<TileBuilder> {
    TileBuilder::resume(size, |tile| {
        let bytes = read_grown(path, tile)?;
        match tile.kind {
            TileKind::Hashes(_) => Some(bytes.get(..usize::from(tile.width) * 32)?.to_vec()),
            TileKind::Entries => {
                let mut end = 0;
                for _ in 0..tile.width {
                    let length: &[u8; 2] = bytes.get(end..)?.first_chunk()?;
                    end += 2 + usize::from(u16::from_be_bytes(*length));
                }
                Some(bytes.get(..end)?.to_vec())
            }
        }
    })
}

/// The widest tile in a place, of this width at least.
fn read_grown(path: &Path, tile: Tile) -> Option<Vec<u8>> {
    let widths = tile.width..=TILE_WIDTH as u16;
    widths.rev().find_map(|width| {
        let file = path.join(Tile { width, ..tile }.path());
        fs::read(file).ok()
    })
}

/// Delete what is before the beginning of the log; the bytes of the segments that went. Can be
/// done again at any time: what is there no more is passed over.
pub fn delete(path: &Path, pruned: &Pruned) -> io::Result<u64> {
    let journal = path.join("journal");
    let mut bytes = 0;
    for number in list_segments(&journal)? {
        if number < pruned.segment {
            let file = segment_path(&journal, number);
            bytes += fs::metadata(&file)?.len();
            fs::remove_file(file)?;
        }
    }
    sync_directory(&journal)?;
    let bundle = |index| {
        let (kind, width) = (TileKind::Entries, TILE_WIDTH as u16);
        path.join(Tile { kind, index, width }.path())
    };
    // They go from the first on, so that those that are left are next to the cut.
    let left = (0..pruned.first_bundle()).rev();
    let left = left.take_while(|index| bundle(*index).exists()).count() as u64;
    for index in pruned.first_bundle() - left..pruned.first_bundle() {
        let file = bundle(index);
        fs::remove_file(&file)?;
        // Folders that are not empty stay.
        let folders = file.ancestors().skip(1).take(3);
        let below = folders.take_while(|folder| !folder.ends_with("entries"));
        below
            .take_while(|folder| fs::remove_dir(folder).is_ok())
            .count();
    }
    Ok(bytes)
}
