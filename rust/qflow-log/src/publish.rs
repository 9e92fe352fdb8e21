//! The files that follow from the journal: tiles, bundles, and the `checkpoint` that others see.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use qflow_core::log::{Checkpoint, Tile, TileKind, VerifierKey, leaf_hash};

use crate::error::{LogError, Result, corrupt};
use crate::frame::Item;
use crate::journal::{Journal, address};
use crate::pruned::Pruned;
use crate::tiles::{LEVELS, TileBuilder, partial_tiles};
use crate::writer::Head;

/// The file of the published head.
pub const CHECKPOINT: &str = "checkpoint";
/// The file of the newest head that carries cosignatures.
pub const WITNESSED: &str = "witnessed";

/// The published head: its bytes and what they say. None when nothing was ever published here.
pub fn read_checkpoint(path: &Path, key: &VerifierKey) -> Result<Option<(Vec<u8>, Checkpoint)>> {
    let bytes = match fs::read(path.join(CHECKPOINT)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match Checkpoint::parse(&bytes, key) {
        Ok(head) => Ok(Some((bytes, head))),
        Err(error) => corrupt(format!("checkpoint: {error}")),
    }
}

/// Replace the published head, whole and durable.
pub fn write_checkpoint(path: &Path, note: &[u8]) -> io::Result<()> {
    let temporary = path.join("checkpoint.new");
    let mut file = File::create(&temporary)?;
    file.write_all(note)?;
    file.sync_data()?;
    fs::rename(&temporary, path.join(CHECKPOINT))
}

/// Writes the derived files behind the commits. They are not synced: what a crash of the machine
/// takes of them is made again from the journal.
pub struct Publisher {
    path: PathBuf,
    note: Vec<u8>,
    published: Checkpoint,
    /// Partial tiles of the published tree and of the one before: a reader may be at either.
    partials: [Vec<Tile>; 2],
    /// None when the files have to be looked at first.
    state: Option<State>,
    /// The files may lack what this process did not see written.
    distrust: bool,
}

struct State {
    builder: TileBuilder,
    /// Where the next frame is read.
    next: u64,
    /// Compare with what is there instead of writing, below this size.
    compare_below: u64,
}

impl Publisher {
    /// `trusted` says that no power was lost since the published tiles were written.
    pub fn new(path: &Path, note: Vec<u8>, published: Checkpoint, trusted: bool) -> Self {
        let partials = [partial_tiles(published.size).collect(), Vec::new()];
        let path = path.to_owned();
        Self {
            path,
            note,
            published,
            partials,
            state: None,
            distrust: !trusted,
        }
    }

    /// Whether this head is not published, or the published files are to be looked at.
    pub fn is_behind(&self, head: &Head) -> bool {
        self.distrust || head.note.as_bytes() != self.note
    }

    /// Write the full tiles of the tree of this head.
    fn catch_up(&mut self, journal: &Journal, head: &Head, stop: &AtomicBool) -> Result<()> {
        let mut state = match self.state.take() {
            Some(state) => state,
            None => self.resume(journal, head)?,
        };
        let mut buffer = Vec::new();
        while let Some((frame, next)) = journal.next_frame(state.next, head.end, &mut buffer)? {
            for item in frame.items() {
                if let Item::Record { data, .. } = item {
                    let compare = state.builder.size() < state.compare_below;
                    state.builder.push(data, leaf_hash(data), |tile, bytes| {
                        write_tile(&self.path, tile, bytes, compare)
                    })?;
                }
            }
            state.next = next;
            if state.builder.size() == state.compare_below {
                self.write_partials(&state.builder, true)?;
            }
            if stop.load(Ordering::Relaxed) {
                return Err(LogError::Closed);
            }
        }
        if (state.builder.size(), state.builder.root())
            != (head.checkpoint.size, head.checkpoint.root)
        {
            return corrupt("the journal reads back with another root than was signed");
        }
        self.state = Some(state);
        self.distrust = false;
        Ok(())
    }

    /// Write all tiles of the tree of this head, then replace the checkpoint by it.
    pub fn publish(&mut self, journal: &Journal, head: &Head, stop: &AtomicBool) -> Result<()> {
        if !self.is_behind(head) {
            return Ok(());
        }
        self.catch_up(journal, head, stop)?;
        let Some(state) = &self.state else {
            return Ok(());
        };
        self.write_partials(&state.builder, false)?;
        if head.note.as_bytes() == self.note {
            return Ok(());
        }
        // Compare and swap: whoever else publishes here has this log's key, and another history.
        if fs::read(self.path.join(CHECKPOINT))? != self.note {
            return corrupt("checkpoint: changed by another hand");
        }
        write_checkpoint(&self.path, head.note.as_bytes())?;
        self.note = head.note.as_bytes().to_vec();
        self.published = head.checkpoint.clone();
        self.forget_partials();
        Ok(())
    }

    /// Write the partial tiles, but none that is published: readers look at it.
    fn write_partials(&self, builder: &TileBuilder, compare: bool) -> Result<()> {
        let there = |tile: &Tile| !compare && self.partials[0].contains(tile);
        builder
            .partials()
            .filter(|(tile, _)| !there(tile))
            .try_for_each(|(tile, bytes)| write_tile(&self.path, tile, bytes, compare))
    }

    fn forget_partials(&mut self) {
        let now: Vec<Tile> = partial_tiles(self.published.size).collect();
        let [last, before] = std::mem::take(&mut self.partials);
        for tile in before
            .iter()
            .filter(|tile| !last.contains(tile) && !now.contains(tile))
        {
            let path = self.path.join(tile.path());
            // A file too many does no harm, and is proven like every other.
            let _ = fs::remove_file(&path);
            let _ = path.parent().map(fs::remove_dir);
        }
        self.partials = [now, last];
    }

    /// Remove the partial tiles beyond the published tree: a publication that failed may have left
    /// half of one, and nothing would write it again.
    fn sweep(&self, size: u64) -> Result<()> {
        let published = self.published.size;
        let levels = (0..LEVELS as u8).map(TileKind::Hashes);
        for kind in levels.chain([TileKind::Entries]) {
            let shift = 8 * (u32::from(kind.level()) + 1);
            for index in published >> shift..=size >> shift {
                let tile = Tile {
                    kind,
                    index,
                    width: 1,
                };
                let folder = self.path.join(tile.path());
                let Some(Ok(files)) = folder.parent().map(fs::read_dir) else {
                    continue;
                };
                for file in files {
                    let path = file?.path();
                    let kept = |tile: Tile| path == self.path.join(tile.path());
                    if !partial_tiles(published).any(kept) {
                        fs::remove_file(path)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Go on from the published tiles when they are whole, from the beginning otherwise.
    fn resume(&self, journal: &Journal, head: &Head) -> Result<State> {
        self.sweep(head.checkpoint.size)?;
        let read = |tile: Tile| fs::read(self.path.join(tile.path())).ok();
        if !self.distrust
            && let Some(builder) = TileBuilder::resume(self.published.size, read)
            && builder.root() == self.published.root
        {
            let next = journal.locate(self.published.size, head.end)?;
            return Ok(State {
                builder,
                next,
                compare_below: 0,
            });
        }
        // What was pruned cannot be read again: its tiles were made durable then.
        let pruned = Pruned::load(&self.path, journal.log_id())?;
        Ok(State {
            builder: pruned.builder().unwrap_or_default(),
            next: address(pruned.segment, 0),
            compare_below: self.published.size,
        })
    }
}

fn write_tile(root: &Path, tile: Tile, bytes: &[u8], compare: bool) -> Result<()> {
    let path = root.join(tile.path());
    if compare && fs::read(&path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    match fs::write(&path, bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().ok_or(LogError::Io(error))?;
            fs::create_dir_all(parent)?;
            fs::write(&path, bytes)?;
        }
        result => result?,
    }
    Ok(())
}
