//! `qflow._core`: convert, release the GIL, call, convert. No logic lives here.

use pyo3::prelude::*;

mod chain;
mod encoding;
mod errors;
mod expression;
mod log;
mod signature;

/// The Rust half of Qflow.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    encoding::register(module)?;
    chain::register(module)?;
    signature::register(module)?;
    expression::register(module)?;
    log::register(module)
}
