//! Runtime expressions: jq by jaq, bounded in steps and output.
