//! The classes of qflow.errors, which Python owns.

pyo3::import_exception!(qflow.errors, ExpressionError);
pyo3::import_exception!(qflow.errors, LogError);
pyo3::import_exception!(qflow.errors, LockedError);
pyo3::import_exception!(qflow.errors, PoisonedError);
pyo3::import_exception!(qflow.errors, BusyError);
pyo3::import_exception!(qflow.errors, CorruptError);
pyo3::import_exception!(qflow.errors, VerificationError);
pyo3::import_exception!(qflow.errors, StaleError);
pyo3::import_exception!(qflow.errors, TypeMismatchError);
