//! What can go wrong, in the words of `qflow.errors`.

use std::io;

/// The result of anything that touches the log.
pub type Result<T> = std::result::Result<T, LogError>;

/// Why the log refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process holds the log. Nothing was touched.
    #[error("the log is held by another process")]
    Locked,
    /// A durable write failed; nothing more is written until the log is opened again.
    #[error("the log takes no more writes: {0}")]
    Poisoned(String),
    /// A bounded queue is full. Nothing was taken; a retry is safe.
    #[error("the log's queue is full: {0}")]
    Busy(&'static str),
    /// The files are not what was written. Nothing was changed.
    #[error("{0}")]
    Corrupt(String),
    /// The caller asked for something that cannot be. Nothing was taken.
    #[error("{0}")]
    Invalid(String),
    /// What was to be proven is not so. Nothing was changed.
    #[error("{0}")]
    Unproven(String),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for LogError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A corrupt file, said where.
pub(crate) fn corrupt<T>(what: impl Into<String>) -> Result<T> {
    Err(LogError::Corrupt(what.into()))
}
