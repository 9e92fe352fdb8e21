//! What can go wrong.

use std::io;

use qflow_log::LogError;

/// An export or a check that came to no end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The log's records are not what the format says.
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    Invalid(String),
    /// Whoever asked wants no more.
    #[error("stopped")]
    Stopped,
}

pub type Result<T, E = ExportError> = std::result::Result<T, E>;
