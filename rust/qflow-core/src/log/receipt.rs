//! A record with all that proves it (C2SP tlog-proof): the record's bytes are the extra data, so
//! that the file stands alone. The page is docs/formats/receipt.md.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::checkpoint::{Checkpoint, CheckpointError, parse_size};
use super::hash::{Hash, leaf_hash};
use super::note::{NOTE_BYTES_MAX, VerifierKey};
use super::policy::{Cosignature, Policy, PolicyError};
use super::proof::{ProofError, verify_inclusion};
use super::witness::{parse_proof, split_blank, write_proof};
use crate::chain::{RECORD_BYTES_MAX, RecordError, RecordView};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// Bytes of a receipt: what is longer is refused unread.
pub const RECEIPT_BYTES_MAX: usize = NOTE_BYTES_MAX + RECORD_BYTES_MAX * 2 + 64 * 45;

/// A receipt that proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("malformed receipt: {0}")]
    Malformed(&'static str),
    #[error("the head: {0}")]
    Head(#[from] CheckpointError),
    #[error("the record: {0}")]
    Record(#[from] RecordError),
    #[error("the proof: {0}")]
    Proof(#[from] ProofError),
    #[error("the policy: {0}")]
    Policy(#[from] PolicyError),
}

/// A receipt as it was read, or as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// The record; other people's proofs may come without.
    pub record: Option<Vec<u8>>,
    pub index: u64,
    pub proof: Vec<Hash>,
    /// The signed note of the head, verbatim.
    pub checkpoint: &'a [u8],
}

/// What a receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    pub record: Vec<u8>,
    pub index: u64,
    pub head: Checkpoint,
    /// Of the policy's witnesses, those whose cosignature is good.
    pub cosignatures: Vec<Cosignature>,
    /// Whether they are enough for the policy. False without one, and when it asks for nobody.
    pub witnessed: bool,
}

impl<'a> Receipt<'a> {
    /// Read a receipt, strictly. Proves nothing yet.
    pub fn parse(data: &'a [u8]) -> Result<Self, ReceiptError> {
        let bad = ReceiptError::Malformed;
        if data.len() > RECEIPT_BYTES_MAX {
            return Err(bad("too long"));
        }
        let (text, checkpoint) = split_blank(data).ok_or(bad("no blank line"))?;
        let mut lines = text.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(bad("the first line"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let record = extra.map(|line| STANDARD.decode(&line["extra ".len()..]));
        let record = record.transpose().map_err(|_| bad("the extra data"))?;
        if record.as_ref().is_some_and(Vec::is_empty) {
            return Err(bad("the extra data"));
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(parse_size).ok_or(bad("the index"))?;
        let proof = parse_proof(lines).ok_or(bad("the proof"))?;
        Ok(Self {
            record,
            index,
            proof,
            checkpoint,
        })
    }

    /// Write the receipt.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(2048);
        text.push_str(FIRST_LINE);
        text.push('\n');
        if let Some(record) = &self.record {
            text.push_str("extra ");
            STANDARD.encode_string(record, &mut text);
            text.push('\n');
        }
        text.push_str(&format!("index {}\n", self.index));
        write_proof(&mut text, &self.proof);
        text.push('\n');
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(self.checkpoint);
        bytes
    }

    /// Check everything: the head is this log's, the record is at its index under it, and, by a
    /// policy, who cosigned. Too few cosignatures are no error, but `witnessed` is then false.
    pub fn verify(
        self,
        log: &VerifierKey,
        policy: Option<&Policy>,
    ) -> Result<Proven, ReceiptError> {
        let (head, note) = Checkpoint::parse_unverified(self.checkpoint, log.name())?;
        note.verify(log).map_err(CheckpointError::from)?;
        let record = self.record.ok_or(ReceiptError::Malformed("no record"))?;
        RecordView::parse(&record)?;
        verify_inclusion(
            self.index,
            head.size,
            &leaf_hash(&record),
            &self.proof,
            &head.root,
        )?;
        let (cosignatures, witnessed) = match policy {
            Some(policy) => {
                policy.check_log(log)?;
                let found = policy.cosignatures(&note).map_err(PolicyError::from)?;
                let enough = !policy.asks_nobody() && policy.is_quorum(&found);
                (found, enough)
            }
            None => (Vec::new(), false),
        };
        Ok(Proven {
            record,
            index: self.index,
            head,
            cosignatures,
            witnessed,
        })
    }
}
