//! CRDT documents for Python. The lock of a document is never waited for with the GIL held: who
//! has it may need the GIL.

use std::sync::{Arc, LockResult, Mutex, MutexGuard};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use qflow_core::crdt::carry::Sibling;
use qflow_core::crdt::change::{Change, parse_change_cid};
use qflow_core::crdt::document::{Document, Outcome};
use qflow_core::crdt::read::{CutError, Sides};
use qflow_core::crdt::{Cid, Key, pack, read_heads, reconcile, write_heads};

use crate::crdt_changes::{CheckedChanges, cid_bytes, operation_bytes};
use crate::crdt_transaction::CrdtTransaction;
use crate::crdt_value::{Path, show};
use crate::crdt_view::Objects;
use crate::errors::StaleError;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CrdtDocument>()?;
    module.add_class::<CrdtTransaction>()?;
    crate::crdt_changes::register(module)
}

/// CIDs of changes that the other lacks, and the answer, if any.
type Reconciled<'py> = (Vec<Bound<'py, PyBytes>>, Option<Bound<'py, PyBytes>>);

/// The document, shared with its transactions.
pub type Shared = Arc<Mutex<Document>>;

/// Lock a document.
pub fn lock<'a>(py: Python<'_>, shared: &'a Mutex<Document>) -> MutexGuard<'a, Document> {
    sound(shared.lock_py_attached(py))
}

/// What a panic left behind may have half a change, so nothing is read of it or written to it.
pub fn sound<G>(locked: LockResult<G>) -> G {
    locked.unwrap_or_else(|_| panic!("a panic left this document unsound: load it again"))
}

pub fn refused(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

pub fn fixed<const N: usize>(bytes: &[u8], what: &str) -> PyResult<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| PyValueError::new_err(format!("{what} has {N} bytes")))
}

/// A replica of a document in memory.
#[pyclass(module = "qflow._core", frozen)]
pub struct CrdtDocument {
    pub shared: Shared,
    chance: u64,
    frozen: bool,
}

impl CrdtDocument {
    fn of(document: Document, hash_key: &[u8], frozen: bool) -> Self {
        let mut chance = [0; 8];
        let len = hash_key.len().min(8);
        chance[..len].copy_from_slice(&hash_key[..len]);
        let (shared, chance) = (Arc::new(Mutex::new(document)), u64::from_le_bytes(chance));
        Self {
            shared,
            chance,
            frozen,
        }
    }

    fn with<R>(&self, py: Python<'_>, act: impl FnOnce(&mut Document) -> R + Send) -> R
    where
        R: Send,
    {
        py.detach(|| {
            let mut document = sound(self.shared.lock());
            act(&mut document)
        })
    }

    fn check_writable(&self) -> PyResult<()> {
        if self.frozen {
            return Err(PyValueError::new_err(
                "a document of the past can only be read",
            ));
        }
        Ok(())
    }
}

#[pymethods]
impl CrdtDocument {
    #[new]
    #[pyo3(signature = (doc, *, replica, hash_key))]
    fn py_new(doc: &[u8], replica: &[u8], hash_key: &[u8]) -> PyResult<Self> {
        let (doc, me) = (fixed(doc, "a document id")?, fixed(replica, "a replica")?);
        check_hash_key(hash_key)?;
        Ok(Self::of(Document::new(doc, me, hash_key), hash_key, false))
    }

    #[staticmethod]
    #[pyo3(signature = (snapshot, *, replica, hash_key))]
    fn load(py: Python<'_>, snapshot: &[u8], replica: &[u8], hash_key: &[u8]) -> PyResult<Self> {
        let me = fixed(replica, "a replica")?;
        check_hash_key(hash_key)?;
        let document = py
            .detach(|| Document::load(snapshot, me, hash_key))
            .map_err(refused)?;
        Ok(Self::of(document, hash_key, false))
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.with(py, Document::snapshot))
    }

