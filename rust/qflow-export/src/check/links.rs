//! The chains of rows that may leave records out: what can be said of each pair that is there.

use std::collections::HashMap;

use qflow_core::chain::{GENESIS, RecordView, is_terminal};
use qflow_core::log::Hash;

/// Chains that are remembered in each of two halves: about 50 MiB together, however many there are.
const CHAINS_MAX: usize = 1 << 18;

#[derive(Clone, Copy)]
struct Last {
    seq: u64,
    hash: Hash,
}

/// The last record of each chain that was seen of late.
#[derive(Default)]
pub struct Links {
    young: HashMap<[u8; 16], Last>,
    old: HashMap<[u8; 16], Last>,
    /// Pairs of records that were proven to follow each other.
    pub proven: u64,
}

impl Links {
    /// Check a record against the one before it in its chain. `gaps`: some may be left out.
    pub fn push(&mut self, record: &RecordView<'_>, hash: Hash, gaps: bool) -> Result<(), String> {
        let known = self
            .young
            .get(&record.chain)
            .or(self.old.get(&record.chain));
        let checked = match known {
            Some(last) if record.seq == last.seq + 1 => {
                self.proven += 1;
                (record.prev == last.hash).then_some(()).ok_or_else(|| {
                    format!(
                        "record {} does not follow {} by its hash",
                        record.seq, last.seq
                    )
                })
            }
            Some(last) if record.seq > last.seq && gaps => Ok(()),
            Some(last) => Err(format!("record {} after {}", record.seq, last.seq)),
            None if record.seq == 0 && record.prev != GENESIS => {
                Err("the first record names one before it".into())
            }
            None => Ok(()),
        };
        if is_terminal(record.kind) {
            self.young.remove(&record.chain);
            self.old.remove(&record.chain);
        } else {
            self.keep(record, hash);
        }
        checked
    }

    fn keep(&mut self, record: &RecordView<'_>, hash: Hash) {
        if self.young.len() >= CHAINS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        let seq = record.seq;
        self.young.insert(record.chain, Last { seq, hash });
    }
}
