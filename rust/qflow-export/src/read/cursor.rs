//! Walking over a row whose form is known.

use base64::{Engine, engine::general_purpose::STANDARD};
use qflow_core::encoding::Writer;

use crate::dagjson::{Parser, from_json};
use crate::text::{Times, parse_cid, parse_hex, parse_id, parse_number};

/// Why a row is refused.
pub type Parsed<T> = Result<T, String>;

/// A place in a row.
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(row: &'a [u8]) -> Self {
        Self { rest: row }
    }

    /// Step over these very bytes, or stay.
    pub fn skip(&mut self, token: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub fn expect(&mut self, token: &[u8]) -> Parsed<()> {
        if self.skip(token) {
            return Ok(());
        }
        Err(format!("{:?} is due", String::from_utf8_lossy(token)))
    }

    /// What is before the next `token`, which is stepped over too.
    pub fn until(&mut self, token: &[u8]) -> Parsed<&'a [u8]> {
        let mut windows = self.rest.windows(token.len());
        let at = windows.position(|window| window == token);
        let at = at.ok_or_else(|| format!("no {:?} follows", String::from_utf8_lossy(token)))?;
        let (before, after) = self.rest.split_at(at);
        self.rest = &after[token.len()..];
        Ok(before)
    }

    /// The JSON string here.
    pub fn json_text(&mut self) -> Parsed<String> {
        let mut parser = Parser::new(self.rest);
        let text = parser.string().map_err(|error| error.to_string())?;
        self.rest = &self.rest[parser.position()..];
        Ok(text)
    }

    /// The canonical bytes of the JSON value here.
    pub fn json_value(&mut self) -> Parsed<Vec<u8>> {
        let mut parser = Parser::new(self.rest);
        parser.value(0).map_err(|error| error.to_string())?;
        let (text, rest) = self.rest.split_at(parser.position());
        self.rest = rest;
        value(text)
    }
}

/// Canonical bytes of a value in DAG-JSON.
pub fn value(text: &[u8]) -> Parsed<Vec<u8>> {
    let mut out = Writer::with_capacity(text.len());
    from_json(&mut out, text).map_err(|error| format!("JSON, {error}"))?;
    Ok(out.into_bytes())
}

pub fn utf8(text: &[u8]) -> Parsed<String> {
    let text = std::str::from_utf8(text).map_err(|_| "text that is not UTF-8")?;
    Ok(text.to_owned())
}

pub fn number(text: &[u8]) -> Parsed<u64> {
    parse_number(text).ok_or_else(|| shown("a number", text))
}

pub fn id(text: &[u8]) -> Parsed<[u8; 16]> {
    parse_id(text).ok_or_else(|| shown("an id", text))
}

pub fn hash(text: &[u8]) -> Parsed<[u8; 32]> {
    parse_hex(text).ok_or_else(|| shown("a hash", text))
}

pub fn cid(text: &[u8]) -> Parsed<Vec<u8>> {
    parse_cid(text).ok_or_else(|| shown("a CID", text))
}

pub fn time(text: &[u8]) -> Parsed<u64> {
    Times::default()
        .parse(text)
        .ok_or_else(|| shown("a time", text))
}

pub fn base64(text: &[u8]) -> Parsed<Vec<u8>> {
    STANDARD.decode(text).map_err(|_| shown("base 64", text))
}

fn shown(expected: &str, text: &[u8]) -> String {
    let start = &text[..text.len().min(80)];
    format!("{:?} is not {expected}", String::from_utf8_lossy(start))
}
