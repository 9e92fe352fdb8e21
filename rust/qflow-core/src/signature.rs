//! Ed25519, verified strictly.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

mod batch;

pub use batch::{Claim, verify_all};

/// The public key of a seed (RFC 8032).
#[must_use]
pub fn public_key(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// Sign a message (RFC 8032, without context).
#[must_use]
pub fn sign(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
    SigningKey::from_bytes(seed).sign(message).to_bytes()
}

/// Whether a signature is good.
///
/// The strict rules, those of libsodium: S is reduced, A and R are not of small order and are
/// encoded canonically, and the equation holds without the cofactor. Permissive or batch
/// verification accepts more, and nodes that accept different sets disagree about one history.
#[must_use]
pub fn verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Some(key), Ok(signature)) = (parse_key(public_key), Signature::from_slice(signature))
    else {
        return false;
    };
    key.verify_strict(message, &signature).is_ok()
}

/// A public key that is worth anything: a canonical point, not of small order.
#[must_use]
pub fn parse_key(public_key: &[u8]) -> Option<VerifyingKey> {
    let bytes: &[u8; 32] = public_key.try_into().ok()?;
    let key = VerifyingKey::from_bytes(bytes).ok()?;
    let canonical = key.to_edwards().compress().to_bytes() == *bytes;
    (canonical && !key.is_weak()).then_some(key)
}
