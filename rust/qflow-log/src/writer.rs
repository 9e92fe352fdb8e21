//! One commit: hash, sign, write, sync, read back. The only code that writes frames.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use qflow_core::log::{Checkpoint, Frontier, Signer, leaf_hash};

use crate::frame::{ALIGNMENT, FrameHeader, finish, seal};
use crate::journal::address;
use crate::queue::Batch;
use crate::segment::{
    SegmentHeader, create_segment, open_segment, read_up_to, segment_bytes, segment_path,
};
use crate::tail::is_zero_from;

/// What a commit made true.
#[derive(Debug, Clone)]
pub struct Head {
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
    /// Where the next frame goes: everything before it is durable.
    pub end: u64,
}

/// The segment that is written to.
pub struct Active {
    pub number: u32,
    pub file: File,
    pub end: u64,
    pub bytes: u64,
}

/// What `commit` may add to the items: head and origin.
pub const HEAD_BYTES_MAX: usize = 1024;

type Ready = JoinHandle<io::Result<(u64, File)>>;

/// The state that a commit moves on. Whoever commits holds it alone.
pub struct Writer {
    pub journal: PathBuf,
    pub signer: Signer,
    pub log_id: u64,
    pub tree: Frontier,
    pub active: Option<Active>,
    pub segment_bytes_max: u64,
    ready: Option<Ready>,
    check: Vec<u8>,
}

impl Writer {
    pub fn new(
        journal: PathBuf,
        signer: Signer,
        log_id: u64,
        tree: Frontier,
        active: Option<Active>,
        segment_bytes_max: u64,
    ) -> Self {
        let check = Vec::new();
        let ready = None;
        let mut writer = Self {
            journal,
            signer,
            log_id,
            tree,
            active,
            segment_bytes_max,
            ready,
            check,
        };
        writer.prepare_next();
        writer
    }

    /// Make the batch durable as one frame. An error leaves the log poisoned: what is on the disk
    /// is then unknown, and only opening it again may say.
    pub fn commit(&mut self, batch: &mut Batch) -> io::Result<Head> {
        self.make_room(batch.frame.len())?;
        let first = self.tree.size();
        let tree = &mut self.tree;
        let sealed = seal(&mut batch.frame, |record| tree.push(leaf_hash(record)));
        let checkpoint = Checkpoint {
            size: self.tree.size(),
            root: self.tree.root(),
        };
        let note = self.signer.sign(&checkpoint);
        let active = self.active.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let header = FrameHeader {
            crc: 0,
            length: 0,
            records: batch.records,
            first,
            address: address(active.number, active.end),
            blocks: batch.blocks,
            head: 0,
            log_id: self.log_id,
        };
        finish(&mut batch.frame, header, sealed, note.as_bytes());
        active.file.write_all_at(&batch.frame, active.end)?;
        active.file.sync_data()?;
        read_back(&active.file, &batch.frame, active.end, &mut self.check)?;
        active.end += batch.frame.len() as u64;
        Ok(Head {
            checkpoint,
            note,
            end: address(active.number, active.end),
        })
    }

    /// Go on to the next segment when the frame may not fit into this one.
    fn make_room(&mut self, items: usize) -> io::Result<()> {
        let needed = (items + HEAD_BYTES_MAX).next_multiple_of(ALIGNMENT) as u64;
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.end + needed <= active.bytes)
        {
            return Ok(());
        }
        let (number, bytes, file) = self.next_segment(needed + ALIGNMENT as u64)?;
        let base = self.tree.clone();
        let header = SegmentHeader {
            number,
            bytes,
            log_id: self.log_id,
            base,
        };
        file.write_all_at(&header.encode(), 0)?;
        self.active = Some(Active {
            number,
            file,
            end: ALIGNMENT as u64,
            bytes,
        });
        self.prepare_next();
        Ok(())
    }

    /// The segment after the present one: as it was prepared, or a larger one if it must be.
    fn next_segment(&mut self, needed: u64) -> io::Result<(u32, u64, File)> {
        let number = self.next_number();
        if let Some(ready) = self.ready.take() {
            let (bytes, file) = ready.join().map_err(|_| io::ErrorKind::Other)??;
            if bytes >= needed {
                return Ok((number, bytes, file));
            }
        }
        let bytes = segment_bytes(number, self.segment_bytes_max, needed);
        Ok((number, bytes, create_segment(&self.journal, number, bytes)?))
    }

    fn next_number(&self) -> u32 {
        self.active.as_ref().map_or(0, |active| active.number + 1)
    }

    /// Write the zeros of the next segment while this one is filled.
    fn prepare_next(&mut self) {
        let (journal, number) = (self.journal.clone(), self.next_number());
        let bytes = segment_bytes(number, self.segment_bytes_max, 0);
        let prepare = move || match reuse_segment(&journal, number, bytes)? {
            Some(ready) => Ok(ready),
            None => Ok((bytes, create_segment(&journal, number, bytes)?)),
        };
        // Without the thread the segment is made when it is needed.
        self.ready = Builder::new()
            .name("qflow-segment".into())
            .spawn(prepare)
            .ok();
    }

    /// Wait until no thread of this writer touches the files any more.
    pub fn finish(&mut self) {
        if let Some(ready) = self.ready.take() {
            drop(ready.join());
        }
    }
}

/// A segment of `bytes` or more that an earlier process prepared and did not use.
fn reuse_segment(journal: &Path, number: u32, due: u64) -> io::Result<Option<(u64, File)>> {
    if !segment_path(journal, number).exists() {
        return Ok(None);
    }
    let file = open_segment(journal, number)?;
    let bytes = file.metadata()?.len();
    // Its zeros are how the end of the journal is known: one that was begun, or shortened by
    // another hand, is made anew.
    let blank = bytes >= due && is_zero_from(&file, 0, bytes).unwrap_or(false);
    Ok(blank.then_some((bytes, file)))
}

/// Read what was written and compare: a short write, a write to another place, or a file that
/// another process changes is found before anything is acknowledged.
fn read_back(file: &File, written: &[u8], at: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    if buffer.len() < written.len() {
        buffer.resize(written.len(), 0);
    }
    let read = &mut buffer[..written.len()];
    if read_up_to(file, read, at)? == written.len() && read == written {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "what was written does not read back",
    ))
}
