//! Rows that were exported, read back and checked, for Python.

use std::path::PathBuf;

use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyCapsuleMethods, PyDict};
use qflow_core::log::{Frontier, Hash};
use qflow_export::{BadRow, BatchRows, Check, Checked, Complete, ExportError, Selection, TextRows};

use crate::export::{Progress, STREAM, parse_format};
use crate::index::PyFilter;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(check_rows, module)?)
}

type Result<T> = std::result::Result<T, ExportError>;

enum Source {
    Text(TextRows),
    Batches(RecordBatchStreamReader),
}

#[pyfunction]
#[pyo3(
    text_signature = "(source, format, *, first, end, complete, filter=None, contents=False, \
    before=None, log=None, size=0, kept_from=0, kept_after=(), progress=None)"
)]
#[pyo3(signature = (
    source, format, *, first, end, complete, filter=None, contents=false, before=None, log=None,
    size=0, kept_from=0, kept_after=Vec::new(), progress=None
))]
#[allow(clippy::too_many_arguments)] // one argument for each thing that an export claims
fn check_rows<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    format: &str,
    first: u64,
    end: u64,
    complete: &str,
    filter: Option<PyRef<'py, PyFilter>>,
    contents: bool,
    before: Option<Vec<Hash>>,
    log: Option<PathBuf>,
    size: u64,
    kept_from: u64,
    kept_after: Vec<Hash>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let selection = Selection {
        filter: filter.map(|filter| filter.filter.clone()),
        first,
        end,
        ..Selection::default()
    };
    let before = before.map(|hashes| tree(first, &hashes)).transpose()?;
    let kept_after = tree(kept_from, &kept_after)?;
    let check = Check::new(selection, parse_complete(complete)?, before);
    let source = open(source, format, contents)?;
    let mut progress = Progress::new(progress);
    let result = py.detach(|| {
        let check = match log {
            Some(log) => check.beside(&log, size, kept_after)?,
            None => check,
        };
        match source {
            Source::Text(rows) => check_text(rows, check, &mut progress),
            Source::Batches(batches) => check_batches(batches, check, contents, &mut progress),
        }
    });
    let (checked, digest) = progress.finish(result)?;
    let dict = checked_dict(py, &checked)?;
    dict.set_item("sha256", digest.map(|digest| PyBytes::new(py, &digest)))?;
    Ok(dict)
}

fn tree(size: u64, hashes: &[Hash]) -> PyResult<Frontier> {
    let tree = Frontier::from_hashes(size, hashes);
    tree.ok_or_else(|| PyValueError::new_err(format!("a tree of {size} records has other roots")))
}

fn parse_complete(name: &str) -> PyResult<Complete> {
    Ok(match name {
        "range" => Complete::Range,
        "chain" => Complete::Chain,
        "claimed" => Complete::Claimed,
        _ => {
            return Err(PyValueError::new_err(format!(
                "{name:?}: range, chain or claimed"
            )));
        }
    })
}

fn open(source: &Bound<'_, PyAny>, format: &str, contents: bool) -> PyResult<Source> {
    if format != "arrow" {
        let (path, format) = (source.extract::<PathBuf>()?, parse_format(format)?);
        let rows = TextRows::open(&path, format, contents).map_err(crate::export::raised)?;
        return Ok(Source::Text(rows));
    }
    let capsule = source.call_method0("__arrow_c_stream__")?;
    let capsule = capsule.cast_into::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(STREAM))?;
    let pointer = pointer.cast::<FFI_ArrowArrayStream>().as_ptr();
    // SAFETY: a capsule of this name holds such a stream, by the Arrow PyCapsule interface, and
    // the capsule, which owns it, is alive. The stream is moved out and an empty one left.
    let batches = unsafe { RecordBatchStreamReader::from_raw(pointer) };
    let batches = batches.map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(Source::Batches(batches))
}

type Done = (Checked, Option<[u8; 32]>);

fn check_text(mut rows: TextRows, mut check: Check, progress: &mut Progress) -> Result<Done> {
    while let Some(row) = rows.next_row()? {
        if check.rows().is_multiple_of(4096) && !progress.tell(rows.bytes()) {
            return Err(ExportError::Stopped);
        }
        match row {
            Err(BadRow {
                what,
                is_last: true,
            }) => check.find("the file", what),
            row => check.push(row.map_err(|bad| bad.what))?,
        }
    }
    let digest = rows.digest()?.sha256;
    Ok((check.finish()?, Some(digest)))
}

fn check_batches(
    batches: RecordBatchStreamReader,
    mut check: Check,
    contents: bool,
    progress: &mut Progress,
) -> Result<Done> {
    for batch in batches {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                check.find("the file", error.to_string());
                break;
            }
        };
        let rows = BatchRows::new(&batch, contents)?;
        for row in 0..batch.num_rows() {
            check.push(rows.row(row))?;
        }
        if !progress.tell(check.rows()) {
            return Err(ExportError::Stopped);
        }
    }
    Ok((check.finish()?, None))
}

fn checked_dict<'py>(py: Python<'py>, checked: &Checked) -> PyResult<Bound<'py, PyDict>> {
    let bytes = |hash: &Hash| PyBytes::new(py, hash);
    let mut findings = Vec::with_capacity(checked.findings.len());
    for finding in &checked.findings {
        let one = PyDict::new(py);
        one.set_item("where", &finding.at)?;
        one.set_item("what", &finding.what)?;
        findings.push(one);
    }
    let dict = PyDict::new(py);
    dict.set_item("rows", checked.summary.rows)?;
    dict.set_item("first", checked.summary.first)?;
    dict.set_item("last", checked.summary.last)?;
    dict.set_item("root", bytes(&checked.summary.tree.root()))?;
    dict.set_item("end_root", checked.end_root.as_ref().map(bytes))?;
    dict.set_item(
        "last_hash",
        checked.last.as_ref().map(|(hash, _)| bytes(hash)),
    )?;
    dict.set_item("ended", checked.last.is_some_and(|(_, ended)| ended))?;
    dict.set_item("links", checked.links)?;
    dict.set_item("log_root", checked.log_root.as_ref().map(bytes))?;
    dict.set_item("pruned", checked.pruned)?;
    dict.set_item("findings", findings)?;
    dict.set_item("more_findings", checked.more)?;
    Ok(dict)
}
