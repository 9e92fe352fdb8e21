//! Ed25519 for Python.

use pyo3::prelude::*;
use qflow_core::signature;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(verify_signature, module)?)
}

#[pyfunction]
fn verify_signature(py: Python<'_>, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    py.detach(|| signature::verify(public_key, message, signature))
}
