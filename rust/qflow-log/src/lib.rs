//! The durable append-only tile log: group commit, fsync, read-back. Files only.
//!
//! The journal is the truth; tiles and the checkpoint file follow from it. The bytes of all of them
//! are in docs/formats/log.md.
#![forbid(unsafe_code)]

mod error;
mod frame;
mod journal;
mod lock;
mod log;
mod publish;
mod queue;
mod reader;
mod recover;
mod segment;
mod shared;
mod tail;
mod tiles;
mod verify;
mod writer;

pub use error::{LogError, Result};
pub use frame::{BLOCK_BYTES_MAX, CID_BYTES_MAX};
pub use journal::{BlockAt, RecordAt, Scan};
pub use log::{Completion, Log, Options};
pub use reader::LogReader;
pub use verify::{Finding, Report, verify_log};
