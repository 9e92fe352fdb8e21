//! The RFC 6962 tree, its tiles and its signed heads.
