//! Reading rows back from a text file: that spelling and no other.

mod batch;
mod csv;
mod cursor;
mod json;
mod xml;

pub use batch::BatchRows;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::digest::{Digest, Hasher};
use crate::error::Result;
use crate::parts::Parts;
use crate::write::{Format, Spelling, spelling, xml as written_xml};

const PIECE_BYTES: usize = 256 << 10;
/// Bytes of one row. A record has 8,000, and no spelling makes more than six of one; a payload is
/// at most 1 MiB.
const ROW_BYTES_MAX: usize = 64 << 10;
const CONTENT_BYTES_MAX: usize = 8 << 20;

/// A row that is not one; the file goes on behind it, unless it is the end.
#[derive(Debug)]
pub struct BadRow {
    pub what: String,
    pub is_last: bool,
}

/// The rows of a text file, in order. Holds one piece of it at a time.
pub struct TextRows {
    file: File,
    hasher: Hasher,
    buffer: Vec<u8>,
    from: usize,
    format: Format,
    contents: bool,
    spelling: Box<dyn Spelling>,
    begun: bool,
    ended: bool,
}

impl TextRows {
    pub fn open(path: &Path, format: Format, contents: bool) -> Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            hasher: Hasher::default(),
            buffer: Vec::new(),
            from: 0,
            format,
            contents,
            spelling: spelling(format, contents),
            begun: false,
            ended: false,
        })
    }

    /// The next row; None at the end of the file.
    pub fn next_row(&mut self) -> Result<Option<Result<Parts, BadRow>>> {
        if self.ended {
            return Ok(None);
        }
        if !self.begun {
            self.begun = true;
            let (mut head, mut tail) = (Vec::new(), Vec::new());
            self.spelling.head(&mut head);
            self.spelling.tail(&mut tail);
            while self.rest().len() < head.len() && self.fill()? {}
            if !self.rest().starts_with(&head) {
                return Ok(Some(Err(
                    self.stop("the file does not begin as it was written")
                )));
            }
            self.from += head.len();
        }
        let max = if self.contents {
            CONTENT_BYTES_MAX
        } else {
            ROW_BYTES_MAX
        };
        loop {
            if let Some(length) = self.row_length() {
                let from = self.from;
                self.from += length;
                let row = &self.buffer[from..self.from];
                let parts = parse(self.format, self.contents, row);
                let parts = parts.and_then(|parts| self.spelled(parts, from));
                let is_last = false;
                return Ok(Some(parts.map_err(|what| BadRow { what, is_last })));
            }
            if self.rest().len() > max {
                return Ok(Some(Err(self.stop("a row without an end"))));
            }
            if !self.fill()? {
                return Ok(self.finish());
            }
        }
    }

    /// The digest of the whole file: what was read, and what is left.
    pub fn digest(mut self) -> Result<Digest> {
        self.from = self.buffer.len();
        while self.fill()? {
            self.from = self.buffer.len();
        }
        Ok(self.hasher.finish())
    }

    /// Bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.hasher.bytes()
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.from..]
    }

    fn row_length(&self) -> Option<usize> {
        let rest = self.rest();
        match self.format {
            Format::JsonLines => rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1),
            Format::Csv | Format::SpreadsheetCsv => csv::row_length(rest),
            Format::Xml => xml::row_length(rest),
        }
    }

    /// Spell the row again: what differs was not written here.
    fn spelled(&mut self, parts: Parts, from: usize) -> Result<Parts, String> {
        let (mut again, mut meta) = (Vec::new(), Vec::new());
        let written = crate::value::push_value(&mut meta, parts.index, &parts.meta);
        let written = written.and_then(|()| {
            let (view, content) = (parts.view(), parts.content.as_deref());
            self.spelling
                .row(&mut again, parts.index, &view, &meta, content)
        });
        if written.is_err() || again != self.buffer[from..self.from] {
            return Err("another spelling than it was written in".into());
        }
        Ok(parts)
    }

    fn stop(&mut self, what: &str) -> BadRow {
        self.ended = true;
        let what = what.to_owned();
        BadRow {
            what,
            is_last: true,
        }
    }

    fn finish(&mut self) -> Option<Result<Parts, BadRow>> {
        let mut tail = Vec::new();
        self.spelling.tail(&mut tail);
        let is_whole = self.rest() == tail;
        let bad = self.stop("the file does not end as it was written");
        (!is_whole).then_some(Err(bad))
    }

    /// Read on. False at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.from);
        self.from = 0;
        let have = self.buffer.len();
        self.buffer.resize(have + PIECE_BYTES, 0);
        let read = loop {
            match self.file.read(&mut self.buffer[have..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.buffer.truncate(have + read);
        self.hasher.update(&self.buffer[have..]);
        Ok(read > 0)
    }
}

fn parse(format: Format, contents: bool, row: &[u8]) -> Result<Parts, String> {
    match format {
        Format::JsonLines => json::parse(row),
        Format::Csv => csv::parse(row, false, contents),
        Format::SpreadsheetCsv => csv::parse(row, true, contents),
        Format::Xml if row.starts_with(written_xml::TAIL) => Err("rows after the end".into()),
        Format::Xml => xml::parse(row),
    }
}
