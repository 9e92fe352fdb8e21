//! What a log asks of a witness (C2SP tlog-witness): the body of `add-checkpoint`.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::checkpoint::{Checkpoint, CheckpointError, parse_hash, parse_size};
use super::hash::Hash;
use super::note::NOTE_BYTES_MAX;
use super::proof::PROOF_HASHES_MAX;

/// Bytes of a body: the size, a proof with one line more than is taken, a note.
pub const ADD_CHECKPOINT_BYTES_MAX: usize = NOTE_BYTES_MAX + 64 * 45 + 32;

/// A body that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// A head, with the proof that it extends the one of size `old`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint<'a> {
    pub old: u64,
    pub proof: Vec<Hash>,
    /// The signed note, as it came. It is a head by its form; nothing was verified.
    pub checkpoint: &'a [u8],
}

impl<'a> AddCheckpoint<'a> {
    /// Read a body, strictly.
    pub fn parse(body: &'a [u8]) -> Result<Self, RequestError> {
        let bad = RequestError::Malformed;
        if body.len() > ADD_CHECKPOINT_BYTES_MAX {
            return Err(bad("too long"));
        }
        let (head, checkpoint) = split_blank(body).ok_or(bad("no blank line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(parse_size).ok_or(bad("the old size"))?;
        let proof = parse_proof(lines).ok_or(bad("the proof"))?;
        Checkpoint::peek(checkpoint)?;
        Ok(Self {
            old,
            proof,
            checkpoint,
        })
    }

    /// Write the body.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RequestError> {
        let mut body = format!("old {}\n", self.old);
        write_proof(&mut body, &self.proof);
        body.push('\n');
        let mut body = body.into_bytes();
        body.extend_from_slice(self.checkpoint);
        let same = AddCheckpoint::parse(&body).is_ok_and(|read| read == *self);
        if same {
            Ok(body)
        } else {
            Err(RequestError::Malformed("not a size, a proof and a head"))
        }
    }
}

/// Lines up to the first empty one, and what follows it.
pub(super) fn split_blank(data: &[u8]) -> Option<(&str, &[u8])> {
    let at = data.windows(2).position(|pair| pair == b"\n\n")?;
    let head = std::str::from_utf8(&data[..at]).ok()?;
    Some((head, &data[at + 2..]))
}

/// Hashes, one a line; no more than a proof has.
pub(super) fn parse_proof<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Vec<Hash>> {
    let mut proof = Vec::new();
    for line in lines {
        if proof.len() == PROOF_HASHES_MAX {
            return None;
        }
        proof.push(parse_hash(line)?);
    }
    Some(proof)
}

pub(super) fn write_proof(out: &mut String, proof: &[Hash]) {
    for hash in proof {
        STANDARD.encode_string(hash, out);
        out.push('\n');
    }
}
