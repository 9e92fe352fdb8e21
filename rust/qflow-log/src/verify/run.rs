//! One run: every core looks at pieces, and the calling thread takes them in their order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use qflow_core::chain::{ChainError, Runs};
use qflow_core::log::{Checkpoint, VerifierKey};

use super::compare::{Compare, Partials};
use super::conclude::conclude;
use super::doubts::began_before;
use super::files::Files;
use super::look::{Look, Looked};
use super::pass::{Pass, Place};
use super::source::{Budget, Source};
use super::start::Start;
use super::{Ask, Findings, Progress, Report};
use crate::error::{LogError, Result};
use crate::recover::log_id;

/// More of them would wait for each other: the pieces are read one after the other.
const CORES_MAX: usize = 32;
/// Pieces that are read and not done, for each core and beside them.
const PIECES_A_CORE: usize = 3;
const PIECES_BESIDE: usize = 4;
/// Beginnings of chains that are looked up at once.
const DOUBTS_MAX: usize = 1 << 20;

/// Read and check what the files hold.
pub fn run(
    path: &Path,
    key: &VerifierKey,
    mut files: Files,
    ask: &Ask<'_>,
    progress: Progress<'_>,
) -> Result<Report> {
    let mut start = Start::new(path, log_id(key), &files, ask);
    let partials = std::mem::take(&mut files.partials);
    let marks = marks(key, &files, ask, &start);
    let run = Run {
        path,
        key,
        log_id: log_id(key),
        files: &files,
        partials: &partials,
        marks: &marks,
    };
    let pass = run.all(&mut start, progress)?;
    let mut report = conclude(key, start, pass, &files, &partials, ask);
    let mut findings = files.findings;
    findings.append(Findings {
        kept: report.findings,
        more: report.more,
    });
    (report.findings, report.more) = (findings.kept, findings.more);
    if !report.findings.is_empty() {
        report.state = None;
    }
    Ok(report)
}

/// The sizes at which the root is asked for, ascending.
fn marks(key: &VerifierKey, files: &Files, ask: &Ask<'_>, start: &Start) -> Vec<u64> {
    let mut marks = ask.known.to_vec();
    marks.extend(files.witnessed.as_ref().map(|(_, head)| head.size));
    if let Some(pruning) = &start.pruning {
        let head = Checkpoint::parse_unverified(&pruning.head, key.name());
        marks.extend(head.map(|(head, _)| head.size));
    }
    marks.sort_unstable();
    marks.dedup();
    marks
}

struct Run<'a> {
    path: &'a Path,
    key: &'a VerifierKey,
    log_id: u64,
    files: &'a Files,
    partials: &'a Partials,
    marks: &'a [u64],
}

impl<'a> Run<'a> {
    fn all(&self, start: &mut Start, progress: Progress<'_>) -> Result<Pass<'a>> {
        let source = self.source(start)?;
        let cores = thread::available_parallelism().map_or(1, |count| count.get().min(CORES_MAX));
        let budget = Budget::new(cores * PIECES_A_CORE + PIECES_BESIDE);
        let total = self.files.bytes - self.skipped(start.at);
        let mut pass = self.pass(start, source.bytes());
        let source = Mutex::new(source);
        let (sender, pieces) = channel();
        let result = thread::scope(|scope| {
            for _ in 0..cores {
                let (sender, source, budget) = (sender.clone(), &source, &budget);
                scope.spawn(move || self.look_at_all(source, budget, &sender));
            }
            drop(sender);
            let (mut waiting, mut due) = (BTreeMap::new(), 0);
            for (number, looked) in pieces {
                waiting.insert(number, looked);
                while let Some(looked) = waiting.remove(&due) {
                    due += 1;
                    let taken = self.take(&mut pass, looked, &budget);
                    if taken.is_err() || !progress(pass.read.min(total), total) {
                        budget.close();
                        return taken.and(Err(LogError::Closed));
                    }
                }
            }
            Ok(())
        });
        result?;
        self.look_up(&mut pass)?;
        Ok(pass)
    }

    fn source(&self, start: &Start) -> Result<Source> {
        let segments = &self.files.segments;
        let Some(at) = start.at else {
            let tiles = start.tiles.clone();
            return Ok(Source::new(self.path, self.log_id, segments.clone(), tiles));
        };
        let from = segments.partition_point(|number| u64::from(*number) < at >> 32);
        Ok(Source::resume(
            self.path,
            self.log_id,
            segments[from..].to_vec(),
            at,
        )?)
    }

    /// Bytes of the journal that are not read.
    fn skipped(&self, at: Option<u64>) -> u64 {
        let at = at.unwrap_or_default();
        let before = self.files.lengths.range(..(at >> 32) as u32);
        before.map(|(_, bytes)| bytes).sum::<u64>() + (at & u64::from(u32::MAX))
    }

    fn pass(&self, start: &mut Start, bytes: u64) -> Pass<'a> {
        let place = start.at.map_or(Place::Over, |_| Place::Frames);
        Pass {
            path: self.path,
            log_id: self.log_id,
            growth: start.growth(self.files, self.compare()),
            live: self.files.live,
            first: self.files.pruned.segment,
            place,
            end: start.at.unwrap_or(0),
            bytes,
            torn_bytes: 0,
            read: 0,
        }
    }

    fn compare(&self) -> Compare<'a> {
        let published = self.files.published.as_ref().map_or(0, |head| head.size);
        Compare::new(self.path, published, self.partials)
    }

    /// What each core does.
    fn look_at_all(&self, source: &Mutex<Source>, budget: &Budget, looked: &Sender<(u64, Looked)>) {
        let mut look = Look {
            key: self.key,
            log_id: self.log_id,
            marks: self.marks,
            compare: self.compare(),
            runs: Runs::default(),
        };
        loop {
            let next = {
                let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
                source.next(budget)
            };
            let Some((number, piece)) = next else {
                return;
            };
            let found = catch_unwind(AssertUnwindSafe(|| look.at(piece)));
            // Without an answer the others would wait for this piece.
            let found = found.unwrap_or_else(|_| Looked::Failed {
                at: 0,
                what: "a check panicked".into(),
            });
            if let Looked::Part(part) = &found
                && part.unfit
                && part.data.is_empty()
            {
                let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
                source.skip_tiles();
            }
            if looked.send((number, found)).is_err() {
                return;
            }
        }
    }

    fn take(&self, pass: &mut Pass<'a>, mut looked: Looked, budget: &Budget) -> Result<()> {
        let first = self.files.pruned.segment;
        if first > 0 && matches!(looked, Looked::Segment { number, .. } if number == first) {
            Start::cross(&mut pass.growth, self.files, self.marks);
        }
        pass.take(&mut looked);
        if let Looked::Part(part) = looked
            && !part.data.is_empty()
        {
            budget.give(part.data);
        }
        if pass.growth.chains.doubts() >= DOUBTS_MAX {
            self.look_up(pass)?;
        }
        Ok(())
    }

    /// Look up whether chains that seem to have begun before did.
    fn look_up(&self, pass: &mut Pass<'a>) -> Result<()> {
        let doubts = pass.growth.chains.take_doubts();
        let Some(first) = self.files.segments.first().filter(|_| !doubts.is_empty()) else {
            return Ok(());
        };
        for doubt in began_before(self.path, self.log_id, *first, pass.end, &doubts)? {
            let at = format!("record {}", doubt.index);
            let what = ChainError::Again { chain: doubt.chain };
            pass.growth.findings.add(at, what.to_string());
        }
        Ok(())
    }
}
