//! A scan as a stream of Arrow batches, for the C stream interface.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};

use crate::columns::{Columns, Target, schema};
use crate::error::{ExportError, Result};
use crate::scan::{Scan, Summary};

/// Bytes of text after which a batch ends, however few rows it has.
const BATCH_TEXT_BYTES: usize = 32 << 20;

/// Batches of at least `rows` rows, a whole number of commits each, and what is left at the end.
pub struct Batches {
    scan: Scan,
    columns: Columns,
    schema: SchemaRef,
    rows: usize,
    seen: Arc<Mutex<Seen>>,
}

/// What can be seen of a stream from outside.
#[derive(Default)]
pub struct Seen {
    /// What the batches that were given have.
    pub summary: Summary,
    /// Why it ended: the stream itself can carry no more than a text.
    pub failed: Option<ExportError>,
}

impl Batches {
    #[must_use]
    pub fn new(scan: Scan, target: Target, rows: usize) -> Self {
        let contents = scan.has_contents();
        let seen = Seen {
            summary: scan.summary().clone(),
            failed: None,
        };
        Self {
            scan,
            columns: Columns::new(target, contents),
            schema: schema(target, contents),
            rows,
            seen: Arc::new(Mutex::new(seen)),
        }
    }

    /// For whoever looks from outside.
    #[must_use]
    pub fn seen(&self) -> Arc<Mutex<Seen>> {
        self.seen.clone()
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        while self.columns.len() < self.rows && self.columns.text_bytes() < BATCH_TEXT_BYTES {
            if !self.scan.next_commit(&mut self.columns)? {
                break;
            }
        }
        if self.columns.len() == 0 {
            return Ok(None);
        }
        let batch = self.columns.finish();
        batch.map(Some).map_err(|error| match error {
            // Names are checked all at once.
            ArrowError::InvalidArgumentError(what) => ExportError::Invalid(what),
            other => ExportError::Corrupt(other.to_string()),
        })
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.summary = self.scan.summary().clone();
        let next = next.map_err(|error| {
            let what = error.to_string();
            seen.failed = Some(error);
            ArrowError::ComputeError(what)
        });
        next.transpose()
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
