//! `qflow._core`: convert, release the GIL, call, convert. No logic lives here.

use pyo3::prelude::*;

/// The Rust half of Qflow.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
