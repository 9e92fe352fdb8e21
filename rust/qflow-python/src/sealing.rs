//! Sealing for Python. Keys stay here: what Python holds of one is an object that cannot show it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use qflow_core::sealing::{self, KEY_BYTES, Place, Sealer, SealingError, WRAPPED_BYTES};

use crate::errors;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SealingKey>()?;
    module.add_class::<WrappingKey>()?;
    module.add("WRAPPED_BYTES", WRAPPED_BYTES)?;
    module.add_function(wrap_pyfunction!(sealed_with, module)?)
}

fn refused(error: SealingError) -> PyErr {
    errors::VerificationError::new_err(format!("a sealed payload: {error}"))
}

fn key_bytes(bytes: &[u8]) -> PyResult<&[u8; KEY_BYTES]> {
    bytes
        .try_into()
        .map_err(|_| PyValueError::new_err("a key has 32 bytes"))
}

#[pyclass(module = "qflow._core", frozen)]
pub struct SealingKey {
    pub number: u64,
    pub sealer: Sealer,
}

#[pymethods]
impl SealingKey {
    #[new]
    fn new(number: u64, key: &[u8]) -> PyResult<Self> {
        let sealer = Sealer::new(key_bytes(key)?);
        Ok(Self { number, sealer })
    }

    #[getter]
    fn number(&self) -> u64 {
        self.number
    }

    fn __repr__(&self) -> String {
        format!("SealingKey({})", self.number)
    }

    #[pyo3(signature = (text, *, subnet, chain, seq, epoch, prev))]
    #[allow(clippy::too_many_arguments)] // one argument for each part of the place
    fn seal<'py>(
        &self,
        py: Python<'py>,
        text: &[u8],
        subnet: &str,
        chain: [u8; 16],
        seq: u64,
        epoch: u64,
        prev: [u8; 32],
    ) -> Bound<'py, PyBytes> {
        let place = Place {
            subnet,
            chain: &chain,
            seq,
            epoch,
            prev: &prev,
        };
        let block = py.detach(|| sealing::seal_payload(&self.sealer, self.number, &place, text));
        PyBytes::new(py, &block)
    }

    #[pyo3(signature = (block, *, subnet, chain, seq, epoch, prev))]
    #[allow(clippy::too_many_arguments)] // one argument for each part of the place
    fn unseal<'py>(
        &self,
        py: Python<'py>,
        block: &[u8],
        subnet: &str,
        chain: [u8; 16],
        seq: u64,
        epoch: u64,
        prev: [u8; 32],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let place = Place {
            subnet,
            chain: &chain,
            seq,
            epoch,
            prev: &prev,
        };
        let text = py
            .detach(|| sealing::unseal_payload(&self.sealer, &place, block))
            .map_err(refused)?;
        Ok(PyBytes::new(py, &text))
    }
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
        let wrapped = sealing::wrap_key(&self.0, number, epoch, key_bytes(key)?);
        Ok(PyBytes::new(py, &wrapped))
    }

    fn unwrap(&self, number: u64, epoch: u64, wrapped: &[u8]) -> PyResult<SealingKey> {
        let key = sealing::unwrap_key(&self.0, number, epoch, wrapped).map_err(|error| {
            errors::VerificationError::new_err(format!("data key {number}: {error}"))
        })?;
        let sealer = Sealer::new(&key);
        Ok(SealingKey { number, sealer })
    }
}

#[pyfunction]
fn sealed_with(block: &[u8]) -> PyResult<u64> {
    sealing::sealed_with(block).map_err(refused)
}
