//! Sealed payloads: the block that a record of an execution names.

use super::sealer::{SEAL_BYTES, Sealer, SealingError};

/// How a sealed payload begins; the last byte is the version.
pub const MAGIC: [u8; 5] = *b"QFSP\x01";
const HEADER_BYTES: usize = MAGIC.len() + 8;
/// What a sealed payload has more than its content.
pub const OVERHEAD: usize = HEADER_BYTES + SEAL_BYTES;

/// Where a payload belongs: it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub subnet: &'a str,
    pub chain: &'a [u8; 16],
    pub seq: u64,
    pub epoch: u64,
    /// Hash of the record before.
    pub prev: &'a [u8; 32],
}

fn header(number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..].copy_from_slice(&number.to_be_bytes());
    header
}

/// The header and the place, each part of a fixed length but the last.
fn bound(header: &[u8], place: &Place<'_>) -> Vec<u8> {
    let mut bound = Vec::with_capacity(HEADER_BYTES + 64 + place.subnet.len());
    bound.extend_from_slice(header);
    bound.extend_from_slice(place.chain);
    bound.extend_from_slice(&place.seq.to_be_bytes());
    bound.extend_from_slice(&place.epoch.to_be_bytes());
    bound.extend_from_slice(place.prev);
    bound.extend_from_slice(place.subnet.as_bytes());
    bound
}

/// Seal the payload of a record. `number` is that of the key in its keyring.
#[must_use]
pub fn seal_payload(sealer: &Sealer, number: u64, place: &Place<'_>, text: &[u8]) -> Vec<u8> {
    let header = header(number);
    let mut block = Vec::with_capacity(OVERHEAD + text.len());
    block.extend_from_slice(&header);
    sealer.seal(&bound(&header, place), text, &mut block);
    block
}

/// The payload of a record, by the key that [`sealed_with`] names.
pub fn unseal_payload(
    sealer: &Sealer,
    place: &Place<'_>,
    block: &[u8],
) -> Result<Vec<u8>, SealingError> {
    sealed_with(block)?;
    let (header, sealed) = block.split_at(HEADER_BYTES);
    sealer.unseal(&bound(header, place), sealed)
}

/// The number of the key that opens a block.
pub fn sealed_with(block: &[u8]) -> Result<u64, SealingError> {
    let number = block
        .strip_prefix(&MAGIC)
        .filter(|rest| rest.len() >= OVERHEAD - MAGIC.len())
        .and_then(|rest| rest.first_chunk())
        .ok_or(SealingError::Malformed)?;
    Ok(u64::from_be_bytes(*number))
}

/// Whether a block is a sealed payload, of this version or another.
#[must_use]
pub fn is_sealed(block: &[u8]) -> bool {
    block.starts_with(&MAGIC[..4])
}
