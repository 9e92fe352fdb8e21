//! Signed notes and the keys that verify them (C2SP signed-note).

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};

use super::hash::sha256;
use crate::signature;

/// Bytes of a note: what is longer is refused unread.
pub const NOTE_BYTES_MAX: usize = 128 << 10;
/// Signature lines of a note.
const SIGNATURES_MAX: usize = 100;
const KEY_NAME_BYTES_MAX: usize = 255;
/// The type of a plain Ed25519 signature: that of a log.
const ED25519: u8 = 1;
const DASH: &str = "\u{2014} ";

/// A key that is malformed or weak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a verifier key is name+hash+key; this is not one")]
    Malformed,
    #[error("a key of type {found:#04x}, here one of type {expected:#04x} is needed")]
    Type { found: u8, expected: u8 },
    #[error("the name of a key is 1 to 255 bytes without spaces, control characters or plus signs")]
    Name,
    #[error("not an Ed25519 key, or a weak one")]
    Weak,
}

/// A note that is malformed or not signed by the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("malformed note: {0}")]
    Malformed(&'static str),
    #[error("no signature of {0}")]
    Unsigned(String),
    #[error("the signature of {0} is not good")]
    Signature(String),
    #[error("two signatures of {0}")]
    Twice(String),
}

/// The public half of a log's key, as `name+hash+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
    id: [u8; 4],
    kind: u8,
}

impl VerifierKey {
    /// The key of this name. Refuses weak keys.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, KeyError> {
        Self::of_type(ED25519, name, key)
    }

    /// Read the text form, strictly.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Self::parse_type(ED25519, text)
    }

    pub(super) fn of_type(kind: u8, name: &str, key: [u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name);
        }
        let parsed = signature::parse_key(&key).ok_or(KeyError::Weak)?;
        Ok(Self {
            name: name.to_owned(),
            key: parsed,
            id: key_id(name, kind, &key),
            kind,
        })
    }

    pub(super) fn parse_type(kind: u8, text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Malformed);
        };
        let key = STANDARD.decode(key).map_err(|_| KeyError::Malformed)?;
        let (&found, key) = key.split_first().ok_or(KeyError::Malformed)?;
        if found != kind {
            let expected = kind;
            return Err(KeyError::Type { found, expected });
        }
        let key = key.try_into().map_err(|_| KeyError::Malformed)?;
        let key = Self::of_type(kind, name, key)?;
        if key.to_string() == text {
            Ok(key)
        } else {
            Err(KeyError::Malformed)
        }
    }

    /// Whether a signature is good, by the strict rules of `signature::verify`. The key was parsed,
    /// and found not to be weak, once for all heads.
    pub(super) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }

    /// The name, which is the log's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first bytes of the hash of name and key, which a signature line names.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The Ed25519 public key: two keys of other names and types may wrap the same.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }
}

fn key_id(name: &str, kind: u8, key: &[u8]) -> [u8; 4] {
    let message = [name.as_bytes(), &[b'\n', kind], key].concat();
    let [a, b, c, d, ..] = sha256(&message);
    [a, b, c, d]
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind];
        key.extend_from_slice(self.key.as_bytes());
        write!(
            f,
            "{}+{:08x}+{}",
            self.name,
            u32::from_be_bytes(self.id),
            STANDARD.encode(key)
        )
    }
}

/// A note as it was read: its text, which ends in a newline, and its signature lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    pub text: &'a str,
    signatures: &'a str,
}

impl<'a> Note<'a> {
    /// Read a note, strictly. Says nothing yet about its signatures being good.
    pub fn parse(data: &'a [u8]) -> Result<Self, NoteError> {
        if data.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Malformed("too long"));
        }
        let all = std::str::from_utf8(data).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        if all.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Malformed("a control character"));
        }
        let split = all
            .rfind("\n\n")
            .ok_or(NoteError::Malformed("no blank line"))?;
        let note = Self {
            text: &all[..=split],
            signatures: &all[split + 2..],
        };
        if !note.signatures.ends_with('\n') {
            return Err(NoteError::Malformed("no newline at the end"));
        }
        if note.signatures.lines().count() > SIGNATURES_MAX {
            return Err(NoteError::Malformed("too many signatures"));
        }
        for line in note.signatures.lines() {
            signature_line(line)?;
        }
        Ok(note)
    }

    /// Check that this key signed the text. Signatures of keys that are not asked for do not count.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        match self.signature_of(key)? {
            None => Err(NoteError::Unsigned(key.name.clone())),
            Some(bytes) if key.accepts(self.text.as_bytes(), &bytes) => Ok(()),
            Some(_) => Err(NoteError::Signature(key.name.clone())),
        }
    }

    /// What the line of this key says, not checked yet. A key that signs twice is refused: which
    /// of the two counts would be for each reader to choose.
    pub(super) fn signature_of(&self, key: &VerifierKey) -> Result<Option<Vec<u8>>, NoteError> {
        let mut found = None;
        for line in self.signatures.lines() {
            let (name, id, bytes) = signature_line(line)?;
            if name != key.name || id != key.id {
                continue;
            }
            if found.is_some() {
                return Err(NoteError::Twice(key.name.clone()));
            }
            found = Some(bytes);
        }
        Ok(found)
    }

    /// Whether there is a line of the log of this note, by its first line, with this public key.
    pub(super) fn is_of_log_with(&self, public: &[u8; 32]) -> bool {
        let origin = self.text.split('\n').next().unwrap_or_default();
        let own = (origin, key_id(origin, ED25519, public));
        let mut lines = self.signatures.lines().map(signature_line);
        lines.any(|line| line.is_ok_and(|(name, id, _)| (name, id) == own))
    }
}

/// The line by which a key signs a text: what follows the key's id is given.
pub(super) fn write_signature(out: &mut String, key: &VerifierKey, signature: &[u8]) {
    let bytes = [&key.id, signature].concat();
    out.push_str(DASH);
    out.push_str(&key.name);
    out.push(' ');
    STANDARD.encode_string(bytes, out);
    out.push('\n');
}

fn signature_line(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), NoteError> {
    let bad = NoteError::Malformed("a signature line");
    let rest = line.strip_prefix(DASH).ok_or(bad.clone())?;
    let (name, encoded) = rest.split_once(' ').ok_or(bad.clone())?;
    let bytes = STANDARD.decode(encoded).map_err(|_| bad.clone())?;
    match bytes.split_first_chunk::<4>() {
        Some((id, signature)) if is_key_name(name) && !signature.is_empty() => {
            Ok((name, *id, signature.to_vec()))
        }
        _ => Err(bad),
    }
}

fn is_key_name(name: &str) -> bool {
    (1..=KEY_NAME_BYTES_MAX).contains(&name.len())
        && !name
            .chars()
            .any(|c| c == '+' || c.is_whitespace() || c.is_control())
}
