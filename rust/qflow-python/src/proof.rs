//! Proofs, receipts, cosignatures and policies for Python.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use qflow_core::log::{
    self, AddCheckpoint, Checkpoint, Cosignature, Cosigner, Hash, Named, Note, Policy, Proven,
    Receipt, VerifierKey, WitnessKey,
};

use crate::errors::VerificationError;
use crate::log::{raised, seed};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyPolicy>()?;
    module.add_function(wrap_pyfunction!(generate_witness_vkey, module)?)?;
    module.add_function(wrap_pyfunction!(cosign, module)?)?;
    module.add_function(wrap_pyfunction!(cosigned_at, module)?)?;
    module.add_function(wrap_pyfunction!(parse_checkpoint, module)?)?;
    module.add_function(wrap_pyfunction!(peek_checkpoint, module)?)?;
    module.add_function(wrap_pyfunction!(parse_add_checkpoint, module)?)?;
    module.add_function(wrap_pyfunction!(format_add_checkpoint, module)?)?;
    module.add_function(wrap_pyfunction!(verify_inclusion, module)?)?;
    module.add_function(wrap_pyfunction!(verify_consistency, module)?)?;
    module.add_function(wrap_pyfunction!(inclusion_proof, module)?)?;
    module.add_function(wrap_pyfunction!(consistency_proof, module)?)?;
    module.add_function(wrap_pyfunction!(make_receipt, module)?)?;
    module.add_function(wrap_pyfunction!(check_receipt, module)?)
}

type Bytes<'py> = Bound<'py, PyBytes>;

fn invalid(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn unproven(error: impl ToString) -> PyErr {
    VerificationError::new_err(error.to_string())
}

fn log_key(vkey: &str) -> PyResult<VerifierKey> {
    VerifierKey::parse(vkey).map_err(|error| invalid(format!("the log's verifier key: {error}")))
}

/// A hash of another length proves nothing.
fn hash(bytes: &[u8]) -> PyResult<Hash> {
    let hash = bytes.try_into();
    hash.map_err(|_| unproven(format!("a hash has 32 bytes, this one {}", bytes.len())))
}

fn hashes(proof: &[PyBackedBytes]) -> PyResult<Vec<Hash>> {
    if proof.len() > log::PROOF_HASHES_MAX {
        return Err(unproven(format!("a proof of {} hashes", proof.len())));
    }
    proof.iter().map(|bytes| hash(bytes)).collect()
}

fn list<'py>(py: Python<'py>, proof: &[Hash]) -> Vec<Bytes<'py>> {
    proof.iter().map(|hash| PyBytes::new(py, hash)).collect()
}

#[pyfunction]
fn generate_witness_vkey(name: &str, seed: &[u8]) -> PyResult<String> {
    let cosigner = Cosigner::new(name, &self::seed(seed)?).map_err(invalid)?;
    Ok(cosigner.verifier().to_string())
}

#[pyfunction]
fn cosign(
    checkpoint: &[u8],
    log_vkey: &str,
    name: &str,
    seed: &[u8],
    time_s: u64,
) -> PyResult<String> {
    let cosigner = Cosigner::new(name, &self::seed(seed)?).map_err(invalid)?;
    let log = log_key(log_vkey)?;
    cosigner.cosign(checkpoint, &log, time_s).map_err(unproven)
}

#[pyfunction]
fn cosigned_at(note: &[u8], witness_vkey: &str) -> PyResult<Option<u64>> {
    let key = WitnessKey::parse(witness_vkey);
    let key = key.map_err(|error| invalid(format!("the witness's verifier key: {error}")))?;
    let note = Note::parse(note).map_err(unproven)?;
    key.cosigned_at(&note).map_err(unproven)
}

#[pyfunction]
fn parse_checkpoint<'py>(py: Python<'py>, note: &[u8], vkey: &str) -> PyResult<(u64, Bytes<'py>)> {
    let head = Checkpoint::parse(note, &log_key(vkey)?).map_err(invalid)?;
    Ok((head.size, PyBytes::new(py, &head.root)))
}

#[pyfunction]
fn peek_checkpoint<'py>(py: Python<'py>, note: &[u8]) -> PyResult<(String, u64, Bytes<'py>)> {
    let (origin, head, _) = Checkpoint::peek(note).map_err(invalid)?;
    Ok((origin.to_owned(), head.size, PyBytes::new(py, &head.root)))
}

#[pyfunction]
fn parse_add_checkpoint<'py>(
    py: Python<'py>,
    body: &[u8],
) -> PyResult<(u64, Vec<Bytes<'py>>, Bytes<'py>)> {
    let request = AddCheckpoint::parse(body).map_err(invalid)?;
    let proof = list(py, &request.proof);
    Ok((request.old, proof, PyBytes::new(py, request.checkpoint)))
}

