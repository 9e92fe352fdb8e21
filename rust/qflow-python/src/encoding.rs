//! Python values and canonical DAG-CBOR, without a form in between.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use qflow_core::encoding::{self as core, DEPTH_MAX, DecodeError, Item, Reader, Writer};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Cid>()?;
    module.add_function(wrap_pyfunction!(encode, module)?)?;
    module.add_function(wrap_pyfunction!(decode, module)?)?;
    module.add_function(wrap_pyfunction!(cid_of, module)?)
}

#[pyclass(module = "qflow._core", frozen)]
pub struct Cid {
    pub bytes: Vec<u8>,
    parsed: core::Cid,
}

impl Cid {
    /// The CID of these bytes, which a reader has checked.
    pub fn new(bytes: &[u8]) -> PyResult<Self> {
        let parsed = core::parse_cid(bytes).ok_or_else(|| not_a_cid("these bytes"))?;
        Ok(Self::from(parsed))
    }
}

impl From<core::Cid> for Cid {
    fn from(parsed: core::Cid) -> Self {
        Self {
            bytes: parsed.to_bytes(),
            parsed,
        }
    }
}

fn not_a_cid(what: &str) -> PyErr {
    PyValueError::new_err(format!("{what}: not a CID"))
}

#[pymethods]
impl Cid {
    #[new]
    fn py_new(source: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = source.cast::<PyBytes>() {
            return Self::new(bytes.as_bytes());
        }
        let text = source
            .cast::<PyString>()
            .map_err(|_| PyTypeError::new_err("str or bytes"))?;
        let text = text.to_str()?;
        core::parse_cid_text(text)
            .map(Self::from)
            .ok_or_else(|| not_a_cid(text))
    }

    fn __bytes__(&self) -> &[u8] {
        &self.bytes
    }

    fn __str__(&self) -> String {
        self.parsed.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Cid('{}')", self.parsed)
    }

    fn __richcmp__(&self, other: &Self, op: CompareOp) -> bool {
        op.matches(self.bytes.cmp(&other.bytes))
    }

    fn __hash__(&self) -> u64 {
        // The digest is the end of the bytes, and as good as chance.
        let tail = self.bytes.last_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(tail)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyAny>, (Bound<'py, PyBytes>,)) {
        (
            slf.get_type().into_any(),
            (PyBytes::new(slf.py(), &slf.get().bytes),),
        )
    }

    #[getter]
    fn codec(&self) -> String {
        let code = self.parsed.codec();
        core::codec_name(code).map_or_else(|| format!("0x{code:x}"), str::to_owned)
    }

    #[getter]
    fn digest(&self) -> &[u8] {
        self.parsed.hash().digest()
    }
}

#[pyfunction]
fn encode<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Writer::with_capacity(128);
    write(&mut out, value, 0)?;
    Ok(PyBytes::new(value.py(), out.as_slice()))
}

#[pyfunction]
fn decode<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut reader = Reader::new(data);
    let value = read(py, &mut reader, 0)?;
    reader.finish().map_err(refused)?;
    Ok(value)
}

#[pyfunction]
#[pyo3(signature = (data, codec="dag-cbor"))]
fn cid_of(data: &[u8], codec: &str) -> PyResult<Cid> {
    let code = match codec {
        "dag-cbor" | "raw" => core::codec_code(codec),
        _ => None,
    };
    code.and_then(|code| core::cid_of(data, code))
        .map(Cid::from)
        .ok_or_else(|| PyValueError::new_err(format!("{codec:?}: only dag-cbor and raw")))
}

fn refused(error: DecodeError) -> PyErr {
    PyValueError::new_err(format!("not canonical DAG-CBOR: {error}"))
}

/// Append the canonical form of a value. `depth` counts the lists and maps around it.
pub fn write(out: &mut Writer, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
    if let Ok(text) = value.cast::<PyString>() {
        out.text(text.to_str()?);
    } else if value.is_none() {
        out.null();
    } else if let Ok(value) = value.cast::<PyBool>() {
        out.boolean(value.is_true());
    } else if let Ok(value) = value.cast::<PyInt>() {
        write_integer(out, value)?;
    } else if let Ok(map) = value.cast::<PyDict>() {
        write_map(out, map, nested(depth)?)?;
    } else if let Ok(list) = value.cast::<PyList>() {
        let depth = nested(depth)?;
        out.array(list.len());
        write_items(out, list.iter(), list.len(), depth)?;
    } else if let Ok(value) = value.cast::<PyFloat>() {
        if !out.float(value.value()) {
            return Err(PyValueError::new_err(
                "a float that is not finite has no encoding",
            ));
        }
    } else {
        write_rare(out, value, depth)?;
    }
    Ok(())
}

