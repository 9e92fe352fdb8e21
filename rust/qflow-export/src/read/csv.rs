//! Reading a row of CSV as it was written.

use super::cursor::{Parsed, cid, hash, id, number, time, utf8, value};
use crate::parts::Parts;

/// A cell: its text without quotes, and whether it had them.
type Cell = (Vec<u8>, bool);

pub fn parse(row: &[u8], spreadsheet: bool, contents: bool) -> Parsed<Parts> {
    let mut cells = split(row)?.into_iter();
    if cells.len() != 15 + usize::from(contents) {
        return Err(format!("a row of {} cells", cells.len()));
    }
    let mut next = || cells.next().unwrap_or_default();
    let text = |(mut text, quoted): Cell| {
        if spreadsheet && text.first() == Some(&b'\'') {
            text.remove(0);
        }
        (text, quoted)
    };
    let optional = |cell: Cell| {
        let (text, quoted) = text(cell);
        (quoted || !text.is_empty()).then_some(text)
    };
    Ok(Parts {
        index: number(&next().0)?,
        chain: id(&next().0)?,
        seq: number(&next().0)?,
        prev: hash(&next().0)?,
        kind: utf8(&text(next()).0)?,
        flow: utf8(&text(next()).0)?,
        step: optional(next()).map(|step| utf8(&step)).transpose()?,
        attempt: optional(next()).map(|n| number(&n)).transpose()?,
        at: time(&next().0)?,
        actor: utf8(&text(next()).0)?,
        node: utf8(&text(next()).0)?,
        subnet: utf8(&text(next()).0)?,
        epoch: number(&next().0)?,
        payload: optional(next()).map(|text| cid(&text)).transpose()?,
        meta: value(&text(next()).0)?,
        content: optional(next()).map(|json| value(&json)).transpose()?,
    })
}

fn split(row: &[u8]) -> Parsed<Vec<Cell>> {
    let mut rest = row.strip_suffix(b"\r\n").ok_or("no line end")?;
    let mut cells = Vec::new();
    loop {
        let cell = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let (text, after) = unquote(quoted)?;
                rest = after;
                (text, true)
            }
            None => {
                let end = rest.iter().position(|byte| *byte == b',');
                let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
                rest = after;
                (text.to_vec(), false)
            }
        };
        cells.push(cell);
        match rest.split_first() {
            None => return Ok(cells),
            Some((b',', after)) => rest = after,
            Some(_) => return Err("bytes behind a closing quote".into()),
        }
    }
}

/// The text up to the closing quote, and what is behind that.
fn unquote(mut rest: &[u8]) -> Parsed<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'"');
        let (part, after) = rest.split_at(end.ok_or("a quote that is not closed")?);
        text.extend_from_slice(part);
        rest = &after[1..];
        match rest.strip_prefix(b"\"") {
            Some(after) => {
                text.push(b'"');
                rest = after;
            }
            None => return Ok((text, rest)),
        }
    }
}

/// Bytes of the row at the start; None when it goes on behind them.
pub fn row_length(bytes: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}
