//! Keys that wrap data keys, for Python, and the hash that the construction of sealing is made of.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use qflow_core::{
    sealing::{self, Sealer, SealingError, WRAPPED_BYTES, slot_bound},
    signature,
};

use crate::errors;
use crate::sealing::{SealingKey, key_bytes};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<WrappingKey>()?;
    module.add("WRAPPED_BYTES", WRAPPED_BYTES)?;
    module.add_function(wrap_pyfunction!(derive_key, module)?)?;
    module.add_function(wrap_pyfunction!(is_public_key, module)?)?;
    module.add_function(wrap_pyfunction!(keyed_hash, module)?)
}

fn refused(number: u64, error: SealingError) -> PyErr {
    errors::VerificationError::new_err(format!("data key {number}: {error}"))
}

#[pyclass(module = "qflow._core", frozen)]
struct WrappingKey(Sealer);

#[pymethods]
impl WrappingKey {
    #[new]
    fn new(seed: &[u8]) -> PyResult<Self> {
        let key = sealing::wrapping_key(key_bytes(seed)?);
        Ok(Self(Sealer::new(&key)))
    }

    #[staticmethod]
    fn of(key: &[u8]) -> PyResult<Self> {
        Ok(Self(Sealer::new(key_bytes(key)?)))
    }

    #[getter]
    fn commitment(&self) -> &[u8] {
        self.0.commitment()
    }

    fn __repr__(&self) -> &'static str {
        "WrappingKey()"
    }

    fn wrap<'py>(
        &self,
        py: Python<'py>,
        number: u64,
        epoch: u64,
        key: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let wrapped = sealing::wrap_key(&self.0, &slot_bound(number, epoch), key_bytes(key)?);
        Ok(PyBytes::new(py, &wrapped))
    }

    fn unwrap(&self, number: u64, epoch: u64, wrapped: &[u8]) -> PyResult<SealingKey> {
        self.unwrap_bound(number, wrapped, &slot_bound(number, epoch))
    }

    fn unwrap_bound(&self, number: u64, wrapped: &[u8], bound: &[u8]) -> PyResult<SealingKey> {
        let key = sealing::unwrap_key(&self.0, bound, wrapped);
        let sealer = Sealer::new(&*key.map_err(|error| refused(number, error))?);
        Ok(SealingKey { number, sealer })
    }

    #[pyo3(signature = (number, wrapped, bound, *, to, to_bound))]
    fn rewrap<'py>(
        &self,
        py: Python<'py>,
        number: u64,
        wrapped: &[u8],
        bound: &[u8],
        to: &Self,
        to_bound: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let again = sealing::rewrap_key((&self.0, bound), wrapped, (&to.0, to_bound));
        Ok(PyBytes::new(
            py,
            &again.map_err(|error| refused(number, error))?,
        ))
    }
}

#[pyfunction]
fn derive_key<'py>(py: Python<'py>, context: &str, key: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &blake3::derive_key(context, key))
}

#[pyfunction]
fn keyed_hash<'py>(
    py: Python<'py>,
    key: &[u8],
    parts: Vec<Bound<'py, PyBytes>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut hasher = blake3::Hasher::new_keyed(key_bytes(key)?);
    for part in &parts {
        hasher.update(part.as_bytes());
    }
    Ok(PyBytes::new(py, hasher.finalize().as_bytes()))
}

#[pyfunction]
fn is_public_key(key: &[u8]) -> bool {
    signature::parse_key(key).is_some()
}
