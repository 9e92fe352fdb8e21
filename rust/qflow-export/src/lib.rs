//! A log's records as rows: out as Arrow batches, JSON lines, CSV and XML, and from those back to
//! the very bytes of the records.
//!
//! The formats are in docs/formats/export.md. Memory is that of one batch, whatever the length of
//! the log.
#![forbid(unsafe_code)]

mod check;
mod columns;
mod dagjson;
mod digest;
mod error;
mod interner;
mod parts;
mod read;
mod scan;
mod stream;
mod text;
mod texts;
mod value;
mod write;

pub use check::{Check, Checked, Complete, Finding};
pub use columns::{Target, schema};
pub use dagjson::{from_json, to_json};
pub use digest::{Digest, hash_file};
pub use error::{ExportError, Result};
pub use parts::Parts;
pub use read::{BadRow, BatchRows, TextRows};
pub use scan::{Contents, Scan, Selection, Sink, Summary};
pub use stream::{Batches, Seen};
pub use write::{Format, write_file};
