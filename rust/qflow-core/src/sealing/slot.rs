//! Data keys as a keyring keeps them: wrapped under a key of the node.

use zeroize::Zeroizing;

use super::sealer::{KEY_BYTES, SEAL_BYTES, Sealer, SealingError};

/// Bytes of a wrapped key.
pub const WRAPPED_BYTES: usize = KEY_BYTES + SEAL_BYTES;
const MAGIC: [u8; 5] = *b"QFKY\x01";
const WRAPPING: &str = "qflow v1 keyring: wrapping key";

/// The key that wraps the data keys of the node with this private key.
#[must_use]
pub fn wrapping_key(seed: &[u8; KEY_BYTES]) -> Zeroizing<[u8; KEY_BYTES]> {
    Zeroizing::new(blake3::derive_key(WRAPPING, seed))
}

fn bound(number: u64, epoch: u64) -> [u8; MAGIC.len() + 16] {
    let mut bound = [0; MAGIC.len() + 16];
    bound[..MAGIC.len()].copy_from_slice(&MAGIC);
    bound[MAGIC.len()..][..8].copy_from_slice(&number.to_be_bytes());
    bound[MAGIC.len() + 8..].copy_from_slice(&epoch.to_be_bytes());
    bound
}

/// Wrap data key `number`. `epoch` is that of the wrapping key.
#[must_use]
pub fn wrap_key(wrapping: &Sealer, number: u64, epoch: u64, key: &[u8; KEY_BYTES]) -> Vec<u8> {
    let mut wrapped = Vec::with_capacity(WRAPPED_BYTES);
    wrapping.seal(&bound(number, epoch), key, &mut wrapped);
    wrapped
}

/// Data key `number`, which was wrapped under this key in this epoch.
pub fn unwrap_key(
    wrapping: &Sealer,
    number: u64,
    epoch: u64,
    wrapped: &[u8],
) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealingError> {
    let key = Zeroizing::new(wrapping.unseal(&bound(number, epoch), wrapped)?);
    let key = key.first_chunk().ok_or(SealingError::Malformed)?;
    Ok(Zeroizing::new(*key))
}
