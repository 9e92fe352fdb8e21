//! Records of one chain that follow each other in a part of a log: checked among themselves
//! wherever that is done, and as a whole where the chains of all of the log are known.

use super::ids::ById;
use super::{RecordView, is_terminal};

/// What is left to check of records that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub chain: [u8; 16],
    /// Index in the log, number and `prev` of the first record.
    pub index: u64,
    pub seq: u64,
    pub prev: [u8; 32],
    /// The number that is due after the last one, and the last one's hash.
    pub next: u64,
    pub hash: [u8; 32],
    /// The last record ends the chain.
    pub ends: bool,
}

/// The runs of a part of a log.
#[derive(Debug, Default)]
pub struct Runs {
    runs: Vec<Run>,
    places: ById<usize>,
    /// The run of the last record: often that of the next one too.
    last: usize,
}

impl Runs {
    /// Add the next record of the log. False when it does not follow the one before of its chain:
    /// then these runs say nothing.
    pub fn push(&mut self, record: &RecordView, leaf: [u8; 32], index: u64) -> bool {
        let ends = is_terminal(record.kind);
        let known = match self.runs.get(self.last) {
            Some(run) if run.chain == record.chain => Some(self.last),
            _ => self.places.get(&record.chain).copied(),
        };
        let Some(place) = known else {
            self.last = self.runs.len();
            self.places.insert(record.chain, self.last);
            self.runs.push(Run {
                chain: record.chain,
                index,
                seq: record.seq,
                prev: record.prev,
                next: record.seq + 1,
                hash: leaf,
                ends,
            });
            return true;
        };
        self.last = place;
        let run = &mut self.runs[place];
        if run.ends || record.seq != run.next || record.prev != run.hash {
            return false;
        }
        (run.next, run.hash, run.ends) = (run.next + 1, leaf, ends);
        true
    }

    /// Take the runs, in the order in which they begin.
    pub fn take(&mut self) -> Vec<Run> {
        self.places.clear();
        self.last = 0;
        std::mem::take(&mut self.runs)
    }
}
