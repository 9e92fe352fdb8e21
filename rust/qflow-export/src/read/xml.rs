//! Reading a record's element as it was written.

use super::cursor::{Cursor, Parsed, base64, cid, hash, id, number, time, utf8, value};
use crate::parts::Parts;
use crate::write::xml::{BASE64, ROW_END};

pub fn parse(row: &[u8]) -> Parsed<Parts> {
    let mut at = Cursor::new(row);
    let mut parts = Parts::default();
    at.expect(b"<r index=\"")?;
    parts.index = number(at.until(b"\"")?)?;
    at.expect(b" chain=\"")?;
    parts.chain = id(at.until(b"\"")?)?;
    at.expect(b" seq=\"")?;
    parts.seq = number(at.until(b"\"")?)?;
    at.expect(b" prev=\"")?;
    parts.prev = hash(at.until(b"\"")?)?;
    if at.skip(b" attempt=\"") {
        parts.attempt = Some(number(at.until(b"\"")?)?);
    }
    at.expect(b" at=\"")?;
    parts.at = time(at.until(b"\"")?)?;
    at.expect(b" epoch=\"")?;
    parts.epoch = number(at.until(b"\"")?)?;
    if at.skip(b" payload=\"") {
        parts.payload = Some(cid(at.until(b"\"")?)?);
    }
    at.expect(b">")?;
    parts.kind = text(&mut at, "type")?;
    parts.flow = text(&mut at, "flow")?;
    parts.step = optional(&mut at, "step")?.map(|t| utf8(&t)).transpose()?;
    parts.actor = text(&mut at, "actor")?;
    parts.node = text(&mut at, "node")?;
    parts.subnet = text(&mut at, "subnet")?;
    let meta = optional(&mut at, "meta")?.ok_or("no meta")?;
    parts.meta = value(&meta)?;
    let content = optional(&mut at, "content")?;
    parts.content = content.map(|text| value(&text)).transpose()?;
    at.expect(ROW_END)?;
    Ok(parts)
}

fn text(at: &mut Cursor<'_>, name: &str) -> Parsed<String> {
    let text = optional(at, name)?.ok_or_else(|| format!("no {name}"))?;
    utf8(&text)
}

fn optional(at: &mut Cursor<'_>, name: &str) -> Parsed<Option<Vec<u8>>> {
    if !at.skip(format!("<{name}").as_bytes()) {
        return Ok(None);
    }
    let encoded = at.skip(BASE64);
    at.expect(b">")?;
    let text = at.until(format!("</{name}>").as_bytes())?;
    let text = if encoded {
        base64(text)?
    } else {
        unescape(text)?
    };
    Ok(Some(text))
}

fn unescape(text: &[u8]) -> Parsed<Vec<u8>> {
    let known: [(&[u8], u8); 4] = [
        (b"amp;", b'&'),
        (b"lt;", b'<'),
        (b"gt;", b'>'),
        (b"#13;", b'\r'),
    ];
    let mut parts = text.split(|byte| *byte == b'&');
    let mut out = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let mut found = known.iter().filter_map(|(name, byte)| {
            let rest = part.strip_prefix(*name)?;
            Some((*byte, rest))
        });
        let (byte, rest) = found.next().ok_or("an entity that is not known")?;
        out.push(byte);
        out.extend_from_slice(rest);
    }
    Ok(out)
}

/// Bytes of the row at the start; None when it goes on behind them. In a text there is no `<`.
pub fn row_length(bytes: &[u8]) -> Option<usize> {
    let mut windows = bytes.windows(ROW_END.len());
    let at = windows.position(|window| window == ROW_END)?;
    Some(at + ROW_END.len())
}
