//! The RFC 6962 tree, its tiles and its signed heads. The page is docs/formats/log.md.

mod checkpoint;
mod cosignature;
mod frontier;
mod hash;
mod note;
mod policy;
mod proof;
mod receipt;
mod tile;
mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, Signer};
pub use cosignature::{Cosigner, WitnessKey};
pub use frontier::Frontier;
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, leaf_hashes, node_hash, sha256, sha256_all};
pub use note::{KeyError, NOTE_BYTES_MAX, Note, NoteError, VerifierKey};
pub use policy::{Cosignature, Named, Policy, PolicyError};
pub use proof::{
    PROOF_HASHES_MAX, ProofError, consistency_proof, inclusion_proof, verify_consistency,
    verify_inclusion,
};
pub use receipt::{Proven, RECEIPT_BYTES_MAX, Receipt, ReceiptError};
pub use tile::{Tile, TileError, TileKind, bundle_entry, parse_bundle, parse_hashes, tile_width};
pub use witness::{ADD_CHECKPOINT_BYTES_MAX, AddCheckpoint, RequestError};

/// Records of a log: a head that claims more is refused.
pub const TREE_SIZE_MAX: u64 = 1 << 48;

/// Hashes of a tile, entries of a bundle (C2SP tlog-tiles).
pub const TILE_WIDTH: usize = 256;
