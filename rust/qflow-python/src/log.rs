//! The durable log for Python.

use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyBytes;
use qflow_core::chain::Live;
use qflow_core::log::Signer;
use qflow_log::{Log, LogError, LogReader, Options, Scan};

use crate::errors;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyLog>()?;
    module.add_class::<PyLogReader>()?;
    module.add_function(wrap_pyfunction!(generate_vkey, module)?)
}

pub fn raised(error: LogError) -> PyErr {
    let text = error.to_string();
    match error {
        LogError::Locked => errors::LockedError::new_err(text),
        LogError::Poisoned(_) => errors::PoisonedError::new_err(text),
        LogError::Busy(_) => errors::BusyError::new_err(text),
        LogError::Corrupt(_) => errors::CorruptError::new_err(text),
        LogError::Unproven(_) => errors::VerificationError::new_err(text),
        LogError::Invalid(_) => PyValueError::new_err(text),
        LogError::Closed => errors::LogError::new_err(text),
        LogError::Io(error) => error.into(),
    }
}

pub fn seed(bytes: &[u8]) -> PyResult<[u8; 32]> {
    bytes
        .try_into()
        .map_err(|_| PyValueError::new_err("a seed has 32 bytes"))
}

#[pyclass(name = "Log", module = "qflow._core", frozen)]
struct PyLog {
    log: Option<Log>,
    process: u32,
}

type Bytes<'py> = Bound<'py, PyBytes>;
type Records<'py> = Vec<(u64, u64, Bytes<'py>)>;
type Blocks<'py> = Vec<(Bytes<'py>, u64, usize)>;
type Chains<'py> = Vec<(Bytes<'py>, u64, Bytes<'py>)>;

fn chains<'py>(py: Python<'py>, live: &[Live]) -> Chains<'py> {
    let chain = |one: &Live| {
        let (chain, hash) = (PyBytes::new(py, &one.chain), PyBytes::new(py, &one.hash));
        (chain, one.next, hash)
    };
    live.iter().map(chain).collect()
}

impl PyLog {
    /// The log, unless this process is a fork of the one that opened it: it has the files but not
    /// the threads.
    fn log(&self) -> PyResult<&Log> {
        let log = self
            .log
            .as_ref()
            .filter(|_| std::process::id() == self.process);
        log.ok_or_else(|| errors::LockedError::new_err("this log was opened by another process"))
    }
}

impl Drop for PyLog {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            mem::forget(self.log.take());
        }
    }
}

#[pymethods]
impl PyLog {
    #[new]
    #[pyo3(signature = (
        path, *, origin, seed, queue_bytes_max=67_108_864, segment_bytes=67_108_864
    ))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        origin: String,
        seed: &[u8],
        queue_bytes_max: usize,
        segment_bytes: u64,
    ) -> PyResult<Self> {
        let seed = self::seed(seed)?;
        let options = Options {
            origin,
            seed,
            queue_bytes_max,
            segment_bytes,
        };
        let log = py.detach(|| Log::open(&path, &options)).map_err(raised)?;
        Ok(Self {
            log: Some(log),
            process: std::process::id(),
        })
    }

    #[getter]
    fn size(&self) -> PyResult<u64> {
        Ok(self.log()?.size())
    }

    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> PyResult<Bytes<'py>> {
        Ok(PyBytes::new(py, &self.log()?.root()))
    }

    #[getter]
    fn head(&self) -> PyResult<String> {
        Ok(self.log()?.head())
    }

    #[getter]
    fn vkey(&self) -> PyResult<&str> {
        Ok(self.log()?.vkey())
    }

    #[pyo3(
        signature = (records, blocks=Vec::new()),
        text_signature = "($self, records, blocks=())"
    )]
    fn append(
        &self,
        records: Vec<Bytes<'_>>,
        blocks: Vec<(Bytes<'_>, Bytes<'_>)>,
    ) -> PyResult<u64> {
        let (records, blocks) = borrow(&records, &blocks);
        self.log()?.append(&records, &blocks).map_err(raised)
    }

    #[pyo3(
        signature = (records, blocks=Vec::new()),
        text_signature = "($self, records, blocks=())"
    )]
    fn append_durable(
        &self,
        py: Python<'_>,
        records: Vec<Bytes<'_>>,
        blocks: Vec<(Bytes<'_>, Bytes<'_>)>,
    ) -> PyResult<u64> {
        let log = self.log()?;
        let (records, blocks) = borrow(&records, &blocks);
        let pending = log.submit(&records, &blocks).map_err(raised)?;
        py.detach(|| log.wait(&pending)).map_err(raised)
    }

    fn fileno(&self) -> PyResult<RawFd> {
        Ok(self.log()?.completions().as_raw_fd())
    }

    #[pyo3(signature = (max=1024))]
    fn drain(&self, max: usize) -> PyResult<Vec<(u64, u64, Option<String>)>> {
        let drained = self.log()?.drain(max).into_iter();
        Ok(drained
            .map(|one| (one.ticket, one.first, one.error.map(|s| s.to_string())))
            .collect())
    }

    fn scan<'py>(
        &self,
        py: Python<'py>,
        address: u64,
        bytes_max: usize,
    ) -> PyResult<(Records<'py>, Blocks<'py>, u64)> {
        let log = self.log()?;
        let scan = py.detach(|| log.scan(address, bytes_max)).map_err(raised)?;
        Ok(scanned(py, scan))
    }

    fn read<'py>(&self, py: Python<'py>, address: u64) -> PyResult<Bytes<'py>> {
        let log = self.log()?;
        let data = py.detach(|| log.read(address)).map_err(raised)?;
        Ok(PyBytes::new(py, &data))
    }

    fn read_many<'py>(&self, py: Python<'py>, addresses: Vec<u64>) -> PyResult<Vec<Bytes<'py>>> {
        let log = self.log()?;
        let found = py.detach(|| log.read_many(&addresses)).map_err(raised)?;
        Ok(found.iter().map(|data| PyBytes::new(py, data)).collect())
    }

    fn publish(&self, py: Python<'_>) -> PyResult<()> {
        let log = self.log()?;
        py.detach(|| log.publish()).map_err(raised)
    }

    fn save_witnessed(&self, py: Python<'_>, note: PyBackedStr) -> PyResult<()> {
        let log = self.log()?;
        py.detach(|| log.save_witnessed(note.as_bytes()))
            .map_err(raised)
    }

    #[getter]
    fn first(&self, py: Python<'_>) -> PyResult<u64> {
        let log = self.log()?;
        let (first, _) = py.detach(|| log.beginning()).map_err(raised)?;
        Ok(first)
    }

    #[getter]
    fn carried<'py>(&self, py: Python<'py>) -> PyResult<Chains<'py>> {
        let log = self.log()?;
        let (_, live) = py.detach(|| log.beginning()).map_err(raised)?;
        Ok(chains(py, &live))
    }

    #[getter]
    fn segments(&self, py: Python<'_>) -> PyResult<Vec<(u32, u64, u64)>> {
        let log = self.log()?;
        py.detach(|| log.segments()).map_err(raised)
    }

    fn survey<'py>(&self, py: Python<'py>, segment: u32) -> PyResult<Chains<'py>> {
        let log = self.log()?;
        let live = py.detach(|| log.survey(segment)).map_err(raised)?;
        Ok(chains(py, &live))
    }

    fn prune(&self, py: Python<'_>, record: u64) -> PyResult<u64> {
        let log = self.log()?;
        py.detach(|| log.prune(record)).map_err(raised)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let log = self.log()?;
        py.detach(|| log.close()).map_err(raised)
    }
}

