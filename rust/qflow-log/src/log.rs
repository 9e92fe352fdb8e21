//! The log as its users see it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use qflow_core::chain::{Live, RECORD_BYTES_MAX};
use qflow_core::log::{Hash, Signer, VerifierKey};

use crate::error::{LogError, Result};
use crate::frame::{ALIGNMENT, BLOCK_BYTES_MAX, CID_BYTES_MAX};
use crate::journal::{Scan, place};
use crate::lock::Lock;
use crate::prune::{self, Cut, carried, survey};
use crate::pruned::Pruned;
pub use crate::queue::Completion;
use crate::queue::{Batch, Queue, Queued};
use crate::recover::recover;
use crate::segment::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::shared::Shared;
use crate::witnessed;
use crate::writer::HEAD_BYTES_MAX;

/// How a log is opened.
#[derive(Clone)]
pub struct Options {
    /// The log's name, which its heads begin with.
    pub origin: String,
    /// The seed of its Ed25519 key.
    pub seed: [u8; 32],
    /// Bytes that may wait to be written; beyond them an append is refused as busy.
    pub queue_bytes_max: usize,
    /// Bytes of the largest segment; no append is larger.
    pub segment_bytes: u64,
}

/// An open log: the only writer of its files.
pub struct Log {
    shared: Arc<Shared>,
    path: PathBuf,
    vkey: String,
    /// Held by who saves a head that was witnessed.
    witnessed: Mutex<()>,
    /// Held by who prunes: a segment, and the chains that go on across its beginning.
    surveyed: Mutex<Option<(u32, Vec<Live>)>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Lock>>,
}

