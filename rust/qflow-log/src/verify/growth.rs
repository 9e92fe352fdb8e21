//! The tree and the chains as they grow, piece by piece: what only one can do.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::convert::Infallible;

use qflow_core::chain::{ChainError, RecordView, Verifier};
use qflow_core::log::{Checkpoint, Hash, TILE_WIDTH};

use super::compare::Compare;
use super::look::{Asked, Part, Stop};
use super::{Counts, Findings};
use crate::journal::spot;
use crate::publish::CHECKPOINT;
use crate::tiles::TileBuilder;

/// The last heads that are remembered for the next run.
const RECENT_MAX: usize = 4096;

/// The end of the journal as far as it was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Last {
    /// Where the last frame begins, and where it ends.
    pub frame: u64,
    pub end: u64,
    /// Its signed head.
    pub note: Vec<u8>,
}

/// What was verified of a log.
pub struct Growth<'a> {
    pub builder: TileBuilder,
    pub chains: Verifier,
    pub counts: Counts,
    pub last: Last,
    /// Heads that the log had, the newest last.
    pub recent: VecDeque<Checkpoint>,
    /// Roots at the sizes that were asked for.
    pub roots: BTreeMap<u64, Hash>,
    /// A record that must have this leaf; None once it was seen.
    pub watch: Option<(u64, Hash)>,
    /// The last records of the chains that go on across a cut, as far as they were not met among
    /// what was pruned.
    pub carried: HashSet<Hash>,
    pub published: Option<Checkpoint>,
    /// A frame ends where the published tree does.
    pub reached: bool,
    pub compare: Compare<'a>,
    pub findings: Findings,
}

impl Growth<'_> {
    pub fn size(&self) -> u64 {
        self.builder.size()
    }

    /// Take a piece that begins at the size of the tree.
    pub fn take(&mut self, part: &mut Part) {
        self.counts.heads += part.heads;
        self.counts.blocks += part.blocks;
        self.counts.chains += part.begin;
        self.counts.absent += part.absent;
        self.follow(part);
        if part.data.is_empty() {
            self.meet(&part.leaves);
        }
        self.watch = self.watch.filter(|(index, leaf)| {
            let offset = index.checked_sub(part.first);
            offset.and_then(|offset| part.leaves.get(offset as usize)) != Some(leaf)
        });
        let mut done = 0;
        for stop in &part.stops {
            let root = if stop.offset <= part.edge() {
                self.extend(part, &mut done, stop.offset);
                self.builder.root()
            } else {
                self.graft(part, &mut done, stop.offset);
                self.builder.tree().root_with(stop.low)
            };
            self.stop(stop, part.first + stop.offset as u64, root);
        }
        self.graft(part, &mut done, part.leaves.len());
        self.extend(part, &mut done, part.leaves.len());
        if let Some((frame, note)) = &part.last {
            self.last.frame = part.at + *frame as u64;
            self.last.end = part.at + part.whole as u64;
            self.last.note.clear();
            self.last.note.extend_from_slice(&part.data[note.clone()]);
        }
        self.findings.append(std::mem::take(&mut part.findings));
    }

    /// Leaves whose records were pruned.
    pub fn meet(&mut self, leaves: &[Hash]) {
        if !self.carried.is_empty() {
            leaves.iter().for_each(|leaf| {
                self.carried.remove(leaf);
            });
        }
    }

    fn follow(&mut self, part: &Part) {
        if let Some(runs) = &part.runs
            && self.chains.follow(runs)
        {
            return;
        }
        for (offset, leaf) in part.leaves.iter().enumerate() {
            let index = part.first + offset as u64;
            let checked = RecordView::parse(part.record(offset))
                .map_err(ChainError::from)
                .and_then(|record| self.chains.push_view(&record, *leaf, index));
            if let Err(error) = checked {
                let at = format!("record {index}");
                self.findings.add(at, error.to_string());
            }
        }
    }

    /// Append leaves one tile or less at a time, up to an offset.
    fn extend(&mut self, part: &Part, done: &mut usize, to: usize) {
        let now = *done..to.max(*done);
        // Leaves whose records were pruned come in whole tiles only.
        let records = now.clone().map(|offset| part.record(offset));
        let compare = &mut self.compare;
        let extended = self
            .builder
            .extend(records, &part.leaves[now], |tile, data| {
                compare.tile(tile, data);
                Ok::<(), Infallible>(())
            });
        debug_assert!(extended.is_ok());
        *done = to.max(*done);
    }

    /// Append the whole tiles up to an offset, which the piece has hashed.
    fn graft(&mut self, part: &Part, done: &mut usize, to: usize) {
        let edge = part.edge();
        self.extend(part, done, edge.min(to));
        while *done + TILE_WIDTH <= to {
            let Some(root) = part.tiles.get((*done - edge) / TILE_WIDTH) else {
                return;
            };
            let compare = &mut self.compare;
            let grafted = self.builder.graft(*root, |tile, data| {
                compare.tile(tile, data);
                Ok::<(), Infallible>(())
            });
            debug_assert!(grafted.is_ok());
            *done += TILE_WIDTH;
        }
    }

    fn stop(&mut self, stop: &Stop, size: u64, root: Hash) {
        let (at, claimed) = match &stop.asked {
            Asked::Known => {
                self.roots.insert(size, root);
                return;
            }
            Asked::Head(at, claimed) => (*at, claimed),
        };
        let found = Checkpoint { size, root };
        if claimed.as_ref().is_some_and(|head| *head != found) {
            self.findings
                .add(spot(at), "a head that signed another tree");
        }
        if let Some(published) = self.published.as_ref().filter(|one| one.size == size) {
            self.reached = true;
            if published.root != root {
                let what = "signed another tree than the journal has";
                self.findings.add(CHECKPOINT, what);
            }
        }
        while self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(found);
    }
}
