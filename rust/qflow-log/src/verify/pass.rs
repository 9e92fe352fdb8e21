//! The pass over the journal: frames, records, chains, tree.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::mem;
use std::path::Path;
use std::slice::Iter;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use qflow_core::chain::{ChainError, RecordView, Verifier};
use qflow_core::encoding::parse_cid;
use qflow_core::log::{
    Checkpoint, EMPTY_ROOT, Hash, TILE_WIDTH, Tile, TileKind, VerifierKey, sha256, tile_width,
};

use super::files::Files;
use super::jobs::{Checker, Job, NOT_THERE};
use super::source::{Piece, Source, journal_of};
use super::{Findings, Progress, Report};
use crate::error::{LogError, Result};
use crate::frame::{ALIGNMENT, Frame, Item};
use crate::journal::{address, place, spot};
use crate::publish::CHECKPOINT;
use crate::recover::log_id;
use crate::segment::{SegmentHeader, open_read};
use crate::tail::{SECTOR, is_zero, torn_bytes};
use crate::tiles::TileBuilder;
use crate::writer::Active;

/// Pieces and jobs that wait: they bound the memory.
const PIECES_MAX: usize = 3;
const JOBS_MAX: usize = 24;
/// SHA2-256 in a CID.
const SHA2_256: u64 = 0x12;

/// Run the pass: one thread reads and hashes the leaves, one compares tiles and checks
/// signatures, this one follows the chains and the tree.
pub fn run(
    path: &Path,
    key: &VerifierKey,
    mut files: Files,
    progress: Progress<'_>,
) -> Result<Report> {
    let (piece_tx, piece_rx) = sync_channel(PIECES_MAX);
    let (buffer_tx, buffer_rx) = channel();
    let (job_tx, job_rx) = sync_channel(JOBS_MAX);
    let (spare_tx, spare_rx) = channel();
    let source = Source {
        journal: journal_of(path),
        log_id: log_id(key),
        pieces: piece_tx,
        spares: buffer_rx,
    };
    let partials = mem::take(&mut files.partials);
    let published = files.published.as_ref().map_or(0, |head| head.size);
    let checker = Checker::new(path, key, published, &files.checkpoint, partials, spare_tx);
    let (published, total) = (files.published.clone(), files.bytes);
    let (result, checked) = thread::scope(|scope| {
        let segments = &files.segments;
        scope.spawn(move || source.run(segments));
        let checks = scope.spawn(move || checker.run(&job_rx));
        let pass = Pass::new(path, key, published, files.live, job_tx, spare_rx);
        let result = pass.take_all(piece_rx, buffer_tx, total, progress);
        (result, checks.join())
    });
    let (report, seen) = result?;
    let mut findings = files.findings;
    findings.append(seen);
    findings.append(checked.map_err(|_| LogError::Corrupt("a check panicked".into()))?);
    if files.closed && report.torn_bytes > 0 {
        findings.add(
            "journal",
            "bytes after the last commit, and the log was closed",
        );
    }
    Ok(conclude(report, findings, files.full))
}

/// Put together what was found; a full tile that no record of the journal is in is found here.
fn conclude(mut report: Report, mut findings: Findings, full: BTreeMap<TileKind, u64>) -> Report {
    for (kind, index) in full {
        if tile_width(kind.level(), index, report.size) < TILE_WIDTH {
            let width = TILE_WIDTH as u16;
            findings.add(Tile { kind, index, width }.path(), NOT_THERE);
        }
    }
    (report.findings, report.more) = (findings.kept, findings.more);
    report
}

/// What the pass has seen so far.
struct Pass<'a> {
    path: &'a Path,
    key: &'a VerifierKey,
    log_id: u64,
    builder: TileBuilder,
    chains: Verifier,
    jobs: SyncSender<Job>,
    spares: Receiver<Vec<u8>>,
    published: Option<Checkpoint>,
    /// A frame ends where the published tree does.
    reached: bool,
    live: bool,
    report: Report,
    findings: Findings,
    /// Where the last good frame ends.
    end: u64,
    place: Place,
    /// Bytes of the segment that is read.
    bytes: u64,
}

/// Where in the journal the pass is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between frames.
    Frames,
    /// After the frames of a segment.
    Slack,
    /// After the last commit: only zeros may follow.
    Over,
    /// After damage: what follows cannot be proven.
    Broken,
}

impl<'a> Pass<'a> {
    fn new(
        path: &'a Path,
        key: &'a VerifierKey,
        published: Option<Checkpoint>,
        live: bool,
        jobs: SyncSender<Job>,
        spares: Receiver<Vec<u8>>,
    ) -> Self {
        let report = Report {
            published: published.as_ref().map_or(0, |p| p.size),
            ..Report::default()
        };
        Self {
            path,
            key,
            log_id: log_id(key),
            builder: TileBuilder::default(),
            chains: Verifier::new(),
            jobs,
            spares,
            published,
            reached: false,
            live,
            report,
            findings: Findings::default(),
            end: 0,
            place: Place::Over,
            bytes: 0,
        }
    }

