//! `qflow._core`: convert, release the GIL, call, convert. No logic lives here.

use pyo3::prelude::*;

mod blocks;
mod chain;
mod clock;
mod crdt;
mod crdt_changes;
mod crdt_transaction;
mod crdt_value;
mod crdt_view;
mod encoding;
mod errors;
mod export;
mod expression;
mod index;
mod log;
mod proof;
mod rows;
mod sealing;
mod signature;
mod tree;
mod verify;
mod wrapping;

/// The Rust half of Qflow.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    encoding::register(module)?;
    blocks::register(module)?;
    chain::register(module)?;
    crdt::register(module)?;
    clock::register(module)?;
    rows::register(module)?;
    sealing::register(module)?;
    signature::register(module)?;
    export::register(module)?;
    expression::register(module)?;
    index::register(module)?;
    log::register(module)?;
    proof::register(module)?;
    tree::register(module)?;
    verify::register(module)?;
    wrapping::register(module)
}
