//! What lies in a log's folder: everything has a name that the log gives, or is a finding.

use std::collections::BTreeMap;
use std::fs::{self, TryLockError};
use std::io;
use std::path::Path;

use qflow_core::log::{Checkpoint, NOTE_BYTES_MAX, Tile, TileKind, VerifierKey};

use super::Findings;
use super::compare::Partials;
use crate::error::{LogError, Result};
use crate::journal::{address, spot};
use crate::lock::{is_lock_content, was_closed};
use crate::open::{open_file, read_bounded};
use crate::pruned::{PRUNED, PRUNED_NEW, Pruned};
use crate::publish::{CHECKPOINT, WITNESSED};
use crate::recover::log_id;
use crate::segment::{SEGMENT_BYTES_MAX, list_segments, segment_path};
use crate::tail::is_zero_from;

/// Partial tiles that are looked at: the log keeps those of two published trees.
const PARTIALS_MAX: usize = 4096;
const DEPTH_MAX: usize = 8;
/// More than a log writes into it.
const LOCK_BYTES_MAX: usize = 4096;

/// The files of a log before they are read.
pub struct Files {
    /// Those that the log keeps, ascending.
    pub segments: Vec<u32>,
    pub lengths: BTreeMap<u32, u64>,
    pub bytes: u64,
    /// Where the log begins.
    pub pruned: Pruned,
    pub checkpoint: Vec<u8>,
    pub published: Option<Checkpoint>,
    /// The head that witnesses cosigned, and its bytes.
    pub witnessed: Option<(Vec<u8>, Checkpoint)>,
    /// A node holds the log, and may be writing.
    pub live: bool,
    /// The last writer closed the log: no write was cut.
    pub closed: bool,
    /// The partial tiles.
    pub partials: Partials,
    /// The largest index of a full tile, by kind.
    pub full: BTreeMap<TileKind, u64>,
    pub findings: Findings,
    partial_count: usize,
}

/// Look at a log's folder. An error when there is none.
pub fn look(path: &Path, key: &VerifierKey) -> Result<Files> {
    let journal = path.join("journal");
    let mut segments = list_segments(&journal)?;
    let mut findings = Findings::default();
    let pruned = Pruned::load(path, log_id(key)).unwrap_or_else(|error| {
        findings.add(PRUNED, error.to_string());
        Pruned::default()
    });
    // A crash in the middle of a pruning leaves some that are no part of the log any more.
    segments.retain(|number| *number >= pruned.segment);
    // What is longer than a segment can be is not read.
    segments.retain(|number| {
        let length = fs::metadata(segment_path(&journal, *number)).map_or(0, |found| found.len());
        if length > SEGMENT_BYTES_MAX {
            findings.add(spot(address(*number, 0)), "longer than a segment can be");
        }
        length <= SEGMENT_BYTES_MAX
    });
    let mut files = Files {
        bytes: 0,
        segments,
        lengths: BTreeMap::new(),
        pruned,
        checkpoint: Vec::new(),
        published: None,
        witnessed: None,
        live: is_held(path),
        closed: read_lock(path).is_ok_and(|bytes| was_closed(&bytes)),
        partials: BTreeMap::new(),
        full: BTreeMap::new(),
        findings,
        partial_count: 0,
    };
    files.read_checkpoint(path, key);
    files.read_witnessed(path, key);
    files.look_at_root(path)?;
    files.look_at_journal(&journal)?;
    files.look_at_tiles(path, &path.join("tile"), 0)?;
    if files.segments.is_empty() && files.published.is_none() {
        return Err(LogError::Corrupt(format!(
            "{}: there is no log",
            path.display()
        )));
    }
    Ok(files)
}

fn read_lock(path: &Path) -> io::Result<Vec<u8>> {
    read_bounded(&path.join("lock"), LOCK_BYTES_MAX)
}

fn is_held(path: &Path) -> bool {
    let held = open_file(&path.join("lock")).map(|file| file.try_lock_shared());
    matches!(held, Ok(Err(TryLockError::WouldBlock)))
}