    fn compact<'py>(&self, py: Python<'py>, cut: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        self.check_writable()?;
        let heads = read_heads(cut).map_err(refused)?;
        let snapshot = self
            .with(py, |document| document.compact(&heads))
            .map_err(refused)?;
        Ok(PyBytes::new(py, &snapshot))
    }

    fn apply(&self, py: Python<'_>, changes: &CheckedChanges) -> PyResult<Applied> {
        self.check_writable()?;
        let changes = &changes.changes;
        let (outcome, touched) = self.with(py, |document| {
            let mut outcome = document.apply(changes);
            let touched = document.pointers(std::mem::take(&mut outcome.touched));
            (outcome, touched)
        });
        Ok(Applied { outcome, touched })
    }

    fn begin(&self) -> PyResult<CrdtTransaction> {
        self.check_writable()?;
        Ok(CrdtTransaction::new(Arc::clone(&self.shared), self.chance))
    }

    fn abandon(&self, py: Python<'_>) {
        lock(py, &self.shared).abandon();
    }

    #[pyo3(
        signature = (path = None, default = None),
        text_signature = "($self, path='', default=None)"
    )]
    fn get<'py>(
        &self,
        py: Python<'py>,
        path: Option<&Bound<'py, PyAny>>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut objects = Objects::new(py);
        let present = at(path, |parts| {
            lock(py, &self.shared).view(parts, &mut objects)
        })?;
        Ok(objects
            .finish(present)
            .or(default)
            .unwrap_or_else(|| py.None().into_bound(py)))
    }

    fn siblings<'py>(
        &self,
        py: Python<'py>,
        path: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        at(Some(path), |parts| {
            let document = lock(py, &self.shared);
            let live = document.siblings(parts);
            live.iter()
                .filter_map(|side| sibling(py, side).transpose())
                .collect()
        })
    }

    #[pyo3(signature = (limit = 10_000))]
    fn conflicts<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let found = self.with(py, |document| document.conflicts(limit));
        let shown = found.iter().map(|conflict| {
            let made = PyDict::new(py);
            made.set_item("path", &conflict.path)?;
            made.set_item("kind", conflict.kind.name())?;
            let operations = conflict
                .operations
                .iter()
                .map(|cid| operation_bytes(py, cid));
            made.set_item(
                "operations",
                PyTuple::new(py, operations.collect::<Vec<_>>())?,
            )?;
            made.set_item("id", hex(&conflict.id))?;
            Ok(made)
        });
        shown.collect()
    }

    fn clock<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.with(py, |document| document.clock()))
    }

    #[pyo3(signature = (since = None))]
    fn delta<'py>(&self, py: Python<'py>, since: Option<&[u8]>) -> PyResult<Bound<'py, PyBytes>> {
        let heads = since.map(read_heads).transpose().map_err(refused)?;
        let packed = self.with(py, |document| {
            let all = heads.is_none() && !document.is_compacted();
            let lacking = document.since(heads.as_deref().unwrap_or_default());
            let stale = lacking.snapshot && !all;
            (!stale).then(|| pack::pack(document.doc(), &lacking.changes))
        });
        let what = "some of these changes were compacted: the snapshot is needed first";
        packed
            .map(|pack| PyBytes::new(py, &pack))
            .ok_or_else(|| StaleError::new_err(what))
    }

    /// The changes with these CIDs, as far as they are here.
    fn pack_of<'py>(&self, py: Python<'py>, cids: Vec<Vec<u8>>) -> PyResult<Bound<'py, PyBytes>> {
        let cids: PyResult<Vec<_>> = cids.iter().map(|cid| change_digest(cid)).collect();
        let cids = cids?;
        let packed = self.with(py, |document| {
            pack::pack(document.doc(), &document.changes_of(&cids))
        });
        Ok(PyBytes::new(py, &packed))
    }

    fn ranges<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(
            py,
            &self.with(py, |document| reconcile::open(&document.cids())),
        )
    }

    fn reconcile<'py>(&self, py: Python<'py>, message: &[u8]) -> PyResult<Reconciled<'py>> {
        let found = self.with(py, |document| reconcile::answer(&document.cids(), message));
        let found = found.map_err(refused)?;
        let have = found.have.iter().map(|cid| cid_bytes(py, cid)).collect();
        Ok((have, found.reply.map(|reply| PyBytes::new(py, &reply))))
    }

    #[pyo3(
        signature = (path = None, limit = 100),
        text_signature = "($self, path='', limit=100)"
    )]
    fn history<'py>(
        &self,
        py: Python<'py>,
        path: Option<&Bound<'py, PyAny>>,
        limit: usize,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        at(path, |parts| {
            let document = lock(py, &self.shared);
            let past = document.history(parts, limit);
            past.iter()
                .map(|event| crate::crdt_view::event(py, event))
                .collect()
        })
    }

    fn at(&self, py: Python<'_>, clock: &[u8]) -> PyResult<Self> {
        let heads = read_heads(clock).map_err(refused)?;
        let past = self.with(py, |document| document.at(&heads));
        let past = past.map_err(|error| match error {
            CutError::Unknown => PyValueError::new_err(error.to_string()),
            CutError::Stale => StaleError::new_err(error.to_string()),
        })?;
        Ok(Self::of(past, &self.chance.to_le_bytes(), true))
    }

    fn stable<'py>(&self, py: Python<'py>, members: Vec<Vec<u8>>) -> PyResult<Bound<'py, PyBytes>> {
        let members: PyResult<Vec<Key>> = members
            .iter()
            .map(|member| fixed(member, "a member"))
            .collect();
        let members = members?;
        let heads = self.with(py, |document| document.stable(&members));
        Ok(PyBytes::new(py, &write_heads(&heads)))
    }

    /// What equivocated: by replica, two or more signed changes after the same one, as a pack.
    fn evidence<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        let packs = self.with(py, |document| {
            let shown = |changes: &Vec<&Change>| pack::pack(document.doc(), changes);
            document.evidence().iter().map(shown).collect::<Vec<_>>()
        });
        packs.iter().map(|pack| PyBytes::new(py, pack)).collect()
    }

    fn knows_operation(&self, py: Python<'_>, op: &[u8]) -> bool {
        lock(py, &self.shared).knows_operation(op)
    }

    fn knows_change(&self, py: Python<'_>, cid: &[u8]) -> PyResult<bool> {
        let cid = change_digest(cid)?;
        Ok(lock(py, &self.shared).graph().knows(&cid))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let made = PyDict::new(py);
        for (name, value) in lock(py, &self.shared).stats() {
            made.set_item(name, value)?;
        }
        Ok(made)
    }

    fn state_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.with(py, |document| document.state_bytes()))
    }

    #[pyo3(signature = (path = None), text_signature = "($self, path='')")]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        path: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let bytes = at(path, |parts| Ok(lock(py, &self.shared).encode(parts)))?;
        Ok(bytes.map(|bytes| PyBytes::new(py, &bytes)))
    }

    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, lock(py, &self.shared).doc())
    }

    #[getter]
    fn replica<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, lock(py, &self.shared).replica())
    }
}

