//! One record: writing it, and reading it without copying. The page is docs/formats/record.md.

use super::RECORD_BYTES_MAX;
use crate::encoding::{DecodeError, Item, Reader, Writer};

/// What a record says. `meta` is a canonical map; `payload` the CID of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOf<'a, T> {
    pub chain: [u8; 16],
    pub seq: u64,
    pub prev: [u8; 32],
    pub kind: T,
    pub flow: T,
    pub step: Option<T>,
    pub attempt: Option<u64>,
    /// UTC milliseconds of the hybrid clock of the node that wrote it.
    pub at: u64,
    pub actor: T,
    pub node: T,
    pub subnet: T,
    pub epoch: u64,
    pub payload: Option<&'a [u8]>,
    pub meta: &'a [u8],
}

/// A record.
pub type Record<'a> = RecordOf<'a, &'a str>;

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
        parse(data, |reader, map| reader.skip_content(map, 1))
    }
}

/// A record of which nobody has checked yet that its texts are UTF-8.
pub type RawView<'a> = RecordOf<'a, &'a [u8]>;

impl<'a> RawView<'a> {
    /// Read a record and check all of it but the letters of its texts, for who checks the texts of
    /// many records at once. `meta` is to read and check what follows the map that it is given.
    #[inline(always)]
    pub fn parse_raw(
        data: &'a [u8],
        meta: impl FnOnce(&mut Reader<'a>, Item<'a>) -> Result<(), DecodeError>,
    ) -> Result<Self, RecordError> {
        parse(data, meta)
    }
}

impl<'a> From<&RecordView<'a>> for RawView<'a> {
    fn from(record: &RecordView<'a>) -> Self {
        Self {
            chain: record.chain,
            seq: record.seq,
            prev: record.prev,
            kind: record.kind.as_bytes(),
            flow: record.flow.as_bytes(),
            step: record.step.map(str::as_bytes),
            attempt: record.attempt,
            at: record.at,
            actor: record.actor.as_bytes(),
            node: record.node.as_bytes(),
            subnet: record.subnet.as_bytes(),
            epoch: record.epoch,
            payload: record.payload,
            meta: record.meta,
        }
    }
}

// Into its callers: what it gives is large, and is taken apart at once.
#[inline(always)]
fn parse<'a, T: Text<'a>>(
    data: &'a [u8],
    meta: impl FnOnce(&mut Reader<'a>, Item<'a>) -> Result<(), DecodeError>,
) -> Result<RecordOf<'a, T>, RecordError> {
    if data.len() > RECORD_BYTES_MAX {
        return Err(RecordError::TooLong { found: data.len() });
    }
    let mut fields = Fields(Reader::new(data));
    let record = fields.record(meta)?;
    fields.0.finish()?;
    Ok(record)
}

/// What a text becomes.
trait Text<'a>: Sized {
    /// As `Reader::short_text`.
    fn short(reader: &mut Reader<'a>) -> Option<Self>;

    fn long(text: &'a str) -> Self;

    fn is_empty(&self) -> bool;
}

impl<'a> Text<'a> for &'a str {
    #[inline(always)]
    fn short(reader: &mut Reader<'a>) -> Option<Self> {
        reader.short_text()
    }

    fn long(text: &'a str) -> Self {
        text
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        str::is_empty(self)
    }
}

impl<'a> Text<'a> for &'a [u8] {
    #[inline(always)]
    fn short(reader: &mut Reader<'a>) -> Option<Self> {
        reader.short_text_bytes()
    }

    fn long(text: &'a str) -> Self {
        text.as_bytes()
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        <[u8]>::is_empty(self)
    }
}

struct Fields<'a>(Reader<'a>);

impl<'a> Fields<'a> {
    #[inline(always)]
    fn record<T: Text<'a>>(
        &mut self,
        meta: impl FnOnce(&mut Reader<'a>, Item<'a>) -> Result<(), DecodeError>,
    ) -> Result<RecordOf<'a, T>, RecordError> {
        let keys = match self.0.item()? {
            Item::Map(keys) => keys,
            _ => return self.refuse("a map"),
        };
        self.exact(VERSION, "version 1")?;
        let at = self.number(AT, "at: milliseconds")?;
        let seq = self.number(SEQ, "seq: a number")?;
        let flow = self.name(FLOW, "flow: a name")?;
        let meta = self.meta(meta)?;
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
        Ok(RecordOf {
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
    fn text<T: Text<'a>>(&mut self, key: &[u8], expected: &'static str) -> Result<T, RecordError> {
        self.exact(key, expected)?;
        match T::short(&mut self.0) {
            Some(text) => Ok(text),
            None => self.long_text(expected).map(T::long),
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
    fn name<T: Text<'a>>(&mut self, key: &[u8], expected: &'static str) -> Result<T, RecordError> {
        let text: T = self.text(key, expected)?;
        if text.is_empty() {
            return self.refuse(expected);
        }
        Ok(text)
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

    #[inline(always)]
    fn meta(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>, Item<'a>) -> Result<(), DecodeError>,
    ) -> Result<&'a [u8], RecordError> {
        self.exact(META, "meta: a map")?;
        let from = self.0.position();
        match self.0.item()? {
            map @ Item::Map(_) => read(&mut self.0, map)?,
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
