//! Queries and the index for Python.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use qflow_core::chain::RecordView;
use qflow_index::{
    Asked, Batch, BlockIn, Execution, Field, Filter, Fold, FoldError, Place, RecordIn,
};

use crate::errors::CorruptError;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyFilter>()?;
    module.add_class::<PyFold>()?;
    module.add_class::<PyBatch>()?;
    module.add_function(wrap_pyfunction!(pack_run, module)?)?;
    module.add_function(wrap_pyfunction!(unpack_run, module)?)?;
    module.add_function(wrap_pyfunction!(unpack_addresses, module)?)?;
    module.add_function(wrap_pyfunction!(extend_span, module)?)?;
    module.add_function(wrap_pyfunction!(select_chunks, module)?)?;
    module.add_function(wrap_pyfunction!(spread, module)?)?;
    module.add_function(wrap_pyfunction!(spread_names, module)?)?;
    module.add_function(wrap_pyfunction!(unpack_execution, module)?)
}

fn damaged() -> PyErr {
    PyValueError::new_err("a row is damaged")
}

fn raised(error: FoldError) -> PyErr {
    match error {
        FoldError::Log { .. } => CorruptError::new_err(error.to_string()),
        FoldError::Row => damaged(),
    }
}

type Bytes<'py> = Bound<'py, PyBytes>;
type RecordRow = (u64, u64, PyBackedBytes);
type BlockRow = (PyBackedBytes, u64, u64);

fn record_in(row: &RecordRow) -> RecordIn<'_> {
    RecordIn {
        index: row.0,
        address: row.1,
        data: &row.2,
    }
}

/// A query that other parts of the module take too.
#[pyclass(name = "Filter", module = "qflow._core", frozen)]
pub struct PyFilter {
    pub filter: Filter,
}

#[pymethods]
impl PyFilter {
    #[new]
    #[pyo3(signature = (
        *, chain=None, flow=None, r#type=None, actor=None, node=None, subnet=None, since=None,
        until=None, text=None
    ))]
    #[allow(clippy::too_many_arguments)] // one argument for each field of a query
    fn new(
        chain: Option<[u8; 16]>,
        flow: Option<&str>,
        r#type: Option<&str>,
        actor: Option<&str>,
        node: Option<&str>,
        subnet: Option<&str>,
        since: Option<u64>,
        until: Option<u64>,
        text: Option<&str>,
    ) -> PyResult<Self> {
        let filter = Filter::new(&Asked {
            chain,
            flow,
            kind: r#type,
            actor,
            node,
            subnet,
            since,
            until,
            text,
        });
        let filter = filter.map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { filter })
    }

    fn matches(&self, data: &[u8]) -> PyResult<bool> {
        let record = RecordView::parse(data)
            .map_err(|error| PyValueError::new_err(format!("a record: {error}")))?;
        Ok(self.filter.matches(&record))
    }

    fn select(&self, py: Python<'_>, records: Vec<PyBackedBytes>) -> PyResult<Vec<usize>> {
        let found = py.detach(|| self.filter.select(records.iter().map(|one| &**one)));
        found.map_err(|(at, error)| PyValueError::new_err(format!("record {at}: {error}")))
    }

    #[getter]
    fn words(&self) -> Vec<String> {
        self.filter.terms_of_words()
    }

    fn asks(&self, field: char) -> PyResult<bool> {
        Ok(self.filter.asks(self::field(field)?))
    }

    fn terms(&self, field: char, names: Vec<String>) -> PyResult<Vec<String>> {
        let field = self::field(field)?;
        let taken = names.iter().filter(|name| self.filter.takes(field, name));
        Ok(taken.map(|name| field.term(name)).collect())
    }

    fn exact(&self, field: char) -> PyResult<Option<&str>> {
        Ok(self.filter.exact(self::field(field)?))
    }
}

fn field(letter: char) -> PyResult<Field> {
    Field::parse(letter).ok_or_else(|| PyValueError::new_err("fields: f, t, a, n, s"))
}

/// The fold of a log, as far as it has come.
#[pyclass(name = "Fold", module = "qflow._core", frozen)]
struct PyFold(Mutex<Fold>);

#[pymethods]
impl PyFold {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn prime(&self, records: Vec<RecordRow>) -> PyResult<()> {
        let mut fold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = records.iter().map(record_in);
        records.try_for_each(|one| fold.prime(one)).map_err(raised)
    }

