//! What is checked of a piece by itself: its checksums, hashes, records, blocks, signatures and
//! whole tiles. Every core does this for a piece of its own.

use std::mem;
use std::ops::Range;

use qflow_core::chain::{RecordView, Run, Runs};
use qflow_core::log::{
    Checkpoint, Frontier, Hash, TILE_WIDTH, Tile, TileKind, VerifierKey, leaf_hashes,
};

use super::Findings;
use super::blocks::Blocks;
use super::compare::Compare;
use super::source::Piece;
use crate::frame::{Frame, ITEM_HEADER, Item};
use crate::journal::spot;

/// A piece with what was found in it.
pub enum Looked {
    Segment {
        number: u32,
        header: Vec<u8>,
        bytes: u64,
    },
    Part(Box<Part>),
    Failed {
        at: u64,
        what: String,
    },
}

/// A size of the tree at which its root is asked for.
pub struct Stop {
    /// Records of the piece before it.
    pub offset: usize,
    /// The root of the leaves before it in its tile; None at the beginning of a tile, and where
    /// the tile begins before the piece.
    pub low: Option<Hash>,
    pub asked: Asked,
}

pub enum Asked {
    /// The head of the frame at this address, as far as it could be read.
    Head(u64, Option<Checkpoint>),
    /// Somebody knows a head of this size.
    Known,
}

/// Frames that were checked each, and what is behind them.
#[derive(Default)]
pub struct Part {
    pub at: u64,
    pub data: Vec<u8>,
    /// Bytes of the frames.
    pub whole: usize,
    /// The frame that follows is good, and has another place in the tree; or a tile is missing.
    pub unfit: bool,
    /// Index of the first record.
    pub first: u64,
    /// Where in `data` each record is: place and length.
    pub spans: Vec<(u32, u32)>,
    pub leaves: Vec<Hash>,
    /// The roots of the tiles that lie in the piece as a whole.
    pub tiles: Vec<Hash>,
    /// By offset.
    pub stops: Vec<Stop>,
    /// None when they do not follow each other: they have to be followed one by one.
    pub runs: Option<Vec<Run>>,
    /// The last frame and its head, in `data`.
    pub last: Option<(usize, Range<usize>)>,
    pub heads: u64,
    pub blocks: u64,
    /// Records that begin a chain, and those whose payload is elsewhere.
    pub begin: u64,
    pub absent: u64,
    pub findings: Findings,
}

impl Part {
    pub fn record(&self, offset: usize) -> &[u8] {
        record(&self.data, self.spans[offset])
    }

    /// The size of the tree behind its records.
    pub fn end(&self) -> u64 {
        self.first + self.spans.len().max(self.leaves.len()) as u64
    }

    /// Records of the piece before the first tile that begins in it.
    pub fn edge(&self) -> usize {
        let edge = self.first.next_multiple_of(TILE_WIDTH as u64) - self.first;
        self.leaves.len().min(edge as usize)
    }
}

fn record(data: &[u8], (start, length): (u32, u32)) -> &[u8] {
    &data[start as usize..(start + length) as usize]
}

/// Looks at pieces.
pub struct Look<'a> {
    pub key: &'a VerifierKey,
    pub log_id: u64,
    /// Sizes of heads that somebody knows, ascending.
    pub marks: &'a [u64],
    pub compare: Compare<'a>,
    pub runs: Runs,
}

