//! Tree heads that are signed (C2SP tlog-checkpoint).

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};

use super::TREE_SIZE_MAX;
use super::hash::Hash;
use super::note::{KeyError, Note, NoteError, VerifierKey, write_signature};

/// A head that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("malformed head: {0}")]
    Malformed(&'static str),
    #[error("the head of another log: {0}")]
    Origin(String),
}

/// What a tree head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// Read a head that this key signed; its origin is the key's name.
    pub fn parse(data: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let (head, note) = Self::parse_unverified(data, key.name())?;
        note.verify(key)?;
        Ok(head)
    }

    /// Read a head without looking at its signatures, strictly.
    pub fn parse_unverified<'a>(
        data: &'a [u8],
        origin: &str,
    ) -> Result<(Self, Note<'a>), CheckpointError> {
        let (name, head, note) = Self::peek(data)?;
        if name == origin {
            Ok((head, note))
        } else {
            Err(CheckpointError::Origin(name.to_owned()))
        }
    }

    /// Read the head of any log, strictly, without looking at its signatures: its origin first.
    pub fn peek(data: &[u8]) -> Result<(&str, Self, Note<'_>), CheckpointError> {
        let note = Note::parse(data)?;
        let mut lines = note.text.split('\n');
        let (Some(name), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Malformed("fewer than three lines"));
        };
        if name.is_empty() {
            return Err(CheckpointError::Malformed("no origin"));
        }
        // What follows the last newline is empty; an extension line is not.
        if lines.next_back() != Some("") || lines.any(str::is_empty) {
            return Err(CheckpointError::Malformed("an empty line"));
        }
        let head = Self {
            size: parse_size(size).ok_or(CheckpointError::Malformed("the size"))?,
            root: parse_hash(root).ok_or(CheckpointError::Malformed("the root"))?,
        };
        Ok((name, head, note))
    }
}

/// A size or an index, in the one way to write it.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = plain && (text == "0" || !text.starts_with('0'));
    let size = text.parse().ok();
    size.filter(|size| canonical && *size <= TREE_SIZE_MAX)
}

/// A hash in exact base 64.
pub(super) fn parse_hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// The log's key: it signs heads.
pub struct Signer {
    key: SigningKey,
    verifier: VerifierKey,
}

impl Signer {
    /// From an origin and an Ed25519 seed (RFC 8032).
    pub fn new(origin: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(origin, key.verifying_key().to_bytes())?;
        Ok(Self { key, verifier })
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Write the signed head of a tree.
    #[must_use]
    pub fn sign(&self, head: &Checkpoint) -> String {
        let mut note = String::with_capacity(320);
        note.push_str(self.verifier.name());
        note.push_str(&format!("\n{}\n", head.size));
        STANDARD.encode_string(head.root, &mut note);
        note.push('\n');
        let signature = self.key.sign(note.as_bytes()).to_bytes();
        note.push('\n');
        write_signature(&mut note, &self.verifier, &signature);
        note
    }
}

#[cfg(test)]
mod tests;
