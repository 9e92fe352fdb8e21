//! HMAC-SHA-256 (RFC 2104, FIPS 198-1), compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use rayon::prelude::*;
use sha2::Sha256;

/// 128 bits: an empty or shorter key proves nothing, whatever the tag.
pub const KEY_BYTES_MIN: usize = 16;
/// A whole tag, and the shortest that may be asked for in its place (RFC 2104, section 5).
pub const TAG_BYTES: usize = 32;
pub const TAG_BYTES_MIN: usize = 16;

/// Tags that one core takes at a time.
const CHUNK: usize = 128;

/// One tag and what it is to be verified against.
pub type Claim<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Whether `tag` is the first `tag_bytes` bytes of the code of a message.
///
/// The length is the receiver's choice, never the sender's: a tag of another length is bad, and so
/// is every tag when `tag_bytes` is not from 16 to 32. The time depends on lengths alone.
#[must_use]
pub fn verify(key: &[u8], message: &[u8], tag: &[u8], tag_bytes: usize) -> bool {
    if !(TAG_BYTES_MIN..=TAG_BYTES).contains(&tag_bytes)
        || tag.len() != tag_bytes
        || key.len() < KEY_BYTES_MIN
    {
        return false;
    }
    let Ok(mut code) = Hmac::<Sha256>::new_from_slice(key) else {
        return false;
    };
    code.update(message);
    code.verify_truncated_left(tag).is_ok()
}

/// Whether each (key, message, tag) is good, in order: the verdicts of [`verify`], one for one.
#[must_use]
pub fn verify_all(claims: &[Claim<'_>], tag_bytes: usize) -> Vec<bool> {
    claims
        .par_iter()
        .with_min_len(CHUNK)
        .map(|&(key, message, tag)| verify(key, message, tag, tag_bytes))
        .collect()
}
