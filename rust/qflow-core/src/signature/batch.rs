//! Many signatures at once, on all cores, each by the strict rules.
//!
//! There is no batch equation here. It proves that the sum of many equations holds, with the
//! cofactor, and so accepts what `verify` refuses (a component of small order in R or A); a strict
//! verdict would need each signature verified once more. A sum that fails says nothing about which
//! one is bad, and needs the same. It can save nothing, so cores and a key that is parsed once for
//! its run of signatures are what makes a batch fast.

use ed25519_dalek::{Signature, VerifyingKey};
use rayon::prelude::*;

use super::parse_key;

/// Signatures that one core takes at a time: about a millisecond of work.
const CHUNK: usize = 32;

/// One signature and what it is to be verified against.
pub type Claim<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Whether each (public key, message, signature) is good, in order: the verdicts of
/// [`verify`](super::verify), one for one.
#[must_use]
pub fn verify_all(claims: &[Claim<'_>]) -> Vec<bool> {
    claims
        .par_chunks(CHUNK)
        .flat_map_iter(verify_chunk)
        .collect()
}

fn verify_chunk<'a>(claims: &'a [Claim<'a>]) -> impl Iterator<Item = bool> + 'a {
    let mut known: Option<(&[u8], Option<VerifyingKey>)> = None;
    claims.iter().map(move |&(public_key, message, signature)| {
        let key = match &known {
            Some((bytes, key)) if *bytes == public_key => *key,
            _ => known.insert((public_key, parse_key(public_key))).1,
        };
        let (Some(key), Ok(signature)) = (key, Signature::from_slice(signature)) else {
            return false;
        };
        key.verify_strict(message, &signature).is_ok()
    })
}
