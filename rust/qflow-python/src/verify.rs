//! Verification for Python.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use qflow_log::{Ask, Report};

use crate::log::raised;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(verify_log, module)?)
}

#[pyfunction]
#[pyo3(
    signature = (path, vkey, progress=None, *, known=Vec::new(), state=None, keep=false),
    text_signature = "(path, vkey, progress=None, *, known=(), state=None, keep=False)"
)]
fn verify_log<'py>(
    py: Python<'py>,
    path: PathBuf,
    vkey: &str,
    progress: Option<Py<PyAny>>,
    known: Vec<u64>,
    state: Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>,
    keep: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let ask = Ask {
        known: &known,
        state: state
            .as_ref()
            .map(|(state, head)| (state.as_bytes(), head.as_bytes())),
        keep,
    };
    let mut failed = None;
    let report = py.detach(|| {
        qflow_log::verify_log(&path, vkey, &ask, &mut |done, total| {
            let Some(progress) = &progress else {
                return true;
            };
            let called = Python::attach(|py| progress.call1(py, (done, total)).map(drop));
            failed = called.err();
            failed.is_none()
        })
    });
    match (failed, report) {
        (Some(error), _) => Err(error),
        (None, report) => report_dict(py, &report.map_err(raised)?),
    }
}

fn report_dict<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let mut findings = Vec::with_capacity(report.findings.len());
    for finding in &report.findings {
        let one = PyDict::new(py);
        one.set_item("where", &finding.at)?;
        one.set_item("what", &finding.what)?;
        findings.push(one);
    }
    let roots = PyDict::new(py);
    for (size, root) in &report.roots {
        roots.set_item(size, PyBytes::new(py, root))?;
    }
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| PyBytes::new(py, bytes));
    let dict = PyDict::new(py);
    dict.set_item("size", report.size)?;
    dict.set_item("root", PyBytes::new(py, &report.root))?;
    dict.set_item("first", report.first)?;
    dict.set_item("started", report.started)?;
    dict.set_item("whole", &report.whole)?;
    dict.set_item("chains", report.counts.chains)?;
    dict.set_item("heads", report.counts.heads)?;
    dict.set_item("blocks", report.counts.blocks)?;
    dict.set_item("absent", report.counts.absent)?;
    dict.set_item("published", report.published)?;
    dict.set_item("torn_bytes", report.torn_bytes)?;
    dict.set_item("bytes", report.bytes)?;
    dict.set_item("head", PyBytes::new(py, &report.head))?;
    dict.set_item("roots", roots)?;
    dict.set_item("witnessed", bytes(&report.witnessed))?;
    dict.set_item("state", bytes(&report.state))?;
    dict.set_item("findings", findings)?;
    dict.set_item("more_findings", report.more)?;
    Ok(dict)
}
