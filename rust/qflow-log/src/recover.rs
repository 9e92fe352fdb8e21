//! Opening: lock, find the last whole commit, and refuse what a crash cannot explain.

use std::fs;
use std::path::Path;

use qflow_core::log::{Checkpoint, Frontier, Signer, VerifierKey, sha256};

use crate::error::{Result, corrupt};
use crate::journal::address;
use crate::lock::Lock;
use crate::publish::{Publisher, read_checkpoint, write_checkpoint};
use crate::segment::{list_segments, segment_path, sync_directory};
use crate::tail::{Search, Tail};
use crate::writer::{Head, Writer};

/// A log as it was left, ready to go on.
pub struct Recovered {
    pub writer: Writer,
    pub head: Head,
    pub publisher: Publisher,
    pub lock: Lock,
}

/// The number by which frames and segments name their log.
pub fn log_id(key: &VerifierKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(key.to_string().as_bytes());
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Open the files, alone, and find the last whole commit.
pub fn recover(path: &Path, signer: Signer, segment_bytes_max: u64) -> Result<Recovered> {
    let journal = path.join("journal");
    fs::create_dir_all(&journal)?;
    let lock = Lock::take(path)?;
    let published = read_checkpoint(path, signer.verifier())?;
    let id = log_id(signer.verifier());
    let segments = list_segments(&journal)?;
    if let Some(gap) = segments.iter().zip(0..).find(|(number, at)| *number != at) {
        return corrupt(format!("journal/{:010} is missing", gap.1));
    }
    let search = Search {
        journal: &journal,
        key: signer.verifier(),
        log_id: id,
        published: published.as_ref().map(|(_, head)| head),
    };
    let tail = search.last_commit(&segments)?;
    match (&published, &tail) {
        (None, Some(_)) => return corrupt("the checkpoint is missing"),
        (Some((_, head)), None) if head.size > 0 => {
            return corrupt("the checkpoint proves more than the journal has");
        }
        _ => {}
    }
    let (note, published) = match published {
        Some(published) => published,
        None => create(path, &signer)?,
    };
    if lock.was_closed && tail.as_ref().is_some_and(Tail::is_torn) {
        return corrupt("bytes after the last commit, and the log was closed");
    }
    lock.note_open()?;
    remove_unused(&journal, &segments, tail.as_ref())?;
    let (tree, head, active) = match tail {
        Some(tail) => {
            tail.settle()?;
            (tail.tree, tail.head, Some(tail.active))
        }
        None => (Frontier::default(), empty_head(&signer), None),
    };
    let writer = Writer::new(journal, signer, id, tree, active, segment_bytes_max);
    let publisher = Publisher::new(path, note, published, lock.same_boot);
    Ok(Recovered {
        writer,
        head,
        publisher,
        lock,
    })
}

/// Publish the empty tree: from now on a log without a checkpoint is not a new one.
fn create(path: &Path, signer: &Signer) -> Result<(Vec<u8>, Checkpoint)> {
    let Head {
        note, checkpoint, ..
    } = empty_head(signer);
    write_checkpoint(path, note.as_bytes())?;
    sync_directory(path)?;
    Ok((note.into_bytes(), checkpoint))
}

/// Of the segments after the last commit only the next can be of use: it was prepared.
fn remove_unused(journal: &Path, segments: &[u32], tail: Option<&Tail>) -> Result<()> {
    let next = tail.map_or(0, |tail| tail.active.number + 1);
    for number in segments.iter().filter(|number| **number > next) {
        fs::remove_file(segment_path(journal, *number))?;
    }
    Ok(())
}

fn empty_head(signer: &Signer) -> Head {
    let checkpoint = Checkpoint {
        size: 0,
        root: Frontier::default().root(),
    };
    Head {
        note: signer.sign(&checkpoint),
        checkpoint,
        end: address(0, 0),
    }
}
