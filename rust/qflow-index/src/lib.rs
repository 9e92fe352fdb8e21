//! What the index of a log is made of, and what a query asks for. Pure: bytes in, rows out.
//!
//! Why it is made so: docs/decisions/0013-the-record-index.md.
#![forbid(unsafe_code)]

mod chunk;
mod execution;
mod filter;
mod fold;
mod packed;
mod pattern;
mod place;
mod words;

pub use chunk::{CHUNK_RECORDS, Chunk, Field, Tally, names, tallies};
pub use execution::{Execution, Standing, Status};
pub use filter::{Asked, Filter, FilterError, FlowPattern};
pub use fold::{Batch, BlockIn, Fold, FoldError, Part, RecordIn};
pub use packed::spread;
pub use pattern::Pattern;
pub use place::{
    Place, SPAN_CHUNKS, extend_span, pack_addresses, pack_run, select_chunks, unpack_addresses,
    unpack_run,
};
pub use words::{WORD_CHARS_MAX, each_word, indexed};