#[pyfunction]
fn format_add_checkpoint<'py>(
    py: Python<'py>,
    old: u64,
    proof: Vec<PyBackedBytes>,
    checkpoint: &[u8],
) -> PyResult<Bytes<'py>> {
    let proof = hashes(&proof).map_err(|error| invalid(error.value(py)))?;
    let request = AddCheckpoint {
        old,
        proof,
        checkpoint,
    };
    Ok(PyBytes::new(py, &request.to_bytes().map_err(invalid)?))
}

#[pyfunction]
fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &[u8],
    proof: Vec<PyBackedBytes>,
    root: &[u8],
) -> PyResult<()> {
    let (leaf, root) = (hash(leaf)?, hash(root)?);
    log::verify_inclusion(index, size, &leaf, &hashes(&proof)?, &root).map_err(unproven)
}

#[pyfunction]
fn verify_consistency(
    first: u64,
    second: u64,
    proof: Vec<PyBackedBytes>,
    first_root: &[u8],
    second_root: &[u8],
) -> PyResult<()> {
    let (old, new) = (hash(first_root)?, hash(second_root)?);
    log::verify_consistency(first, second, &hashes(&proof)?, &old, &new).map_err(unproven)
}

#[pyfunction]
fn inclusion_proof(
    py: Python<'_>,
    path: PathBuf,
    index: u64,
    size: u64,
) -> PyResult<Vec<Bytes<'_>>> {
    let proof = py.detach(|| qflow_log::inclusion_proof(&path, index, size));
    Ok(list(py, &proof.map_err(raised)?))
}

#[pyfunction]
fn consistency_proof(
    py: Python<'_>,
    path: PathBuf,
    first: u64,
    second: u64,
) -> PyResult<Vec<Bytes<'_>>> {
    let proof = py.detach(|| qflow_log::consistency_proof(&path, first, second));
    Ok(list(py, &proof.map_err(raised)?))
}

#[pyfunction]
#[pyo3(signature = (path, index, *, head=None))]
fn make_receipt(
    py: Python<'_>,
    path: PathBuf,
    index: u64,
    head: Option<PyBackedBytes>,
) -> PyResult<Bytes<'_>> {
    let receipt = py.detach(|| qflow_log::make_receipt(&path, index, head.as_deref()));
    Ok(PyBytes::new(py, &receipt.map_err(raised)?))
}

#[pyfunction]
#[pyo3(signature = (data, vkey, policy=None))]
fn check_receipt<'py>(
    py: Python<'py>,
    data: PyBackedBytes,
    vkey: &str,
    policy: Option<PyRef<'py, PyPolicy>>,
) -> PyResult<Bound<'py, PyDict>> {
    let (key, policy) = (log_key(vkey)?, policy.as_ref().map(|policy| &policy.0));
    let proven = py.detach(|| Receipt::parse(&data)?.verify(&key, policy));
    receipt_dict(py, &key, &proven.map_err(unproven)?)
}

fn receipt_dict<'py>(
    py: Python<'py>,
    key: &VerifierKey,
    proven: &Proven,
) -> PyResult<Bound<'py, PyDict>> {
    let verdict = if proven.witnessed {
        "WITNESSED"
    } else {
        "UNANCHORED"
    };
    let dict = PyDict::new(py);
    dict.set_item("verdict", verdict)?;
    dict.set_item("origin", key.name())?;
    dict.set_item("index", proven.index)?;
    dict.set_item("size", proven.head.size)?;
    dict.set_item("root", PyBytes::new(py, &proven.head.root))?;
    dict.set_item("record", PyBytes::new(py, &proven.record))?;
    dict.set_item("cosignatures", times(py, &proven.cosignatures)?)?;
    Ok(dict)
}

fn times<'py>(py: Python<'py>, cosignatures: &[Cosignature]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for one in cosignatures {
        dict.set_item(&one.witness, one.time_s)?;
    }
    Ok(dict)
}

#[pyclass(name = "Policy", module = "qflow._core", frozen)]
struct PyPolicy(Policy);

type Row = (String, String, Option<String>);

fn rows<K: ToString>(keys: &[Named<K>]) -> Vec<Row> {
    let row = |one: &Named<K>| (one.name.clone(), one.key.to_string(), one.url.clone());
    keys.iter().map(row).collect()
}

#[pymethods]
impl PyPolicy {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        Policy::parse(text).map(Self).map_err(invalid)
    }

    #[getter]
    fn logs(&self) -> Vec<Row> {
        rows(self.0.logs())
    }

    #[getter]
    fn witnesses(&self) -> Vec<Row> {
        rows(self.0.witnesses())
    }

    #[getter]
    fn quorum(&self) -> &str {
        self.0.quorum()
    }

    fn cosignatures<'py>(&self, py: Python<'py>, note: &[u8]) -> PyResult<Bound<'py, PyDict>> {
        let note = Note::parse(note).map_err(unproven)?;
        times(py, &self.0.cosignatures(&note).map_err(unproven)?)
    }

    fn is_met(&self, note: &[u8]) -> PyResult<bool> {
        self.0.is_met(note).map_err(unproven)
    }
}
