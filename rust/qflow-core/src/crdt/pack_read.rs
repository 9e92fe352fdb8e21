//! Unpacking: the very bodies, each checked as if it had come alone.

use super::change::{BODY_BYTES_MAX, Change, ChangeError, DEPS_MAX, OP_BYTES_MAX, OPS_MAX, Origin};
use super::column::read_number;
use super::columns::Columns;
use super::columns::kind::{self, Lies};
use super::pack::{FIRST_REFERENCE, LAST, NONE, PACK_MAGIC};
use super::pack_columns::{Numbers, from_planes, read_section};
use super::path::{PARTS_MAX, PATH_BYTES_MAX};
use super::{Cid, Key};

/// What one pack may come to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all bodies together, and of what is inflated.
    pub bytes: usize,
    pub changes: usize,
}

/// Why a pack is refused. Nothing of it is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    #[error("not a pack of changes, or one of another version")]
    Magic,
    #[error("a pack that is cut short, or not as packs are")]
    Malformed,
    #[error("a pack that is larger than allowed")]
    TooLarge,
    #[error("change {at} of a pack: {why}")]
    Change { at: usize, why: ChangeError },
}

/// The document of a pack and its changes, in their order. The signatures are not verified.
///
/// Memory is bounded by the limits and the size of the pack, whatever it says about itself.
pub fn unpack(data: &[u8], limits: Limits) -> Result<([u8; 16], Vec<Change>), PackError> {
    let (mut rest, doc) = data
        .strip_prefix(&PACK_MAGIC)
        .and_then(|rest| rest.split_first_chunk())
        .map(|(doc, rest)| (rest, *doc))
        .ok_or(PackError::Magic)?;
    let head = Head::read(&mut rest, doc, limits)?;
    let mut budget = limits.bytes;
    let mut sections = Vec::with_capacity(SECTIONS);
    for _ in 0..SECTIONS {
        let section = read_section(&mut rest, &mut budget).ok_or(PackError::Malformed)?;
        sections.push(section);
    }
    if !rest.is_empty() {
        return Err(PackError::Malformed);
    }
    sections[FLOATS] = from_planes(&sections[FLOATS]).ok_or(PackError::Malformed)?;
    let mut unpacker = Unpacker::new(head, &sections);
    let mut bytes = limits.bytes;
    let count = unpacker.head.signatures.len();
    let mut changes: Vec<Change> = Vec::with_capacity(count);
    for at in 0..count {
        let change = unpacker.next(at, &changes)?;
        bytes = bytes
            .checked_sub(change.body.len())
            .ok_or(PackError::TooLarge)?;
        changes.push(change);
    }
    if unpacker.is_done() {
        Ok((doc, changes))
    } else {
        Err(PackError::Malformed)
    }
}

const SECTIONS: usize = 21;
const FLOATS: usize = 16;

struct Head<'a> {
    doc: [u8; 16],
    signatures: &'a [[u8; 64]],
    replicas: &'a [Key],
    cids: &'a [Cid],
}

impl<'a> Head<'a> {
    fn read(rest: &mut &'a [u8], doc: [u8; 16], limits: Limits) -> Result<Self, PackError> {
        let mut count = || read_number(rest).and_then(|count| usize::try_from(count).ok());
        let counts = (count(), count(), count());
        let (Some(changes), Some(replicas), Some(cids)) = counts else {
            return Err(PackError::Malformed);
        };
        if changes > limits.changes {
            return Err(PackError::TooLarge);
        }
        Ok(Self {
            doc,
            signatures: chunks(rest, changes).ok_or(PackError::Malformed)?,
            replicas: chunks(rest, replicas).ok_or(PackError::Malformed)?,
            cids: chunks(rest, cids).ok_or(PackError::Malformed)?,
        })
    }
}

fn chunks<'a, const N: usize>(rest: &mut &'a [u8], count: usize) -> Option<&'a [[u8; N]]> {
    let bytes = rest.split_off(..count.checked_mul(N)?)?;
    Some(bytes.as_chunks().0)
}

#[derive(Clone, Copy)]
struct Line {
    last: usize,
    next_seq: i64,
}

/// A path of the pack, and its number in the change that last used it.
#[derive(Clone, Copy)]
struct Path {
    parent: u32,
    name: u32,
    depth: u8,
    used_by: u32,
    number: u32,
}

