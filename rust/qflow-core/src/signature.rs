//! Ed25519, verified strictly.