type Borrowed<'a> = (Vec<&'a [u8]>, Vec<(&'a [u8], &'a [u8])>);

fn borrow<'a>(records: &'a [Bytes<'_>], blocks: &'a [(Bytes<'_>, Bytes<'_>)]) -> Borrowed<'a> {
    let records = records.iter().map(|record| record.as_bytes()).collect();
    let blocks = blocks
        .iter()
        .map(|(cid, data)| (cid.as_bytes(), data.as_bytes()))
        .collect();
    (records, blocks)
}

fn scanned(py: Python<'_>, scan: Scan) -> (Records<'_>, Blocks<'_>, u64) {
    let records = scan.records.into_iter();
    let records = records.map(|one| (one.index, one.address, PyBytes::new(py, &one.data)));
    let blocks = scan.blocks.into_iter();
    let blocks = blocks.map(|one| (PyBytes::new(py, &one.cid), one.address, one.length));
    (records.collect(), blocks.collect(), scan.next)
}

#[pyfunction]
fn generate_vkey(origin: &str, seed: &[u8]) -> PyResult<String> {
    let signer = Signer::new(origin, &self::seed(seed)?);
    let signer = signer.map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(signer.verifier().to_string())
}

#[pyclass(name = "LogReader", module = "qflow._core", frozen)]
struct PyLogReader(LogReader);

#[pymethods]
impl PyLogReader {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| LogReader::open(&path))
            .map(Self)
            .map_err(raised)
    }

    #[getter]
    fn size(&self, py: Python<'_>) -> PyResult<u64> {
        py.detach(|| self.0.size()).map_err(raised)
    }

    #[getter]
    fn first(&self, py: Python<'_>) -> PyResult<u64> {
        let (first, _) = py.detach(|| self.0.beginning()).map_err(raised)?;
        Ok(first)
    }

    #[getter]
    fn carried<'py>(&self, py: Python<'py>) -> PyResult<Chains<'py>> {
        let (_, live) = py.detach(|| self.0.beginning()).map_err(raised)?;
        Ok(chains(py, &live))
    }

    #[getter]
    fn head(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| self.0.head()).map_err(raised)
    }

    fn scan<'py>(
        &self,
        py: Python<'py>,
        address: u64,
        bytes_max: usize,
    ) -> PyResult<(Records<'py>, Blocks<'py>, u64)> {
        let scan = py
            .detach(|| self.0.scan(address, bytes_max))
            .map_err(raised)?;
        Ok(scanned(py, scan))
    }

    fn read<'py>(&self, py: Python<'py>, address: u64) -> PyResult<Bytes<'py>> {
        let data = py.detach(|| self.0.read(address)).map_err(raised)?;
        Ok(PyBytes::new(py, &data))
    }

    fn read_many<'py>(&self, py: Python<'py>, addresses: Vec<u64>) -> PyResult<Vec<Bytes<'py>>> {
        let found = py.detach(|| self.0.read_many(&addresses)).map_err(raised)?;
        Ok(found.iter().map(|data| PyBytes::new(py, data)).collect())
    }
}
