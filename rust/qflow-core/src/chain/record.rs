//! One record: writing it, and reading it without copying. The page is docs/formats/record.md.

use super::RECORD_BYTES_MAX;
use crate::encoding::{DecodeError, Item, Reader, Writer};

/// What a record says. `meta` is a canonical map; `payload` the CID of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    pub chain: [u8; 16],
    pub seq: u64,
    pub prev: [u8; 32],
    pub kind: &'a str,
    pub flow: &'a str,
    pub step: Option<&'a str>,
    pub attempt: Option<u64>,
    /// UTC milliseconds of the hybrid clock of the node that wrote it.
    pub at: u64,
    pub actor: &'a str,
    pub node: &'a str,
    pub subnet: &'a str,
    pub epoch: u64,
    pub payload: Option<&'a [u8]>,
    pub meta: &'a [u8],
}

/// Bytes that are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("not canonical: {0}")]
    Encoding(#[from] DecodeError),
    #[error("not a record: byte {at}: expected {expected}")]
    Schema { at: usize, expected: &'static str },
    #[error("{found} bytes, a record has at most {RECORD_BYTES_MAX}")]
    TooLong { found: usize },
}

// The keys in canonical order, each as it is encoded. What a record does not have is left out.
const VERSION: &[u8] = b"\x61v\x01";
const AT: &[u8] = b"\x62at";
const SEQ: &[u8] = b"\x63seq";
const FLOW: &[u8] = b"\x64flow";
const META: &[u8] = b"\x64meta";
const NODE: &[u8] = b"\x64node";
const PREV: &[u8] = b"\x64prev\x58\x20";
const STEP: &[u8] = b"\x64step";
const TYPE: &[u8] = b"\x64type";
const ACTOR: &[u8] = b"\x65actor";
const CHAIN: &[u8] = b"\x65chain\x50";
const EPOCH: &[u8] = b"\x65epoch";
const SUBNET: &[u8] = b"\x66subnet";
const ATTEMPT: &[u8] = b"\x67attempt";
const PAYLOAD: &[u8] = b"\x67payload";
const KEYS_ALWAYS: usize = 13;

impl Record<'_> {
    /// The canonical bytes. What they say is checked, so that no writer makes what no reader takes.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut out = Writer::with_capacity(320 + self.meta.len());
        let optional = usize::from(self.step.is_some()) + usize::from(self.attempt.is_some());
        out.map(KEYS_ALWAYS + optional);
        out.raw(VERSION);
        number(&mut out, AT, self.at);
        number(&mut out, SEQ, self.seq);
        text(&mut out, FLOW, self.flow);
        out.raw(META);
        out.raw(self.meta);
        text(&mut out, NODE, self.node);
        out.raw(PREV);
        out.raw(&self.prev);
        if let Some(step) = self.step {
            text(&mut out, STEP, step);
        }
        text(&mut out, TYPE, self.kind);
        text(&mut out, ACTOR, self.actor);
        out.raw(CHAIN);
        out.raw(&self.chain);
        number(&mut out, EPOCH, self.epoch);
        text(&mut out, SUBNET, self.subnet);
        if let Some(attempt) = self.attempt {
            number(&mut out, ATTEMPT, attempt);
        }
        out.raw(PAYLOAD);
        match self.payload {
            Some(cid) => out.link(cid),
            None => out.null(),
        }
        RecordView::parse(out.as_slice())?;
        Ok(out.into_bytes())
    }
}

fn number(out: &mut Writer, key: &[u8], value: u64) {
    out.raw(key);
    out.unsigned(value);
}

fn text(out: &mut Writer, key: &[u8], value: &str) {
    out.raw(key);
    out.text(value);
}

/// A record within the bytes that it was read from.
pub type RecordView<'a> = Record<'a>;

impl<'a> RecordView<'a> {
    /// Read a record and check all of it. Allocates nothing.
    pub fn parse(data: &'a [u8]) -> Result<Self, RecordError> {
        if data.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { found: data.len() });
        }
        let mut fields = Fields(Reader::new(data));
        let record = fields.record()?;
        fields.0.finish()?;
        Ok(record)
    }
}

struct Fields<'a>(Reader<'a>);