struct Unpacker<'a> {
    head: Head<'a>,
    lines: Vec<Option<Line>>,
    by: Numbers<'a>,
    seqs: Numbers<'a>,
    counts: Numbers<'a>,
    prevs: Numbers<'a>,
    dep_counts: Numbers<'a>,
    deps: Numbers<'a>,
    op_lens: Numbers<'a>,
    ops: &'a [u8],
    paths: Vec<Path>,
    parents: Numbers<'a>,
    names: Numbers<'a>,
    /// Where each name ends.
    name_ends: Vec<usize>,
    spelled: Vec<u8>,
    shared: Numbers<'a>,
    name_lens: Numbers<'a>,
    suffixes: &'a [u8],
    places: Numbers<'a>,
    kinds: Numbers<'a>,
    ints: Numbers<'a>,
    floats: &'a [u8],
    text_lens: Numbers<'a>,
    texts: &'a [u8],
    blob_lens: Numbers<'a>,
    blobs: &'a [u8],
    columns: Columns,
    written: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    fn new(head: Head<'a>, sections: &'a [Vec<u8>]) -> Self {
        let mut sections = sections.iter().map(Vec::as_slice);
        let mut bytes = || sections.next().unwrap_or_default();
        Self {
            lines: vec![None; head.replicas.len()],
            head,
            by: Numbers::new(bytes()),
            seqs: Numbers::new(bytes()),
            counts: Numbers::new(bytes()),
            prevs: Numbers::new(bytes()),
            dep_counts: Numbers::new(bytes()),
            deps: Numbers::new(bytes()),
            op_lens: Numbers::new(bytes()),
            ops: bytes(),
            paths: Vec::new(),
            parents: Numbers::new(bytes()),
            names: Numbers::new(bytes()),
            name_ends: Vec::new(),
            spelled: Vec::new(),
            shared: Numbers::new(bytes()),
            name_lens: Numbers::new(bytes()),
            suffixes: bytes(),
            places: Numbers::new(bytes()),
            kinds: Numbers::new(bytes()),
            ints: Numbers::new(bytes()),
            floats: bytes(),
            text_lens: Numbers::new(bytes()),
            texts: bytes(),
            blob_lens: Numbers::new(bytes()),
            blobs: bytes(),
            columns: Columns::default(),
            written: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        let numbers = [
            &self.by,
            &self.seqs,
            &self.counts,
            &self.prevs,
            &self.dep_counts,
            &self.deps,
            &self.op_lens,
            &self.parents,
            &self.names,
            &self.shared,
            &self.name_lens,
            &self.places,
            &self.kinds,
            &self.ints,
            &self.text_lens,
            &self.blob_lens,
        ];
        let bytes = [self.ops, self.suffixes, self.floats, self.texts, self.blobs];
        numbers.iter().all(|numbers| numbers.is_done())
            && bytes.iter().all(|bytes| bytes.is_empty())
    }

    /// The next change; those before it are `changes`.
    fn next(&mut self, at: usize, changes: &[Change]) -> Result<Change, PackError> {
        let body = self.body(at, changes).ok_or(PackError::Malformed)?;
        let signature = self.head.signatures[at];
        Change::decode(&body, signature).map_err(|why| PackError::Change { at, why })
    }

    fn body(&mut self, at: usize, changes: &[Change]) -> Option<Vec<u8>> {
        let replica = self.by.below(self.head.replicas.len().checked_sub(1)?)?;
        let line = self.lines[replica];
        let reference = self.prevs.next()?;
        let (prev, expected) = match reference {
            NONE => (None, 0),
            LAST => (Some(changes.get(line?.last)?.header.cid), line?.next_seq),
            _ => (Some(self.resolve(reference, at, changes)?), 0),
        };
        let seq0 = u32::try_from(expected.checked_add(self.seqs.next()?)?).ok()?;
        let n = self.counts.below(OPS_MAX)?;
        let dep_count = self.dep_counts.below(DEPS_MAX)?;
        let mut deps = Vec::with_capacity(dep_count);
        for _ in 0..dep_count {
            let reference = self.deps.next()?;
            deps.push(self.resolve(reference, at, changes)?);
        }
        let op = self.op_lens.below(OP_BYTES_MAX)?;
        let op = self.ops.split_off(..op)?;
        let next_seq = i64::from(seq0) + n as i64;
        self.lines[replica] = Some(Line { last: at, next_seq });
        self.content(at as u32 + 1, n)?;
        let origin = Origin {
            doc: self.head.doc,
            replica: self.head.replicas[replica],
            seq0,
            prev,
            deps: &deps,
            op: (!op.is_empty()).then_some(op),
        };
        self.written.clear();
        self.columns.write(&mut self.written);
        (self.written.len() <= BODY_BYTES_MAX).then(|| origin.body(n as u32, &self.written))
    }

    fn resolve(&self, reference: i64, at: usize, changes: &[Change]) -> Option<Cid> {
        let twice = usize::try_from(reference.checked_sub(FIRST_REFERENCE)?).ok()?;
        if twice & 1 == 0 {
            return self.head.cids.get(twice / 2).copied();
        }
        let place = at.checked_sub(twice / 2 + 1)?;
        Some(changes.get(place)?.header.cid)
    }

    /// Gather the columns of the next `n` operations, which are those of change `number`.
    fn content(&mut self, number: u32, n: usize) -> Option<()> {
        self.columns.clear();
        for _ in 0..n {
            let path = u32::try_from(self.places.next()?).ok()?;
            let place = self.place(path, number)?;
            self.columns.places.push(place);
            let kind = self.kinds.below(usize::from(kind::MAX))? as u8;
            self.columns.kinds.push(kind);
            match kind::lies(kind) {
                Lies::Nowhere => {}
                Lies::Ints => self.columns.ints.push(self.ints.next()?),
                Lies::Floats => {
                    let float = self.floats.split_off(..8)?;
                    self.columns.floats.extend_from_slice(float);
                }
                Lies::Texts => {
                    let len = self.text_lens.below(BODY_BYTES_MAX)?;
                    self.columns.text_lens.push(len as u32);
                    self.columns
                        .texts
                        .extend_from_slice(self.texts.split_off(..len)?);
                }
                Lies::Blobs => {
                    let len = self.blob_lens.below(BODY_BYTES_MAX)?;
                    self.columns.blob_lens.push(len as u32);
                    self.columns
                        .blobs
                        .extend_from_slice(self.blobs.split_off(..len)?);
                }
                Lies::Refused => return None,
            }
            let bytes =
                self.columns.keys.len() + self.columns.texts.len() + self.columns.blobs.len();
            if bytes > BODY_BYTES_MAX {
                return None;
            }
        }
        Some(())
    }

    /// The place of a path of the pack in the table of a change.
    ///
    /// A path that is new here comes with those above it that are new too, and with no other: so
    /// what a pack makes us keep of paths is in a body, whose bytes are counted.
    fn place(&mut self, path: u32, change: u32) -> Option<u32> {
        let mut above = None;
        while (self.paths.len() as u64) < u64::from(path) {
            let parent = self.parents.below(self.paths.len())? as u32;
            if above.is_some_and(|above| above != parent) {
                return None;
            }
            self.open(parent)?;
            above = Some(self.paths.len() as u32);
        }
        self.number(path, change)
    }

    fn open(&mut self, parent: u32) -> Option<()> {
        let name = self.names.below(self.name_ends.len())?;
        if name == self.name_ends.len() {
            self.spell()?;
        }
        let depth = match parent.checked_sub(1) {
            Some(above) => self.paths[above as usize].depth,
            None => 0,
        };
        let path = Path {
            parent,
            name: name as u32,
            depth: depth + 1,
            used_by: 0,
            number: 0,
        };
        self.paths.push(path);
        (usize::from(depth) < PARTS_MAX).then_some(())
    }

    fn spell(&mut self) -> Option<()> {
        let from = self
            .name_ends
            .len()
            .checked_sub(2)
            .map_or(0, |at| self.name_ends[at]);
        let end = self.spelled.len();
        let shared = self.shared.below(end - from)?;
        let len = self.name_lens.below(PATH_BYTES_MAX.checked_sub(shared)?)?;
        let suffix = self.suffixes.split_off(..len)?;
        self.spelled.extend_from_within(from..from + shared);
        self.spelled.extend_from_slice(suffix);
        self.name_ends.push(self.spelled.len());
        Some(())
    }

    fn number(&mut self, path: u32, change: u32) -> Option<u32> {
        let Some(at) = path.checked_sub(1) else {
            return Some(0);
        };
        let found = *self.paths.get(at as usize)?;
        if found.used_by == change {
            return Some(found.number);
        }
        let parent = self.number(found.parent, change)?;
        let end = self.name_ends[found.name as usize];
        let from = found
            .name
            .checked_sub(1)
            .map_or(0, |before| self.name_ends[before as usize]);
        self.columns.parents.push(parent);
        self.columns.key_lens.push((end - from) as u32);
        self.columns
            .keys
            .extend_from_slice(&self.spelled[from..end]);
        let number = self.columns.parents.len() as u32;
        let path = &mut self.paths[at as usize];
        (path.used_by, path.number) = (change, number);
        Some(number)
    }
}
