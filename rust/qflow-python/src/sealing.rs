//! Sealing for Python. Keys stay here: what Python holds of one is an object that cannot show it.

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMapping};
use qflow_core::encoding;
use qflow_core::sealing::{
    self, Block, KEY_BYTES, Owner, Place, Root, SEAL_BYTES, STATE_BYTES_MAX, Sealer, SealingError,
    StateError,
};

use crate::errors;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SealingKey>()?;
    module.add_function(wrap_pyfunction!(sealed_with, module)?)?;
    module.add_function(wrap_pyfunction!(state_parts, module)?)?;
    module.add("STATE_BYTES_MAX", STATE_BYTES_MAX)
}

fn refused(error: SealingError) -> PyErr {
    errors::VerificationError::new_err(format!("a sealed payload: {error}"))
}

pub fn key_bytes(bytes: &[u8]) -> PyResult<&[u8; KEY_BYTES]> {
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

    #[pyo3(signature = (text, *, bound))]
    fn seal_bytes<'py>(
        &self,
        py: Python<'py>,
        text: &[u8],
        bound: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        PyBytes::new_with(py, text.len() + SEAL_BYTES, |sealed| {
            py.detach(|| self.sealer.seal_into(bound, text, sealed));
            Ok(())
        })
    }

    #[pyo3(signature = (sealed, *, bound))]
    fn unseal_bytes<'py>(
        &self,
        py: Python<'py>,
        sealed: &[u8],
        bound: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let refused = |error: SealingError| {
            errors::VerificationError::new_err(format!("sealed bytes: {error}"))
        };
        let length = sealed.len().checked_sub(SEAL_BYTES);
        let length = length.ok_or_else(|| refused(SealingError::Malformed))?;
        PyBytes::new_with(py, length, |text| {
            py.detach(|| self.sealer.unseal_into(bound, sealed, text))
                .map_err(refused)
        })
    }

    #[pyo3(signature = (text, *, subnet, chain))]
    fn seal_state<'py>(
        &self,
        py: Python<'py>,
        text: &[u8],
        subnet: &str,
        chain: [u8; 16],
    ) -> PyResult<(Bound<'py, PyBytes>, Vec<PyBlock<'py>>)> {
        let owner = Owner {
            subnet,
            chain: &chain,
        };
        let blocks = py
            .detach(|| sealing::seal_state(&self.sealer, self.number, &owner, text))
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let block = |block: Block| {
            let cid = PyBytes::new(py, &block.cid);
            (cid, PyBytes::new(py, &block.data))
        };
        let blocks: Vec<_> = blocks.into_iter().map(block).collect();
        let (root, _) = blocks.last().expect("the root is a block");
        Ok((root.clone(), blocks))
    }

    #[pyo3(signature = (root, blocks, *, subnet, chain))]
    fn unseal_state<'py>(
        &self,
        py: Python<'py>,
        root: &[u8],
        blocks: &Bound<'py, PyMapping>,
        subnet: &str,
        chain: [u8; 16],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let owner = Owner {
            subnet,
            chain: &chain,
        };
        let block = block_of(blocks, root)?;
        let root = Root::open(root, block.as_bytes()).map_err(state_refused)?;
        let parts = root.parts.iter().map(|cid| block_of(blocks, cid));
        let parts = parts.collect::<PyResult<Vec<_>>>()?;
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        root.check_lengths(&parts).map_err(state_refused)?;
        PyBytes::new_with(py, root.size, |text| {
            py.detach(|| root.unseal(&self.sealer, &owner, &parts, text))
                .map_err(state_refused)
        })
    }
}

/// A block for Python: its CID, its bytes.
type PyBlock<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);

fn state_refused(error: StateError) -> PyErr {
    errors::VerificationError::new_err(format!("a sealed state: {error}"))
}

fn block_of<'py>(blocks: &Bound<'py, PyMapping>, cid: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let py = blocks.py();
    let block = blocks.get_item(PyBytes::new(py, cid)).map_err(|error| {
        if !error.is_instance_of::<PyKeyError>(py) {
            return error;
        }
        let what = match encoding::parse_cid(cid) {
            Some(cid) => format!("a sealed state: block {cid} is missing"),
            None => "a sealed state: its name is no CID".to_owned(),
        };
        errors::VerificationError::new_err(what)
    })?;
    Ok(block.cast_into::<PyBytes>()?)
}

#[pyfunction]
fn sealed_with(block: &[u8]) -> PyResult<u64> {
    sealing::sealed_with(block).map_err(refused)
}

#[pyfunction]
fn state_parts<'py>(py: Python<'py>, block: &[u8]) -> PyResult<(usize, Vec<Bound<'py, PyBytes>>)> {
    let root = sealing::parse_root(block)
        .map_err(|error| PyValueError::new_err(format!("the root of a state: {error}")))?;
    let parts = root.parts.iter().map(|cid| PyBytes::new(py, cid));
    Ok((root.size, parts.collect()))
}
