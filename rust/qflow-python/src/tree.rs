//! The RFC 6962 tree over records that are at hand, for Python.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use qflow_core::log::{Frontier, Hash, leaf_hash};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Tree>()
}

#[pyclass(module = "qflow._core")]
#[derive(Default)]
struct Tree {
    frontier: Frontier,
}

#[pymethods]
impl Tree {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[getter]
    fn size(&self) -> u64 {
        self.frontier.size()
    }

    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.frontier.root())
    }

    fn extend(&mut self, py: Python<'_>, records: Vec<PyBackedBytes>) {
        let frontier = &mut self.frontier;
        py.detach(|| {
            let hashes: Vec<Hash> = records.iter().map(|record| leaf_hash(record)).collect();
            frontier.extend_with(&hashes, |_, _| ());
        });
    }
}