    fn fold(
        &self,
        py: Python<'_>,
        records: Vec<RecordRow>,
        blocks: Vec<BlockRow>,
    ) -> PyResult<PyBatch> {
        let batch = py.detach(|| {
            let records: Vec<RecordIn<'_>> = records.iter().map(record_in).collect();
            let blocks: Vec<BlockIn<'_>> = blocks
                .iter()
                .map(|(cid, address, length)| BlockIn {
                    cid,
                    address: *address,
                    length: *length,
                })
                .collect();
            let mut fold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            fold.fold(&records, &blocks)
        });
        batch.map(PyBatch).map_err(raised)
    }
}

type Known = Option<(String, String, PyBackedBytes)>;
type ExecutionRow<'py> = (Bytes<'py>, String, &'static str, Bytes<'py>);
type Facts = Vec<(u64, u64, Option<u64>)>;

/// What some frames change.
#[pyclass(name = "Batch", module = "qflow._core")]
struct PyBatch(Batch);

#[pymethods]
impl PyBatch {
    #[getter]
    fn first(&self) -> Option<u64> {
        self.0.first
    }

    #[getter]
    fn records(&self) -> u64 {
        self.0.records
    }

    #[getter]
    fn last<'py>(&self, py: Python<'py>) -> Option<(u64, Bytes<'py>)> {
        let last = self.0.last.as_ref();
        last.map(|(address, hash)| (*address, PyBytes::new(py, hash)))
    }

    #[getter]
    fn tail<'py>(&self, py: Python<'py>) -> Bytes<'py> {
        PyBytes::new(py, &self.0.tail.1)
    }

    #[getter]
    fn continued<'py>(&self, py: Python<'py>) -> Vec<Bytes<'py>> {
        let parts = self.0.parts.iter().filter(|part| !part.begins());
        parts.map(|part| PyBytes::new(py, &part.chain)).collect()
    }

    #[getter]
    fn elsewhere<'py>(&self, py: Python<'py>) -> Vec<Bytes<'py>> {
        let cids = self.0.elsewhere.iter();
        cids.map(|(_, _, cid)| PyBytes::new(py, cid)).collect()
    }

    fn place(&mut self, payloads: Vec<Option<u64>>) -> PyResult<()> {
        if payloads.len() != self.0.elsewhere.len() {
            return Err(PyValueError::new_err("an address for each payload"));
        }
        for ((part, place, _), payload) in self.0.elsewhere.iter().zip(payloads) {
            self.0.parts[*part].places[*place].payload = payload;
        }
        Ok(())
    }

    fn runs<'py>(&self, py: Python<'py>) -> Vec<(Bytes<'py>, u64, Bytes<'py>)> {
        let rows = self.0.parts.iter().map(|part| {
            let row = PyBytes::new(py, &part.run());
            (PyBytes::new(py, &part.chain), part.first_seq, row)
        });
        rows.collect()
    }

    fn begun<'py>(&self, py: Python<'py>) -> PyResult<Vec<ExecutionRow<'py>>> {
        let parts = self.0.parts.iter().filter(|part| part.begins());
        let rows = parts.map(|part| Ok(execution_row(py, &part.chain, &part.execution(None)?)));
        rows.collect::<Result<_, _>>().map_err(raised)
    }

    fn changed<'py>(
        &self,
        py: Python<'py>,
        known: Vec<Known>,
    ) -> PyResult<Vec<Option<ExecutionRow<'py>>>> {
        let parts = self.0.parts.iter().filter(|part| !part.begins());
        let rows = parts.zip(known).map(|(part, known)| {
            let Some((flow, status, row)) = known else {
                return Ok(None);
            };
            let before = Execution::unpack(&part.chain, &flow, &status, &row);
            let after = part.execution(Some(before.ok_or(FoldError::Row)?))?;
            Ok(Some(execution_row(py, &part.chain, &after)))
        });
        rows.collect::<Result<_, _>>().map_err(raised)
    }

    fn facts<'py>(&self, py: Python<'py>) -> Vec<(Bytes<'py>, u64, u64, u64, Facts)> {
        let parts = self.0.parts.iter().filter(|part| !part.begins());
        let rows = parts.map(|part| {
            let facts = part.schedules.iter().map(|at| part.places[*at]);
            let facts = facts.map(|place| (place.index, place.address, place.payload));
            let chain = PyBytes::new(py, &part.chain);
            let (first, last) = (part.first_seq, part.last_seq());
            (chain, first, part.index, last, facts.collect())
        });
        rows.collect()
    }

    #[getter]
    fn blocks<'py>(&self, py: Python<'py>) -> Vec<(Bytes<'py>, u64, u64)> {
        let blocks = self.0.blocks.iter();
        blocks
            .map(|(cid, address, length)| (PyBytes::new(py, cid), *address, *length))
            .collect()
    }

    #[getter]
    #[allow(clippy::type_complexity)] // the columns of a row
    fn chunks<'py>(&self, py: Python<'py>) -> Vec<(u64, Bytes<'py>, String, (u64, u64))> {
        let chunks = self.0.chunks.iter();
        chunks
            .map(|chunk| {
                let addresses = PyBytes::new(py, &chunk.addresses);
                (chunk.number, addresses, chunk.terms.join(" "), chunk.at)
            })
            .collect()
    }

    #[getter]
    fn tallies(&self) -> Vec<(&str, u64, u64)> {
        let tallies = qflow_index::tallies(&self.0.chunks).into_iter();
        tallies
            .map(|(term, tally)| (term, tally.chunks, tally.digest))
            .collect()
    }

    #[getter]
    fn names(&self) -> Vec<(char, &str, u64)> {
        let names = qflow_index::names(&self.0.chunks).into_iter();
        names
            .map(|((field, name), digest)| (field.letter(), name, digest))
            .collect()
    }
}

