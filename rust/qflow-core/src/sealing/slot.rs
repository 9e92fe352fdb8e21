//! Data keys as a keyring keeps them and as they travel: wrapped under a key of the node or subnet.

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

/// What a key in a slot of the keyring is bound to. `epoch` is that of the wrapping key.
#[must_use]
pub fn slot_bound(number: u64, epoch: u64) -> [u8; MAGIC.len() + 16] {
    let mut bound = [0; MAGIC.len() + 16];
    bound[..MAGIC.len()].copy_from_slice(&MAGIC);
    bound[MAGIC.len()..][..8].copy_from_slice(&number.to_be_bytes());
    bound[MAGIC.len() + 8..].copy_from_slice(&epoch.to_be_bytes());
    bound
}

/// Wrap a data key, bound to `bound`.
#[must_use]
pub fn wrap_key(wrapping: &Sealer, bound: &[u8], key: &[u8; KEY_BYTES]) -> Vec<u8> {
    let mut wrapped = Vec::with_capacity(WRAPPED_BYTES);
    wrapping.seal(bound, key, &mut wrapped);
    wrapped
}

/// The data key that was wrapped under this key, bound to `bound`.
pub fn unwrap_key(
    wrapping: &Sealer,
    bound: &[u8],
    wrapped: &[u8],
) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealingError> {
    let key = Zeroizing::new(wrapping.unseal(bound, wrapped)?);
    let key = <&[u8; KEY_BYTES]>::try_from(&key[..]).map_err(|_| SealingError::Malformed)?;
    Ok(Zeroizing::new(*key))
}

/// Wrap under `to` what is wrapped under `from`; the data key is seen by nobody.
pub fn rewrap_key(
    from: (&Sealer, &[u8]),
    wrapped: &[u8],
    to: (&Sealer, &[u8]),
) -> Result<Vec<u8>, SealingError> {
    let key = unwrap_key(from.0, from.1, wrapped)?;
    Ok(wrap_key(to.0, to.1, &key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrapped_key_is_the_same_key_in_its_new_place_only() {
        let (old, new) = (Sealer::new(&[1; 32]), Sealer::new(&[2; 32]));
        let (from, to) = (slot_bound(7, 0), slot_bound(7, 1));
        let wrapped = wrap_key(&old, &from, &[9; 32]);
        let again = rewrap_key((&old, &from), &wrapped, (&new, &to)).unwrap();
        assert_eq!(again, wrap_key(&new, &to, &[9; 32]));
        assert_eq!(*unwrap_key(&new, &to, &again).unwrap(), [9; 32]);
        assert!(unwrap_key(&new, &from, &again).is_err());
        assert!(rewrap_key((&new, &from), &wrapped, (&old, &to)).is_err());
    }

    #[test]
    fn a_text_of_another_length_is_no_key() {
        let wrapping = Sealer::new(&[1; 32]);
        for length in [0, 31, 33] {
            let mut sealed = Vec::new();
            wrapping.seal(b"bound", &vec![3; length], &mut sealed);
            assert_eq!(
                unwrap_key(&wrapping, b"bound", &sealed).unwrap_err(),
                SealingError::Malformed
            );
        }
    }
}
