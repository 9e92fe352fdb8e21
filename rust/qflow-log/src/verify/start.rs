//! Where a run begins: at the first record, where the log was cut, or where the last run ended.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::path::Path;

use qflow_core::chain::{Begun, Verifier};
use qflow_core::log::{Checkpoint, EMPTY_ROOT, Hash, TILE_WIDTH};

use super::compare::Compare;
use super::files::Files;
use super::growth::{Growth, Last};
use super::source::journal_of;
use super::state::{State, cut_of, decode};
use super::{Ask, Counts, Findings};
use crate::frame::{ALIGNMENT, Frame, FrameHeader};
use crate::journal::place;
use crate::prune::{Pruning, read_pruning};
use crate::pruned::{PRUNED, low_root};
use crate::segment::{SegmentHeader, open_read, read_up_to};
use crate::tiles::TileBuilder;

/// What a run begins with.
pub struct Start {
    pub builder: TileBuilder,
    pub chains: Verifier,
    pub counts: Counts,
    pub last: Last,
    pub recent: VecDeque<Checkpoint>,
    pub roots: BTreeMap<u64, Hash>,
    pub reached: bool,
    /// The record that says why the log begins where it does.
    pub pruning: Option<Pruning>,
    /// Whole tiles of leaves whose records were pruned.
    pub tiles: Range<u64>,
    /// Records that were verified before.
    pub size: u64,
    /// Where in the journal to go on; None: with the first segment that is kept.
    pub at: Option<u64>,
    /// Why all is read although there is a state.
    pub why: Option<String>,
    pub findings: Findings,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            builder: TileBuilder::default(),
            chains: Verifier::new(),
            counts: Counts::default(),
            last: Last::default(),
            recent: VecDeque::new(),
            roots: BTreeMap::from([(0, EMPTY_ROOT)]),
            reached: false,
            pruning: None,
            tiles: 0..0,
            size: 0,
            at: None,
            why: None,
            findings: Findings::default(),
        }
    }
}

impl Start {
    /// Where to begin with these files.
    pub fn new(path: &Path, log_id: u64, files: &Files, ask: &Ask<'_>) -> Self {
        let Some((state, note)) = ask.state else {
            return Self::first(path, log_id, files);
        };
        match Self::resume(path, log_id, files, ask, state, note) {
            Ok(start) => start,
            Err(why) => Self {
                why: Some(why.into()),
                ..Self::first(path, log_id, files)
            },
        }
    }

    /// The beginning of what the log keeps.
    fn first(path: &Path, log_id: u64, files: &Files) -> Self {
        let (mut start, pruned) = (Self::default(), &files.pruned);
        if pruned.segment == 0 {
            return start;
        }
        start.tiles = 0..pruned.first_bundle();
        let (at, index) = (pruned.address, pruned.record);
        match read_pruning(&journal_of(path), log_id, at, index) {
            Ok(one) if (one.segment, one.minimum) == (pruned.segment, pruned.minimum) => {
                start.chains = Verifier::resume(one.carried.iter().copied(), Begun::default());
                start.counts.chains = one.carried.len() as u64;
                start.pruning = Some(one);
            }
            Ok(one) => {
                let what = format!(
                    "the log begins with record {}, and record {index} says {}",
                    pruned.minimum, one.minimum
                );
                start.findings.add(PRUNED, what);
            }
            Err(error) => start.findings.add(PRUNED, error.to_string()),
        }
        start
    }