impl<'a> Fields<'a> {
    fn record(&mut self) -> Result<Record<'a>, RecordError> {
        let keys = match self.0.item()? {
            Item::Map(keys) => keys,
            _ => return self.refuse("a map"),
        };
        self.exact(VERSION, "version 1")?;
        let at = self.number(AT, "at: milliseconds")?;
        let seq = self.number(SEQ, "seq: a number")?;
        let flow = self.name(FLOW, "flow: a name")?;
        let meta = self.meta()?;
        let node = self.text(NODE, "node: text")?;
        let prev = self.fixed(PREV, "prev: 32 bytes")?;
        let step = self.optional(STEP, |fields| fields.text(b"", "step: text"))?;
        let kind = self.name(TYPE, "type: a name")?;
        let actor = self.text(ACTOR, "actor: text")?;
        let chain = self.fixed(CHAIN, "chain: 16 bytes")?;
        let epoch = self.number(EPOCH, "epoch: a number")?;
        let subnet = self.text(SUBNET, "subnet: text")?;
        let attempt = self.optional(ATTEMPT, |fields| fields.number(b"", "attempt: a number"))?;
        let payload = self.payload()?;
        if keys != KEYS_ALWAYS + usize::from(step.is_some()) + usize::from(attempt.is_some()) {
            return self.refuse("the keys of a record and no others");
        }
        Ok(Record {
            chain,
            seq,
            prev,
            kind,
            flow,
            step,
            attempt,
            at,
            actor,
            node,
            subnet,
            epoch,
            payload,
            meta,
        })
    }

    fn refuse<T>(&self, expected: &'static str) -> Result<T, RecordError> {
        Err(RecordError::Schema {
            at: self.0.position(),
            expected,
        })
    }

    // With the key known where this is called, comparing it is a few instructions.
    #[inline(always)]
    fn exact(&mut self, bytes: &[u8], expected: &'static str) -> Result<(), RecordError> {
        if self.0.skip_exact(bytes) {
            Ok(())
        } else {
            self.refuse(expected)
        }
    }

    #[inline(always)]
    fn number(&mut self, key: &[u8], expected: &'static str) -> Result<u64, RecordError> {
        self.exact(key, expected)?;
        let item = match self.0.short_unsigned() {
            Some(value) => Item::Unsigned(value),
            None => self.0.item()?,
        };
        match item {
            // What does not fit a signed 64-bit number breaks readers in most languages.
            Item::Unsigned(value) if i64::try_from(value).is_ok() => Ok(value),
            _ => self.refuse(expected),
        }
    }

    #[inline(always)]
    fn text(&mut self, key: &[u8], expected: &'static str) -> Result<&'a str, RecordError> {
        self.exact(key, expected)?;
        match self.0.short_text() {
            Some(text) => Ok(text),
            None => self.long_text(expected),
        }
    }

    #[cold]
    fn long_text(&mut self, expected: &'static str) -> Result<&'a str, RecordError> {
        match self.0.item()? {
            Item::Text(text) => Ok(text),
            _ => self.refuse(expected),
        }
    }

    #[inline(always)]
    fn name(&mut self, key: &[u8], expected: &'static str) -> Result<&'a str, RecordError> {
        match self.text(key, expected)? {
            "" => self.refuse(expected),
            text => Ok(text),
        }
    }

    #[inline(always)]
    fn fixed<const N: usize>(
        &mut self,
        key: &[u8],
        expected: &'static str,
    ) -> Result<[u8; N], RecordError> {
        self.exact(key, expected)?;
        match self.0.take_fixed() {
            Some(bytes) => Ok(bytes),
            None => self.refuse(expected),
        }
    }

    #[inline(always)]
    fn optional<T>(
        &mut self,
        key: &[u8],
        read: impl FnOnce(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Option<T>, RecordError> {
        self.0.skip_exact(key).then(|| read(self)).transpose()
    }

    fn meta(&mut self) -> Result<&'a [u8], RecordError> {
        self.exact(META, "meta: a map")?;
        let from = self.0.position();
        match self.0.item()? {
            map @ Item::Map(_) => self.0.skip_content(map, 1)?,
            _ => return self.refuse("meta: a map"),
        }
        Ok(self.0.since(from))
    }

    fn payload(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        self.exact(PAYLOAD, "payload: a link or null")?;
        if let Some(cid) = self.0.block_link() {
            return Ok(Some(cid));
        }
        match self.0.item()? {
            Item::Link(cid) => Ok(Some(cid)),
            Item::Null => Ok(None),
            _ => self.refuse("payload: a link or null"),
        }
    }
}