impl Files {
    fn read_checkpoint(&mut self, path: &Path, key: &VerifierKey) {
        match read_bounded(&path.join(CHECKPOINT), NOTE_BYTES_MAX) {
            Ok(bytes) => self.checkpoint = bytes,
            Err(error) => return self.findings.add(CHECKPOINT, error.to_string()),
        }
        match Checkpoint::parse(&self.checkpoint, key) {
            Ok(head) => self.published = Some(head),
            Err(error) => self.findings.add(CHECKPOINT, error.to_string()),
        }
    }

    fn read_witnessed(&mut self, path: &Path, key: &VerifierKey) {
        let note = match read_bounded(&path.join(WITNESSED), NOTE_BYTES_MAX) {
            Ok(note) => note,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.findings.add(WITNESSED, error.to_string()),
        };
        match Checkpoint::parse(&note, key) {
            Ok(head) => self.witnessed = Some((note, head)),
            Err(error) => self.findings.add(WITNESSED, error.to_string()),
        }
    }

    fn look_at_root(&mut self, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            match name.to_str() {
                Some("journal" | "tile" | CHECKPOINT | WITNESSED | PRUNED) => {}
                // What a crash leaves of a file that was to be renamed.
                Some("checkpoint.new" | "witnessed.new" | PRUNED_NEW) => {}
                Some("lock") if read_lock(path).is_ok_and(|b| is_lock_content(&b)) => {}
                Some("lock") => self.findings.add("lock", "not what a log writes"),
                _ => self
                    .findings
                    .add(name.to_string_lossy(), "not a file of a log"),
            }
        }
        Ok(())
    }

    fn look_at_journal(&mut self, journal: &Path) -> io::Result<()> {
        for entry in fs::read_dir(journal)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let stem = name.strip_suffix(".new");
            let number = stem.unwrap_or(&name).parse().ok();
            let known = number.is_some_and(|number: u32| {
                segment_path(Path::new(""), number) == Path::new(stem.unwrap_or(&name))
            });
            if !known {
                self.findings
                    .add(format!("journal/{name}"), "not a file of a log");
            } else if stem.is_some() && !self.live && !is_zero_file(&entry.path()) {
                self.findings
                    .add(format!("journal/{name}"), "not zero, and never used");
            } else if let Some(number) = number.filter(|number| *number >= self.pruned.segment)
                && stem.is_none()
            {
                let length = entry.metadata()?.len();
                self.lengths.insert(number, length);
                self.bytes += length;
            }
        }
        let first = self.pruned.segment;
        let gap = self
            .segments
            .iter()
            .zip(first..)
            .find(|(number, due)| *number != due);
        if let Some((_, due)) = gap {
            self.findings.add(format!("journal/{due:010}"), "missing");
        }
        Ok(())
    }

    fn look_at_tiles(&mut self, root: &Path, folder: &Path, depth: usize) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // Nothing was published, or a partial tile was just given up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() && depth < DEPTH_MAX {
                self.look_at_tiles(root, &path, depth + 1)?;
                continue;
            }
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            match Tile::parse_path(&name) {
                Ok(tile) if entry.file_type()?.is_file() => self.take(tile, name),
                _ => self.findings.add(name, "not a file of a log"),
            }
        }
        Ok(())
    }

    fn take(&mut self, tile: Tile, name: String) {
        if tile.kind == TileKind::Entries && tile.index < self.pruned.first_bundle() {
            // Of what was pruned, and still to be deleted.
        } else if tile.width == 256 {
            let last = self.full.entry(tile.kind).or_default();
            *last = tile.index.max(*last);
        } else if self.partial_count < PARTIALS_MAX {
            self.partial_count += 1;
            self.partials
                .entry((tile.kind, tile.index))
                .or_default()
                .push(tile.width);
        } else {
            self.findings
                .add(name, "more partial tiles than a log keeps");
        }
    }
}

fn is_zero_file(path: &Path) -> bool {
    match open_file(path).and_then(|file| Ok((file.metadata()?.len(), file))) {
        Ok((bytes, file)) if bytes <= SEGMENT_BYTES_MAX => {
            is_zero_from(&file, 0, bytes).unwrap_or(false)
        }
        Ok(_) => false,
        // It is in place by now.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
