//! Records and the hash chain that an execution's records form.

mod begun;
mod ids;
mod record;
mod runs;
mod verifier;

pub use begun::Begun;
pub use record::{RawView, Record, RecordError, RecordOf, RecordView};
pub use runs::{Run, Runs};
pub use verifier::{ChainError, Doubt, Live, Verifier};

use sha2::{Digest, Sha256};

/// Bytes of one record: 256 of them, a full entry bundle, then fit a block.
pub const RECORD_BYTES_MAX: usize = 8_000;

/// What the first record of a chain names as the one before.
pub const GENESIS: [u8; 32] = [0; 32];

/// The hash of a record: the RFC 6962 leaf hash, SHA-256 of a zero byte and the record.
///
/// The next record of the chain names it, and it is the record's leaf in the log: hashing a record
/// once serves both.
#[must_use]
pub fn leaf_hash(record: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update([0])
        .chain_update(record)
        .finalize()
        .into()
}

/// Whether a record of this type is the last of its chain.
#[must_use]
pub fn is_terminal(kind: &str) -> bool {
    matches!(
        kind,
        "q.qflow.exec.completed.v1" | "q.qflow.exec.faulted.v1" | "q.qflow.exec.aborted.v1"
    )
}
