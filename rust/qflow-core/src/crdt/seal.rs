//! From a transaction to signed changes.

use ed25519_dalek::{Signer, SigningKey};
use rayon::prelude::*;
use std::sync::Arc;

use super::build::Builder;
use super::change::{BODY_BYTES_MAX, Change, ChangeError, DEPS_MAX, Origin, signed_message};
use super::document::{Changes, Document, Unsaved};
use super::transaction::Draft;
use super::{Cid, Key};
use crate::encoding::digest;

/// Changes that one core signs at a time.
const CHUNK: usize = 8;

/// Why a transaction was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("this is not the key of the replica that writes here")]
    Key,
    #[error("more operations than a line can have")]
    Full,
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// Bodies of changes in their order, to be signed with the key of their replica.
pub struct Unsigned {
    bodies: Vec<Vec<u8>>,
    key: SigningKey,
}

impl Document {
    /// The changes that a transaction becomes, as the next ones of this replica, whose key `seed`
    /// makes: they saw all that is here. `op` is its operation id, which is kept even when nothing
    /// is written.
    ///
    /// Nothing in the document changes but where the next transaction goes on: `apply` what comes
    /// of them once they are saved, or `abandon` them.
    pub fn close(
        &mut self,
        draft: Draft,
        op: Option<&[u8]>,
        seed: &[u8; 32],
    ) -> Result<Unsigned, SealError> {
        let key = SigningKey::from_bytes(seed);
        if key.verifying_key().to_bytes() != self.me {
            return Err(SealError::Key);
        }
        let mut chain = self.next_of_line();
        let builders = draft.into_builders();
        let all: usize = builders.iter().map(Builder::len).sum();
        if u32::try_from(all)
            .ok()
            .and_then(|all| chain.seq.checked_add(all))
            .is_none()
        {
            return Err(SealError::Full);
        }
        let empty = Builder::new(0);
        while chain.must_acknowledge(builders.first(), op) {
            chain.add(&empty, None)?;
        }
        for builder in &builders {
            chain.add(builder, op)?;
        }
        if builders.is_empty() && op.is_some() {
            chain.add(&empty, op)?;
        }
        let bodies = chain.end(self);
        Ok(Unsigned { bodies, key })
    }

    /// Forget what was closed and is not applied: it was not saved, for certain.
    pub fn abandon(&mut self) {
        self.unsaved = None;
    }

    fn next_of_line(&self) -> Chain {
        let next = self.graph.deps_for(&self.me);
        let (doc, replica) = (*self.doc(), self.me);
        let (mut prev, mut seq, mut named) = (next.prev, next.seq0, Vec::new());
        let mut deps = next.deps;
        if let Some(unsaved) = &self.unsaved {
            (prev, seq) = (Some(unsaved.last), unsaved.seq);
            named.clone_from(&unsaved.named);
            deps.retain(|dep| !named.contains(dep));
        }
        Chain {
            doc,
            replica,
            prev,
            seq,
            deps,
            named,
            bodies: Vec::new(),
        }
    }
}

/// Changes of one line that are made one after the other.
struct Chain {
    doc: [u8; 16],
    replica: Key,
    prev: Option<Cid>,
    seq: u32,
    /// What the next change has to name yet; sorted.
    deps: Vec<Cid>,
    named: Vec<Cid>,
    bodies: Vec<Vec<u8>>,
}

impl Chain {
    /// Whether the next change cannot name all that it has to.
    fn must_acknowledge(&self, next: Option<&Builder>, op: Option<&[u8]>) -> bool {
        let Some(next) = next else {
            return self.deps.len() > DEPS_MAX && op.is_some();
        };
        let around = Origin::bytes_max(self.deps.len(), op.map_or(0, <[u8]>::len));
        self.deps.len() > DEPS_MAX
            || !self.deps.is_empty() && around + next.bytes() > BODY_BYTES_MAX
    }

    fn add(&mut self, builder: &Builder, op: Option<&[u8]>) -> Result<(), ChangeError> {
        let rest = self.deps.split_off(self.deps.len().min(DEPS_MAX));
        let deps = std::mem::replace(&mut self.deps, rest);
        let Self {
            doc,
            replica,
            seq,
            prev,
            ..
        } = *self;
        let body = builder.finish(&Origin {
            doc,
            replica,
            seq0: seq,
            prev,
            deps: &deps,
            op,
        })?;
        self.named.extend(deps);
        self.prev = Some(digest(&body));
        self.seq += builder.len() as u32;
        self.bodies.push(body);
        Ok(())
    }

    fn end(self, document: &mut Document) -> Vec<Vec<u8>> {
        if let (Some(last), false) = (self.prev, self.bodies.is_empty()) {
            document.unsaved = Some(Unsaved {
                last,
                seq: self.seq,
                named: self.named,
            });
        }
        self.bodies
    }
}

impl Unsigned {
    /// Sign each change, on all cores when they are many.
    pub fn sign(self) -> Result<Changes, SealError> {
        let Self { bodies, key } = self;
        if bodies.len() < CHUNK {
            return bodies.iter().map(|body| signed(body, &key)).collect();
        }
        let each = bodies.par_iter().with_min_len(CHUNK);
        each.map(|body| signed(body, &key)).collect()
    }
}

fn signed(body: &[u8], key: &SigningKey) -> Result<Arc<Change>, SealError> {
    let signature = key.sign(&signed_message(&digest(body))).to_bytes();
    Ok(Arc::new(Change::decode(body, signature)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_the_replicas_leaves_no_trace_in_the_document() {
        let seed = [1; 32];
        let me = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        let mut document = Document::new([0; 16], me, b"chance");
        let mut close = |seed| document.close(Draft::new(0), Some(b"op"), seed);
        assert!(matches!(close(&[2; 32]), Err(SealError::Key)));
        let changes = close(&seed).and_then(Unsigned::sign).expect("the key");
        assert_eq!(changes[0].header.prev, None);
    }
}
