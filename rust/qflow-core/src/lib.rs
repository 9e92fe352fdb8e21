//! The pure half of Qflow: bytes in, decisions out. No I/O, clock, chance, Python or async runtime.
#![forbid(unsafe_code)]

pub mod blocks;
pub mod chain;
pub mod chunks;
pub mod clock;
pub mod crdt;
pub mod encoding;
pub mod expression;
pub mod log;
pub mod mac;
pub mod sealing;
pub mod signature;
