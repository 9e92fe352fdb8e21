//! Packs: many changes of one document in little space, for sync, export and storage.
//!
//! What the changes share is written once: the document, the replicas, the paths; what follows from
//! the changes before is left out. The rest lies in columns over all changes. The very bodies come
//! back. The page is docs/formats/crdt.md.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::change::Change;
use super::change_check::{Layout, hash_part, section};
use super::column::{Column, undelta, write_number};
use super::pack_columns::{pack_numbers, to_planes, write_section};
use super::{Cid, Key};

/// How a pack begins; the last byte is the version.
pub const PACK_MAGIC: [u8; 5] = *b"QFCP\x01";

/// The references of a change to one before.
pub(super) const NONE: i64 = 0;
pub(super) const LAST: i64 = 1;
/// And from here on: a CID of the list twice, or how far back in the pack twice and one.
pub(super) const FIRST_REFERENCE: i64 = 2;

/// Pack changes of one document, in this order.
#[must_use]
pub fn pack(doc: &[u8; 16], changes: &[&Change]) -> Vec<u8> {
    let mut packer = Packer::default();
    for (at, change) in changes.iter().enumerate() {
        packer.origin(at, change);
        packer.content(change);
    }
    packer.finish(doc, changes)
}

/// Where the changes of a replica are.
struct Line {
    number: i64,
    last: usize,
    next_seq: i64,
}

#[derive(Default)]
struct Packer {
    replicas: Vec<Key>,
    lines: HashMap<Key, Line>,
    places_of: HashMap<Cid, usize>,
    cids: Vec<Cid>,
    cids_known: HashMap<Cid, usize>,
    by: Vec<i64>,
    seqs: Vec<i64>,
    counts: Vec<i64>,
    prevs: Vec<i64>,
    dep_counts: Vec<i64>,
    deps: Vec<i64>,
    op_lens: Vec<i64>,
    ops: Vec<u8>,
    paths: Paths,
    places: Vec<i64>,
    kinds: Vec<i64>,
    ints: Vec<i64>,
    floats: Vec<u8>,
    text_lens: Vec<i64>,
    texts: Vec<u8>,
    blob_lens: Vec<i64>,
    blobs: Vec<u8>,
}

impl Packer {
    fn origin(&mut self, at: usize, change: &Change) {
        let header = &change.header;
        let prev = header.prev.map(|prev| self.reference(at, &prev));
        let known = self.lines.get(&header.replica);
        let before = header.prev.and_then(|prev| self.places_of.get(&prev));
        let follows = known.filter(|line| before == Some(&line.last));
        let expected = follows.map_or(0, |line| line.next_seq);
        self.prevs.push(match prev {
            None => NONE,
            Some(_) if follows.is_some() => LAST,
            Some(reference) => reference,
        });
        let number = known.map_or(self.replicas.len() as i64, |line| line.number);
        if known.is_none() {
            self.replicas.push(header.replica);
        }
        self.by.push(number);
        self.seqs.push(i64::from(header.seq0) - expected);
        self.counts.push(i64::from(header.n));
        self.dep_counts.push(header.deps.len() as i64);
        for dep in &header.deps {
            let reference = self.reference(at, dep);
            self.deps.push(reference);
        }
        let next_seq = i64::from(header.seq0) + i64::from(header.n);
        let line = Line {
            number,
            last: at,
            next_seq,
        };
        self.lines.insert(header.replica, line);
        self.places_of.insert(header.cid, at);
    }

    fn reference(&mut self, at: usize, cid: &Cid) -> i64 {
        let twice = match self.places_of.get(cid) {
            Some(place) => 2 * (at - place - 1) + 1,
            None => {
                2 * *self.cids_known.entry(*cid).or_insert_with(|| {
                    self.cids.push(*cid);
                    self.cids.len() - 1
                })
            }
        };
        twice as i64 + FIRST_REFERENCE
    }

    fn content(&mut self, change: &Change) {
        let op = change.header.op.as_deref().unwrap_or_default();
        self.op_lens.push(op.len() as i64);
        self.ops.extend_from_slice(op);
        let (body, layout) = change.parts();
        let numbers = self.paths.of_change(change);
        let mut place = 0;
        for delta in column(body, layout.places, layout.kinds, change.header.n as usize) {
            place = undelta(place, delta);
            self.places.push(i64::from(numbers[place as usize]));
        }
        let count = change.header.n as usize;
        let kinds = column(body, layout.kinds, layout.ints, count);
        self.kinds.extend(kinds.map(|kind| kind as i64));
        let mut int = 0;
        self.ints.extend(
            Column::new(section(body, layout.ints, layout.floats)).map(|delta| {
                int = undelta(int, delta);
                int
            }),
        );
        self.floats
            .extend_from_slice(section(body, layout.floats, layout.text_lens));
        let texts = Column::new(section(body, layout.text_lens, layout.texts));
        self.text_lens.extend(texts.map(|len| len as i64));
        self.texts
            .extend_from_slice(section(body, layout.texts, layout.blob_lens));
        let blobs = Column::new(section(body, layout.blob_lens, layout.blobs));
        self.blob_lens.extend(blobs.map(|len| len as i64));
        self.blobs
            .extend_from_slice(section(body, layout.blobs, layout.to));
    }

