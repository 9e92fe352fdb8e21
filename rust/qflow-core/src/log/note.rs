//! Signed notes and the keys that verify them (C2SP signed-note).

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};

use super::hash::sha256;
use crate::signature;

/// Bytes of a note: what is longer is refused unread.
const NOTE_BYTES_MAX: usize = 64 << 10;
/// Signature lines of a note.
const SIGNATURES_MAX: usize = 100;
const KEY_NAME_BYTES_MAX: usize = 255;
const ED25519: u8 = 1;
const DASH: &str = "\u{2014} ";

/// A key that is malformed or weak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a verifier key is name+hash+key; this is not one")]
    Malformed,
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
}

/// The public half of a log's key, as `name+hash+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
    id: [u8; 4],
}

impl VerifierKey {
    /// The key of this name. Refuses weak keys.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name);
        }
        let parsed = signature::parse_key(&key).ok_or(KeyError::Weak)?;
        let mut message = name.as_bytes().to_vec();
        message.extend_from_slice(&[b'\n', ED25519]);
        message.extend_from_slice(&key);
        let [a, b, c, d, ..] = sha256(&message);
        Ok(Self {
            name: name.to_owned(),
            key: parsed,
            id: [a, b, c, d],
        })
    }

    /// Read the text form, strictly.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Malformed);
        };
        let key = STANDARD.decode(key).map_err(|_| KeyError::Malformed)?;
        let Some((&ED25519, key)) = key.split_first() else {
            return Err(KeyError::Malformed);
        };
        let key = Self::new(name, key.try_into().map_err(|_| KeyError::Malformed)?)?;
        if key.to_string() == text {
            Ok(key)
        } else {
            Err(KeyError::Malformed)
        }
    }

    /// Whether a signature is good, by the strict rules of `signature::verify`. The key was parsed,
    /// and found not to be weak, once for all heads.
    fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
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
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
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
        let mut found = false;
        for line in self.signatures.lines() {
            let (name, id, bytes) = signature_line(line)?;
            if name != key.name || id != key.id {
                continue;
            }
            if found || !key.accepts(self.text.as_bytes(), &bytes) {
                return Err(NoteError::Signature(key.name.clone()));
            }
            found = true;
        }
        if found {
            Ok(())
        } else {
            Err(NoteError::Unsigned(key.name.clone()))
        }
    }
}

/// The line by which a key signs a text.
pub(super) fn write_signature(out: &mut String, key: &VerifierKey, signature: &[u8; 64]) {
    let mut bytes = [0; 68];
    bytes[..4].copy_from_slice(&key.id);
    bytes[4..].copy_from_slice(signature);
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
