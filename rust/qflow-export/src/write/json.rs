//! JSON lines: a map for each record, on a line of its own.

use qflow_core::chain::RawView;

use super::Spelling;
use crate::dagjson::push_text;
use crate::error::Result;
use crate::text::{Times, id_text, push_cid, push_hex, push_number};
use crate::value::push_value;

pub struct JsonLines {
    contents: bool,
    times: Times,
}

impl JsonLines {
    pub fn new(contents: bool) -> Self {
        Self {
            contents,
            times: Times::default(),
        }
    }
}

impl Spelling for JsonLines {
    fn head(&mut self, _: &mut Vec<u8>) {}

    fn row(
        &mut self,
        out: &mut Vec<u8>,
        index: u64,
        record: &RawView<'_>,
        meta: &[u8],
        content: Option<&[u8]>,
    ) -> Result<()> {
        number(out, b"{\"index\":", index);
        out.extend_from_slice(b",\"chain\":\"");
        out.extend_from_slice(&id_text(&record.chain));
        number(out, b"\",\"seq\":", record.seq);
        out.extend_from_slice(b",\"prev\":\"");
        push_hex(out, &record.prev);
        text(out, b"\",\"type\":", Some(record.kind));
        text(out, b",\"flow\":", Some(record.flow));
        text(out, b",\"step\":", record.step);
        match record.attempt {
            Some(attempt) => number(out, b",\"attempt\":", attempt),
            None => out.extend_from_slice(b",\"attempt\":null"),
        }
        out.extend_from_slice(b",\"at\":\"");
        self.times.push(out, record.at);
        text(out, b"\",\"actor\":", Some(record.actor));
        text(out, b",\"node\":", Some(record.node));
        text(out, b",\"subnet\":", Some(record.subnet));
        number(out, b",\"epoch\":", record.epoch);
        match record.payload {
            Some(cid) => {
                out.extend_from_slice(b",\"payload\":\"");
                push_cid(out, cid);
                out.push(b'"');
            }
            None => out.extend_from_slice(b",\"payload\":null"),
        }
        out.extend_from_slice(b",\"meta\":");
        out.extend_from_slice(meta);
        if let Some(content) = content.filter(|_| self.contents) {
            out.extend_from_slice(b",\"content\":");
            push_value(out, index, content)?;
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn tail(&mut self, _: &mut Vec<u8>) {}
}

fn number(out: &mut Vec<u8>, before: &[u8], number: u64) {
    out.extend_from_slice(before);
    push_number(out, number);
}

fn text(out: &mut Vec<u8>, before: &[u8], text: Option<&[u8]>) {
    out.extend_from_slice(before);
    match text {
        Some(text) => push_text(out, text),
        None => out.extend_from_slice(b"null"),
    }
}