    fn take_all(
        mut self,
        pieces: Receiver<Piece>,
        spares: Sender<Vec<u8>>,
        total: u64,
        progress: Progress<'_>,
    ) -> Result<(Report, Findings)> {
        for piece in pieces {
            match piece {
                Piece::Segment {
                    number,
                    header,
                    bytes,
                } => self.segment(number, &header, bytes),
                Piece::Frames { at, data, leaves } => {
                    self.frames(at, &data, &mut leaves.iter());
                    self.give_back(&spares, data);
                }
                Piece::Rest { at, data } => {
                    self.rest(at, &data);
                    self.give_back(&spares, data);
                }
                Piece::Failed { at, what } => self.damage(at, &what),
            }
            if !progress(self.report.bytes.min(total), total) {
                return Err(LogError::Closed);
            }
        }
        Ok(self.finish())
    }

    fn give_back(&mut self, spares: &Sender<Vec<u8>>, data: Vec<u8>) {
        self.report.bytes += data.len() as u64;
        // The reader may be done.
        let _ = spares.send(data);
    }

    fn damage(&mut self, at: u64, what: &str) {
        if self.place != Place::Broken {
            self.findings.add(spot(at), what);
            self.place = Place::Broken;
        }
    }

    fn segment(&mut self, number: u32, block: &[u8], bytes: u64) {
        self.report.bytes += block.len() as u64;
        self.bytes = bytes;
        let at = address(number, 0);
        if self.place == Place::Broken || (self.place == Place::Over && self.live && number > 0) {
            return;
        }
        let over = self.place == Place::Over && number > 0;
        if is_zero(block) && bytes > 0 && bytes.is_multiple_of(ALIGNMENT as u64) {
            self.place = Place::Over;
            return;
        }
        match SegmentHeader::parse(block, number, self.log_id) {
            Ok(_) if over => self.damage(at, "a segment after the end of the journal"),
            Ok(header) if header.bytes != bytes => self.damage(at, "a segment of another length"),
            // A running node filled the segment before while it was read: the end of this view.
            Ok(header) if self.live && header.base.size() > self.builder.size() => {
                self.place = Place::Over;
            }
            Ok(header) if header.base != *self.builder.tree() => {
                self.damage(at, "a segment that begins with another tree");
            }
            Ok(_) => {
                self.place = Place::Frames;
                self.end = address(number, ALIGNMENT as u64);
            }
            // A crash cut the segment's first write.
            Err(_) if !over && self.is_torn_header(number, block) => {
                self.place = Place::Over;
                self.report.torn_bytes += block.len() as u64;
            }
            Err(what) => self.damage(at, what),
        }
    }

    /// Whether each sector is what is due or was not written: a crash cut the first write.
    fn is_torn_header(&self, number: u32, block: &[u8]) -> bool {
        let (bytes, base) = (self.bytes, self.builder.tree().clone());
        let due = SegmentHeader {
            number,
            bytes,
            log_id: self.log_id,
            base,
        }
        .encode();
        let sectors = due.chunks(SECTOR).zip(block.chunks(SECTOR));
        due.len() == block.len()
            && sectors
                .into_iter()
                .all(|(due, is)| is == due || is_zero(is))
    }

    fn frames(&mut self, at: u64, data: &[u8], leaves: &mut Iter<'_, Hash>) {
        let mut done = 0;
        while done < data.len() {
            let at = at + done as u64;
            match self.place {
                Place::Frames => {}
                Place::Slack | Place::Over if !self.live => {
                    return self.damage(at, "a frame after the end of the journal");
                }
                _ => return,
            }
            let Some(frame) = Frame::checked(&data[done..], at, self.log_id) else {
                return self.damage(at, "no frame begins here");
            };
            self.frame(&frame, leaves);
            done += frame.header.padded();
            self.end = at + frame.header.padded() as u64;
        }
    }

    fn rest(&mut self, at: u64, data: &[u8]) {
        if is_zero(data) {
            if self.place == Place::Frames {
                self.place = Place::Slack;
            }
            return;
        }
        match self.place {
            Place::Frames => {
                let what = Frame::parse(data, at, self.log_id).err();
                self.tail(at, what.unwrap_or("no frame begins here"));
            }
            Place::Slack => self.damage(at, "bytes after the last frame that are not zero"),
            // The cut frame was looked at as a whole, or a running node writes here.
            Place::Over if self.end >> 32 == at >> 32 || self.live => {}
            Place::Over => self.damage(at, "bytes in a segment that was never used"),
            Place::Broken => {}
        }
    }

