//! The RFC 6962 tree, its tiles and its signed heads. The page is docs/formats/log.md.

mod checkpoint;
mod frontier;
mod hash;
mod note;
mod proof;
mod tile;

pub use checkpoint::{Checkpoint, CheckpointError, Signer};
pub use frontier::Frontier;
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, leaf_hashes, node_hash, sha256};
pub use note::{KeyError, Note, NoteError, VerifierKey};
pub use proof::{
    PROOF_HASHES_MAX, ProofError, consistency_proof, inclusion_proof, verify_consistency,
    verify_inclusion,
};
pub use tile::{Tile, TileError, TileKind, bundle_entry, parse_bundle, parse_hashes, tile_width};

/// Records of a log: a head that claims more is refused.
pub const TREE_SIZE_MAX: u64 = 1 << 48;

/// Hashes of a tile, entries of a bundle (C2SP tlog-tiles).
pub const TILE_WIDTH: usize = 256;
