//! The log beside the rows: what it has that they have not, and the other way around.

use std::collections::VecDeque;
use std::path::Path;

use qflow_core::chain::RecordView;
use qflow_core::log::{Frontier, Hash, leaf_hashes};
use qflow_index::Filter;
use qflow_log::{Frames, LogReader};

use crate::error::{ExportError, Result};
use crate::scan::Selection;

/// The records of a log that were asked for, by index and hash, as far as they were read.
pub struct Beside {
    frames: Frames,
    filter: Option<Filter>,
    first: u64,
    end: u64,
    size: u64,
    /// The first record that the log keeps.
    kept_from: u64,
    due: VecDeque<(u64, Hash)>,
    /// Of every record of the log that was read, and of those that it no longer keeps.
    tree: Frontier,
}

/// How a row compares with the log.
pub enum Found {
    Same,
    Other,
    /// The log has no such record among those that were asked for.
    Extra,
    /// The log no longer keeps the record.
    Pruned,
}

impl Beside {
    /// Open the log whose first `size` records the rows were taken from. It keeps those that come
    /// after the tree `before`.
    pub fn open(path: &Path, selection: &Selection, size: u64, before: Frontier) -> Result<Self> {
        let reader = LogReader::open(path)?;
        if reader.size()? < size {
            return Err(ExportError::Invalid(format!(
                "the log has {} records, the export is of one with {size}",
                reader.size()?
            )));
        }
        Ok(Self {
            frames: reader.frames(before.size())?,
            filter: selection.filter.clone(),
            first: selection.first,
            end: selection.end,
            size,
            kept_from: before.size(),
            due: VecDeque::new(),
            tree: before,
        })
    }

    /// Compare a row; the records before it that are not among the rows go to `missing`.
    pub fn compare(
        &mut self,
        index: u64,
        hash: &Hash,
        missing: &mut dyn FnMut(u64),
    ) -> Result<Found> {
        if index < self.kept_from {
            return Ok(Found::Pruned);
        }
        loop {
            match self.due.front().copied() {
                Some((due, _)) if due < index => {
                    missing(due);
                    self.due.pop_front();
                }
                Some((due, found)) if due == index => {
                    let same = found == *hash;
                    self.due.pop_front();
                    return Ok(if same { Found::Same } else { Found::Other });
                }
                Some(_) => return Ok(Found::Extra),
                None if !self.read()? => return Ok(Found::Extra),
                None => {}
            }
        }
    }

    /// Read the log to the size that the export is of: its root. None when the log was pruned
    /// beyond that.
    pub fn finish(mut self, missing: &mut dyn FnMut(u64)) -> Result<Option<Hash>> {
        loop {
            self.due.drain(..).for_each(|(due, _)| missing(due));
            if !self.read()? {
                return Ok((self.tree.size() == self.size).then(|| self.tree.root()));
            }
        }
    }

    /// Read one commit. False when there is no more.
    fn read(&mut self) -> Result<bool> {
        let left = self.size.saturating_sub(self.tree.size());
        if left == 0 {
            return Ok(false);
        }
        let Some(commit) = self.frames.next_commit()? else {
            return Err(ExportError::Corrupt("the journal ends early".into()));
        };
        if commit.first() != self.tree.size() {
            return Err(ExportError::Invalid(format!(
                "the log begins at record {}: what was pruned cannot be compared",
                commit.first()
            )));
        }
        let leaves: Vec<&[u8]> = commit.leaves().take(left as usize).collect();
        let mut hashes = Vec::with_capacity(leaves.len());
        leaf_hashes(leaves.iter().copied(), &mut hashes);
        for ((index, leaf), hash) in (commit.first()..).zip(&leaves).zip(&hashes) {
            let asked = (self.first..self.end).contains(&index)
                && match &self.filter {
                    None => true,
                    Some(filter) => RecordView::parse(&leaf[1..])
                        .map(|record| filter.matches(&record))
                        .map_err(|e| ExportError::Corrupt(format!("record {index}: {e}")))?,
                };
            if asked {
                self.due.push_back((index, *hash));
            }
        }
        self.tree.extend_with(&hashes, |_, _| ());
        Ok(true)
    }
}