fn execution_row<'py>(py: Python<'py>, id: &[u8; 16], execution: &Execution) -> ExecutionRow<'py> {
    let row = PyBytes::new(py, &execution.pack(id));
    let status = execution.standing.status.name();
    (PyBytes::new(py, id), execution.flow.clone(), status, row)
}

type PlaceRow = (u64, u64, u64, Option<u64>);

#[pyfunction]
fn pack_run<'py>(
    py: Python<'py>,
    chain: [u8; 16],
    first_seq: u64,
    places: Vec<(u64, u64, Option<u64>)>,
) -> Bytes<'py> {
    let places: Vec<Place> = places
        .into_iter()
        .map(|(index, address, payload)| Place {
            index,
            address,
            payload,
        })
        .collect();
    PyBytes::new(py, &qflow_index::pack_run(&chain, first_seq, &places))
}

#[pyfunction]
fn unpack_run(chain: [u8; 16], first_seq: u64, row: &[u8]) -> PyResult<Vec<PlaceRow>> {
    let places = qflow_index::unpack_run(&chain, first_seq, row).ok_or_else(damaged)?;
    let numbered = (first_seq..).zip(places);
    Ok(numbered
        .map(|(seq, place)| (seq, place.index, place.address, place.payload))
        .collect())
}

#[pyfunction]
fn unpack_addresses(number: u64, row: &[u8]) -> PyResult<(u64, Vec<u64>)> {
    qflow_index::unpack_addresses(number, row).ok_or_else(damaged)
}

#[pyfunction]
fn extend_span<'py>(
    py: Python<'py>,
    number: u64,
    row: Option<&[u8]>,
    chunk: u64,
    times: Vec<(u64, u64)>,
) -> PyResult<Bytes<'py>> {
    let row = qflow_index::extend_span(number, row, chunk, &times).ok_or_else(damaged)?;
    Ok(PyBytes::new(py, &row))
}

#[pyfunction]
#[pyo3(signature = (rows, first, end, since=None, until=None))]
fn select_chunks(
    rows: Vec<(u64, PyBackedBytes)>,
    first: u64,
    end: u64,
    since: Option<u64>,
    until: Option<u64>,
) -> PyResult<Vec<u64>> {
    let rows = rows.iter().map(|(number, row)| (*number, &**row));
    qflow_index::select_chunks(rows, first, end, since, until).ok_or_else(damaged)
}

#[pyfunction]
fn spread(numbers: Vec<u64>) -> u64 {
    let spread = numbers.into_iter().map(qflow_index::spread);
    spread.fold(0, |all, one| all ^ one)
}

#[pyfunction]
fn spread_names(field: char, names: Vec<String>) -> PyResult<u64> {
    let field = self::field(field)?;
    let spread = names.iter().map(|name| field.spread(name));
    Ok(spread.fold(0, |all, one| all ^ one))
}

type Unpacked = (
    Option<String>,
    String,
    u64,
    u64,
    u64,
    Option<u64>,
    Option<i64>,
    Vec<String>,
);

#[pyfunction]
fn unpack_execution(id: [u8; 16], flow: &str, status: &str, row: &[u8]) -> PyResult<Unpacked> {
    let found = Execution::unpack(&id, flow, status, row).ok_or_else(damaged)?;
    Ok((
        found.parent,
        found.definition,
        found.started_at,
        found.updated_at,
        found.seq,
        found.snapshot_seq,
        found.standing.wake_at,
        found.standing.listens,
    ))
}
