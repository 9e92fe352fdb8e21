//! Records for Python.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use qflow_core::chain::{self, Record, RecordError, RecordView};
use qflow_core::encoding::{self, BLOCK_BYTES_MAX, Reader, Writer};
use qflow_core::sealing::{self, Place};

use crate::encoding::{Cid, read, write};
use crate::sealing::SealingKey;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(encode_records, module)?)?;
    module.add_function(wrap_pyfunction!(decode_record, module)?)?;
    module.add_function(wrap_pyfunction!(record_hash, module)?)
}

type Fact<'py> = (
    PyBackedStr,
    Option<PyBackedStr>,
    Option<u64>,
    Option<Bound<'py, PyTuple>>,
    Bound<'py, PyAny>,
);
type Encoded<'py> = (Bound<'py, PyList>, Bound<'py, PyList>, Bound<'py, PyBytes>);

fn refused(error: RecordError) -> PyErr {
    PyValueError::new_err(format!("a record: {error}"))
}

#[pyfunction]
#[pyo3(signature = (
    chain, seq, prev, flow, at, actor, node, subnet, epoch, facts, sealing=None
))]
#[allow(clippy::too_many_arguments)] // one argument for each field that the facts share
fn encode_records<'py>(
    py: Python<'py>,
    chain: [u8; 16],
    seq: u64,
    prev: [u8; 32],
    flow: &str,
    at: u64,
    actor: &str,
    node: &str,
    subnet: &str,
    epoch: u64,
    facts: Vec<Fact<'py>>,
    sealing: Option<&SealingKey>,
) -> PyResult<Encoded<'py>> {
    let (records, blocks) = (PyList::empty(py), PyList::empty(py));
    let (mut meta, mut seq, mut prev) = (Writer::with_capacity(128), seq, prev);
    for (kind, step, attempt, payload, said) in &facts {
        let place = Place {
            subnet,
            chain: &chain,
            seq,
            epoch,
            prev: &prev,
        };
        let cid = payload
            .as_ref()
            .map(|payload| block(&blocks, payload, sealing, &place))
            .transpose()?;
        meta.clear();
        write(&mut meta, said, 1)?;
        let record = Record {
            chain,
            seq,
            prev,
            kind,
            flow,
            step: step.as_deref(),
            attempt: *attempt,
            at,
            actor,
            node,
            subnet,
            epoch,
            payload: cid.as_ref().map(|cid| &cid[..]),
            meta: meta.as_slice(),
        };
        let record = record.encode().map_err(refused)?;
        prev = chain::leaf_hash(&record);
        seq += 1;
        records.append(PyBytes::new(py, &record))?;
    }
    Ok((records, blocks, PyBytes::new(py, &prev)))
}

/// Encode a payload, seal it if there is a key, and add it to the blocks.
fn block(
    blocks: &Bound<'_, PyList>,
    payload: &Bound<'_, PyTuple>,
    sealing: Option<&SealingKey>,
    place: &Place<'_>,
) -> PyResult<encoding::CidBytes> {
    let py = blocks.py();
    let (value,) = payload.extract::<(Bound<'_, PyAny>,)>()?;
    let mut data = Writer::with_capacity(256);
    write(&mut data, &value, 0)?;
    if data.len() > BLOCK_BYTES_MAX {
        let what = format!(
            "a payload of {} bytes, at most {BLOCK_BYTES_MAX}",
            data.len()
        );
        return Err(PyValueError::new_err(what));
    }
    let Some(key) = sealing else {
        let cid = encoding::block_cid(data.as_slice());
        blocks.append((PyBytes::new(py, &cid), PyBytes::new(py, data.as_slice())))?;
        return Ok(cid);
    };
    let sealed = sealing::seal_payload(&key.sealer, key.number, place, data.as_slice());
    let cid = encoding::raw_cid(&sealed);
    blocks.append((PyBytes::new(py, &cid), PyBytes::new(py, &sealed)))?;
    Ok(cid)
}

#[pyfunction]
fn decode_record<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let record = RecordView::parse(data).map_err(refused)?;
    let fields = PyDict::new(py);
    fields.set_item("v", 1)?;
    fields.set_item("chain", PyBytes::new(py, &record.chain))?;
    fields.set_item("seq", record.seq)?;
    fields.set_item("prev", PyBytes::new(py, &record.prev))?;
    fields.set_item("type", record.kind)?;
    fields.set_item("flow", record.flow)?;
    if let Some(step) = record.step {
        fields.set_item("step", step)?;
    }
    if let Some(attempt) = record.attempt {
        fields.set_item("attempt", attempt)?;
    }
    fields.set_item("at", record.at)?;
    fields.set_item("actor", record.actor)?;
    fields.set_item("node", record.node)?;
    fields.set_item("subnet", record.subnet)?;
    fields.set_item("epoch", record.epoch)?;
    fields.set_item("payload", record.payload.map(Cid::new).transpose()?)?;
    fields.set_item("meta", read(py, &mut Reader::new(record.meta), 1)?)?;
    Ok(fields)
}

#[pyfunction]
fn record_hash<'py>(py: Python<'py>, data: &[u8]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &chain::leaf_hash(data))
}
