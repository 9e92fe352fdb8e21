//! What lies in a log's folder: everything has a name that the log gives, or is a finding.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use qflow_core::log::{Checkpoint, Tile, TileKind, VerifierKey};

use super::Findings;
use super::jobs::Partials;
use crate::error::{LogError, Result};
use crate::lock::{is_lock_content, was_closed};
use crate::publish::CHECKPOINT;
use crate::segment::{list_segments, segment_path};
use crate::tail::is_zero_from;

/// Partial tiles that are looked at: the log keeps those of two published trees.
const PARTIALS_MAX: usize = 4096;
const DEPTH_MAX: usize = 8;

/// The files of a log before they are read.
pub struct Files {
    pub segments: Vec<u32>,
    pub bytes: u64,
    pub checkpoint: Vec<u8>,
    pub published: Option<Checkpoint>,
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
    let segments = list_segments(&journal)?;
    let mut files = Files {
        bytes: 0,
        segments,
        checkpoint: Vec::new(),
        published: None,
        live: is_held(path),
        closed: fs::read(path.join("lock")).is_ok_and(|bytes| was_closed(&bytes)),
        partials: BTreeMap::new(),
        full: BTreeMap::new(),
        findings: Findings::default(),
        partial_count: 0,
    };
    files.read_checkpoint(path, key);
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

fn is_held(path: &Path) -> bool {
    let held = File::open(path.join("lock")).map(|file| file.try_lock_shared());
    matches!(held, Ok(Err(TryLockError::WouldBlock)))
}

impl Files {
    fn read_checkpoint(&mut self, path: &Path, key: &VerifierKey) {
        match fs::read(path.join(CHECKPOINT)) {
            Ok(bytes) => self.checkpoint = bytes,
            Err(error) => return self.findings.add(CHECKPOINT, error.to_string()),
        }
        match Checkpoint::parse(&self.checkpoint, key) {
            Ok(head) => self.published = Some(head),
            Err(error) => self.findings.add(CHECKPOINT, error.to_string()),
        }
    }

    fn look_at_root(&mut self, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            match name.to_str() {
                // The last is what a crash leaves of a publication.
                Some("journal" | "tile" | CHECKPOINT | "checkpoint.new") => {}
                Some("lock") if fs::read(path.join("lock")).is_ok_and(|b| is_lock_content(&b)) => {}
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
            } else if stem.is_none() {
                self.bytes += entry.metadata()?.len();
            }
        }
        let gap = self
            .segments
            .iter()
            .zip(0u32..)
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
        if tile.width == 256 {
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
    let Ok(file) = File::open(path) else {
        return true;
    };
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    is_zero_from(&file, 0, bytes).unwrap_or(false)
}
