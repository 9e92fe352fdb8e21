//! What the callers and the threads of a log share, and who commits when.
//!
//! One commits at a time, for all that are queued: a caller that waits does it on its own thread
//! when nobody else does, so that a lone append costs no hop between threads; the committing thread
//! does it for appends that nobody waits for.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::error::{LogError, Result};
use crate::journal::Journal;
use crate::publish::Publisher;
use crate::queue::{Batch, Queue};
use crate::writer::{Head, Writer};

/// Commits are published this long after the first that is not.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

pub struct Shared {
    queue: Mutex<Queue>,
    writer: Mutex<Writer>,
    publisher: Mutex<Publisher>,
    pub journal: Journal,
    /// Readable while completions wait to be drained.
    pub event: OwnedFd,
    /// Tells the publisher to give up.
    pub stop: AtomicBool,
    /// Wakes the committing thread.
    work: Condvar,
    /// Wakes the publishing thread.
    behind: Condvar,
    /// Wakes who waits for the queue to be empty.
    idle: Condvar,
}

impl Shared {
    pub fn new(queue: Queue, writer: Writer, publisher: Publisher, first: u32) -> Result<Self> {
        Ok(Self {
            queue: Mutex::new(queue),
            journal: Journal::new(&writer.journal, writer.log_id, first),
            writer: Mutex::new(writer),
            publisher: Mutex::new(publisher),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stop: AtomicBool::new(false),
            work: Condvar::new(),
            behind: Condvar::new(),
            idle: Condvar::new(),
        })
    }

    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was queued: wake the committing thread unless somebody commits, who will.
    pub fn queued(&self, queue: &mut Queue) {
        if queue.resting && !queue.leading {
            queue.resting = false;
            self.work.notify_one();
        }
    }

    /// The committing thread.
    pub fn commit_all(&self) {
        let mut queue = self.queue();
        loop {
            let done = queue.poisoned.is_some() || queue.is_idle();
            if done && queue.closed {
                return;
            }
            if done || queue.leading {
                queue.resting = true;
                queue = self
                    .work
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                queue.resting = false;
            } else {
                queue = self.commit_next(queue);
            }
        }
    }

    /// Commit the next batch, then let the next one commit.
    pub fn commit_next<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let Some(mut batch) = queue.take() else {
            return queue;
        };
        drop(queue);
        let result = self.commit(&mut batch);
        let mut queue = self.queue();
        let quiet = queue.completions.is_empty();
        match result {
            Ok(head) => queue.complete(&mut batch, head),
            Err(why) => queue.poison(&mut batch, &why),
        }
        queue.leading = false;
        queue.recycle(batch);
        if quiet && !queue.completions.is_empty() {
            // The counter cannot overflow: it is written once between two drains.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
        self.pass_on(&mut queue);
        queue
    }

    fn commit(&self, batch: &mut Batch) -> std::result::Result<Head, String> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match catch_unwind(AssertUnwindSafe(|| writer.commit(batch))) {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("the commit panicked".into()),
        }
    }

    fn pass_on(&self, queue: &mut Queue) {
        if queue.closed {
            self.idle.notify_all();
        }
        if queue.published {
            queue.published = false;
            self.behind.notify_one();
        }
        if queue.is_idle() {
            return;
        }
        match queue.next_waiter() {
            Some(waiter) => waiter.notify_one(),
            None => self.queued(queue),
        }
    }

    /// Return when everything that was queued is durable or has failed.
    pub fn settle(&self) {
        let mut queue = self.queue();
        while queue.leading || (queue.poisoned.is_none() && !queue.is_idle()) {
            queue = if queue.leading {
                self.idle
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner)
            } else {
                self.commit_next(queue)
            };
        }
    }

    /// Wake the threads to see that the log is closed.
    pub fn wake(&self) {
        let _queue = self.queue();
        self.work.notify_all();
        self.behind.notify_all();
    }

    /// Wait for what the writer does in the background.
    pub fn finish_writer(&self) {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .finish();
    }

    /// Publish the present head.
    pub fn publish(&self) -> Result<()> {
        let mut publisher = self
            .publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let head = self.queue().head.clone();
        let result = publisher.publish(&self.journal, &head, &self.stop);
        if let Err(LogError::Corrupt(why)) = &result {
            self.queue().poison(&mut Batch::default(), why);
        }
        result
    }

    fn is_behind(&self, queue: &Queue) -> bool {
        // Who holds the publisher publishes.
        self.publisher
            .try_lock()
            .is_ok_and(|publisher| publisher.is_behind(&queue.head))
    }

    /// The publishing thread. What fails is tried again with the next commit or second.
    pub fn publish_all(&self) {
        let mut queue = self.queue();
        while !queue.closed && queue.poisoned.is_none() {
            if !self.is_behind(&queue) {
                queue.published = true;
                queue = self
                    .behind
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.behind.wait_timeout(queue, PUBLISH_EVERY);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !queue.closed {
                drop(queue);
                let _ = self.publish();
                queue = self.queue();
            }
        }
    }
}
