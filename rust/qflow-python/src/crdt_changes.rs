//! Changes whose signatures were verified: the only ones a document takes.

use std::collections::HashSet;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use qflow_core::crdt::change::{self, CID_PREFIX, Change, OPERATION_PREFIX};
use qflow_core::crdt::document::Changes;
use qflow_core::crdt::pack::pack;
use qflow_core::crdt::pack_read::{Limits, unpack};
use qflow_core::crdt::{Cid, Key};

use crate::crdt::{fixed, refused};

/// What one pack may come to: bytes of all bodies, and changes.
const LIMITS: Limits = Limits {
    bytes: 256 << 20,
    changes: 1 << 20,
};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CheckedChanges>()?;
    module.add_class::<crate::crdt::Applied>()?;
    module.add_function(wrap_pyfunction!(check_changes, module)?)
}

#[pyclass(module = "qflow._core", frozen)]
pub struct CheckedChanges {
    pub doc: [u8; 16],
    pub changes: Changes,
    refused: Vec<(Cid, &'static str)>,
}

impl CheckedChanges {
    /// Of changes whose signatures are good.
    pub fn signed(doc: [u8; 16], changes: Changes) -> Self {
        Self {
            doc,
            changes,
            refused: Vec::new(),
        }
    }
}

#[pymethods]
impl CheckedChanges {
    #[getter]
    fn refused<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, &'static str)> {
        self.refused
            .iter()
            .map(|(cid, why)| (cid_bytes(py, cid), *why))
            .collect()
    }

    /// CIDs of the changes, in order.
    #[getter]
    fn cids<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.changes
            .iter()
            .map(|change| cid_bytes(py, &change.header.cid))
            .collect()
    }

    /// Bodies and signatures, in order.
    #[getter]
    fn bodies<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let shown = |change: &Arc<Change>| {
            (
                PyBytes::new(py, &change.body),
                PyBytes::new(py, &change.signature),
            )
        };
        self.changes.iter().map(shown).collect()
    }

    #[getter]
    fn operations(&self) -> u64 {
        self.changes
            .iter()
            .map(|change| u64::from(change.header.n))
            .sum()
    }

    fn pack<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let packed = py.detach(|| {
            let changes: Vec<&Change> = self.changes.iter().map(AsRef::as_ref).collect();
            pack(&self.doc, &changes)
        });
        PyBytes::new(py, &packed)
    }

    /// Those with these CIDs, in their order.
    fn only(&self, cids: Vec<Vec<u8>>) -> Self {
        let named: HashSet<&[u8]> = cids.iter().filter_map(|cid| cid.get(4..)).collect();
        let is_named = |change: &&Arc<Change>| named.contains(change.header.cid.as_slice());
        let changes = self.changes.iter().filter(is_named).cloned().collect();
        Self::signed(self.doc, changes)
    }

    fn __len__(&self) -> usize {
        self.changes.len()
    }
}

#[pyfunction]
#[pyo3(name = "check_changes", signature = (pack, *, doc, members))]
fn check_changes(
    py: Python<'_>,
    pack: &[u8],
    doc: &[u8],
    members: Option<Vec<Vec<u8>>>,
) -> PyResult<CheckedChanges> {
    let doc = fixed(doc, "a document id")?;
    let members: Option<PyResult<Vec<Key>>> =
        members.map(|all| all.iter().map(|member| fixed(member, "a member")).collect());
    let mut members = members.transpose()?;
    if let Some(members) = &mut members {
        members.sort_unstable();
    }
    py.detach(|| checked(pack, doc, members.as_deref()))
}

fn checked(pack: &[u8], doc: [u8; 16], members: Option<&[Key]>) -> PyResult<CheckedChanges> {
    let (found, changes) = unpack(pack, LIMITS).map_err(refused)?;
    if found != doc {
        return Err(PyValueError::new_err(
            "the changes belong to another document",
        ));
    }
    let mut kept = Vec::with_capacity(changes.len());
    let mut refused = Vec::new();
    // Who is no member costs no verification of a signature.
    let (ours, strangers): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| {
        let is_member = |all: &[Key]| all.binary_search(&change.header.replica).is_ok();
        members.is_none_or(is_member)
    });
    for change in strangers {
        refused.push((change.header.cid, "its replica is no member"));
    }
    let verdicts = Change::verify_all(&ours);
    for (change, good) in ours.into_iter().zip(verdicts) {
        if good {
            kept.push(Arc::new(change));
        } else {
            refused.push((change.header.cid, "its signature is not good"));
        }
    }
    Ok(CheckedChanges {
        doc,
        changes: kept,
        refused,
    })
}

/// The CID of a change as bytes.
pub fn cid_bytes<'py>(py: Python<'py>, digest: &Cid) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &change::cid_bytes(CID_PREFIX, digest))
}

/// The CID of an operation as bytes: raw, sha2-256.
pub fn operation_bytes<'py>(py: Python<'py>, digest: &Cid) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &change::cid_bytes(OPERATION_PREFIX, digest))
}
