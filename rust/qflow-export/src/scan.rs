//! The records of a log that a question asks for, in the order of the log.

use std::path::Path;

use qflow_core::chain::{RawView, RecordError, RecordView};
use qflow_core::encoding::Reader;
use qflow_core::log::{Frontier, Hash, leaf_hashes};
use qflow_index::Filter;
use qflow_log::{Commit, Frames, LogReader};

use crate::dagjson::{push_item, to_json};
use crate::error::{ExportError, Result};

/// Which records.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// What each must be; None: anything.
    pub filter: Option<Filter>,
    /// Index of the first that may be taken.
    pub first: u64,
    /// One beyond the last that may be taken.
    pub end: u64,
    /// Records that are taken at most.
    pub limit: Option<u64>,
    /// Whether the tree over the rows is to be made: of all records of a range, the log's own tree
    /// says the same.
    pub hashed: bool,
}

/// Where rows go. A row is given once, in order.
pub trait Sink {
    /// Where the DAG-JSON of the next row's `meta` is appended, before `row` is called. Whoever
    /// takes rows checks that this and their texts are UTF-8, of many rows at once.
    fn meta(&mut self) -> &mut Vec<u8>;

    /// `content` is the DAG-CBOR of the payload, where that was asked for and can be read.
    fn row(&mut self, index: u64, record: &RawView<'_>, content: Option<&[u8]>) -> Result<()>;
}

/// Reads payloads for a scan: unseals those that are sealed.
pub trait Contents: Send {
    /// The DAG-CBOR in the block of a record, given by its bytes; None when it cannot be read.
    fn open(&mut self, record: &[u8], block: &[u8]) -> Result<Option<Vec<u8>>>;
}

/// What was given so far.
#[derive(Clone, Default)]
pub struct Summary {
    pub rows: u64,
    pub first: Option<u64>,
    pub last: Option<u64>,
    /// Indices that were looked at: all below it.
    pub position: u64,
    /// The RFC 6962 tree over the rows alone, where that was asked for.
    pub tree: Frontier,
}

impl Summary {
    /// Count rows, whose indices ascend, by their leaf hashes.
    pub fn take(&mut self, indices: &[u64], leaves: &[Hash]) {
        self.rows += indices.len() as u64;
        self.first = self.first.or(indices.first().copied());
        self.last = indices.last().copied().or(self.last);
        self.tree.extend_with(leaves, |_, _| ());
    }
}

/// A pass over a log. Holds one commit at a time.
pub struct Scan {
    frames: Frames,
    selection: Selection,
    contents: Option<Box<dyn Contents>>,
    summary: Summary,
    done: bool,
    leaves: Vec<Hash>,
    indices: Vec<u64>,
}

impl Scan {
    /// Open the log in the folder `path`, which a node may be writing. `selection.end` must not be
    /// beyond its size.
    pub fn open(path: &Path, selection: Selection) -> Result<Self> {
        let reader = LogReader::open(path)?;
        let (first, end, size) = (selection.first, selection.end, reader.size()?);
        if first > end || end > size {
            return Err(ExportError::Invalid(format!(
                "records {first} to {end} are not among the {size} of the log"
            )));
        }
        Ok(Self {
            frames: reader.frames(first)?,
            done: first == end || selection.limit == Some(0),
            summary: Summary {
                position: first,
                ..Summary::default()
            },
            selection,
            contents: None,
            leaves: Vec::new(),
            indices: Vec::new(),
        })
    }

    /// Give payloads too.
    #[must_use]
    pub fn with_contents(mut self, contents: Box<dyn Contents>) -> Self {
        self.contents = Some(contents);
        self
    }

    #[must_use]
    pub fn has_contents(&self) -> bool {
        self.contents.is_some()
    }

    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// What was given so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Give the rows of the next commit; false when there are no more commits.
    pub fn next_commit(&mut self, sink: &mut dyn Sink) -> Result<bool> {
        if self.done {
            return Ok(false);
        }
        let Some(commit) = self.frames.next_commit()? else {
            let (at, end) = (self.summary.position, self.selection.end);
            return Err(ExportError::Corrupt(format!(
                "the journal ends at record {at}, {end} records were there"
            )));
        };
        if commit.first() > self.summary.position {
            return Err(ExportError::Corrupt(format!(
                "record {} follows record {} in the journal",
                commit.first(),
                self.summary.position
            )));
        }
        let mut rows = Rows {
            selection: &self.selection,
            contents: self.contents.as_deref_mut(),
            left: self.selection.limit.map(|limit| limit - self.summary.rows),
            indices: &mut self.indices,
            position: self.summary.position,
        };
        let taken = rows.take(&commit, sink)?;
        self.done = rows.left == Some(0) || rows.position >= self.selection.end;
        self.summary.position = rows.position;
        self.leaves.clear();
        if self.selection.hashed {
            leaf_hashes(taken, &mut self.leaves);
        }
        self.summary.take(&self.indices, &self.leaves);
        Ok(true)
    }
}

struct Rows<'s> {
    selection: &'s Selection,
    contents: Option<&'s mut (dyn Contents + 'static)>,
    left: Option<u64>,
    indices: &'s mut Vec<u64>,
    position: u64,
}

impl Rows<'_> {
    /// Give the rows of a commit that are asked for; their leaves.
    fn take<'a>(&mut self, commit: &Commit<'a>, sink: &mut dyn Sink) -> Result<Vec<&'a [u8]>> {
        let mut taken = Vec::with_capacity(commit.len());
        self.indices.clear();
        for (index, leaf) in (commit.first()..).zip(commit.leaves()) {
            if index < self.selection.first {
                continue;
            }
            if index >= self.selection.end || self.left == Some(0) {
                break;
            }
            self.position = index + 1;
            let Some(record) = self
                .parse(&leaf[1..], sink.meta())
                .map_err(|error| ExportError::Corrupt(format!("record {index}: {error}")))?
            else {
                continue;
            };
            let content = self.content(commit, &record, &leaf[1..])?;
            sink.row(index, &record, content.as_deref())?;
            self.left = self.left.map(|left| left - 1);
            self.indices.push(index);
            taken.push(leaf);
        }
        Ok(taken)
    }

    /// The record if it is asked for; its `meta` as JSON is then appended to `json`.
    #[inline(always)]
    fn parse<'a>(
        &self,
        data: &'a [u8],
        json: &mut Vec<u8>,
    ) -> Result<Option<RawView<'a>>, RecordError> {
        let Some(filter) = &self.selection.filter else {
            let meta = |reader: &mut Reader<'a>, map| push_item(json, reader, map, 1);
            return RawView::parse_raw(data, meta).map(Some);
        };
        let record = RecordView::parse(data)?;
        if !filter.matches(&record) {
            return Ok(None);
        }
        to_json(json, &mut Reader::new(record.meta), 1)?;
        Ok(Some(RawView::from(&record)))
    }

    fn content(
        &mut self,
        commit: &Commit<'_>,
        record: &RawView<'_>,
        data: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let (Some(contents), Some(cid)) = (&mut self.contents, record.payload) else {
            return Ok(None);
        };
        let block = commit.blocks().find(|(found, _)| *found == cid);
        match block {
            Some((_, block)) => contents.open(data, block),
            None => Ok(None),
        }
    }
}