    /// A frame is not whole: a running node is writing it, or a crash cut it, or it is damaged.
    fn tail(&mut self, at: u64, what: &str) {
        let (number, end) = place(at);
        let file = open_read(&journal_of(self.path), number);
        let torn = file.map_err(LogError::from).and_then(|file| {
            torn_bytes(
                &Active {
                    number,
                    file,
                    end,
                    bytes: self.bytes,
                },
                self.log_id,
            )
        });
        match torn {
            _ if self.live => self.place = Place::Over,
            Ok(bytes) => {
                self.report.torn_bytes += bytes;
                self.place = Place::Over;
            }
            Err(_) => self.damage(at, what),
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, leaves: &mut Iter<'_, Hash>) {
        let at = frame.header.address;
        if frame.header.first != self.builder.size() {
            return self.damage(at, "a frame that does not follow the one before");
        }
        let cids: HashSet<&[u8]> = match frame.header.blocks {
            0 => HashSet::new(),
            _ => frame.items().filter_map(block_cid).collect(),
        };
        let (all, mut index) = (leaves.as_slice(), self.builder.size());
        for item in frame.items() {
            match item {
                Item::Record { data, .. } => {
                    // The source has hashed what the frame holds.
                    let Some(leaf) = leaves.next() else {
                        return self.damage(at, "a record that was not hashed");
                    };
                    self.record(index, data, *leaf, &cids);
                    index += 1;
                }
                Item::Block {
                    at: offset,
                    cid,
                    data,
                } => self.block(at + offset as u64, cid, data),
            }
        }
        let records = frame.leaves().map(|leaf| &leaf[1..]);
        let (jobs, spares) = (&self.jobs, &self.spares);
        let count = all.len() - leaves.len();
        let pushed = self.builder.extend(records, &all[..count], |tile, data| {
            let data = mem::replace(data, spare(spares));
            // The checker ends after this thread does.
            let _ = jobs.send(Job::Tile { tile, data });
            Ok::<(), Infallible>(())
        });
        debug_assert!(pushed.is_ok());
        self.head(at, frame.head);
    }

    fn record(&mut self, index: u64, data: &[u8], leaf: Hash, cids: &HashSet<&[u8]>) {
        let checked = RecordView::parse(data)
            .map_err(ChainError::from)
            .and_then(|record| {
                self.report.chains += u64::from(record.seq == 0);
                let absent = record.payload.is_some_and(|cid| !cids.contains(cid));
                self.report.absent += u64::from(absent);
                self.chains.push_view(&record, leaf)
            });
        if let Err(error) = checked {
            self.findings
                .add(format!("record {index}"), error.to_string());
        }
    }

    fn block(&mut self, at: u64, cid: &[u8], data: &[u8]) {
        self.report.blocks += 1;
        match parse_cid(cid) {
            Some(cid) if cid.hash().code() != SHA2_256 => {
                self.findings
                    .add(spot(at), "a block's CID has another hash than SHA2-256");
            }
            Some(cid) if cid.hash().digest() == sha256(data) => {}
            Some(_) => self
                .findings
                .add(spot(at), "a block's bytes are not those of its CID"),
            None => self.findings.add(spot(at), "a block's CID is not one"),
        }
    }

    fn head(&mut self, at: u64, note: &[u8]) {
        self.report.heads += 1;
        let found = Checkpoint {
            size: self.builder.size(),
            root: self.builder.root(),
        };
        match Checkpoint::parse_unverified(note, self.key.name()) {
            Ok((head, _)) if head == found => {}
            Ok(_) => self
                .findings
                .add(spot(at), "a head that signed another tree"),
            Err(error) => self.findings.add(spot(at), format!("a head: {error}")),
        }
        if let Some(published) = self.published.as_ref().filter(|one| one.size == found.size) {
            self.reached = true;
            if published.root != found.root {
                self.findings
                    .add(CHECKPOINT, "signed another tree than the journal has");
            }
        }
        let mut spare = spare(&self.spares);
        spare.extend_from_slice(note);
        // The checker ends after this thread does.
        let _ = self.jobs.send(Job::Head { at, note: spare });
    }

    fn finish(mut self) -> (Report, Findings) {
        for (tile, data) in self.builder.partials() {
            let data = data.to_vec();
            let _ = self.jobs.send(Job::Tile { tile, data });
        }
        let size = self.builder.size();
        match &self.published {
            Some(published) if published.size > size => {
                let what = format!("proves {} records, the journal has {size}", published.size);
                self.findings.add(CHECKPOINT, what);
            }
            Some(published) if published.size == 0 && published.root == EMPTY_ROOT => {}
            Some(_) if !self.reached => {
                self.findings
                    .add(CHECKPOINT, "no commit of the journal ends where it does");
            }
            _ => {}
        }
        (self.report.size, self.report.root) = (size, self.builder.root());
        (self.report, self.findings)
    }
}

fn block_cid<'b>(item: Item<'b>) -> Option<&'b [u8]> {
    match item {
        Item::Block { cid, .. } => Some(cid),
        Item::Record { .. } => None,
    }
}

fn spare(spares: &Receiver<Vec<u8>>) -> Vec<u8> {
    let mut spare = spares.try_recv().unwrap_or_default();
    spare.clear();
    spare
}
