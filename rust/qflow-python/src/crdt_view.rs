//! What a document shows, as Python objects.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use qflow_core::crdt::history::{Did, Event};
use qflow_core::crdt::value::ValueRef;
use qflow_core::crdt::view::Visitor;

use crate::crdt_changes::{cid_bytes, operation_bytes};
use crate::crdt_value::show;

enum Open<'py> {
    List(Bound<'py, PyList>),
    Map(Bound<'py, PyDict>, Option<Bound<'py, PyString>>),
}

/// Makes objects of a view, without a tree in between.
pub struct Objects<'py> {
    py: Python<'py>,
    open: Vec<Open<'py>>,
    made: Option<Bound<'py, PyAny>>,
}

impl<'py> Objects<'py> {
    pub fn new(py: Python<'py>) -> Self {
        Self {
            py,
            open: Vec::new(),
            made: None,
        }
    }

    pub fn finish(self, present: bool) -> Option<Bound<'py, PyAny>> {
        self.made.filter(|_| present)
    }

    #[inline]
    fn put(&mut self, value: Bound<'py, PyAny>) -> PyResult<()> {
        match self.open.last_mut() {
            None => self.made = Some(value),
            Some(Open::List(list)) => list.append(value)?,
            Some(Open::Map(map, key)) => {
                if let Some(key) = key.take() {
                    map.set_item(key, value)?;
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> PyResult<()> {
        match self.open.pop() {
            Some(Open::List(list)) => self.put(list.into_any()),
            Some(Open::Map(map, _)) => self.put(map.into_any()),
            None => Ok(()),
        }
    }
}

impl Visitor for Objects<'_> {
    type Error = PyErr;

    #[inline]
    fn value(&mut self, value: ValueRef<'_>) -> PyResult<()> {
        let value = show(self.py, value)?;
        self.put(value)
    }

    fn sum(&mut self, sum: i128) -> PyResult<()> {
        let sum = integer(self.py, sum)?;
        self.put(sum)
    }

    fn enter_list(&mut self, _len: usize) -> PyResult<()> {
        self.open.push(Open::List(PyList::empty(self.py)));
        Ok(())
    }

    fn leave_list(&mut self) -> PyResult<()> {
        self.leave()
    }

    fn enter_map(&mut self, _len: usize) -> PyResult<()> {
        self.open.push(Open::Map(PyDict::new(self.py), None));
        Ok(())
    }

    #[inline]
    fn key(&mut self, key: &str) -> PyResult<()> {
        if let Some(Open::Map(_, waiting)) = self.open.last_mut() {
            *waiting = Some(PyString::new(self.py, key));
        }
        Ok(())
    }

    fn leave_map(&mut self) -> PyResult<()> {
        self.leave()
    }
}

/// A sum, which is rarely beyond 64 bits.
pub fn integer<'py>(py: Python<'py>, sum: i128) -> PyResult<Bound<'py, PyAny>> {
    match i64::try_from(sum) {
        Ok(sum) => Ok(sum.into_pyobject(py)?.into_any()),
        Err(_) => Ok(sum.into_pyobject(py)?.into_any()),
    }
}

/// An operation of the past.
pub fn event<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyDict>> {
    let made = PyDict::new(py);
    made.set_item("path", &event.path)?;
    made.set_item("kind", event.did.name())?;
    let value = match &event.did {
        Did::Set(value) => show(py, value.get())?,
        Did::Increment(by) => by.into_pyobject(py)?.into_any(),
        Did::Append(elements) => {
            let elements: PyResult<Vec<_>> = elements
                .iter()
                .map(|element| show(py, element.get()))
                .collect();
            PyList::new(py, elements?)?.into_any()
        }
        Did::SetMap | Did::Delete | Did::Map => py.None().into_bound(py),
    };
    made.set_item("value", value)?;
    made.set_item("replica", PyBytes::new(py, &event.replica))?;
    made.set_item("seq", event.seq)?;
    made.set_item("lamport", event.lamport)?;
    made.set_item("operation", operation_bytes(py, &event.operation))?;
    made.set_item("change", cid_bytes(py, &event.change))?;
    Ok(made)
}
