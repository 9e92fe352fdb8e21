//! Reading a line of JSON as it was written.

use super::cursor::{Cursor, Parsed, cid, hash, id, number, time};
use crate::parts::Parts;

pub fn parse(row: &[u8]) -> Parsed<Parts> {
    let mut at = Cursor::new(row);
    let mut parts = Parts::default();
    at.expect(b"{\"index\":")?;
    parts.index = number(at.until(b",")?)?;
    at.expect(b"\"chain\":\"")?;
    parts.chain = id(at.until(b"\"")?)?;
    at.expect(b",\"seq\":")?;
    parts.seq = number(at.until(b",")?)?;
    at.expect(b"\"prev\":\"")?;
    parts.prev = hash(at.until(b"\"")?)?;
    parts.kind = text(&mut at, b",\"type\":")?;
    parts.flow = text(&mut at, b",\"flow\":")?;
    at.expect(b",\"step\":")?;
    parts.step = match at.skip(b"null") {
        true => None,
        false => Some(at.json_text()?),
    };
    at.expect(b",\"attempt\":")?;
    parts.attempt = match at.until(b",")? {
        b"null" => None,
        digits => Some(number(digits)?),
    };
    at.expect(b"\"at\":\"")?;
    parts.at = time(at.until(b"\"")?)?;
    parts.actor = text(&mut at, b",\"actor\":")?;
    parts.node = text(&mut at, b",\"node\":")?;
    parts.subnet = text(&mut at, b",\"subnet\":")?;
    at.expect(b",\"epoch\":")?;
    parts.epoch = number(at.until(b",")?)?;
    at.expect(b"\"payload\":")?;
    parts.payload = match at.skip(b"null") {
        true => None,
        false => {
            at.expect(b"\"")?;
            Some(cid(at.until(b"\"")?)?)
        }
    };
    at.expect(b",\"meta\":")?;
    parts.meta = at.json_value()?;
    if at.skip(b",\"content\":") {
        parts.content = Some(at.json_value()?);
    }
    at.expect(b"}\n")?;
    Ok(parts)
}

fn text(at: &mut Cursor<'_>, before: &[u8]) -> Parsed<String> {
    at.expect(before)?;
    at.json_text()
}
