//! Checking the chains of a log in one pass over its records.

use std::collections::HashMap;

use super::{GENESIS, Record, RecordError, RecordView, is_terminal, leaf_hash};

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
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Copy)]
struct Head {
    next: u64,
    hash: [u8; 32],
}

/// The heads of the chains that have not ended: memory grows with those, not with the log.
///
/// A record that is refused leaves everything as it was.
#[derive(Default)]
pub struct Verifier {
    heads: HashMap<[u8; 16], Head>,
}

impl Verifier {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Chains that have begun and not ended.
    #[must_use]
    pub fn live_chains(&self) -> usize {
        self.heads.len()
    }

    /// Check the next record of the log; gives its leaf hash.
    pub fn push(&mut self, record: &[u8]) -> Result<[u8; 32], ChainError> {
        let leaf = leaf_hash(record);
        self.push_hashed(record, leaf)?;
        Ok(leaf)
    }

    /// Check the next record of the log, whose leaf hash the caller has computed.
    pub fn push_hashed(&mut self, record: &[u8], leaf: [u8; 32]) -> Result<(), ChainError> {
        self.push_view(&RecordView::parse(record)?, leaf)
    }

    /// Check the next record of the log, which the caller has parsed and hashed.
    pub fn push_view(&mut self, record: &RecordView, leaf: [u8; 32]) -> Result<(), ChainError> {
        let ends = is_terminal(record.kind);
        match self.heads.get_mut(&record.chain) {
            Some(head) => {
                follows(record, head)?;
                *head = Head {
                    next: head.next + 1,
                    hash: leaf,
                };
            }
            None => {
                begins(record)?;
                if !ends {
                    self.heads.insert(
                        record.chain,
                        Head {
                            next: 1,
                            hash: leaf,
                        },
                    );
                }
                return Ok(());
            }
        }
        if ends {
            self.heads.remove(&record.chain);
        }
        Ok(())
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
