//! The fold of a log: some frames in, the rows that they change out.

use std::collections::{HashMap, HashSet};

use qflow_core::chain::{RecordView, is_terminal, leaf_hash};
use qflow_core::encoding::{Cid, parse_cid_text};

use crate::chunk::{Chunk, Chunker};
use crate::execution::{CREATED, Effect, Execution, is_snapshot};
use crate::place::{Place, pack_run};

const SCHEDULED: &str = "q.qflow.exec.scheduled.v1";
const UNSCHEDULED: &str = "q.qflow.exec.unscheduled.v1";
const SCHEDULE_FIRED: &str = "q.qflow.exec.schedule_fired.v1";

/// A record as a scan of the log gives it.
#[derive(Debug, Clone, Copy)]
pub struct RecordIn<'a> {
    pub index: u64,
    pub address: u64,
    pub data: &'a [u8],
}

/// A block as a scan of the log gives it.
#[derive(Debug, Clone, Copy)]
pub struct BlockIn<'a> {
    pub cid: &'a [u8],
    pub address: u64,
    pub length: u64,
}

/// Why frames have no rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The log contradicts itself.
    #[error("record {index} of the log: {what}")]
    Log { index: u64, what: String },
    /// A row of the index is not what was written.
    #[error("a row is damaged")]
    Row,
}

fn contradicts<T>(index: u64, what: String) -> Result<T, FoldError> {
    Err(FoldError::Log { index, what })
}

/// The records of one chain in some frames.
#[derive(Debug)]
pub struct Part {
    pub chain: [u8; 16],
    /// The place in the log of its first record here.
    pub index: u64,
    pub first_seq: u64,
    pub places: Vec<Place>,
    /// Where in the chain's places records about schedules are. They matter on a node's own chain.
    pub schedules: Vec<usize>,
    begun: Option<Execution>,
    updated_at: u64,
    snapshot_seq: Option<u64>,
    ended: bool,
    /// What is made of an execution that was not paused before, and of one that was.
    effects: [Effect; 2],
}

impl Part {
    /// The number of its last record here.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.places.len() as u64 - 1
    }

    /// Whether the chain begins here, with an execution.
    #[must_use]
    pub fn begins(&self) -> bool {
        self.begun.is_some()
    }

    /// The packed places.
    #[must_use]
    pub fn run(&self) -> Vec<u8> {
        pack_run(&self.chain, self.first_seq, &self.places)
    }

    /// Whether the records here go on behind number `last` of the chain.
    fn check_follows(seq: u64, last: u64, index: u64) -> Result<(), FoldError> {
        match seq {
            _ if seq == last + 1 => Ok(()),
            _ if seq <= last => contradicts(
                index,
                format!("another record has the same place, {seq}, in its chain"),
            ),
            _ => contradicts(
                index,
                format!("record {seq} of a chain follows its record {last}"),
            ),
        }
    }

    /// The execution after these records. `before` is how it stood; None when it begins here.
    pub fn execution(&self, before: Option<Execution>) -> Result<Execution, FoldError> {
        let Some(mut execution) = self.begun.clone().or(before) else {
            return Err(FoldError::Row);
        };
        if self.begun.is_none() {
            Self::check_follows(self.first_seq, execution.seq, self.index)?;
            if execution.standing.status.is_final() {
                let what = format!("record {} of a chain follows its end", self.first_seq);
                return contradicts(self.index, what);
            }
        }
        let paused = execution.standing.status == crate::execution::Status::Paused;
        execution.standing = self.effects[usize::from(paused)].over(execution.standing);
        execution.seq = self.last_seq();
        execution.updated_at = self.updated_at;
        execution.snapshot_seq = self.snapshot_seq.or(execution.snapshot_seq);
        Ok(execution)
    }

    fn take(&mut self, record: &RecordView<'_>, at: RecordIn<'_>) -> Result<(), FoldError> {
        let seq = record.seq;
        Self::check_follows(seq, self.last_seq(), at.index)?;
        if self.ended {
            return contradicts(at.index, format!("record {seq} of a chain follows its end"));
        }
        if record.kind == CREATED {
            let what = format!("a chain begins with record {seq} of an execution");
            return contradicts(at.index, what);
        }
        self.note(record);
        Ok(())
    }

    /// What the execution is told by a record behind the one that created it.
    fn note(&mut self, record: &RecordView<'_>) {
        self.ended = is_terminal(record.kind);
        self.updated_at = record.at;
        if is_snapshot(record.kind) {
            self.snapshot_seq = Some(record.seq);
        }
        for (effect, began_paused) in self.effects.iter_mut().zip([false, true]) {
            effect.apply(record, began_paused);
        }
    }
}

/// What some frames change.
#[derive(Debug, Default)]
pub struct Batch {
    /// By the order in which they come.
    pub parts: Vec<Part>,
    /// Payloads that are not in these frames: (part, place in it, CID).
    pub elsewhere: Vec<(usize, usize, Vec<u8>)>,
    /// Blocks that are to be found by their CID: (CID, address, length).
    pub blocks: Vec<(Vec<u8>, u64, u64)>,
    /// Chunks that became full.
    pub chunks: Vec<Chunk>,
    /// The index of the first record.
    pub first: Option<u64>,
    /// How many records, and of the last one the address and hash.
    pub records: u64,
    pub last: Option<(u64, [u8; 32])>,
    /// Of the chunk that is not full: its number, and the packed addresses of its records.
    pub tail: (u64, Vec<u8>),
}

