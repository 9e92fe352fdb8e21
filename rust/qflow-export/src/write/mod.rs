//! Writing rows as text, straight to a file: constant memory, big writes, digests on the way.

mod csv;
mod json;
pub mod xml;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use qflow_core::chain::RawView;

use crate::digest::{Digest, Hasher};
use crate::error::{ExportError, Result};
use crate::scan::{Scan, Sink};

/// Bytes that are written at once.
const PIECE_BYTES: usize = 1 << 20;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    JsonLines,
    Csv,
    /// CSV in which no cell can be a formula.
    SpreadsheetCsv,
    Xml,
}

/// One format: how a row is spelled.
pub trait Spelling: Send {
    fn head(&mut self, out: &mut Vec<u8>);
    fn row(
        &mut self,
        out: &mut Vec<u8>,
        index: u64,
        record: &RawView<'_>,
        meta: &[u8],
        content: Option<&[u8]>,
    ) -> Result<()>;
    fn tail(&mut self, out: &mut Vec<u8>);
}

pub fn spelling(format: Format, contents: bool) -> Box<dyn Spelling> {
    match format {
        Format::JsonLines => Box::new(json::JsonLines::new(contents)),
        Format::Csv => Box::new(csv::Csv::new(false, contents)),
        Format::SpreadsheetCsv => Box::new(csv::Csv::new(true, contents)),
        Format::Xml => Box::new(xml::Xml::new(contents)),
    }
}

/// Write the rows of a scan into a new file at `path`, or to the standard output. Not durable on
/// return. `progress` is told the index that was reached; false stops it.
pub fn write_file(
    scan: &mut Scan,
    format: Format,
    path: Option<&Path>,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Digest> {
    let file: Box<dyn Write> = match path {
        Some(path) => Box::new(OpenOptions::new().write(true).create_new(true).open(path)?),
        None => Box::new(io::stdout().lock()),
    };
    let mut out = Out {
        file,
        hasher: Hasher::default(),
        buffer: Vec::with_capacity(PIECE_BYTES + (64 << 10)),
        meta: Vec::new(),
        spelling: spelling(format, scan.has_contents()),
    };
    out.spelling.head(&mut out.buffer);
    while scan.next_commit(&mut out)? {
        if !progress(scan.summary().position) {
            return Err(ExportError::Stopped);
        }
    }
    out.spelling.tail(&mut out.buffer);
    out.flush()?;
    out.file.flush()?;
    Ok(out.hasher.finish())
}

struct Out {
    file: Box<dyn Write>,
    hasher: Hasher,
    buffer: Vec<u8>,
    meta: Vec<u8>,
    spelling: Box<dyn Spelling>,
}

impl Out {
    fn flush(&mut self) -> Result<()> {
        if std::str::from_utf8(&self.buffer).is_err() {
            return Err(ExportError::Corrupt(
                "a record has a text that is not UTF-8".into(),
            ));
        }
        self.hasher.update(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Sink for Out {
    fn meta(&mut self) -> &mut Vec<u8> {
        self.meta.clear();
        &mut self.meta
    }

    fn row(&mut self, index: u64, record: &RawView<'_>, content: Option<&[u8]>) -> Result<()> {
        self.spelling
            .row(&mut self.buffer, index, record, &self.meta, content)?;
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(())
    }
}
