//! A row that was read back, and the record that it is of.

use qflow_core::chain::{RawView, Record, RecordError};

/// What a row says.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    pub index: u64,
    pub chain: [u8; 16],
    pub seq: u64,
    pub prev: [u8; 32],
    pub kind: String,
    pub flow: String,
    pub step: Option<String>,
    pub attempt: Option<u64>,
    pub at: u64,
    pub actor: String,
    pub node: String,
    pub subnet: String,
    pub epoch: u64,
    pub payload: Option<Vec<u8>>,
    /// Canonical.
    pub meta: Vec<u8>,
    /// The DAG-CBOR of the payload.
    pub content: Option<Vec<u8>>,
}

impl Parts {
    fn record(&self) -> Record<'_> {
        Record {
            chain: self.chain,
            seq: self.seq,
            prev: self.prev,
            kind: &self.kind,
            flow: &self.flow,
            step: self.step.as_deref(),
            attempt: self.attempt,
            at: self.at,
            actor: &self.actor,
            node: &self.node,
            subnet: &self.subnet,
            epoch: self.epoch,
            payload: self.payload.as_deref(),
            meta: &self.meta,
        }
    }

    /// The canonical bytes of the record.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        self.record().encode()
    }

    /// As the writers take it.
    pub fn view(&self) -> RawView<'_> {
        RawView::from(&self.record())
    }
}
