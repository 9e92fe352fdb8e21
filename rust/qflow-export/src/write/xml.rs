//! XML 1.0: an element for each record; what has no letters of its own choosing is an attribute.
//!
//! A text that XML cannot carry is in base 64, and its element says so.

use base64::{Engine, engine::general_purpose::STANDARD};
use qflow_core::chain::RawView;

use super::Spelling;
use crate::error::Result;
use crate::text::{Times, id_text, push_cid, push_hex, push_number};
use crate::value::push_value;

pub const HEAD: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <records xmlns=\"urn:qflow:export:v1\">\n";
pub const TAIL: &[u8] = b"</records>\n";
pub const ROW_END: &[u8] = b"</r>\n";
/// What an element says whose text is in base 64.
pub const BASE64: &[u8] = b" enc=\"base64\"";

pub struct Xml {
    contents: bool,
    times: Times,
    value: Vec<u8>,
}

impl Xml {
    pub fn new(contents: bool) -> Self {
        Self {
            contents,
            times: Times::default(),
            value: Vec::new(),
        }
    }

    fn value(&mut self, out: &mut Vec<u8>, name: &[u8], index: u64, cbor: &[u8]) -> Result<()> {
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        push_value(&mut value, index, cbor)?;
        element(out, name, &value);
        self.value = value;
        Ok(())
    }
}

impl Spelling for Xml {
    fn head(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(HEAD);
    }

    fn row(
        &mut self,
        out: &mut Vec<u8>,
        index: u64,
        record: &RawView<'_>,
        meta: &[u8],
        content: Option<&[u8]>,
    ) -> Result<()> {
        number(out, b"<r index=\"", index);
        out.extend_from_slice(b" chain=\"");
        out.extend_from_slice(&id_text(&record.chain));
        number(out, b"\" seq=\"", record.seq);
        out.extend_from_slice(b" prev=\"");
        push_hex(out, &record.prev);
        if let Some(attempt) = record.attempt {
            number(out, b"\" attempt=\"", attempt);
            out.pop();
        }
        out.extend_from_slice(b"\" at=\"");
        self.times.push(out, record.at);
        number(out, b"\" epoch=\"", record.epoch);
        if let Some(cid) = record.payload {
            out.extend_from_slice(b" payload=\"");
            push_cid(out, cid);
            out.push(b'"');
        }
        out.push(b'>');
        element(out, b"type", record.kind);
        element(out, b"flow", record.flow);
        if let Some(step) = record.step {
            element(out, b"step", step);
        }
        element(out, b"actor", record.actor);
        element(out, b"node", record.node);
        element(out, b"subnet", record.subnet);
        element(out, b"meta", meta);
        if let Some(content) = content.filter(|_| self.contents) {
            self.value(out, b"content", index, content)?;
        }
        out.extend_from_slice(ROW_END);
        Ok(())
    }

    fn tail(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(TAIL);
    }
}

/// An attribute up to its closing quote.
fn number(out: &mut Vec<u8>, before: &[u8], number: u64) {
    out.extend_from_slice(before);
    push_number(out, number);
    out.push(b'"');
}

fn element(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    out.push(b'<');
    out.extend_from_slice(name);
    if is_plain(text) {
        out.push(b'>');
        out.extend_from_slice(text);
    } else if can_carry(text) {
        out.push(b'>');
        push_escaped(out, text);
    } else {
        out.extend_from_slice(BASE64);
        out.push(b'>');
        out.extend_from_slice(STANDARD.encode(text).as_bytes());
    }
    out.extend_from_slice(b"</");
    out.extend_from_slice(name);
    out.push(b'>');
}

/// Whether a text stands as it is: most do. With no way out in the middle, many bytes are
/// compared at once.
fn is_plain(text: &[u8]) -> bool {
    let stands = |byte: u8| byte >= 0x20 && !matches!(byte, b'&' | b'<' | b'>' | 0xef);
    text.iter().fold(true, |plain, byte| plain & stands(*byte))
}

/// Whether XML 1.0 has all these characters: not most control characters, nor U+FFFE and U+FFFF.
fn can_carry(text: &[u8]) -> bool {
    let is_control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    let is_reserved = |three: &[u8]| matches!(three, [0xef, 0xbf, 0xbe | 0xbf]);
    !text.iter().any(is_control) && !text.windows(3).any(is_reserved)
}

fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let special = |byte: u8| matches!(byte, b'&' | b'<' | b'>' | b'\r');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| special(*byte)) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            // As it is, a parser would read a line feed.
            _ => b"&#13;",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
