//! Runtime expressions for Python: values are converted without a text in between.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use qflow_core::encoding::DEPTH_MAX;
use qflow_core::expression::{self as core, Inputs, Map, Value};

use crate::errors::ExpressionError;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Expression>()
}

fn refused(error: core::ExpressionError) -> PyErr {
    ExpressionError::new_err(error.to_string())
}

#[pyclass(module = "qflow._core", frozen)]
struct Expression {
    inner: core::Expression,
    variables: Vec<Py<PyString>>,
    reads: Vec<Read>,
}

/// A path of keys, from a variable or from the input.
struct Read {
    variable: Option<Py<PyString>>,
    keys: Vec<Py<PyString>>,
}

#[pymethods]
impl Expression {
    #[new]
    fn new(py: Python<'_>, source: &str, variables: Vec<String>) -> PyResult<Self> {
        let inner = py
            .detach(|| core::Expression::new(source, &variables))
            .map_err(refused)?;
        let intern = |name: &String| PyString::intern(py, name).unbind();
        let variables = inner.variables().iter().map(intern).collect();
        let reads = inner.reads().iter().map(|read| Read {
            variable: read.variable.as_ref().map(intern),
            keys: read.keys.iter().map(intern).collect(),
        });
        let reads = reads.collect();
        Ok(Self {
            inner,
            variables,
            reads,
        })
    }

    #[getter]
    fn variables<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.variables)
    }

    #[getter]
    fn reads<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let paths = self.reads.iter().filter_map(|read| {
            let name = read.variable.as_ref()?;
            Some((name, PyTuple::new(py, &read.keys)))
        });
        let paths: PyResult<Vec<_>> = paths.map(|(name, keys)| Ok((name, keys?))).collect();
        PyTuple::new(py, paths?)
    }

    fn evaluate<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        variables: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        let reads = self.reached(value, variables)?;
        if let (true, Some([read])) = (self.inner.is_read(), reads.as_deref()) {
            return Ok(read.clone());
        }
        let inputs = match reads {
            Some(reads) => Inputs::Parts {
                input: self
                    .inner
                    .reads_input()
                    .then(|| from_python(value, 0))
                    .transpose()?,
                reads: reads
                    .iter()
                    .map(|read| from_python(read, 0))
                    .collect::<PyResult<_>>()?,
            },
            None => self.whole(value, variables)?,
        };
        match self.inner.evaluate(inputs).map_err(refused)? {
            Some(value) => to_python(py, &value),
            None => Ok(py.None().into_bound(py)),
        }
    }
}

impl Expression {
    /// What the expression asks for; None when a path leads through what is no object.
    fn reached<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        variables: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
        let mut reached = Vec::with_capacity(self.reads.len());
        for read in &self.reads {
            let mut at = match &read.variable {
                Some(name) => variable(variables, name.bind(value.py()))?,
                None => value.clone(),
            };
            for key in &read.keys {
                match member(&at, key.bind(value.py()))? {
                    Some(member) => at = member,
                    None => return Ok(None),
                }
            }
            reached.push(at);
        }
        Ok(Some(reached))
    }

    fn whole(&self, value: &Bound<'_, PyAny>, variables: &Bound<'_, PyAny>) -> PyResult<Inputs> {
        let bound = self
            .variables
            .iter()
            .map(|name| from_python(&variable(variables, name.bind(value.py()))?, 0));
        Ok(Inputs::Whole {
            variables: bound.collect::<PyResult<_>>()?,
            input: from_python(value, 0)?,
        })
    }
}

/// A member of an object; null where it has none, and where the object is null.
fn member<'py>(
    object: &Bound<'py, PyAny>,
    key: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Ok(dict) = object.cast::<PyDict>() {
        let member = dict.get_item(key)?;
        return Ok(Some(
            member.unwrap_or_else(|| object.py().None().into_bound(object.py())),
        ));
    }
    Ok(object.is_none().then(|| object.clone()))
}

fn variable<'py>(
    variables: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    variables.get_item(name).map_err(|error| {
        if error.is_instance_of::<PyKeyError>(variables.py()) {
            return ExpressionError::new_err(format!("the variable ${name} has no value here"));
        }
        error
    })
}

fn from_python(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Value::text(text.to_str()?));
    }
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(value) = value.cast::<PyBool>() {
        return Ok(Value::Bool(value.is_true()));
    }
    if let Ok(value) = value.cast::<PyInt>() {
        return from_integer(value);
    }
    if let Ok(map) = value.cast::<PyDict>() {
        return from_dict(map, nested(depth)?);
    }
    if let Ok(list) = value.cast::<PyList>() {
        return from_items(list.len(), list.iter(), nested(depth)?);
    }
    if let Ok(value) = value.cast::<PyFloat>() {
        return Ok(Value::Float(value.value()));
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return from_items(tuple.len(), tuple.iter(), nested(depth)?);
    }
    if let Ok(mapping) = value.cast::<PyMapping>() {
        let copy = PyDict::new(value.py());
        copy.update(mapping)?;
        return from_dict(&copy, nested(depth)?);
    }
    let kind = value.get_type().name()?;
    Err(ExpressionError::new_err(format!(
        "an expression cannot read a value of type {kind}"
    )))
}

fn nested(depth: usize) -> PyResult<usize> {
    if depth >= DEPTH_MAX {
        let what = format!("an expression cannot read a value nested more than {DEPTH_MAX} deep");
        return Err(ExpressionError::new_err(what));
    }
    Ok(depth + 1)
}

fn from_integer(value: &Bound<'_, PyInt>) -> PyResult<Value> {
    if let Ok(value) = value.extract::<i64>() {
        return Ok(Value::Int(value));
    }
    match value.extract::<i128>() {
        // The range that has an encoding: what goes in must be able to come out.
        Ok(wide) if (-(1 << 64)..1 << 64).contains(&wide) => Ok(Value::integer(wide)),
        _ => Err(ExpressionError::new_err(
            "an expression cannot read an integer beyond 64 bits",
        )),
    }
}

fn from_items<'py>(
    len: usize,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    depth: usize,
) -> PyResult<Value> {
    let mut converted = Vec::with_capacity(len);
    for item in items {
        converted.push(from_python(&item, depth)?);
    }
    Ok(Value::array(converted))
}

fn from_dict(dict: &Bound<'_, PyDict>, depth: usize) -> PyResult<Value> {
    let mut members = Vec::with_capacity(dict.len());
    for (key, value) in dict.iter() {
        let key = key.cast::<PyString>().map_err(|_| {
            ExpressionError::new_err("an expression can only read an object whose keys are text")
        })?;
        members.push((key.to_str()?.into(), from_python(&value, depth)?));
    }
    Ok(Value::object(Map::from_members(members)))
}

fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        Value::Int(value) => value.into_pyobject(py)?.into_any(),
        Value::Wide(value) => value.into_pyobject(py)?.into_any(),
        Value::Float(value) if value.is_finite() => PyFloat::new(py, *value).into_any(),
        Value::Float(_) => {
            return Err(ExpressionError::new_err(
                "the result has a number that is not finite",
            ));
        }
        Value::Text(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items.iter() {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(map) => {
            let dict = PyDict::new(py);
            for (key, member) in map.iter() {
                dict.set_item(&**key, to_python(py, member)?)?;
            }
            dict.into_any()
        }
    })
}
