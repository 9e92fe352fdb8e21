//! Open transactions for Python.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use qflow_core::crdt::document::Document;
use qflow_core::crdt::seal::SealError;
use qflow_core::crdt::transaction::{Draft, Ground, WriteError};
use qflow_core::crdt::value::{Elements, ValueRef};
use qflow_core::encoding::Writer;

use crate::crdt::{Shared, fixed, lock, refused, sound};
use crate::crdt_changes::CheckedChanges;
use crate::crdt_value::{Path, list_of, literal, step, value_of};
use crate::crdt_view::Objects;
use crate::errors::TypeMismatchError;

/// What a replica writes before it is signed.
#[pyclass(module = "qflow._core")]
pub struct CrdtTransaction {
    shared: Shared,
    draft: Option<Draft>,
}

impl CrdtTransaction {
    pub fn new(shared: Shared, key: u64) -> Self {
        Self {
            shared,
            draft: Some(Draft::new(key)),
        }
    }

    #[inline]
    fn parts<'a, 'py>(&'a mut self, py: Python<'py>) -> PyResult<(&'a mut Draft, Held<'a, 'py>)> {
        let Some(draft) = &mut self.draft else {
            return Err(PyValueError::new_err("the transaction is closed"));
        };
        Ok((
            draft,
            Held {
                py,
                shared: &self.shared,
            },
        ))
    }
}

/// The document under its lock, with the GIL.
struct Held<'a, 'py> {
    py: Python<'py>,
    shared: &'a Shared,
}

impl Ground for Held<'_, '_> {
    fn look<R>(&self, look: impl FnOnce(&mut Document) -> R) -> R {
        look(&mut lock(self.py, self.shared))
    }
}

#[cold]
fn failed(error: WriteError) -> PyErr {
    match error {
        WriteError::Mismatch { .. } => TypeMismatchError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

#[pymethods]
impl CrdtTransaction {
    fn set(
        &mut self,
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (draft, ground) = self.parts(py)?;
        let path = Path::of(path)?;
        let mut list = Writer::default();
        match value_of(value, &mut list)? {
            Some(value) => path.with(|at| draft.set(&ground, at, value).map_err(failed)),
            None => {
                let members = literal(value)?;
                path.with(|at| draft.set_map(&ground, at, &members).map_err(failed))
            }
        }
    }

    fn delete(&mut self, py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<()> {
        let (draft, ground) = self.parts(py)?;
        Path::of(path)?.with(|at| draft.delete(&ground, at).map_err(failed))
    }

    #[pyo3(signature = (path, by = None), text_signature = "($self, path, by=1)")]
    fn increment(
        &mut self,
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        by: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (draft, ground) = self.parts(py)?;
        let by = by.map_or(Ok(1), step)?;
        Path::of(path)?.with(|at| draft.increment(&ground, at, by).map_err(failed))
    }

    #[pyo3(signature = (path, *values))]
    fn append(
        &mut self,
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        values: &Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        let (draft, ground) = self.parts(py)?;
        let path = Path::of(path)?;
        let mut list = Writer::default();
        if values.len() == 1 {
            let only = values.get_item(0)?;
            if let Some(value) = value_of(&only, &mut list)? {
                let elements = Elements::one(value);
                return path.with(|at| draft.append(&ground, at, elements).map_err(failed));
            }
        }
        let ValueRef::List(items) = list_of(values.as_any(), &mut list)? else {
            return Ok(());
        };
        let elements = Elements::of_list(items).map_err(refused)?;
        path.with(|at| draft.append(&ground, at, elements).map_err(failed))
    }

    fn merge(
        &mut self,
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        mapping: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (draft, ground) = self.parts(py)?;
        let members = literal(mapping)?;
        Path::of(path)?.with(|at| draft.merge(&ground, at, &members).map_err(failed))
    }

    #[pyo3(
        signature = (path = None, default = None),
        text_signature = "($self, path='', default=None)"
    )]
    fn get<'py>(
        &mut self,
        py: Python<'py>,
        path: Option<&Bound<'py, PyAny>>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (draft, ground) = self.parts(py)?;
        let mut objects = Objects::new(py);
        let root = pyo3::types::PyString::new(py, "").into_any();
        let path = Path::of(path.unwrap_or(&root))?;
        let present = path.with(|at| draft.view(&ground, at, &mut objects).map_err(failed)?)?;
        Ok(objects
            .finish(present)
            .or(default)
            .unwrap_or_else(|| py.None().into_bound(py)))
    }

    #[pyo3(signature = (seed, op = None))]
    fn close(
        &mut self,
        py: Python<'_>,
        seed: &[u8],
        op: Option<&[u8]>,
    ) -> PyResult<CheckedChanges> {
        let seed = fixed(seed, "a seed")?;
        if op.is_some_and(|op| op.is_empty() || op.len() > 64) {
            return Err(PyValueError::new_err("an operation id has 1 to 64 bytes"));
        }
        self.parts(py)?;
        let Some(draft) = self.draft.take() else {
            return Err(refused("closed"));
        };
        let shared = &self.shared;
        py.detach(|| {
            let (unsigned, doc) = {
                let mut document = sound(shared.lock());
                (document.close(draft, op, &seed)?, *document.doc())
            };
            Ok(CheckedChanges::signed(doc, unsigned.sign()?))
        })
        .map_err(|error: SealError| refused(error))
    }

    fn __len__(&self) -> usize {
        self.draft.as_ref().map_or(0, Draft::len)
    }
}
