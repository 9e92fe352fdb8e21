//! Opening: lock, find the last whole commit, and refuse what a crash cannot explain.

use std::fs;
use std::path::Path;

use qflow_core::log::{Checkpoint, Frontier, Signer, VerifierKey, sha256};

use crate::error::{Result, corrupt};
use crate::journal::{Journal, address};
use crate::lock::Lock;
use crate::prune;
use crate::pruned::{PRUNED, Pruned};
use crate::publish::{Publisher, read_checkpoint, write_checkpoint};
use crate::segment::{list_segments, segment_path, sync_directory};
use crate::tail::{Search, Tail};
use crate::witnessed;
use crate::writer::{Head, Writer};

/// A log as it was left, ready to go on.
pub struct Recovered {
    pub writer: Writer,
    pub head: Head,
    pub publisher: Publisher,
    pub lock: Lock,
    pub pruned: Pruned,
}

/// The number by which frames and segments name their log.
pub fn log_id(key: &VerifierKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(key.to_string().as_bytes());
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Open the files, alone, and find the last whole commit. Changes nothing before all was checked.
pub fn recover(path: &Path, signer: Signer, segment_bytes_max: u64) -> Result<Recovered> {
    let journal = path.join("journal");
    fs::create_dir_all(&journal)?;
    let lock = Lock::take(path)?;
    let published = read_checkpoint(path, signer.verifier())?;
    let id = log_id(signer.verifier());
    let pruned = Pruned::load(path, id)?;
    let mut segments = list_segments(&journal)?;
    segments.retain(|number| *number >= pruned.segment);
    check_first(&journal, &segments, &pruned, id)?;
    let tail = find_tail(&journal, &segments, published.as_ref(), signer.verifier())?;
    check_witnessed(path, tail.as_ref(), signer.verifier())?;
    if lock.was_closed && tail.as_ref().is_some_and(Tail::is_torn) {
        return corrupt("bytes after the last commit, and the log was closed");
    }
    let (note, published) = match published {
        Some(published) => published,
        None => create(path, &signer)?,
    };
    lock.note_open()?;
    remove_unused(&journal, &segments, tail.as_ref())?;
    if pruned.segment > 0 {
        prune::delete(path, &pruned)?;
    }
    let (tree, head, active) = match tail {
        Some(tail) => {
            tail.settle()?;
            (tail.tree, tail.head, Some(tail.active))
        }
        None => (Frontier::default(), empty_head(&signer), None),
    };
    Ok(Recovered {
        writer: Writer::new(journal, signer, id, tree, active, segment_bytes_max),
        head,
        publisher: Publisher::new(path, note, published, lock.same_boot),
        lock,
        pruned,
    })
}

/// The journal begins where it was pruned, without a gap, and with the tree of what was before.
fn check_first(journal: &Path, segments: &[u32], pruned: &Pruned, log_id: u64) -> Result<()> {
    let numbers = segments.iter().zip(pruned.segment..);
    if let Some((_, due)) = numbers.into_iter().find(|(number, due)| *number != due) {
        return corrupt(format!("journal/{due:010} is missing"));
    }
    if pruned.segment == 0 || segments.is_empty() {
        return Ok(());
    }
    let header = Journal::new(journal, log_id, pruned.segment).header(pruned.segment)?;
    if pruned
        .builder()
        .is_some_and(|builder| *builder.tree() == header.base)
    {
        Ok(())
    } else {
        corrupt(format!("{PRUNED}: the journal begins with another tree"))
    }
}

/// The last whole commit, which must be that of the published head or come after it.
fn find_tail(
    journal: &Path,
    segments: &[u32],
    published: Option<&(Vec<u8>, Checkpoint)>,
    key: &VerifierKey,
) -> Result<Option<Tail>> {
    let published = published.map(|(_, head)| head);
    let search = Search {
        journal,
        key,
        log_id: log_id(key),
        published,
    };
    match (published, search.last_commit(segments)?) {
        (None, Some(_)) => corrupt("the checkpoint is missing"),
        (Some(head), None) if head.size > 0 => {
            corrupt("the checkpoint proves more than the journal has")
        }
        (_, tail) => Ok(tail),
    }
}

/// What witnesses cosigned was durable: no crash takes it, but an older copy of the folder may lack
/// it.
fn check_witnessed(path: &Path, tail: Option<&Tail>, key: &VerifierKey) -> Result<()> {
    let head = witnessed::read(path, &key.to_string())?;
    let size = tail.map_or(0, |tail| tail.tree.size());
    if head.is_some_and(|head| head.size > size) {
        return corrupt("the witnessed head proves more than the journal has");
    }
    Ok(())
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
