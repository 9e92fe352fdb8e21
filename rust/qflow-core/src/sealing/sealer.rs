//! The construction itself: bytes bound, bytes sealed.

use blake3::Hash;
use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
const COMMITMENT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const TEXT_AT: usize = COMMITMENT_BYTES + NONCE_BYTES;
/// What sealing adds: commitment and nonce before the ciphertext, the tag behind it.
pub const SEAL_BYTES: usize = TEXT_AT + TAG_BYTES;

// Contexts of BLAKE3's key derivation: a key is used for one thing each.
const COMMITMENT: &str = "qflow v1 sealing: commitment to the key";
const ENCRYPTION: &str = "qflow v1 sealing: encryption key";
const NONCE: &str = "qflow v1 sealing: synthetic nonce key";

/// Why something was not unsealed. It says nothing about the key or the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    #[error("not a sealed payload of a version that is known")]
    Malformed,
    #[error("sealed with another key")]
    OtherKey,
    #[error("changed, or sealed for another place")]
    Altered,
}

/// A key, taken apart into what it is used for. Its parts are overwritten when it is dropped.
pub struct Sealer {
    commitment: Hash,
    cipher: XChaCha20Poly1305,
    nonce_key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Sealer {
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let encryption = Zeroizing::new(blake3::derive_key(ENCRYPTION, key));
        Self {
            commitment: blake3::derive_key(COMMITMENT, key).into(),
            cipher: XChaCha20Poly1305::new((&*encryption).into()),
            nonce_key: Zeroizing::new(blake3::derive_key(NONCE, key)),
        }
    }

    /// Append `text`, sealed and bound to `bound`: commitment, nonce, ciphertext, tag.
    pub fn seal(&self, bound: &[u8], text: &[u8], out: &mut Vec<u8>) {
        let nonce = self.nonce(bound, text);
        out.reserve(SEAL_BYTES + text.len());
        out.extend_from_slice(self.commitment.as_bytes());
        out.extend_from_slice(&nonce);
        let at = out.len();
        out.extend_from_slice(text);
        let buffer = &mut out[at..];
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, bound, buffer.into());
        out.extend_from_slice(&tag.expect("less than 256 GiB"));
    }

    /// What was sealed. The commitment is compared before anything is decrypted.
    pub fn unseal(&self, bound: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealingError> {
        let (commitment, rest) = sealed
            .split_first_chunk::<COMMITMENT_BYTES>()
            .ok_or(SealingError::Malformed)?;
        let (nonce, rest) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(SealingError::Malformed)?;
        let (text, tag) = rest
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(SealingError::Malformed)?;
        // Hashes are compared in constant time.
        if Hash::from_bytes(*commitment) != self.commitment {
            return Err(SealingError::OtherKey);
        }
        let (nonce, mut text) = (XNonce::from(*nonce), text.to_vec());
        self.cipher
            .decrypt_inout_detached(&nonce, bound, (&mut text[..]).into(), &Tag::from(*tag))
            .map_err(|_| SealingError::Altered)?;
        // One content has one form, also when somebody with the key chose another nonce.
        if self.nonce(bound, &text) != nonce {
            return Err(SealingError::Altered);
        }
        Ok(text)
    }

    fn nonce(&self, bound: &[u8], text: &[u8]) -> XNonce {
        let mut hasher = blake3::Hasher::new_keyed(&self.nonce_key);
        hasher.update(&(bound.len() as u64).to_le_bytes());
        hasher.update(bound);
        hasher.update(text);
        let mut nonce = XNonce::default();
        hasher.finalize_xof().fill(&mut nonce);
        nonce
    }
}
