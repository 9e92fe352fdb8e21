//! Chunks: what stands in 256 consecutive records, so that a query reads only those it must.

use std::collections::{BTreeMap, HashSet};

use qflow_core::chain::RecordView;

use crate::packed::{short_hash, spread};
use crate::place::pack_addresses;
use crate::words::{each_text_of_meta, each_word, indexed};

/// Records of one chunk: as many as a tile of the log is wide.
pub const CHUNK_RECORDS: u64 = 256;

/// A field whose values have terms of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    Flow,
    Kind,
    Actor,
    Node,
    Subnet,
}

impl Field {
    pub const ALL: [Field; 5] = [
        Field::Flow,
        Field::Kind,
        Field::Actor,
        Field::Node,
        Field::Subnet,
    ];

    /// The letter that stands for it in the index.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Field::Flow => 'f',
            Field::Kind => 't',
            Field::Actor => 'a',
            Field::Node => 'n',
            Field::Subnet => 's',
        }
    }

    /// The field that a letter stands for.
    #[must_use]
    pub fn parse(letter: char) -> Option<Self> {
        Field::ALL.into_iter().find(|one| one.letter() == letter)
    }

    /// A number for a value of this field: see `Tally`.
    #[must_use]
    pub fn spread(self, value: &str) -> u64 {
        spread(short_hash(self.letter() as u8, value))
    }

    /// What stands in the index for a value of this field. No word has an equals sign. Two values
    /// may share a term: a query reads the records themselves in the end.
    #[must_use]
    pub fn term(self, value: &str) -> String {
        let letter = self.letter();
        format!("{letter}={:016x}", short_hash(letter as u8, value))
    }
}

/// A chunk that has all its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub number: u64,
    /// From when to when its records are, UTC milliseconds.
    pub at: (u64, u64),
    /// See `pack_addresses`.
    pub addresses: Vec<u8>,
    /// Terms of its fields, and words: each once.
    pub terms: Vec<String>,
    /// The values of its fields.
    pub names: Vec<(Field, Box<str>)>,
}

/// In how many chunks a term stands, and which: the exclusive or of their spread numbers. A list
/// from the full-text index that has lost or gained a chunk does not fit it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub chunks: u64,
    pub digest: u64,
}

impl Tally {
    pub fn add(&mut self, chunk: u64) {
        self.chunks += 1;
        self.digest ^= spread(chunk);
    }
}

/// The tallies of some chunks by term.
#[must_use]
pub fn tallies(chunks: &[Chunk]) -> BTreeMap<&str, Tally> {
    let mut found: BTreeMap<&str, Tally> = BTreeMap::new();
    for chunk in chunks {
        for term in &chunk.terms {
            found.entry(term).or_default().add(chunk.number);
        }
    }
    found
}

/// The values of fields in some chunks, each once, with a number whose exclusive or says which.
#[must_use]
pub fn names(chunks: &[Chunk]) -> BTreeMap<(Field, &str), u64> {
    let values = chunks.iter().flat_map(|chunk| &chunk.names);
    values
        .map(|(field, value)| ((*field, &**value), field.spread(value)))
        .collect()
}

/// Takes the records of a log in order and gives a chunk whenever one is full.
#[derive(Default)]
pub struct Chunker {
    next: u64,
    addresses: Vec<u64>,
    at: Option<(u64, u64)>,
    values: [HashSet<Box<str>>; 5],
    texts: HashSet<Box<str>>,
    words: HashSet<Box<str>>,
}

impl Chunker {
    /// Take a record. Its index is one more than the last one's.
    pub fn push(&mut self, index: u64, address: u64, record: &RecordView<'_>) -> Option<Chunk> {
        self.addresses.push(address);
        let (least, most) = self.at.unwrap_or((record.at, record.at));
        self.at = Some((least.min(record.at), most.max(record.at)));
        let named = [
            record.flow,
            record.kind,
            record.actor,
            record.node,
            record.subnet,
        ];
        for (field, value) in Field::ALL.into_iter().zip(named) {
            let known = &mut self.values[field as usize];
            if !known.contains(value) {
                known.insert(value.into());
                if field != Field::Subnet {
                    add_words(&mut self.words, value);
                }
            }
        }
        if let Some(step) = record.step {
            self.add_text(step);
        }
        each_text_of_meta(record.meta, |text| self.add_text(text));
        self.next = index + 1;
        self.next
            .is_multiple_of(CHUNK_RECORDS)
            .then(|| self.finish())
    }

    /// The number of the chunk that is being filled, and the addresses that it has.
    #[must_use]
    pub fn tail(&self) -> (u64, Vec<u8>) {
        let number = self.next / CHUNK_RECORDS;
        let first = self.next - self.addresses.len() as u64;
        (number, pack_addresses(number, first, &self.addresses))
    }

    fn add_text(&mut self, text: &str) {
        if !self.texts.contains(text) {
            self.texts.insert(text.into());
            add_words(&mut self.words, text);
        }
    }

    fn finish(&mut self) -> Chunk {
        let number = (self.next - 1) / CHUNK_RECORDS;
        let first = self.next - self.addresses.len() as u64;
        let mut terms: Vec<String> = self.words.drain().map(String::from).collect();
        let mut names = Vec::new();
        for field in Field::ALL {
            names.extend(
                self.values[field as usize]
                    .drain()
                    .map(|value| (field, value)),
            );
        }
        terms.extend(names.iter().map(|(field, value)| field.term(value)));
        terms.sort_unstable();
        terms.dedup();
        let chunk = Chunk {
            number,
            at: self.at.take().unwrap_or_default(),
            addresses: pack_addresses(number, first, &self.addresses),
            terms,
            names,
        };
        self.addresses.clear();
        self.texts.clear();
        chunk
    }
}

fn add_words(words: &mut HashSet<Box<str>>, text: &str) {
    each_word(text, |word| {
        let word = indexed(word);
        if !words.contains(word) {
            words.insert(word.into());
        }
    });
}
