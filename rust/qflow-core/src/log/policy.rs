//! Which logs are believed, and which witnesses must have seen a head (C2SP tlog-policy).

mod parse;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::cosignature::WitnessKey;
use super::note::{Note, NoteError, VerifierKey};

pub use parse::POLICY_BYTES_MAX;

/// A policy that is refused, or a head that one refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// `what` quotes nothing: the file may be another than was meant, such as a private key.
    #[error("line {line}: {what}")]
    Line { line: usize, what: String },
    #[error("more than {POLICY_BYTES_MAX} bytes")]
    TooLong,
    #[error("no quorum line; `quorum none` asks for no witness")]
    NoQuorum,
    #[error("it does not list the log {0}")]
    UnknownLog(String),
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error(transparent)]
    Head(#[from] CheckpointError),
}

/// A key of a policy: the name that the policy gives it, and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<K> {
    pub name: String,
    pub key: K,
    pub url: Option<String>,
}

/// A witness, by its name in the policy, and when it cosigned, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    pub witness: String,
    pub time_s: u64,
}

/// What has a name that a group or the quorum may refer to.
#[derive(Debug, Clone)]
enum Member {
    Witness,
    /// At least `needed` of these members, which were defined before.
    Group {
        needed: usize,
        members: Vec<usize>,
    },
}

/// A policy that was read.
#[derive(Debug, Clone)]
pub struct Policy {
    logs: Vec<Named<VerifierKey>>,
    witnesses: Vec<Named<WitnessKey>>,
    /// Witnesses and groups, in the order of their lines.
    members: Vec<(String, Member)>,
    quorum_name: String,
    /// None asks for no witness.
    quorum: Option<usize>,
}

impl Policy {
    /// Read a policy, strictly. The error names the line.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        parse::parse(text)
    }

    /// The logs that are believed; when there is none, the reader knows the log from elsewhere.
    #[must_use]
    pub fn logs(&self) -> &[Named<VerifierKey>] {
        &self.logs
    }

    /// The witnesses that are known, in the order of their lines.
    #[must_use]
    pub fn witnesses(&self) -> &[Named<WitnessKey>] {
        &self.witnesses
    }

    /// The name of the witness or group that must have seen a head; `none` when nobody must.
    #[must_use]
    pub fn quorum(&self) -> &str {
        &self.quorum_name
    }

    /// Whether it asks for no witness. A head that meets it is no more certain for that.
    #[must_use]
    pub fn asks_nobody(&self) -> bool {
        self.quorum.is_none()
    }

    /// Refuse a log that the policy does not list, if it lists any.
    pub fn check_log(&self, log: &VerifierKey) -> Result<(), PolicyError> {
        if self.logs.is_empty() || self.logs.iter().any(|known| known.key == *log) {
            Ok(())
        } else {
            Err(PolicyError::UnknownLog(log.name().to_owned()))
        }
    }

    /// The witnesses whose cosignature of this note is good. One that is not good, of a witness
    /// that is known, is an error. A witness that has the key of the note's log does not count.
    pub fn cosignatures(&self, note: &Note<'_>) -> Result<Vec<Cosignature>, NoteError> {
        let mut found = Vec::new();
        for witness in &self.witnesses {
            let Some(time_s) = witness.key.cosigned_at(note)? else {
                continue;
            };
            if !note.is_of_log_with(witness.key.public()) {
                found.push(Cosignature {
                    witness: witness.name.clone(),
                    time_s,
                });
            }
        }
        Ok(found)
    }

    /// Whether these cosignatures are enough.
    #[must_use]
    pub fn is_quorum(&self, cosignatures: &[Cosignature]) -> bool {
        let Some(quorum) = self.quorum else {
            return true;
        };
        let mut met: Vec<bool> = Vec::with_capacity(quorum + 1);
        for (name, member) in &self.members[..=quorum] {
            met.push(match member {
                Member::Witness => cosignatures.iter().any(|one| one.witness == *name),
                Member::Group { needed, members } => {
                    members.iter().filter(|member| met[**member]).count() >= *needed
                }
            });
        }
        met.last().is_some_and(|met| *met)
    }

    /// Check a head by this policy alone: signed by a log that it lists, if it lists any, and
    /// cosigned by enough. An error when a known key's signature is not good.
    pub fn is_met(&self, checkpoint: &[u8]) -> Result<bool, PolicyError> {
        let (origin, _, note) = Checkpoint::peek(checkpoint)?;
        let mut signed = self.logs.is_empty();
        for log in self.logs.iter().filter(|log| log.key.name() == origin) {
            match note.verify(&log.key) {
                Ok(()) => signed = true,
                Err(NoteError::Unsigned(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(signed && self.is_quorum(&self.cosignatures(&note)?))
    }
}

#[cfg(test)]
mod tests;