fn write_rare(out: &mut Writer, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
    if let Ok(tuple) = value.cast::<PyTuple>() {
        out.array(tuple.len());
        write_items(out, tuple.iter(), tuple.len(), nested(depth)?)
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        out.bytes(bytes.as_bytes());
        Ok(())
    } else if let Ok(cid) = value.cast::<Cid>() {
        out.link(&cid.get().bytes);
        Ok(())
    } else if let Ok(mapping) = value.cast::<PyMapping>() {
        let copy = PyDict::new(value.py());
        copy.update(mapping)?;
        write_map(out, &copy, nested(depth)?)
    } else {
        let kind = value.get_type().name()?;
        Err(PyTypeError::new_err(format!(
            "a value of type {kind} has no encoding"
        )))
    }
}

fn nested(depth: usize) -> PyResult<usize> {
    if depth >= DEPTH_MAX {
        let what = format!("nested more than {DEPTH_MAX} levels deep");
        return Err(PyValueError::new_err(what));
    }
    Ok(depth + 1)
}

fn write_integer(out: &mut Writer, value: &Bound<'_, PyInt>) -> PyResult<()> {
    if let Ok(value) = value.extract::<i64>() {
        out.integer(value);
    } else if let Ok(value) = value.extract::<u64>() {
        out.unsigned(value);
    } else if let Ok(value) = value.call_method0("__invert__")?.extract::<u64>() {
        out.negative(value);
    } else {
        return Err(PyValueError::new_err(
            "an integer beyond 64 bits has no encoding",
        ));
    }
    Ok(())
}

fn write_items<'py>(
    out: &mut Writer,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    len: usize,
    depth: usize,
) -> PyResult<()> {
    let mut written = 0;
    for item in items {
        write(out, &item, depth)?;
        written += 1;
    }
    if written == len {
        Ok(())
    } else {
        Err(changed())
    }
}

/// Another thread may change a list between two of its items.
fn changed() -> PyErr {
    PyValueError::new_err("the value changed while it was encoded")
}

/// Append a dict as a map with sorted keys.
pub fn write_map(out: &mut Writer, map: &Bound<'_, PyDict>, depth: usize) -> PyResult<()> {
    let mut pairs = Vec::with_capacity(map.len());
    for (key, value) in map.iter() {
        let key = key
            .cast_into::<PyString>()
            .map_err(|_| PyTypeError::new_err("only text can be the key of a map"))?;
        pairs.push((key, value));
    }
    let mut sorted = Vec::with_capacity(pairs.len());
    for (key, value) in &pairs {
        sorted.push((key.to_str()?, value));
    }
    sorted.sort_unstable_by(|(left, _), (right, _)| {
        core::key_order(left.as_bytes(), right.as_bytes())
    });
    // A subclass of str may compare otherwise than by its text.
    if sorted.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(PyValueError::new_err("a key twice"));
    }
    out.map(sorted.len());
    for (key, value) in sorted {
        out.text(key);
        write(out, value, depth)?;
    }
    Ok(())
}

/// The next value. `depth` counts the lists and maps around it.
pub fn read<'py>(
    py: Python<'py>,
    reader: &mut Reader<'_>,
    depth: usize,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(match reader.item().map_err(refused)? {
        Item::Null => py.None().into_bound(py),
        Item::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        Item::Unsigned(value) => value.into_pyobject(py)?.into_any(),
        Item::Negative(value) => (-1 - i128::from(value)).into_pyobject(py)?.into_any(),
        Item::Float(value) => PyFloat::new(py, value).into_any(),
        Item::Bytes(value) => PyBytes::new(py, value).into_any(),
        Item::Text(value) => PyString::new(py, value).into_any(),
        Item::Link(cid) => Bound::new(py, Cid::new(cid)?)?.into_any(),
        Item::Array(len) => {
            let depth = open(reader, depth)?;
            let list = PyList::empty(py);
            for _ in 0..len {
                list.append(read(py, reader, depth)?)?;
            }
            list.into_any()
        }
        Item::Map(len) => read_map(py, reader, len, open(reader, depth)?)?.into_any(),
    })
}

fn open(reader: &Reader<'_>, depth: usize) -> PyResult<usize> {
    if depth >= DEPTH_MAX {
        return Err(refused(reader.refuse("nested too deeply")));
    }
    Ok(depth + 1)
}

fn read_map<'py>(
    py: Python<'py>,
    reader: &mut Reader<'_>,
    len: usize,
    depth: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let map = PyDict::new(py);
    let mut before = None;
    for _ in 0..len {
        let key = reader.key(before).map_err(refused)?;
        map.set_item(PyString::intern(py, key), read(py, reader, depth)?)?;
        before = Some(key);
    }
    Ok(map)
}