impl Log {
    /// Create or open the log at `path`, alone, and bring its files to the last whole commit.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&options.segment_bytes) {
            return Err(LogError::Invalid(
                "segment_bytes: from 64 KiB to 2 GiB".into(),
            ));
        }
        let signer = Signer::new(&options.origin, &options.seed);
        let signer = signer.map_err(|error| LogError::Invalid(error.to_string()))?;
        let vkey = signer.verifier().to_string();
        let recovered = recover(path, signer, options.segment_bytes)?;
        let append_bytes_max = options.segment_bytes as usize - HEAD_BYTES_MAX - 2 * ALIGNMENT;
        let queue = Queue::new(recovered.head, options.queue_bytes_max, append_bytes_max);
        let first = recovered.pruned.segment;
        let shared = Shared::new(queue, recovered.writer, recovered.publisher, first)?;
        let shared = Arc::new(shared);
        let log = Self {
            shared,
            path: path.to_owned(),
            vkey,
            witnessed: Mutex::default(),
            surveyed: Mutex::default(),
            threads: Mutex::default(),
            lock: Mutex::new(Some(recovered.lock)),
        };
        log.spawn("qflow-commit", Shared::commit_all)?;
        log.spawn("qflow-tiles", Shared::publish_all)?;
        Ok(log)
    }

    fn spawn(&self, name: &str, run: fn(&Shared)) -> Result<()> {
        let shared = self.shared.clone();
        let thread = Builder::new()
            .name(name.into())
            .spawn(move || run(&shared))?;
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        Ok(())
    }

    /// Records that are durable.
    pub fn size(&self) -> u64 {
        self.shared.queue().head.checkpoint.size
    }

    /// The root of the tree of the durable records.
    pub fn root(&self) -> Hash {
        self.shared.queue().head.checkpoint.root
    }

    /// The signed head of the last commit.
    pub fn head(&self) -> String {
        self.shared.queue().head.note.clone()
    }

    /// The verifier key.
    pub fn vkey(&self) -> &str {
        &self.vkey
    }

    /// Queue records and blocks as one atomic append. Its completion comes by `drain`.
    pub fn append(&self, records: &[&[u8]], blocks: &[(&[u8], &[u8])]) -> Result<u64> {
        check_items(records, blocks)?;
        let mut queue = self.shared.queue();
        let queued = queue.push(records, blocks, false)?;
        self.shared.queued(&mut queue);
        Ok(queued.ticket)
    }

    /// Queue an append whose caller will call `wait`.
    pub fn submit(&self, records: &[&[u8]], blocks: &[(&[u8], &[u8])]) -> Result<Pending> {
        check_items(records, blocks)?;
        self.shared.queue().push(records, blocks, true).map(Pending)
    }

    /// Return when the append is durable: the index of its first record. The caller's thread
    /// commits itself when nobody else does.
    pub fn wait(&self, pending: &Pending) -> Result<u64> {
        let Pending(queued) = pending;
        let mut queue = self.shared.queue();
        loop {
            if queue.committed >= queued.sequence {
                return Ok(queued.first);
            }
            if let Some(why) = &queue.poisoned {
                return Err(LogError::Poisoned(why.to_string()));
            }
            queue = if queue.leading {
                queued
                    .done
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner)
            } else {
                self.shared.commit_next(queue)
            };
        }
    }

    /// Append and wait until it is durable: the index of the first record.
    pub fn append_durable(&self, records: &[&[u8]], blocks: &[(&[u8], &[u8])]) -> Result<u64> {
        let pending = self.submit(records, blocks)?;
        self.wait(&pending)
    }

    /// Readable while completions wait to be drained.
    pub fn completions(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    /// The next completions, in the order of their tickets.
    pub fn drain(&self, max: usize) -> Vec<Completion> {
        let mut queue = self.shared.queue();
        let count = max.min(queue.completions.len());
        let drained = queue.completions.drain(..count).collect();
        if count > 0 && queue.completions.is_empty() {
            let mut counter = [0; 8];
            // It was signalled once since it was empty.
            let _ = rustix::io::read(&self.shared.event, &mut counter);
        }
        drained
    }

    /// Durable records and blocks from a frame address on; see `Journal::scan`.
    pub fn scan(&self, address: u64, bytes_max: usize) -> Result<Scan> {
        self.shared.journal.scan(address, bytes_max, self.end())
    }

    /// The record, or the data of the block, at an address that `scan` gave.
    pub fn read(&self, address: u64) -> Result<Vec<u8>> {
        self.shared.journal.read(address, self.end())
    }

    /// The records at ascending addresses that `scan` gave.
    pub fn read_many(&self, addresses: &[u64]) -> Result<Vec<Vec<u8>>> {
        self.shared.journal.read_many(addresses, self.end())
    }

    fn end(&self) -> u64 {
        self.shared.queue().head.end
    }

    /// Write the tiles and the checkpoint file of the present head.
    pub fn publish(&self) -> Result<()> {
        self.shared.queue().check_open()?;
        self.shared.publish()
    }

    /// Keep a head of this log that witnesses cosigned, for receipts; see `witnessed::save`. Its
    /// tiles are published before.
    pub fn save_witnessed(&self, note: &[u8]) -> Result<()> {
        let head = witnessed::parse(note, &self.vkey)?;
        if head.size > self.size() {
            return Err(LogError::Unproven(format!(
                "the head proves {} records, and the log has {}",
                head.size,
                self.size()
            )));
        }
        let _one_at_a_time = self
            .witnessed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.publish()?;
        witnessed::save(&self.path, note, &head, &self.vkey)
    }

    /// Index of the first record that is kept, and the chains that go on from before it.
    pub fn beginning(&self) -> Result<(u64, Vec<Live>)> {
        let log_id = self.shared.journal.log_id();
        let pruned = Pruned::load(&self.path, log_id)?;
        Ok((pruned.minimum, carried(&self.path, log_id, &pruned)?))
    }

    /// The segments that are used: number, index of the first record, bytes of the file.
    pub fn segments(&self) -> Result<Vec<(u32, u64, u64)>> {
        let journal = &self.shared.journal;
        let used = match self.size() {
            0 => 0..0,
            _ => journal.first()..place(self.end()).0 + 1,
        };
        let look = |number| {
            let header = journal.header(number)?;
            Ok((number, header.base.size(), header.bytes))
        };
        used.map(look).collect()
    }

    /// The chains that go on across the beginning of a segment: what the record of a pruning names.
    pub fn survey(&self, segment: u32) -> Result<Vec<Live>> {
        let used = self.segments()?;
        if !used.iter().skip(1).any(|(number, ..)| *number == segment) {
            return Err(LogError::Invalid(format!(
                "segment {segment} is not one that the log can begin with"
            )));
        }
        self.publish()?;
        let mut surveyed = self.surveyed.lock().unwrap_or_else(PoisonError::into_inner);
        let found = survey(&self.path, &self.shared.journal, segment)?;
        *surveyed = Some((segment, found.clone()));
        Ok(found)
    }

    /// Delete what is before the segment that the durable record at index `record` names; the bytes
    /// of the journal that went. See `prune`.
    pub fn prune(&self, record: u64) -> Result<u64> {
        self.publish()?;
        let surveyed = self.surveyed.lock().unwrap_or_else(PoisonError::into_inner);
        let key = VerifierKey::parse(&self.vkey);
        let pruned = Cut {
            path: &self.path,
            journal: &self.shared.journal,
            key: &key.map_err(|error| LogError::Invalid(error.to_string()))?,
            end: self.end(),
            record,
            surveyed: surveyed.as_ref(),
        }
        .decide()?;
        self.shared.journal.begin_at(pruned.segment);
        Ok(prune::delete(&self.path, &pruned)?)
    }

    /// Commit what is queued, publish, and release the files. Does nothing the second time.
    pub fn close(&self) -> Result<()> {
        self.shared.queue().closed = true;
        self.shared.settle();
        self.shared.wake();
        self.join();
        // The lock is released last, and whatever happens: it goes with `held`.
        let Some(held) = self
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return Ok(());
        };
        if self.shared.queue().poisoned.is_some() {
            return Ok(());
        }
        self.shared.publish()?;
        held.note_closed()?;
        Ok(())
    }

    fn join(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            drop(thread.join());
        }
        self.shared.finish_writer();
    }
}

impl Drop for Log {
    /// As if the process had died here, except that no thread is left behind.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut queue = self.shared.queue();
        queue.closed = true;
        if !queue.is_idle() && queue.poisoned.is_none() {
            queue.poison(&mut Batch::default(), "the log was dropped without close");
        }
        drop(queue);
        self.shared.wake();
        self.join();
    }
}

/// An append that its caller waits for.
pub struct Pending(Queued);

fn check_items(records: &[&[u8]], blocks: &[(&[u8], &[u8])]) -> Result<()> {
    let invalid = |what: String| Err(LogError::Invalid(what));
    if records.is_empty() && blocks.is_empty() {
        return invalid("an append of nothing".into());
    }
    for record in records {
        if record.is_empty() || record.len() > RECORD_BYTES_MAX {
            return invalid(format!("a record has 1 to {RECORD_BYTES_MAX} bytes"));
        }
    }
    for (cid, data) in blocks {
        if cid.is_empty() || cid.len() > CID_BYTES_MAX || data.len() > BLOCK_BYTES_MAX {
            return invalid(format!(
                "a block has at most {BLOCK_BYTES_MAX} bytes and a CID"
            ));
        }
    }
    Ok(())
}
