//! DAG-CBOR as DAG-JSON, and back to the same bytes.
//!
//! Links, bytes and numbers are as the IPLD specification of DAG-JSON has them: a number with a
//! point or an exponent is a float, any other an integer. It has no spelling for a map with the key
//! `/`; here that is `{"/":{"map":{...}}}`, which other readers of DAG-JSON refuse. Keys are in the
//! order of DAG-CBOR, nothing is between tokens, and one value has one spelling.

mod read;

use std::cmp::Ordering;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use qflow_core::encoding::{DEPTH_MAX, DecodeError, Item, Reader, key_order};

pub use read::{Parser, from_json};

use crate::text::{push_cid, push_number};

/// Append the JSON of the canonical value that `reader` is at, nested in `depth` lists and maps.
///
/// Checks all of the value but the letters of its texts: whoever takes the JSON checks that it is
/// UTF-8, many values at once.
pub fn to_json(out: &mut Vec<u8>, reader: &mut Reader<'_>, depth: usize) -> Result<()> {
    if let Some(text) = reader.short_text_bytes() {
        push_text(out, text);
        return Ok(());
    }
    if let Some(number) = reader.short_unsigned() {
        push_number(out, number);
        return Ok(());
    }
    let item = reader.item()?;
    push_item(out, reader, item, depth)
}

/// Append the JSON of an item that was read, and of what follows it.
pub fn push_item<'a>(
    out: &mut Vec<u8>,
    reader: &mut Reader<'a>,
    item: Item<'a>,
    depth: usize,
) -> Result<()> {
    match item {
        Item::Null => out.extend_from_slice(b"null"),
        Item::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Item::Unsigned(value) => push_number(out, value),
        Item::Negative(value) => push(out, itoa::Buffer::new().format(-1 - i128::from(value))),
        // The shortest digits that are read back as this float, always with a point or an exponent.
        Item::Float(value) => push(out, &format!("{value:?}")),
        Item::Bytes(bytes) => push_bytes(out, bytes),
        Item::Text(text) => push_text(out, text.as_bytes()),
        Item::Link(cid) => {
            out.extend_from_slice(b"{\"/\":\"");
            push_cid(out, cid);
            out.extend_from_slice(b"\"}");
        }
        Item::Array(count) => push_list(out, reader, count, depth)?,
        Item::Map(count) => push_map(out, reader, count, depth)?,
    }
    Ok(())
}

type Result<T> = std::result::Result<T, DecodeError>;

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"{\"/\":{\"bytes\":\"");
    push(out, &STANDARD_NO_PAD.encode(bytes));
    out.extend_from_slice(b"\"}}");
}

fn check_depth(reader: &Reader<'_>, depth: usize) -> Result<()> {
    if depth < DEPTH_MAX {
        Ok(())
    } else {
        Err(reader.refuse("nested too deeply"))
    }
}

fn push_list(out: &mut Vec<u8>, reader: &mut Reader<'_>, count: usize, depth: usize) -> Result<()> {
    check_depth(reader, depth)?;
    out.push(b'[');
    for place in 0..count {
        if place > 0 {
            out.push(b',');
        }
        to_json(out, reader, depth + 1)?;
    }
    out.push(b']');
    Ok(())
}

fn push_map(out: &mut Vec<u8>, reader: &mut Reader<'_>, count: usize, depth: usize) -> Result<()> {
    check_depth(reader, depth)?;
    let start = out.len();
    out.push(b'{');
    let (mut before, mut reserved) = (None, false);
    for place in 0..count {
        if place > 0 {
            out.push(b',');
        }
        let key = next_key(reader, before)?;
        reserved |= key == b"/";
        push_text(out, key);
        out.push(b':');
        to_json(out, reader, depth + 1)?;
        before = Some(key);
    }
    out.push(b'}');
    if reserved {
        out.splice(start..start, *b"{\"/\":{\"map\":");
        out.extend_from_slice(b"}}");
    }
    Ok(())
}

fn next_key<'a>(reader: &mut Reader<'a>, before: Option<&[u8]>) -> Result<&'a [u8]> {
    let key = match reader.short_text_bytes() {
        Some(key) => key,
        None => reader.key(None)?.as_bytes(),
    };
    match before.map(|before| key_order(before, key)) {
        None | Some(Ordering::Less) => Ok(key),
        Some(_) => Err(reader.refuse("keys out of order, or a key twice")),
    }
}

/// Append a JSON string.
pub fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = find_escaped(rest) {
        out.extend_from_slice(&rest[..at]);
        push_escaped(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cold]
fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => return push(out, &format!("\\u{byte:04x}")),
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Where the first byte is that a JSON string must escape.
fn find_escaped(bytes: &[u8]) -> Option<usize> {
    let is_escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without a way out in the middle, sixteen bytes are compared at once.
    let is_clean = |chunk: &[u8; 16]| !chunk.iter().fold(false, |set, b| set | is_escaped(*b));
    let clean = bytes
        .as_chunks()
        .0
        .iter()
        .take_while(|chunk| is_clean(chunk));
    let from = clean.count() * 16;
    let found = bytes[from..].iter().position(|byte| is_escaped(*byte));
    found.map(|at| from + at)
}
