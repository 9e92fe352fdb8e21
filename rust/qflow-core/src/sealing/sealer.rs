//! The construction itself: bytes bound, bytes sealed.

use blake3::Hash;
use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::chunks::Gear;

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
const CHUNKING: &str = "qflow v1 sealing: chunking key";

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
    chunking_key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Sealer {
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let encryption = Zeroizing::new(blake3::derive_key(ENCRYPTION, key));
        Self {
            commitment: blake3::derive_key(COMMITMENT, key).into(),
            cipher: XChaCha20Poly1305::new((&*encryption).into()),
            nonce_key: Zeroizing::new(blake3::derive_key(NONCE, key)),
            chunking_key: Zeroizing::new(blake3::derive_key(CHUNKING, key)),
        }
    }

    /// Where texts that are sealed in parts are cut.
    pub(super) fn gear(&self) -> Gear {
        Gear::new(&self.chunking_key)
    }

    /// What tells this key from others, and shows nothing of it: how everything sealed begins.
    #[must_use]
    pub fn commitment(&self) -> &[u8; COMMITMENT_BYTES] {
        self.commitment.as_bytes()
    }

    /// Append `text`, sealed and bound to `bound`: commitment, nonce, ciphertext, tag.
    pub fn seal(&self, bound: &[u8], text: &[u8], out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at + SEAL_BYTES + text.len(), 0);
        self.seal_into(bound, text, &mut out[at..]);
    }

    /// As `seal`, to a buffer that has SEAL_BYTES more than `text`.
    ///
    /// # Panics
    /// When it has another length.
    pub fn seal_into(&self, bound: &[u8], text: &[u8], out: &mut [u8]) {
        let nonce = self.nonce(bound, text);
        let (commitment, rest) = out.split_at_mut(COMMITMENT_BYTES);
        let (nonce_out, rest) = rest.split_at_mut(NONCE_BYTES);
        let (ciphertext, tag_out) = rest.split_at_mut(text.len());
        commitment.copy_from_slice(self.commitment.as_bytes());
        nonce_out.copy_from_slice(&nonce);
        ciphertext.copy_from_slice(text);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, bound, ciphertext.into());
        tag_out.copy_from_slice(&tag.expect("less than 256 GiB"));
    }

    /// What was sealed.
    pub fn unseal(&self, bound: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealingError> {
        let length = sealed.len().checked_sub(SEAL_BYTES);
        let mut text = vec![0; length.ok_or(SealingError::Malformed)?];
        self.unseal_into(bound, sealed, &mut text)?;
        Ok(text)
    }

    /// What was sealed, to a buffer of its length. The commitment is compared before anything is
    /// decrypted. After an error the buffer holds nothing of worth.
    pub fn unseal_into(
        &self,
        bound: &[u8],
        sealed: &[u8],
        text: &mut [u8],
    ) -> Result<(), SealingError> {
        let (commitment, rest) = sealed
            .split_first_chunk::<COMMITMENT_BYTES>()
            .ok_or(SealingError::Malformed)?;
        let (nonce, rest) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(SealingError::Malformed)?;
        let (ciphertext, tag) = rest
            .split_last_chunk::<TAG_BYTES>()
            .filter(|(ciphertext, _)| ciphertext.len() == text.len())
            .ok_or(SealingError::Malformed)?;
        // Hashes are compared in constant time.
        if Hash::from_bytes(*commitment) != self.commitment {
            return Err(SealingError::OtherKey);
        }
        let nonce = XNonce::from(*nonce);
        text.copy_from_slice(ciphertext);
        self.cipher
            .decrypt_inout_detached(&nonce, bound, (&mut *text).into(), &Tag::from(*tag))
            .map_err(|_| SealingError::Altered)?;
        // One content has one form, also when somebody with the key chose another nonce.
        if self.nonce(bound, text) != nonce {
            text.fill(0);
            return Err(SealingError::Altered);
        }
        Ok(())
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
