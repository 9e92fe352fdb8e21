//! Exports for Python: Arrow batches by the C stream interface, and text files.

use std::ffi::CStr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyDict};
use qflow_export::{
    Batches, Contents, Digest, ExportError, Format, Scan, Seen, Selection, Summary, Target,
    hash_file, write_file,
};

use crate::errors;
use crate::index::PyFilter;
use crate::log::raised as log_raised;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyScan>()?;
    module.add_function(wrap_pyfunction!(digest_file, module)?)
}

pub fn raised(error: ExportError) -> PyErr {
    match error {
        ExportError::Log(error) => log_raised(error),
        ExportError::Io(error) => os_error(error),
        ExportError::Corrupt(_) => errors::CorruptError::new_err(error.to_string()),
        ExportError::Invalid(_) | ExportError::Stopped => PyValueError::new_err(error.to_string()),
    }
}

/// With its number, by which Python has classes.
fn os_error(error: std::io::Error) -> PyErr {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    match error.raw_os_error() {
        Some(code) => PyOSError::new_err((code, text.to_owned())),
        None => error.into(),
    }
}

/// What the C stream interface calls its capsules.
pub const STREAM: &CStr = c"arrow_array_stream";

/// Told how far it is; what it raises ends the work and is raised from it.
pub struct Progress {
    call: Option<Py<PyAny>>,
    failed: Option<PyErr>,
}

impl Progress {
    pub fn new(call: Option<Py<PyAny>>) -> Self {
        Self { call, failed: None }
    }

    pub fn tell(&mut self, done: u64) -> bool {
        let Some(call) = &self.call else {
            return true;
        };
        let called = Python::attach(|py| call.call1(py, (done,)).map(drop));
        self.failed = called.err();
        self.failed.is_none()
    }

    pub fn finish<T>(self, result: Result<T, ExportError>) -> PyResult<T> {
        match self.failed {
            Some(error) => Err(error),
            None => result.map_err(raised),
        }
    }
}

/// Payloads by a Python function of the record and the block.
struct Unsealed(Py<PyAny>);

impl Contents for Unsealed {
    fn open(&mut self, record: &[u8], block: &[u8]) -> Result<Option<Vec<u8>>, ExportError> {
        let opened = Python::attach(|py| {
            let arguments = (PyBytes::new(py, record), PyBytes::new(py, block));
            self.0.call1(py, arguments)?.extract::<Option<Vec<u8>>>(py)
        });
        opened.map_err(|error| ExportError::Invalid(format!("a payload: {error}")))
    }
}

#[pyclass(name = "Scan", module = "qflow._core", frozen)]
struct PyScan {
    scan: Mutex<Option<Scan>>,
    seen: Mutex<Arc<Mutex<Seen>>>,
    batch_rows: usize,
    target: Target,
}

impl PyScan {
    fn take(&self) -> PyResult<Scan> {
        let scan = self
            .scan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        scan.ok_or_else(|| PyValueError::new_err("a scan is read once"))
    }

    fn look<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn summary(&self) -> Summary {
        self.look(|seen| seen.summary.clone())
    }
}

#[pymethods]
impl PyScan {
    #[new]
    #[pyo3(signature = (
        path, *, end, first=0, filter=None, limit=None, hashed=false, for_file=false,
        batch_rows=32768, unseal=None
    ))]
    #[allow(clippy::too_many_arguments)] // one argument for each bound of the scan
    fn new(
        py: Python<'_>,
        path: PathBuf,
        end: u64,
        first: u64,
        filter: Option<PyRef<'_, PyFilter>>,
        limit: Option<u64>,
        hashed: bool,
        for_file: bool,
        batch_rows: usize,
        unseal: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let selection = Selection {
            filter: filter.map(|filter| filter.filter.clone()),
            first,
            end,
            limit,
            hashed,
        };
        let scan = py.detach(|| Scan::open(&path, selection)).map_err(raised)?;
        let seen = Seen {
            summary: scan.summary().clone(),
            failed: None,
        };
        let scan = match unseal {
            Some(unseal) => scan.with_contents(Box::new(Unsealed(unseal))),
            None => scan,
        };
        Ok(Self {
            scan: Mutex::new(Some(scan)),
            seen: Mutex::new(Arc::new(Mutex::new(seen))),
            batch_rows,
            target: if for_file {
                Target::File
            } else {
                Target::Stream
            },
        })
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // Who asks for other types converts: the interface allows that.
        drop(requested_schema);
        let batches = Batches::new(self.take()?, self.target, self.batch_rows);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = batches.seen();
        let stream = FFI_ArrowArrayStream::new(Box::new(batches));
        PyCapsule::new_with_value(py, stream, STREAM)
    }

    #[pyo3(signature = (format, path, progress=None))]
    fn write<'py>(
        &self,
        py: Python<'py>,
        format: &str,
        path: Option<PathBuf>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let format = parse_format(format)?;
        let mut scan = self.take()?;
        let mut progress = Progress::new(progress);
        let result = py.detach(|| {
            write_file(&mut scan, format, path.as_deref(), &mut |at| {
                progress.tell(at)
            })
        });
        let written = progress.finish(result)?;
        self.look(|seen| seen.summary = scan.summary().clone());
        digest_dict(py, &written)
    }

    fn check(&self) -> PyResult<()> {
        match self.look(|seen| seen.failed.take()) {
            Some(error) => Err(raised(error)),
            None => Ok(()),
        }
    }

    #[getter]
    fn position(&self) -> u64 {
        self.summary().position
    }

    #[getter]
    fn rows(&self) -> u64 {
        self.summary().rows
    }

    #[getter]
    fn first(&self) -> Option<u64> {
        self.summary().first
    }

    #[getter]
    fn last(&self) -> Option<u64> {
        self.summary().last
    }

    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.summary().tree.root())
    }
}

pub fn parse_format(name: &str) -> PyResult<Format> {
    Ok(match name {
        "jsonl" => Format::JsonLines,
        "csv" => Format::Csv,
        "csv-spreadsheet" => Format::SpreadsheetCsv,
        "xml" => Format::Xml,
        _ => return Err(PyValueError::new_err(format!("{name:?} is no text format"))),
    })
}

fn digest_dict<'py>(py: Python<'py>, digest: &Digest) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("sha256", PyBytes::new(py, &digest.sha256))?;
    dict.set_item("bytes", digest.bytes)?;
    Ok(dict)
}

#[pyfunction]
#[pyo3(signature = (path, progress=None))]
fn digest_file<'py>(
    py: Python<'py>,
    path: PathBuf,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut progress = Progress::new(progress);
    let result = py.detach(|| hash_file(&path, &mut |done| progress.tell(done)));
    match progress.finish(result.map_err(ExportError::from))? {
        Some(digest) => digest_dict(py, &digest),
        None => Err(raised(ExportError::Stopped)),
    }
}
