//! Vector clocks for Python.

use std::sync::{Arc, LazyLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString};
use qflow_core::clock::{Clock, ClockError, Relation, Replicas, read_entries, write_entries};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ClockTable>()?;
    module.add_class::<VectorClock>()?;
    module.add_function(wrap_pyfunction!(compare_clocks, module)?)?;
    module.add_function(wrap_pyfunction!(merge_clocks, module)?)
}

fn refused(error: ClockError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

#[pyclass(module = "qflow._core", frozen)]
#[derive(Default)]
pub struct ClockTable {
    replicas: Arc<RwLock<Replicas>>,
}

#[pymethods]
impl ClockTable {
    #[new]
    fn py_new() -> Self {
        Self::default()
    }

    fn __len__(&self) -> usize {
        reading(&self.replicas).len()
    }
}

// A lock is never held while anything can panic, so a poisoned one is as good.
fn reading(replicas: &RwLock<Replicas>) -> RwLockReadGuard<'_, Replicas> {
    replicas
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn writing(replicas: &RwLock<Replicas>) -> RwLockWriteGuard<'_, Replicas> {
    replicas
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The table of clocks that were made without one.
static COMMON: LazyLock<Arc<RwLock<Replicas>>> = LazyLock::new(Arc::default);

#[pyclass(module = "qflow._core")]
pub struct VectorClock {
    replicas: Arc<RwLock<Replicas>>,
    clock: Clock,
}

impl VectorClock {
    fn of(table: Option<&Bound<'_, ClockTable>>) -> Self {
        let replicas = table.map_or_else(
            || Arc::clone(&COMMON),
            |table| Arc::clone(&table.get().replicas),
        );
        Self {
            replicas,
            clock: Clock::default(),
        }
    }

    fn number(&self, replica: &[u8]) -> PyResult<u32> {
        let key = key(replica)?;
        if let Some(number) = reading(&self.replicas).find(key) {
            return Ok(number);
        }
        writing(&self.replicas).number(key).map_err(refused)
    }

    /// Another clock's counts by the numbers of this one's table.
    fn with<R>(&self, other: &Self, then: impl FnOnce(&Clock) -> R) -> PyResult<R> {
        if Arc::ptr_eq(&self.replicas, &other.replicas) {
            return Ok(then(&other.clock));
        }
        let mut clock = Clock::default();
        for (key, seen) in other.named() {
            clock.set(self.number(&key)?, seen);
        }
        Ok(then(&clock))
    }

    fn named(&self) -> Vec<([u8; 32], u32)> {
        let replicas = reading(&self.replicas);
        let named = |(number, seen)| Some((*replicas.key(number)?, seen));
        self.clock.entries().filter_map(named).collect()
    }
}

fn key(replica: &[u8]) -> PyResult<&[u8; 32]> {
    let wrong = |_| PyValueError::new_err("a replica is a public key of 32 bytes");
    replica.try_into().map_err(wrong)
}

/// The words for relations, made once: a word a call would cost more than the comparison.
fn word(py: Python<'_>, relation: Relation) -> &Bound<'_, PyString> {
    static WORDS: PyOnceLock<[Py<PyString>; 4]> = PyOnceLock::new();
    let words = WORDS.get_or_init(py, || {
        ["equal", "before", "after", "concurrent"].map(|word| PyString::intern(py, word).unbind())
    });
    words[relation as usize].bind(py)
}

#[pymethods]
impl VectorClock {
    #[new]
    #[pyo3(signature = (entries=None, *, table=None))]
    fn py_new(
        entries: Option<&Bound<'_, PyDict>>,
        table: Option<&Bound<'_, ClockTable>>,
    ) -> PyResult<Self> {
        let mut new = Self::of(table);
        for (replica, seen) in entries.into_iter().flatten() {
            let number = new.number(replica.extract()?)?;
            new.clock.set(number, seen.extract()?);
        }
        Ok(new)
    }

    #[staticmethod]
    #[pyo3(signature = (data, *, table=None))]
    fn from_bytes(data: &[u8], table: Option<&Bound<'_, ClockTable>>) -> PyResult<Self> {
        let mut new = Self::of(table);
        for (replica, seen) in read_entries(data).map_err(refused)? {
            let number = new.number(&replica)?;
            let seen = seen.max(new.clock.get(number));
            new.clock.set(number, seen);
        }
        Ok(new)
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &write_entries(&mut self.named()))
    }

    #[pyo3(signature = (replica, by=1))]
    fn increment(&mut self, replica: &[u8], by: u32) -> PyResult<u32> {
        let number = self.number(replica)?;
        self.clock.increment(number, by).map_err(refused)
    }

    fn get(&self, replica: &[u8]) -> PyResult<u32> {
        let number = reading(&self.replicas).find(key(replica)?);
        Ok(number.map_or(0, |number| self.clock.get(number)))
    }

    fn merge(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<()> {
        if slf.is(other) {
            return Ok(());
        }
        let other = other.try_borrow()?;
        let mut slf = slf.try_borrow_mut()?;
        if Arc::ptr_eq(&slf.replicas, &other.replicas) {
            slf.clock.merge(&other.clock);
            return Ok(());
        }
        let theirs = slf.with(&other, Clock::clone)?;
        slf.clock.merge(&theirs);
        Ok(())
    }

    fn compare<'py>(&self, py: Python<'py>, other: &Self) -> PyResult<Bound<'py, PyString>> {
        let relation = self.with(other, |other| self.clock.compare(other))?;
        Ok(word(py, relation).clone())
    }

    fn dominates(&self, other: &Self) -> PyResult<bool> {
        self.with(other, |other| self.clock.dominates(other))
    }

    fn entries<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut named = self.named();
        named.sort_unstable();
        let entries = PyDict::new(py);
        for (replica, seen) in named {
            entries.set_item(PyBytes::new(py, &replica), seen)?;
        }
        Ok(entries)
    }

    fn copy(&self) -> Self {
        Self {
            replicas: Arc::clone(&self.replicas),
            clock: self.clock.clone(),
        }
    }

    fn __len__(&self) -> usize {
        self.clock.entries().count()
    }

    fn __richcmp__(&self, other: &Self, op: CompareOp) -> PyResult<bool> {
        let relation = self.with(other, |other| self.clock.compare(other))?;
        Ok(match op {
            CompareOp::Eq => relation == Relation::Equal,
            CompareOp::Ne => relation != Relation::Equal,
            CompareOp::Lt => relation == Relation::Before,
            CompareOp::Le => matches!(relation, Relation::Before | Relation::Equal),
            CompareOp::Gt => relation == Relation::After,
            CompareOp::Ge => matches!(relation, Relation::After | Relation::Equal),
        })
    }

    fn __repr__(&self) -> String {
        format!("<VectorClock of {} replicas>", self.__len__())
    }
}

#[pyfunction]
fn compare_clocks<'py>(
    py: Python<'py>,
    clock: PyRef<'py, VectorClock>,
    others: Vec<PyRef<'py, VectorClock>>,
) -> PyResult<Vec<Bound<'py, PyString>>> {
    let compare = |other: &PyRef<'py, VectorClock>| {
        let relation = clock.with(other, |other| clock.clock.compare(other))?;
        Ok(word(py, relation).clone())
    };
    others.iter().map(compare).collect()
}

#[pyfunction]
#[pyo3(signature = (clocks, *, table=None))]
fn merge_clocks(
    clocks: Vec<PyRef<'_, VectorClock>>,
    table: Option<&Bound<'_, ClockTable>>,
) -> PyResult<VectorClock> {
    let mut merged = VectorClock::of(table);
    if let (None, Some(first)) = (table, clocks.first()) {
        merged.replicas = Arc::clone(&first.replicas);
    }
    for other in &clocks {
        if Arc::ptr_eq(&merged.replicas, &other.replicas) {
            merged.clock.merge(&other.clock);
        } else {
            let theirs = merged.with(other, Clock::clone)?;
            merged.clock.merge(&theirs);
        }
    }
    Ok(merged)
}
