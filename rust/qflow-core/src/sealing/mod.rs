//! Sealing: authenticated encryption that commits to its key and needs no chance.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03 over RFC 8439), as a synthetic-IV construction:
//! the nonce is a keyed BLAKE3 of what is bound and what is sealed, so equal things are sealed to
//! equal bytes, and other content never gets the nonce of what was written before it. Poly1305
//! alone lets one ciphertext open under several keys; the commitment, a hash of the key that is
//! compared first, does not. The page is docs/formats/sealed-payload.md.

mod payload;
mod sealer;
mod slot;
mod state;

pub use payload::{MAGIC, OVERHEAD, Place, is_sealed, seal_payload, sealed_with, unseal_payload};
pub use sealer::{KEY_BYTES, SEAL_BYTES, Sealer, SealingError};
pub use slot::{WRAPPED_BYTES, rewrap_key, slot_bound, unwrap_key, wrap_key, wrapping_key};
pub use state::{
    Block, Owner, PART_OVERHEAD, Root, STATE_BYTES_MAX, STATE_MAGIC, StateError, parse_root,
    seal_state,
};
