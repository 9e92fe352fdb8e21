//! The values in a record, as text.

use qflow_core::encoding::Reader;

use crate::dagjson::to_json;
use crate::error::{ExportError, Result};

/// Append the DAG-JSON of the payload of the record at `index`.
pub fn push_value(out: &mut Vec<u8>, index: u64, cbor: &[u8]) -> Result<()> {
    let mut reader = Reader::new(cbor);
    let read = to_json(out, &mut reader, 0).and_then(|()| reader.finish());
    read.map_err(|error| ExportError::Corrupt(format!("record {index}: {error}")))
}
