//! The durable append-only tile log: group commit, fsync, read-back. Files only.
#![forbid(unsafe_code)]
