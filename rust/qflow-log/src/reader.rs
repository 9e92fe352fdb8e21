//! Reading beside a running node: no lock, no key, whole frames only.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use qflow_core::chain::Live;
use qflow_core::log::{Checkpoint, Note};

use crate::error::{LogError, Result, corrupt};
use crate::frame::{ALIGNMENT, Frame, FrameHeader};
use crate::frames::Frames;
use crate::journal::{Journal, Scan, address, place, say};
use crate::prune::carried;
use crate::pruned::Pruned;
use crate::segment::{SegmentHeader, list_segments, open_read, read_up_to};

/// A log that somebody else writes, or nobody.
pub struct LogReader {
    path: PathBuf,
    state: Mutex<Option<State>>,
}

struct State {
    journal: Journal,
    log_id: u64,
    end: u64,
    size: u64,
    head: String,
}

impl LogReader {
    /// Open the log at `path`. It need not have records yet.
    pub fn open(path: &Path) -> Result<Self> {
        let path = path.join("journal");
        list_segments(&path)?;
        let reader = Self {
            path,
            state: Mutex::default(),
        };
        reader.refreshed(|_| Ok(()))?;
        Ok(reader)
    }

    /// Records up to the last whole commit.
    pub fn size(&self) -> Result<u64> {
        self.refreshed(|state| Ok(state.size))
            .map(Option::unwrap_or_default)
    }

    /// The signed head of the last whole commit, unverified; empty when there is none.
    pub fn head(&self) -> Result<String> {
        self.refreshed(|state| Ok(state.head.clone()))
            .map(Option::unwrap_or_default)
    }

    /// See `Journal::scan`.
    pub fn scan(&self, from: u64, bytes_max: usize) -> Result<Scan> {
        let scan = self.refreshed(|state| state.journal.scan(from, bytes_max, state.end))?;
        Ok(scan.unwrap_or(Scan {
            next: from,
            ..Scan::default()
        }))
    }

    /// The commits from the segment on that has the record at index `first`, as of now.
    pub fn frames(&self, first: u64) -> Result<Frames> {
        let frames = self.refreshed(|state| {
            let segment = state.journal.segment_of(first, state.end)?;
            let at = address(segment, 0);
            Ok(Frames::new(&self.path, state.log_id, at, state.end))
        })?;
        Ok(frames.unwrap_or_else(|| Frames::none(&self.path)))
    }

    /// See `Journal::read`.
    pub fn read(&self, at: u64) -> Result<Vec<u8>> {
        let found = self.refreshed(|state| state.journal.read(at, state.end))?;
        found.ok_or_else(|| LogError::Invalid("the log has no record yet".into()))
    }

    /// See `Journal::read_many`.
    pub fn read_many(&self, addresses: &[u64]) -> Result<Vec<Vec<u8>>> {
        let found = self.refreshed(|state| state.journal.read_many(addresses, state.end))?;
        found.ok_or_else(|| LogError::Invalid("the log has no record yet".into()))
    }

    /// The folder of the log.
    fn root(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Index of the first record that the log keeps, and the chains that go on from before it.
    pub fn beginning(&self) -> Result<(u64, Vec<Live>)> {
        let found = self.refreshed(|state| {
            let pruned = Pruned::load(self.root(), state.log_id)?;
            state.journal.begin_at(pruned.segment);
            Ok((pruned.minimum, carried(self.root(), state.log_id, &pruned)?))
        })?;
        Ok(found.unwrap_or_default())
    }

    /// Go on to the last whole commit, then look. None when there is no commit.
    fn refreshed<T>(&self, look: impl Fn(&State) -> Result<T>) -> Result<Option<T>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_none() {
            *state = self.begin()?;
        }
        let Some(state) = state.as_mut() else {
            return Ok(None);
        };
        state.advance()?;
        match look(state) {
            // Pruned since this was opened: then its own answer is where the log begins.
            Err(LogError::Io(error)) if error.kind() == ErrorKind::NotFound => {
                let pruned = Pruned::load(self.root(), state.log_id)?;
                state.journal.begin_at(pruned.segment);
                look(state).map(Some)
            }
            found => found.map(Some),
        }
    }

