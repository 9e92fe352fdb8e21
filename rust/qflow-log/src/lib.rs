//! The durable append-only tile log: group commit, fsync, read-back. Files only.
//!
//! The journal is the truth; tiles and the checkpoint file follow from it. The bytes of all of them
//! are in docs/formats/log.md.
#![forbid(unsafe_code)]

mod error;
mod frame;
mod frames;
mod journal;
mod lock;
mod log;
mod open;
mod proofs;
mod prune;
mod pruned;
mod publish;
mod queue;
mod reader;
mod recover;
mod segment;
mod shared;
mod tail;
mod tiles;
mod verify;
mod witnessed;
mod writer;

pub use error::{LogError, Result};
pub use frame::{BLOCK_BYTES_MAX, CID_BYTES_MAX};
pub use frames::{Commit, Frames};
pub use journal::{BlockAt, RecordAt, Scan};
pub use log::{Completion, Log, Options};
pub use proofs::{consistency_proof, inclusion_proof, make_receipt, root_at};
pub use reader::LogReader;
pub use verify::{Ask, Finding, Report, verify_log};