/// Folds a log from any record on, frames by frames, in order.
#[derive(Default)]
pub struct Fold {
    chunker: Chunker,
    next: Option<u64>,
}

impl Fold {
    /// Take a record of the chunk that is not full, which the index has already.
    pub fn prime(&mut self, record: RecordIn<'_>) -> Result<(), FoldError> {
        let view = self.parse(record)?;
        self.chunker.push(record.index, record.address, &view);
        Ok(())
    }

    /// Fold the next frames. After an error this fold is of no use.
    pub fn fold(
        &mut self,
        records: &[RecordIn<'_>],
        blocks: &[BlockIn<'_>],
    ) -> Result<Batch, FoldError> {
        let mut gathering = Gathering::new(blocks);
        for record in records {
            let view = self.parse(*record)?;
            gathering.take(*record, &view)?;
            let chunk = self.chunker.push(record.index, record.address, &view);
            gathering.batch.chunks.extend(chunk);
        }
        let mut batch = gathering.finish(blocks);
        batch.first = records.first().map(|record| record.index);
        batch.records = records.len() as u64;
        batch.last = records
            .last()
            .map(|record| (record.address, leaf_hash(record.data)));
        batch.tail = self.chunker.tail();
        Ok(batch)
    }

    fn parse<'a>(&mut self, record: RecordIn<'a>) -> Result<RecordView<'a>, FoldError> {
        let index = record.index;
        if self.next.is_some_and(|next| next != index) {
            return contradicts(index, "it does not follow the one before it".into());
        }
        self.next = Some(index + 1);
        RecordView::parse(record.data).or_else(|error| contradicts(index, error.to_string()))
    }
}

struct Gathering<'a> {
    batch: Batch,
    known: HashMap<[u8; 16], usize>,
    blocks: HashMap<&'a [u8], u64>,
    /// Blocks that are the payload of a record in these frames: not to be found by their CID.
    beside: HashSet<&'a [u8]>,
    /// Those that are to be found all the same.
    wanted: HashSet<Vec<u8>>,
}

impl<'a> Gathering<'a> {
    fn new(blocks: &[BlockIn<'a>]) -> Self {
        Self {
            batch: Batch::default(),
            known: HashMap::new(),
            blocks: blocks
                .iter()
                .map(|block| (block.cid, block.address))
                .collect(),
            beside: HashSet::with_capacity(blocks.len()),
            wanted: HashSet::new(),
        }
    }

    fn take(&mut self, at: RecordIn<'_>, record: &RecordView<'_>) -> Result<(), FoldError> {
        let number = match self.known.get(&record.chain) {
            Some(number) => {
                self.batch.parts[*number].take(record, at)?;
                *number
            }
            None => self.begin(at, record)?,
        };
        let payload = record
            .payload
            .and_then(|cid| self.blocks.get_key_value(cid));
        if let Some((cid, _)) = payload {
            self.beside.insert(cid);
        }
        let payload = payload.map(|(_, address)| *address);
        let place = self.batch.parts[number].places.len();
        if let (Some(cid), None) = (record.payload, payload) {
            self.batch.elsewhere.push((number, place, cid.to_vec()));
        }
        if matches!(record.kind, SCHEDULED | UNSCHEDULED | SCHEDULE_FIRED) {
            self.batch.parts[number].schedules.push(place);
            if let (SCHEDULED, Some(cid)) = (record.kind, record.payload) {
                self.wanted.insert(cid.to_vec());
            }
        }
        self.batch.parts[number].places.push(Place {
            index: at.index,
            address: at.address,
            payload,
        });
        Ok(())
    }

    fn begin(&mut self, at: RecordIn<'_>, record: &RecordView<'_>) -> Result<usize, FoldError> {
        let mut part = Part {
            chain: record.chain,
            index: at.index,
            first_seq: record.seq,
            places: Vec::new(),
            schedules: Vec::new(),
            begun: None,
            updated_at: record.at,
            snapshot_seq: None,
            ended: false,
            effects: [Effect::Nothing, Effect::Nothing],
        };
        if record.kind == CREATED {
            if record.seq != 0 {
                let what = format!("a chain begins with record {} of an execution", record.seq);
                return contradicts(at.index, what);
            }
            let execution = Execution::begin(record);
            if let Some(cid) = parse_cid_text(&execution.definition) {
                self.wanted.insert(Cid::to_bytes(&cid));
            }
            part.begun = Some(execution);
        } else {
            part.note(record);
        }
        let number = self.batch.parts.len();
        self.known.insert(record.chain, number);
        self.batch.parts.push(part);
        Ok(number)
    }

    fn finish(mut self, blocks: &[BlockIn<'a>]) -> Batch {
        let kept = blocks
            .iter()
            .filter(|block| !self.beside.contains(block.cid) || self.wanted.contains(block.cid));
        self.batch.blocks = kept
            .map(|block| (block.cid.to_vec(), block.address, block.length))
            .collect();
        self.batch
    }
}