    /// The last segment that was begun: the one that its header says.
    fn begin(&self) -> Result<Option<State>> {
        for number in list_segments(&self.path)?.into_iter().rev() {
            let mut block = vec![0; ALIGNMENT];
            let file = open_read(&self.path, number)?;
            if read_up_to(&file, &mut block, 0)? < ALIGNMENT {
                continue;
            }
            let id = block
                .get(32..40)
                .and_then(|id| id.first_chunk())
                .map(|id| u64::from_le_bytes(*id));
            let log_id = id.unwrap_or_default();
            let Ok(header) = SegmentHeader::parse(&block, number, log_id) else {
                continue;
            };
            let first = Pruned::load(self.root(), log_id)?.segment;
            let journal = Journal::new(&self.path, log_id, first);
            let mut state = State {
                journal,
                log_id,
                end: address(number, 0),
                size: header.base.size(),
                head: String::new(),
            };
            state.advance()?;
            // A segment that was begun without a commit has no head: the one before has.
            if number == first || !state.head.is_empty() {
                return Ok(Some(state));
            }
        }
        Ok(None)
    }
}

impl State {
    /// Walk the frames that were committed since.
    fn advance(&mut self) -> Result<()> {
        let mut buffer = Vec::new();
        loop {
            let (segment, offset) = place(self.end);
            let at = address(segment, offset);
            let bytes = self.journal.read_block(at, &mut buffer)?;
            if bytes < ALIGNMENT || buffer.iter().all(|byte| *byte == 0) {
                if !self.journal.has_begun(segment + 1, self.log_id) {
                    return Ok(());
                }
                self.end = address(segment + 1, 0);
                continue;
            }
            if !self.take_frame(at, &mut buffer)? {
                return self.check_unfinished(at, &mut buffer);
            }
        }
    }

    /// A frame that is being written is the last. One that is not whole although the writer has
    /// gone on is damaged.
    fn check_unfinished(&self, at: u64, buffer: &mut Vec<u8>) -> Result<()> {
        self.journal.read_block(at, buffer)?;
        let header = FrameHeader::parse(buffer, at, self.log_id);
        // Within the frame anything may stand.
        let padded = header.map_or(ALIGNMENT, |header| header.padded().max(ALIGNMENT));
        let (segment, _) = place(at);
        let followed = self.journal.has_frame_behind(at, padded)?;
        if !followed && !self.journal.has_begun(segment + 1, self.log_id) {
            return Ok(());
        }
        self.journal.read_block(at, buffer)?;
        self.journal.read_rest(at, padded, buffer)?;
        match Frame::parse(buffer, at, self.log_id) {
            // It was finished in the meantime: the next look takes it.
            Ok(_) => Ok(()),
            Err(what) => corrupt(say(at, what)),
        }
    }

    /// Read one frame. False when it is not whole: it is being written, or was never finished.
    fn take_frame(&mut self, at: u64, buffer: &mut Vec<u8>) -> Result<bool> {
        let Ok(header) = FrameHeader::parse(buffer, at, self.log_id) else {
            return Ok(false);
        };
        self.journal.read_rest(at, header.padded(), buffer)?;
        let Ok(frame) = Frame::parse(buffer, at, self.log_id) else {
            return Ok(false);
        };
        let note = Note::parse(frame.head).or_else(|error| corrupt(say(at, &error.to_string())))?;
        let origin = note.text.split('\n').next().unwrap_or_default();
        let head = Checkpoint::parse_unverified(frame.head, origin);
        let (head, _) = head.or_else(|error| corrupt(say(at, &error.to_string())))?;
        self.size = head.size;
        self.head = String::from_utf8_lossy(frame.head).into_owned();
        self.end = at + header.padded() as u64;
        Ok(true)
    }
}
