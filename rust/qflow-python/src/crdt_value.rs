//! Values and paths of documents, from Python and back.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use qflow_core::crdt::path::{PARTS_MAX, PathError};
use qflow_core::crdt::transaction::{Literal, Where};
use qflow_core::crdt::value::{Value, ValueRef};
use qflow_core::encoding::{Reader, Writer};

use crate::crdt::refused;
use crate::encoding::{self, Cid};

/// A path as it was given: a JSON Pointer, or the parts themselves.
pub enum Path<'a> {
    Pointer(&'a str),
    Parts(Vec<Bound<'a, PyString>>),
}

impl<'a> Path<'a> {
    #[inline]
    pub fn of(given: &'a Bound<'_, PyAny>) -> PyResult<Path<'a>> {
        if let Ok(pointer) = given.cast::<PyString>() {
            return Ok(Path::Pointer(pointer.to_str()?));
        }
        Self::of_parts(given)
    }

    #[cold]
    fn of_parts(given: &'a Bound<'_, PyAny>) -> PyResult<Path<'a>> {
        if !given.is_instance_of::<PyTuple>() && !given.is_instance_of::<PyList>() {
            let what = "a path is a str (\"/a/b\") or a sequence of str";
            return Err(PyTypeError::new_err(what));
        }
        let mut parts = Vec::new();
        for part in given.try_iter()? {
            if parts.len() == PARTS_MAX {
                return Err(PyValueError::new_err(PathError::TooDeep.to_string()));
            }
            let part = part?.cast_into::<PyString>();
            parts.push(part.map_err(|_| PyTypeError::new_err("a part of a path is a str"))?);
        }
        Ok(Path::Parts(parts))
    }

    /// Give the path to `take`.
    #[inline]
    pub fn with<R>(&self, take: impl FnOnce(Where<'_>) -> PyResult<R>) -> PyResult<R> {
        match self {
            Path::Pointer(pointer) => take(Where::Pointer(pointer)),
            Path::Parts(parts) => {
                let parts: PyResult<Vec<&str>> = parts.iter().map(|part| part.to_str()).collect();
                take(Where::Parts(&parts?))
            }
        }
    }
}

/// A value that is no map; None for a map. `list` holds the bytes of a list.
#[inline]
pub fn value_of<'a>(
    given: &'a Bound<'_, PyAny>,
    list: &'a mut Writer,
) -> PyResult<Option<ValueRef<'a>>> {
    if given.is_exact_instance_of::<PyInt>() {
        return integer(given).map(|value| Some(ValueRef::Int(value)));
    }
    if let Ok(text) = given.cast::<PyString>() {
        return Ok(Some(ValueRef::Text(text.to_str()?)));
    }
    rarer(given, list)
}

fn rarer<'a>(given: &'a Bound<'_, PyAny>, list: &'a mut Writer) -> PyResult<Option<ValueRef<'a>>> {
    if given.is_none() {
        return Ok(Some(ValueRef::Null));
    }
    if let Ok(value) = given.cast::<PyBool>() {
        return Ok(Some(ValueRef::Bool(value.is_true())));
    }
    if given.cast::<PyInt>().is_ok() {
        return integer(given).map(|value| Some(ValueRef::Int(value)));
    }
    if let Ok(value) = given.cast::<PyFloat>() {
        return finite(value.value()).map(|value| Some(ValueRef::Float(value)));
    }
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(Some(ValueRef::Bytes(bytes.as_bytes())));
    }
    if let Ok(cid) = given.cast::<Cid>() {
        return Ok(Some(ValueRef::Link(&cid.get().bytes)));
    }
    if given.cast::<PyList>().is_ok() || given.cast::<PyTuple>().is_ok() {
        return list_of(given, list).map(Some);
    }
    if given.cast::<PyMapping>().is_ok() {
        return Ok(None);
    }
    Err(unfit(given))
}

/// A list, as one value.
pub fn list_of<'a>(given: &Bound<'_, PyAny>, list: &'a mut Writer) -> PyResult<ValueRef<'a>> {
    encoding::write(list, given, 0)?;
    ValueRef::list(list.as_slice()).map_err(refused)
}

fn unfit(given: &Bound<'_, PyAny>) -> PyErr {
    match given.get_type().name() {
        Ok(kind) => PyTypeError::new_err(format!("a value of type {kind} has no place here")),
        Err(error) => error,
    }
}

fn finite(value: f64) -> PyResult<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(PyValueError::new_err(
        "a float that is not finite has no place in a document",
    ))
}

#[inline]
fn integer(given: &Bound<'_, PyAny>) -> PyResult<i64> {
    given
        .extract()
        .map_err(|_| PyValueError::new_err("an integer beyond 64 bits has no place in a document"))
}

/// By how much to increment: an int, and no bool.
#[inline]
pub fn step(given: &Bound<'_, PyAny>) -> PyResult<i64> {
    if given.is_exact_instance_of::<PyInt>() {
        return integer(given);
    }
    if given.cast::<PyInt>().is_ok() && given.cast::<PyBool>().is_err() {
        return integer(given);
    }
    Err(PyTypeError::new_err("an increment is an int"))
}

/// A map with all that is in it, as `set` and `merge` expand it.
pub fn literal(given: &Bound<'_, PyAny>) -> PyResult<Vec<(String, Literal)>> {
    members(given, 0)
}

fn members(given: &Bound<'_, PyAny>, depth: usize) -> PyResult<Vec<(String, Literal)>> {
    if depth >= PARTS_MAX {
        return Err(refused(PathError::TooDeep));
    }
    let map = match given.cast::<PyDict>() {
        Ok(map) => map.clone(),
        Err(_) => {
            let mapping = given
                .cast::<PyMapping>()
                .map_err(|_| PyTypeError::new_err("what is merged is a mapping"))?;
            let copy = PyDict::new(given.py());
            copy.update(mapping)?;
            copy
        }
    };
    let mut members = Vec::with_capacity(map.len());
    for (name, member) in map.iter() {
        let name = name
            .cast_into::<PyString>()
            .map_err(|_| PyTypeError::new_err("only text can be the key of a map"))?;
        let mut list = Writer::default();
        let member = match value_of(&member, &mut list)? {
            Some(value) => Literal::Value(Value::of(value)),
            None => Literal::Map(self::members(&member, depth + 1)?),
        };
        members.push((name.to_str()?.to_owned(), member));
    }
    Ok(members)
}

/// A value for Python. Lists and maps are new objects each time.
#[inline]
pub fn show<'py>(py: Python<'py>, value: ValueRef<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        ValueRef::Null => py.None().into_bound(py),
        ValueRef::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        ValueRef::Int(value) => value.into_pyobject(py)?.into_any(),
        ValueRef::Float(value) => PyFloat::new(py, value).into_any(),
        ValueRef::Text(value) => PyString::new(py, value).into_any(),
        ValueRef::Bytes(value) => PyBytes::new(py, value).into_any(),
        ValueRef::Link(cid) => Bound::new(py, Cid::new(cid)?)?.into_any(),
        ValueRef::List(items) | ValueRef::Map(items) => {
            encoding::read(py, &mut Reader::new(items), 0)?
        }
    })
}
