//! Canonical bytes: DAG-CBOR and CIDs.