    /// Go on where the state ends. Says why that cannot be.
    fn resume(
        path: &Path,
        log_id: u64,
        files: &Files,
        ask: &Ask<'_>,
        state: &[u8],
        note: &[u8],
    ) -> Result<Self, &'static str> {
        let state = decode(state, log_id)?;
        if state.last.note != note {
            return Err("the state of the last run is not of the known head");
        }
        // What says why the log begins there was not looked at yet.
        if state.cut != cut_of(&files.pruned) {
            return Err("the log was pruned since the last run");
        }
        if !still_ends_there(path, log_id, &state.last, state.builder.size()) {
            return Err("the journal has another commit where the last run ended");
        }
        let roots = known_roots(&state, files, ask)?;
        let size = state.builder.size();
        Ok(Self {
            reached: files
                .published
                .as_ref()
                .is_some_and(|head| head.size <= size),
            at: Some(state.last.end),
            size,
            recent: state.proven.into(),
            builder: state.builder,
            chains: state.chains,
            counts: state.counts,
            last: state.last,
            roots,
            ..Self::default()
        })
    }

    /// The root at each size within the last tile of what was pruned that somebody asks for, and
    /// the tree of all that was; a finding when it does not follow from the tiles.
    pub fn cross(growth: &mut Growth<'_>, files: &Files, marks: &[u64]) {
        let Some(builder) = files.pruned.builder() else {
            return;
        };
        let whole = files.pruned.first_bundle() * TILE_WIDTH as u64;
        let tree = growth.builder.tree();
        for mark in marks
            .iter()
            .filter(|mark| (whole + 1..=builder.size()).contains(mark))
        {
            let low = low_root(&builder, (mark - whole) as usize);
            growth.roots.insert(*mark, tree.root_with(low));
        }
        let low = low_root(&builder, builder.last_leaves().len());
        if tree.size() != whole || tree.root_with(low) != builder.root() {
            let what = "not the tree that the tiles of what was pruned have";
            growth.findings.add(PRUNED, what);
        }
        growth.meet(builder.last_leaves());
        growth.builder = builder;
    }

    /// What grows from here.
    pub fn growth<'a>(&mut self, files: &Files, compare: Compare<'a>) -> Growth<'a> {
        let mut findings = Findings::default();
        findings.append(std::mem::take(&mut self.findings));
        Growth {
            builder: std::mem::take(&mut self.builder),
            chains: std::mem::take(&mut self.chains),
            counts: self.counts,
            last: self.last.clone(),
            recent: std::mem::take(&mut self.recent),
            roots: std::mem::take(&mut self.roots),
            watch: self.pruning.as_ref().map(|one| (one.index, one.leaf)),
            carried: self
                .pruning
                .iter()
                .flat_map(|one| &one.carried)
                .map(|live| live.hash)
                .collect(),
            published: files.published.clone(),
            reached: self.reached,
            compare,
            findings,
        }
    }
}

/// The roots of heads from before the state, which it must know.
fn known_roots(
    state: &State,
    files: &Files,
    ask: &Ask<'_>,
) -> Result<BTreeMap<u64, Hash>, &'static str> {
    let size = state.builder.size();
    let known = |size: u64| state.proven.iter().find(|head| head.size == size);
    let mut roots = BTreeMap::from([(size, state.builder.root())]);
    let witnessed = files.witnessed.as_ref().map(|(_, head)| head.size);
    for asked in ask.known.iter().copied().chain(witnessed) {
        if asked < size {
            let head = known(asked).ok_or("a head is older than what the last run kept")?;
            roots.insert(asked, head.root);
        }
    }
    let published = files.published.as_ref().filter(|head| head.size <= size);
    if published.is_some_and(|head| known(head.size) != Some(head)) {
        return Err("the published head is not one that the last run saw");
    }
    Ok(roots)
}

/// Whether the commit at which the last run ended is still the one that ends there.
fn still_ends_there(path: &Path, log_id: u64, last: &Last, size: u64) -> bool {
    let look = || -> io::Result<bool> {
        let (number, offset) = place(last.frame);
        let file = open_read(&journal_of(path), number)?;
        let mut bytes = vec![0; ALIGNMENT];
        read_up_to(&file, &mut bytes, 0)?;
        let length = file.metadata()?.len();
        let begun = SegmentHeader::parse(&bytes, number, log_id)
            .is_ok_and(|header| header.bytes == length && header.base.size() <= size);
        read_up_to(&file, &mut bytes, offset)?;
        let header = FrameHeader::parse(&bytes, last.frame, log_id);
        let Some(header) = header.ok().filter(|header| {
            begun
                && last.frame + header.padded() as u64 == last.end
                && last.end >> 32 == u64::from(number)
        }) else {
            return Ok(false);
        };
        bytes.resize(header.padded(), 0);
        read_up_to(&file, &mut bytes, offset)?;
        let frame = Frame::parse(&bytes, last.frame, log_id);
        Ok(frame.is_ok_and(|frame| frame.head == last.note))
    };
    look().unwrap_or(false)
}
