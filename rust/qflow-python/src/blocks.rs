//! Blocks by their CIDs, for Python.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use qflow_core::blocks;

/// Of one call. The caller holds the bytes; only pointers to them are made here.
const BATCH_MAX: usize = 1 << 20;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(check_blocks, module)?)?;
    module.add_function(wrap_pyfunction!(block_links, module)?)
}

#[pyfunction]
fn check_blocks(
    py: Python<'_>,
    blocks: Vec<(PyBackedBytes, PyBackedBytes)>,
) -> PyResult<Vec<bool>> {
    if blocks.len() > BATCH_MAX {
        let what = format!("{} at once; at most {BATCH_MAX}", blocks.len());
        return Err(PyValueError::new_err(what));
    }
    let claims: Vec<blocks::Claim<'_>> =
        blocks.iter().map(|(cid, data)| (&**cid, &**data)).collect();
    Ok(py.detach(|| blocks::check_blocks(&claims)))
}

#[pyfunction]
fn block_links<'py>(
    py: Python<'py>,
    cid: &[u8],
    data: &[u8],
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let links =
        blocks::block_links(cid, data).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(links.into_iter().map(|cid| PyBytes::new(py, cid)).collect())
}