    /// What no compressor makes smaller.
    fn head(&self, doc: &[u8; 16], changes: &[&Change]) -> Vec<u8> {
        let mut out = PACK_MAGIC.to_vec();
        out.extend_from_slice(doc);
        write_number(&mut out, changes.len() as u64);
        write_number(&mut out, self.replicas.len() as u64);
        write_number(&mut out, self.cids.len() as u64);
        changes
            .iter()
            .for_each(|change| out.extend_from_slice(&change.signature));
        out.extend_from_slice(self.replicas.as_flattened());
        out.extend_from_slice(self.cids.as_flattened());
        out
    }

    fn finish(self, doc: &[u8; 16], changes: &[&Change]) -> Vec<u8> {
        let mut out = self.head(doc, changes);
        let paths = self.paths;
        for section in [
            pack_numbers(&self.by),
            pack_numbers(&self.seqs),
            pack_numbers(&self.counts),
            pack_numbers(&self.prevs),
            pack_numbers(&self.dep_counts),
            pack_numbers(&self.deps),
            pack_numbers(&self.op_lens),
            self.ops,
            pack_numbers(&paths.parents),
            pack_numbers(&paths.names),
            pack_numbers(&paths.shared),
            pack_numbers(&paths.lens),
            paths.suffixes,
            pack_numbers(&self.places),
            pack_numbers(&self.kinds),
            pack_numbers(&self.ints),
            to_planes(&self.floats),
            pack_numbers(&self.text_lens),
            self.texts,
            pack_numbers(&self.blob_lens),
            self.blobs,
        ] {
            write_section(&mut out, &section);
        }
        out
    }
}

fn column(body: &[u8], from: u16, to: u16, count: usize) -> impl Iterator<Item = u64> {
    Column::new(section(body, from, to)).take(count)
}

/// The paths of all changes of a pack, numbered from 1 in the order of their first use, and the
/// names in them.
struct Paths {
    /// Keeps whoever chose the paths from choosing how they fall in the hash tables.
    key: u64,
    parents: Vec<i64>,
    names: Vec<i64>,
    found: HashTable<u32>,
    /// Where each name begins and how long it is.
    spans: Vec<(usize, usize)>,
    spelled: String,
    names_found: HashTable<u32>,
    /// Of each name, the bytes it shares with the name before it, and the others.
    shared: Vec<i64>,
    lens: Vec<i64>,
    suffixes: Vec<u8>,
    numbers: Vec<u32>,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            key: RandomState::new().hash_one(PACK_MAGIC),
            parents: Vec::new(),
            names: Vec::new(),
            found: HashTable::new(),
            spans: Vec::new(),
            spelled: String::new(),
            names_found: HashTable::new(),
            shared: Vec::new(),
            lens: Vec::new(),
            suffixes: Vec::new(),
            numbers: Vec::new(),
        }
    }
}

impl Paths {
    /// The numbers of a change's paths, the root first.
    fn of_change(&mut self, change: &Change) -> &[u32] {
        self.numbers.clear();
        self.numbers.push(0);
        for (parent, part) in change.paths() {
            let name = self.name(part);
            let parent = self.numbers[parent as usize];
            let number = self.path(parent, name);
            self.numbers.push(number);
        }
        &self.numbers
    }

    fn path(&mut self, parent: u32, name: u32) -> u32 {
        let key = self.key;
        let hash_of = |parent: i64, name: i64| hash_part(key ^ name as u64, parent as u32, "");
        let (wanted_parent, wanted_name) = (i64::from(parent), i64::from(name));
        let hash = hash_of(wanted_parent, wanted_name);
        let same = |at: &u32| {
            let at = *at as usize;
            self.parents[at] == wanted_parent && self.names[at] == wanted_name
        };
        if let Some(at) = self.found.find(hash, same) {
            return at + 1;
        }
        let at = self.parents.len() as u32;
        self.parents.push(wanted_parent);
        self.names.push(wanted_name);
        let (parents, names) = (&self.parents, &self.names);
        self.found.insert_unique(hash, at, |at| {
            hash_of(parents[*at as usize], names[*at as usize])
        });
        at + 1
    }

    fn name(&mut self, part: &str) -> u32 {
        let key = self.key;
        let hash = hash_part(key, 0, part);
        let (spans, spelled) = (&self.spans, &self.spelled);
        let spelling = |at: &u32| {
            let (from, len) = spans[*at as usize];
            &spelled[from..from + len]
        };
        if let Some(at) = self.names_found.find(hash, |at| spelling(at) == part) {
            return *at;
        }
        let at = self.spans.len() as u32;
        let before = at
            .checked_sub(1)
            .map(|at| spelling(&at))
            .unwrap_or_default();
        let pairs = before.bytes().zip(part.bytes());
        let shared = pairs.take_while(|(left, right)| left == right).count();
        self.shared.push(shared as i64);
        self.lens.push((part.len() - shared) as i64);
        self.suffixes.extend_from_slice(&part.as_bytes()[shared..]);
        self.spans.push((self.spelled.len(), part.len()));
        self.spelled.push_str(part);
        let (spans, spelled) = (&self.spans, &self.spelled);
        self.names_found.insert_unique(hash, at, |at| {
            let (from, len) = spans[*at as usize];
            hash_part(key, 0, &spelled[from..from + len])
        });
        at
    }
}

impl Change {
    fn parts(&self) -> (&[u8], &Layout) {
        (&self.body, self.layout())
    }
}

#[cfg(test)]
mod tests {
    use super::super::change_check::hash_part;
    use super::Paths;

    #[test]
    fn no_two_packs_hash_names_alike_so_nobody_can_make_names_that_collide() {
        let hash = || hash_part(Paths::default().key, 0, "name");
        assert_ne!(hash(), hash());
        assert_ne!(hash(), hash_part(0, 0, "name"));
    }
}
