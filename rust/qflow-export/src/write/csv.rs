//! CSV as RFC 4180 has it: a header, commas, CRLF; cells in quotes where they must be.
//!
//! What a record does not have is an empty cell; text without a letter is `""`.

use qflow_core::chain::RawView;

use super::Spelling;
use crate::error::Result;
use crate::text::{Times, id_text, push_cid, push_hex, push_number};
use crate::value::push_value;

/// The columns, in order.
pub const HEADER: &[u8] =
    b"index,chain,seq,prev,type,flow,step,attempt,at,actor,node,subnet,epoch,payload,meta";
/// The column of payloads.
pub const CONTENT: &[u8] = b",content";
pub const END: &[u8] = b"\r\n";

pub struct Csv {
    spreadsheet: bool,
    contents: bool,
    times: Times,
    value: Vec<u8>,
}

impl Csv {
    pub fn new(spreadsheet: bool, contents: bool) -> Self {
        Self {
            spreadsheet,
            contents,
            times: Times::default(),
            value: Vec::new(),
        }
    }

    fn text(&self, out: &mut Vec<u8>, text: &[u8]) {
        if self.spreadsheet {
            out.push(b'"');
            if is_marked(text) {
                out.push(b'\'');
            }
            push_quoted(out, text);
            out.extend_from_slice(b"\",");
        } else if text.is_empty() || needs_quotes(text) {
            out.push(b'"');
            push_quoted(out, text);
            out.extend_from_slice(b"\",");
        } else {
            out.extend_from_slice(text);
            out.push(b',');
        }
    }

    fn value(&mut self, out: &mut Vec<u8>, index: u64, cbor: &[u8]) -> Result<()> {
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        push_value(&mut value, index, cbor)?;
        self.text(out, &value);
        self.value = value;
        Ok(())
    }
}

impl Spelling for Csv {
    fn head(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(HEADER);
        if self.contents {
            out.extend_from_slice(CONTENT);
        }
        out.extend_from_slice(END);
    }

    fn row(
        &mut self,
        out: &mut Vec<u8>,
        index: u64,
        record: &RawView<'_>,
        meta: &[u8],
        content: Option<&[u8]>,
    ) -> Result<()> {
        number(out, Some(index));
        out.extend_from_slice(&id_text(&record.chain));
        out.push(b',');
        number(out, Some(record.seq));
        push_hex(out, &record.prev);
        out.push(b',');
        self.text(out, record.kind);
        self.text(out, record.flow);
        match record.step {
            Some(step) => self.text(out, step),
            None => out.push(b','),
        }
        number(out, record.attempt);
        self.times.push(out, record.at);
        out.push(b',');
        self.text(out, record.actor);
        self.text(out, record.node);
        self.text(out, record.subnet);
        number(out, Some(record.epoch));
        if let Some(cid) = record.payload {
            push_cid(out, cid);
        }
        out.push(b',');
        self.text(out, meta);
        match content.filter(|_| self.contents) {
            Some(content) => self.value(out, index, content)?,
            None if self.contents => out.push(b','),
            None => {}
        }
        // Each cell has put a comma behind it.
        out.pop();
        out.extend_from_slice(END);
        Ok(())
    }

    fn tail(&mut self, _: &mut Vec<u8>) {}
}

fn number(out: &mut Vec<u8>, number: Option<u64>) {
    if let Some(number) = number {
        push_number(out, number);
    }
    out.push(b',');
}

fn needs_quotes(text: &[u8]) -> bool {
    let is_special = |byte: u8| matches!(byte, b'"' | b',' | b'\r' | b'\n');
    text.iter()
        .fold(false, |found, byte| found | is_special(*byte))
}

/// Text with each quote twice.
fn push_quoted(out: &mut Vec<u8>, text: &[u8]) {
    for (place, part) in text.split(|byte| *byte == b'"').enumerate() {
        if place > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part);
    }
}

/// Whether a cell gets an apostrophe before it in the spreadsheet mode: unless it begins with what
/// no spreadsheet takes for a formula. `=`, `+`, `-`, `@`, their full-width forms, tabs, line ends
/// and the apostrophe itself all get one; so does white space and what is invisible, since
/// spreadsheets drop it and look behind it.
pub fn is_marked(text: &[u8]) -> bool {
    let Some(first) = text.first() else {
        return false;
    };
    !(first.is_ascii_alphanumeric() || matches!(first, b'/' | b'{' | b'_' | b'.' | b'#' | b'*'))
}
