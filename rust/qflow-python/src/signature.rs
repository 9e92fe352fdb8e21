//! Ed25519 and HMAC-SHA-256 for Python.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use qflow_core::{mac, signature};

/// Of one call. The caller holds the bytes; only pointers to them are made here.
const BATCH_MAX: usize = 1 << 20;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(sign, module)?)?;
    module.add_function(wrap_pyfunction!(verify_signature, module)?)?;
    module.add_function(wrap_pyfunction!(verify_signatures, module)?)?;
    module.add_function(wrap_pyfunction!(verify_hmacs, module)?)
}

#[pyfunction]
fn sign<'py>(py: Python<'py>, seed: &[u8], message: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let seed = seed
        .try_into()
        .map_err(|_| PyValueError::new_err("a seed has 32 bytes"))?;
    Ok(PyBytes::new(
        py,
        &py.detach(|| signature::sign(seed, message)),
    ))
}

#[pyfunction]
fn verify_signature(py: Python<'_>, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    py.detach(|| signature::verify(public_key, message, signature))
}

#[pyfunction]
fn verify_signatures(
    py: Python<'_>,
    keys: Vec<PyBackedBytes>,
    messages: Vec<PyBackedBytes>,
    signatures: Vec<PyBackedBytes>,
) -> PyResult<Vec<bool>> {
    let claims = claims(&keys, &messages, &signatures)?;
    Ok(py.detach(|| signature::verify_all(&claims)))
}

#[pyfunction]
#[pyo3(signature = (keys, messages, tags, *, tag_bytes = 32))]
fn verify_hmacs(
    py: Python<'_>,
    keys: Vec<PyBackedBytes>,
    messages: Vec<PyBackedBytes>,
    tags: Vec<PyBackedBytes>,
    tag_bytes: usize,
) -> PyResult<Vec<bool>> {
    if !(mac::TAG_BYTES_MIN..=mac::TAG_BYTES).contains(&tag_bytes) {
        return Err(PyValueError::new_err("tag_bytes is from 16 to 32"));
    }
    let claims = claims(&keys, &messages, &tags)?;
    Ok(py.detach(|| mac::verify_all(&claims, tag_bytes)))
}

/// The three columns as rows. Refused when they are not of one length, or too long.
fn claims<'a>(
    keys: &'a [PyBackedBytes],
    messages: &'a [PyBackedBytes],
    proofs: &'a [PyBackedBytes],
) -> PyResult<Vec<signature::Claim<'a>>> {
    if keys.len() != messages.len() || keys.len() != proofs.len() {
        let what = "keys, messages and what proves them are not of one number";
        return Err(PyValueError::new_err(what));
    }
    if keys.len() > BATCH_MAX {
        let what = format!("{} at once; at most {BATCH_MAX}", keys.len());
        return Err(PyValueError::new_err(what));
    }
    let rows = keys.iter().zip(messages).zip(proofs);
    Ok(rows
        .map(|((key, message), proof)| (&**key, &**message, &**proof))
        .collect())
}