impl Look<'_> {
    pub fn at(&mut self, piece: Piece) -> Looked {
        match piece {
            Piece::Segment {
                number,
                header,
                bytes,
            } => Looked::Segment {
                number,
                header,
                bytes,
            },
            Piece::Failed { at, what } => Looked::Failed { at, what },
            Piece::Tiles { from, to } => Looked::Part(Box::new(self.pruned(from, to))),
            Piece::Data { at, data } => Looked::Part(Box::new(self.data(at, data))),
        }
    }

    fn data(&mut self, at: u64, data: Vec<u8>) -> Part {
        let mut part = Part {
            at,
            ..Part::default()
        };
        let mut blocks = Blocks::default();
        self.frames(&mut part, &data, &mut blocks);
        let messages = part.spans.iter().map(|&(start, length)| {
            // RFC 6962's zero byte lies before the record.
            record(&data, (start - 1, length + 1))
        });
        leaf_hashes(messages, &mut part.leaves);
        blocks.check(&mut part.findings);
        self.follow(&mut part, &data, &blocks);
        part.data = data;
        self.mark(&mut part);
        self.tiles(&mut part);
        part
    }

    /// Check the frames up to the first that is not good or does not follow.
    fn frames<'d>(&self, part: &mut Part, data: &'d [u8], blocks: &mut Blocks<'d>) {
        while part.whole < data.len() {
            let at = part.at + part.whole as u64;
            let Ok(frame) = Frame::parse(&data[part.whole..], at, self.log_id) else {
                break;
            };
            if part.heads == 0 {
                part.first = frame.header.first;
            }
            if frame.header.first != part.end() {
                part.unfit = true;
                break;
            }
            for item in frame.items() {
                match item {
                    Item::Record { at, data } => {
                        let start = part.whole + at + ITEM_HEADER;
                        part.spans.push((start as u32, data.len() as u32));
                    }
                    Item::Block {
                        at: place,
                        cid,
                        data,
                    } => blocks.push(at + place as u64, cid, data, &mut part.findings),
                }
            }
            blocks.end_frame();
            self.head(part, &frame);
            part.whole += frame.header.padded();
        }
        part.blocks = blocks.count();
    }

    fn head(&self, part: &mut Part, frame: &Frame<'_>) {
        let at = frame.header.address;
        let end = part.whole + frame.header.length as usize;
        part.heads += 1;
        part.last = Some((part.whole, end - frame.head.len()..end));
        let read = Checkpoint::parse_unverified(frame.head, self.key.name());
        let (head, signed) = match read {
            Ok((head, note)) => (Some(head), note.verify(self.key).map_err(Into::into)),
            Err(error) => (None, Err(error)),
        };
        if let Err(error) = signed {
            part.findings.add(spot(at), format!("a head: {error}"));
        }
        part.stops.push(Stop {
            offset: part.spans.len(),
            low: None,
            asked: Asked::Head(at, head),
        });
    }

    /// Follow the chains within the piece, and look for the payloads of its records.
    fn follow(&mut self, part: &mut Part, data: &[u8], blocks: &Blocks<'_>) {
        let (mut fits, mut offset) = (true, 0);
        for (frame, stop) in part.stops.iter().enumerate() {
            let mut payloads = blocks.of_frame(frame);
            while offset < stop.offset {
                let (span, leaf) = (part.spans[offset], part.leaves[offset]);
                let index = part.first + offset as u64;
                offset += 1;
                let Ok(record) = RecordView::parse(record(data, span)) else {
                    fits = false;
                    continue;
                };
                let absent = record.payload.is_some_and(|cid| !payloads.have(cid));
                part.begin += u64::from(record.seq == 0);
                part.absent += u64::from(absent);
                fits = fits && self.runs.push(&record, leaf, index);
            }
        }
        let runs = self.runs.take();
        part.runs = fits.then_some(runs);
    }

    /// Stop where somebody knows a head.
    fn mark(&self, part: &mut Part) {
        let (first, end) = (part.first, part.end());
        let within = |mark: &&u64| **mark > first && **mark <= end;
        for mark in self.marks.iter().filter(within) {
            let offset = (mark - first) as usize;
            let at = part.stops.partition_point(|stop| stop.offset < offset);
            let (low, asked) = (None, Asked::Known);
            part.stops.insert(at, Stop { offset, low, asked });
        }
    }

    /// Hash the tiles that begin in the piece, and compare those that end in it with their files.
    fn tiles(&mut self, part: &mut Part) {
        let edge = part.edge();
        let (first, mut done) = (part.first, edge);
        let mut stops = part.stops.iter_mut().peekable();
        while stops.next_if(|stop| stop.offset <= edge).is_some() {}
        for leaves in part.leaves[edge..].chunks(TILE_WIDTH) {
            let mut tree = Frontier::default();
            while let Some(stop) = stops.next_if(|stop| stop.offset < done + TILE_WIDTH) {
                extend(&mut tree, leaves, stop.offset - done);
                stop.low = (tree.size() > 0).then(|| tree.root());
            }
            if leaves.len() < TILE_WIDTH {
                break;
            }
            extend(&mut tree, leaves, TILE_WIDTH);
            part.tiles.push(tree.root());
            let index = (first + done as u64) / TILE_WIDTH as u64;
            let tile = full(TileKind::Hashes(0), index);
            match part.spans.get(done..done + TILE_WIDTH) {
                Some(spans) => {
                    let entries = spans.iter().map(|span| record(&part.data, *span));
                    self.compare.tile(tile, leaves.as_flattened());
                    self.compare.bundle(index, entries);
                }
                // These leaves were read from the tile.
                None => self.compare.partials(tile, leaves.as_flattened()),
            }
            done += TILE_WIDTH;
        }
        part.findings.append(mem::take(&mut self.compare.findings));
    }

    /// The tiles of what was pruned: they are compared with the tree above them.
    fn pruned(&mut self, from: u64, to: u64) -> Part {
        let mut part = Part {
            first: from * TILE_WIDTH as u64,
            runs: Some(Vec::new()),
            ..Part::default()
        };
        for index in from..to {
            let Some(hashes) = self.compare.read_hashes(index) else {
                part.unfit = true;
                break;
            };
            part.leaves.extend_from_slice(hashes.as_chunks().0);
        }
        self.mark(&mut part);
        self.tiles(&mut part);
        part
    }
}

/// A full tile.
pub fn full(kind: TileKind, index: u64) -> Tile {
    let width = TILE_WIDTH as u16;
    Tile { kind, index, width }
}

/// Grow the tree of a tile's first leaves.
fn extend(tree: &mut Frontier, leaves: &[Hash], to: usize) {
    match &leaves[tree.size() as usize..to] {
        [] => {}
        [leaf] => tree.push(*leaf),
        more => tree.extend_with(more, |_, _| ()),
    }
}
