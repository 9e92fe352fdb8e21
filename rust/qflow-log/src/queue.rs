//! What waits to be committed, and what was.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Condvar};

use crate::error::{LogError, Result};
use crate::frame::{FRAME_HEADER, items_bytes, push_block, push_record};
use crate::writer::Head;

/// A commit takes no further append once it holds this many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// Completions that nobody drained: beyond them an append is refused as busy.
const COMPLETIONS_MAX: usize = 1 << 20;
/// Buffers that are kept for the next batch.
const SPARES_MAX: usize = 2;
const SPARE_BYTES_MAX: usize = 8 << 20;

/// The appends that one frame commits.
#[derive(Default)]
pub struct Batch {
    /// Room for the header, then the items.
    pub frame: Vec<u8>,
    pub records: u32,
    pub blocks: u32,
    /// Tickets and first indices of the appends that nobody waits for.
    tickets: Vec<(u64, u64)>,
    /// The sequence number of the last append.
    last: u64,
    /// Bytes of the items.
    bytes: usize,
    /// Wakes the callers that wait for this batch.
    pub waiters: usize,
    pub done: Arc<Condvar>,
}

impl Batch {
    fn reset(&mut self) {
        self.frame.clear();
        self.frame.resize(FRAME_HEADER, 0);
        (self.records, self.blocks, self.waiters, self.bytes) = (0, 0, 0, 0);
        self.tickets.clear();
        self.done = Arc::default();
    }
}

/// A ticket that came true or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    pub ticket: u64,
    /// Index of the append's first record.
    pub first: u64,
    /// Why it failed; None when it is durable.
    pub error: Option<Arc<str>>,
}

/// An append that is queued.
pub struct Queued {
    pub sequence: u64,
    pub first: u64,
    pub ticket: u64,
    /// Signalled when its batch is done, or is to be committed by one who waits for it.
    pub done: Arc<Condvar>,
}

/// All that the log's callers share, under one lock.
pub struct Queue {
    pending: VecDeque<Batch>,
    spares: Vec<Batch>,
    pending_bytes: usize,
    bytes_max: usize,
    append_bytes_max: usize,
    next_index: u64,
    sequence: u64,
    tickets: u64,
    pub completions: VecDeque<Completion>,
    /// The last sequence number that is durable.
    pub committed: u64,
    pub head: Head,
    /// Somebody commits at this moment.
    pub leading: bool,
    /// The committing thread waits for work.
    pub resting: bool,
    /// The publishing thread waits for a commit.
    pub published: bool,
    pub closed: bool,
    pub poisoned: Option<Arc<str>>,
}

impl Queue {
    pub fn new(head: Head, bytes_max: usize, append_bytes_max: usize) -> Self {
        Self {
            pending: VecDeque::new(),
            spares: Vec::new(),
            pending_bytes: 0,
            bytes_max,
            append_bytes_max,
            next_index: head.checkpoint.size,
            sequence: 0,
            tickets: 0,
            completions: VecDeque::new(),
            committed: 0,
            head,
            leading: false,
            resting: false,
            published: false,
            closed: false,
            poisoned: None,
        }
    }

    /// Refuse everything when the log is closed or poisoned.
    pub fn check_open(&self) -> Result<()> {
        match &self.poisoned {
            Some(why) => Err(LogError::Poisoned(why.to_string())),
            None if self.closed => Err(LogError::Closed),
            None => Ok(()),
        }
    }

    /// Copy an append into the last batch, or a new one. `waits` says that its caller will wait.
    pub fn push(
        &mut self,
        records: &[&[u8]],
        blocks: &[(&[u8], &[u8])],
        waits: bool,
    ) -> Result<Queued> {
        self.check_open()?;
        let bytes = items_bytes(records, blocks);
        self.check_bounds(bytes)?;
        let batch = self.batch_for(bytes);
        records
            .iter()
            .for_each(|record| push_record(&mut batch.frame, record));
        blocks
            .iter()
            .for_each(|(cid, data)| push_block(&mut batch.frame, cid, data));
        batch.records += records.len() as u32;
        batch.blocks += blocks.len() as u32;
        batch.waiters += usize::from(waits);
        batch.bytes += bytes;
        let done = batch.done.clone();
        self.pending_bytes += bytes;
        self.sequence += 1;
        self.tickets += u64::from(!waits);
        let (sequence, ticket, first) = (self.sequence, self.tickets, self.next_index);
        self.next_index += records.len() as u64;
        if let Some(batch) = self.pending.back_mut() {
            batch.last = sequence;
            if !waits {
                batch.tickets.push((ticket, first));
            }
        }
        Ok(Queued {
            sequence,
            first,
            ticket,
            done,
        })
    }

    fn check_bounds(&self, bytes: usize) -> Result<()> {
        let most = self.append_bytes_max.min(self.bytes_max);
        if bytes > most {
            return Err(LogError::Invalid(format!(
                "{bytes} bytes in one append, at most {most}"
            )));
        }
        if self.pending_bytes + bytes > self.bytes_max {
            return Err(LogError::Busy("too many bytes wait to be written"));
        }
        if self.completions.len() >= COMPLETIONS_MAX {
            return Err(LogError::Busy("too many completions wait to be drained"));
        }
        Ok(())
    }

    fn batch_for(&mut self, bytes: usize) -> &mut Batch {
        let fits = self.pending.back().is_some_and(|batch| {
            let whole = batch.frame.len() + bytes;
            whole <= BATCH_BYTES.min(self.append_bytes_max)
        });
        if !fits {
            let mut batch = self.spares.pop().unwrap_or_default();
            batch.reset();
            self.pending.push_back(batch);
        }
        let last = self.pending.len() - 1;
        &mut self.pending[last]
    }

    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whoever should commit next: a caller of the next batch who waits.
    pub fn next_waiter(&self) -> Option<&Condvar> {
        self.pending
            .front()
            .filter(|batch| batch.waiters > 0)
            .map(|batch| &*batch.done)
    }

    /// Take the next batch to commit it.
    pub fn take(&mut self) -> Option<Batch> {
        let batch = self.pending.pop_front()?;
        self.leading = true;
        Some(batch)
    }

    /// Record that the batch is durable.
    pub fn complete(&mut self, batch: &mut Batch, head: Head) {
        self.head = head;
        self.finish(batch, None);
        self.committed = batch.last;
    }

    /// Record that nothing is written any more: what waits fails.
    pub fn poison(&mut self, batch: &mut Batch, why: &str) {
        let why: Arc<str> = why.into();
        self.poisoned = Some(why.clone());
        self.finish(batch, Some(&why));
        for mut batch in mem::take(&mut self.pending) {
            self.finish(&mut batch, Some(&why));
        }
    }

    fn finish(&mut self, batch: &mut Batch, error: Option<&Arc<str>>) {
        let completions = batch.tickets.drain(..).map(|(ticket, first)| Completion {
            ticket,
            first,
            error: error.cloned(),
        });
        self.completions.extend(completions);
        batch.done.notify_all();
    }

    /// Keep a batch's buffer for the next one.
    pub fn recycle(&mut self, batch: Batch) {
        self.pending_bytes = self.pending_bytes.saturating_sub(batch.bytes);
        if self.spares.len() < SPARES_MAX && batch.frame.capacity() <= SPARE_BYTES_MAX {
            self.spares.push(batch);
        }
    }
}
