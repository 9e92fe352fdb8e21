//! Checking the chains of a log in one pass over its records.

use super::ids::ById;
use super::{Begun, GENESIS, Record, RecordError, RecordView, Run, is_terminal, leaf_hash};

/// What is wrong with a record in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("chain {}: begins with record {found}, not 0, or goes on after its end", hex(.chain))]
    Start { chain: [u8; 16], found: u64 },
    #[error("chain {}: record {found} where {expected} is due", hex(.chain))]
    Seq {
        chain: [u8; 16],
        expected: u64,
        found: u64,
    },
    #[error("chain {}: record {seq} does not name the one before by its hash", hex(.chain))]
    Prev { chain: [u8; 16], seq: u64 },
    #[error("chain {}: begins again after its end", hex(.chain))]
    Again { chain: [u8; 16] },
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A chain that has begun and not ended: what its next record must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Live {
    pub chain: [u8; 16],
    /// The number that is due.
    pub next: u64,
    /// The hash of its last record.
    pub hash: [u8; 32],
}

/// A chain that begins at a record and seems to have begun before: rarely it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    pub chain: [u8; 16],
    /// Of the record in the log.
    pub index: u64,
}

#[derive(Clone, Copy)]
struct Head {
    next: u64,
    hash: [u8; 32],
}

/// The heads of the chains that have not ended: memory grows with those, not with the log.
///
/// A record that is refused leaves everything as it was. That no id is used by two chains is
/// known up to `doubts`: whoever has the log looks there whether the chain began before.
#[derive(Default)]
pub struct Verifier {
    heads: ById<Head>,
    begun: Begun,
    doubts: Vec<Doubt>,
    pushed: u64,
}

impl Verifier {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Go on where these chains are live and those have begun.
    #[must_use]
    pub fn resume(live: impl IntoIterator<Item = Live>, begun: Begun) -> Self {
        let mut verifier = Self {
            begun,
            ..Self::default()
        };
        for Live { chain, next, hash } in live {
            verifier.begun.insert(&chain);
            verifier.heads.insert(chain, Head { next, hash });
        }
        verifier
    }

    /// Chains that have begun and not ended.
    #[must_use]
    pub fn live_chains(&self) -> usize {
        self.heads.len()
    }

    /// The chains that have begun and not ended, by id.
    #[must_use]
    pub fn live(&self) -> Vec<Live> {
        let heads = self.heads.iter();
        let mut live: Vec<Live> = heads
            .map(|(&chain, &Head { next, hash })| Live { chain, next, hash })
            .collect();
        live.sort_unstable();
        live
    }

    /// The chains that have begun.
    #[must_use]
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// Beginnings to look up: those since this was last taken.
    pub fn take_doubts(&mut self) -> Vec<Doubt> {
        std::mem::take(&mut self.doubts)
    }

    /// How many beginnings are to be looked up.
    #[must_use]
    pub fn doubts(&self) -> usize {
        self.doubts.len()
    }

    /// Check the next record of the log; gives its leaf hash.
    pub fn push(&mut self, record: &[u8]) -> Result<[u8; 32], ChainError> {
        let (leaf, index) = (leaf_hash(record), self.pushed);
        self.pushed += 1;
        self.push_view(&RecordView::parse(record)?, leaf, index)?;
        Ok(leaf)
    }

    /// Check the record at `index` of the log, which the caller has parsed and hashed.
    pub fn push_view(
        &mut self,
        record: &RecordView,
        leaf: [u8; 32],
        index: u64,
    ) -> Result<(), ChainError> {
        match self.heads.get(&record.chain) {
            Some(head) => follows(record, head)?,
            None => begins(record)?,
        }
        self.apply(&Run {
            chain: record.chain,
            index,
            seq: record.seq,
            prev: record.prev,
            next: record.seq + 1,
            hash: leaf,
            ends: is_terminal(record.kind),
        });
        Ok(())
    }

    /// Check the runs of the next part of the log. False when one does not follow, and nothing was
    /// taken: pushing the records one by one then says which.
    pub fn follow(&mut self, runs: &[Run]) -> bool {
        let fits = |run: &Run| match self.heads.get(&run.chain) {
            Some(head) => (run.seq, run.prev) == (head.next, head.hash),
            None => (run.seq, run.prev) == (0, GENESIS),
        };
        let all = runs.iter().all(fits);
        if all {
            runs.iter().for_each(|run| self.apply(run));
        }
        all
    }

    fn apply(&mut self, run: &Run) {
        let (chain, index) = (run.chain, run.index);
        if run.seq == 0 && self.begun.insert(&chain) {
            self.doubts.push(Doubt { chain, index });
        }
        if run.ends {
            self.heads.remove(&chain);
        } else {
            let (next, hash) = (run.next, run.hash);
            self.heads.insert(chain, Head { next, hash });
        }
    }
}

fn begins(record: &Record) -> Result<(), ChainError> {
    let (chain, seq) = (record.chain, record.seq);
    if seq != 0 {
        return Err(ChainError::Start { chain, found: seq });
    }
    if record.prev != GENESIS {
        return Err(ChainError::Prev { chain, seq });
    }
    Ok(())
}

fn follows(record: &Record, head: &Head) -> Result<(), ChainError> {
    let (chain, seq) = (record.chain, record.seq);
    if seq != head.next {
        return Err(ChainError::Seq {
            chain,
            expected: head.next,
            found: seq,
        });
    }
    if record.prev != head.hash {
        return Err(ChainError::Prev { chain, seq });
    }
    Ok(())
}