fn check_hash_key(hash_key: &[u8]) -> PyResult<()> {
    if hash_key.len() >= 16 {
        return Ok(());
    }
    Err(PyValueError::new_err("a hash key has at least 16 bytes"))
}

/// The parts of a path that may not be given, which is the root.
fn at<R>(
    given: Option<&Bound<'_, PyAny>>,
    look: impl FnOnce(&[std::borrow::Cow<'_, str>]) -> PyResult<R>,
) -> PyResult<R> {
    match given {
        None => look(&[]),
        Some(given) => Path::of(given)?.with(|place| look(&place.parts().map_err(refused)?)),
    }
}

fn sibling<'py>(py: Python<'py>, side: &Sides<'_>) -> PyResult<Option<Bound<'py, PyDict>>> {
    let value = match side.value {
        Sibling::Register(value) => show(py, value)?,
        Sibling::Counter(_) | Sibling::List | Sibling::Map => return Ok(None),
    };
    let made = PyDict::new(py);
    made.set_item("value", value)?;
    made.set_item("replica", PyBytes::new(py, side.replica))?;
    made.set_item("lamport", side.lamport)?;
    made.set_item("operation", operation_bytes(py, &side.operation))?;
    Ok(Some(made))
}

fn change_digest(cid: &[u8]) -> PyResult<Cid> {
    parse_change_cid(cid).ok_or_else(|| PyValueError::new_err("not the CID of a change"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What became of changes.
#[pyclass(module = "qflow._core", frozen)]
pub struct Applied {
    outcome: Outcome,
    touched: Vec<String>,
}

#[pymethods]
impl Applied {
    #[getter]
    fn applied(&self) -> usize {
        self.outcome.applied
    }

    #[getter]
    fn operations(&self) -> usize {
        self.outcome.operations
    }

    #[getter]
    fn known(&self) -> usize {
        self.outcome.known
    }

    #[getter]
    fn waiting(&self) -> usize {
        self.outcome.waiting
    }

    #[getter]
    fn forked(&self) -> bool {
        self.outcome.forked
    }

    #[getter]
    fn refused<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, &str)> {
        let refused = self.outcome.refused.iter();
        refused
            .map(|(cid, why)| (cid_bytes(py, cid), why.as_str()))
            .collect()
    }

    #[getter]
    fn touched(&self) -> Vec<&str> {
        self.touched.iter().map(String::as_str).collect()
    }

    fn __repr__(&self) -> String {
        let Outcome {
            applied,
            known,
            waiting,
            refused,
            ..
        } = &self.outcome;
        let refused = refused.len();
        format!("Applied(applied={applied}, known={known}, waiting={waiting}, refused={refused})")
    }
}
