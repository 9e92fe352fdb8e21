//! What a witness says about a head (C2SP tlog-cosignature, version 1 with Ed25519).

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};

use super::checkpoint::{Checkpoint, CheckpointError};
use super::note::{KeyError, Note, NoteError, VerifierKey, write_signature};

/// The type of a cosignature: a witness's key has another id than a log's key of the same bytes.
const COSIGNATURE: u8 = 4;
/// The largest time that a cosignature may carry.
const TIME_MAX_S: u64 = i64::MAX as u64;

/// The public half of a witness's key, as `name+hash+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey(VerifierKey);

impl WitnessKey {
    /// The key of this name. Refuses weak keys.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, KeyError> {
        VerifierKey::of_type(COSIGNATURE, name, key).map(Self)
    }

    /// Read the text form, strictly. A log's key is refused.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        VerifierKey::parse_type(COSIGNATURE, text).map(Self)
    }

    /// The name in its signature lines.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        self.0.public()
    }

    /// When this witness cosigned the note, in seconds since 1970; None when it did not.
    ///
    /// A line of its that is not good, or a second one, is an error: somebody forged it.
    pub fn cosigned_at(&self, note: &Note<'_>) -> Result<Option<u64>, NoteError> {
        let Some(bytes) = note.signature_of(&self.0)? else {
            return Ok(None);
        };
        let bad = NoteError::Signature(self.name().to_owned());
        let Some((time, signature)) = bytes.split_first_chunk::<8>() else {
            return Err(bad);
        };
        let time_s = u64::from_be_bytes(*time);
        let message = cosigned_message(time_s, note.text);
        if time_s <= TIME_MAX_S && self.0.accepts(message.as_bytes(), signature) {
            Ok(Some(time_s))
        } else {
            Err(bad)
        }
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A witness's key: it cosigns heads.
pub struct Cosigner {
    key: SigningKey,
    verifier: WitnessKey,
}

impl Cosigner {
    /// From a name and an Ed25519 seed (RFC 8032).
    ///
    /// The seed may be that of a log: a head begins with an origin and a size, a cosigned message
    /// with `cosignature/v1` and a time, so that neither signature passes for the other.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(seed);
        let verifier = WitnessKey::new(name, key.verifying_key().to_bytes())?;
        Ok(Self { key, verifier })
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> &WitnessKey {
        &self.verifier
    }

    /// Cosign a head that this log signed: the signature line. Whether the head extends what the
    /// witness saw before is for the caller to know.
    pub fn cosign(
        &self,
        checkpoint: &[u8],
        log: &VerifierKey,
        time_s: u64,
    ) -> Result<String, CheckpointError> {
        let (_, note) = Checkpoint::parse_unverified(checkpoint, log.name())?;
        note.verify(log)?;
        if time_s > TIME_MAX_S {
            return Err(CheckpointError::Malformed("a time beyond 2^63 - 1"));
        }
        let message = cosigned_message(time_s, note.text);
        let signature = self.key.sign(message.as_bytes()).to_bytes();
        let timed = [&time_s.to_be_bytes()[..], &signature].concat();
        let mut line = String::with_capacity(160);
        write_signature(&mut line, &self.verifier.0, &timed);
        Ok(line)
    }
}

fn cosigned_message(time_s: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

#[cfg(test)]
mod tests;
