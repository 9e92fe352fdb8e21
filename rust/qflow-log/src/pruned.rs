//! Where a pruned log begins: the file `pruned`, which is all that is left of what was before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use qflow_core::log::{Frontier, TILE_WIDTH, Tile, TileKind};

use crate::error::{Result, corrupt};
use crate::open::read_bounded;
use crate::segment::sync_directory;
use crate::tiles::{TileBuilder, partial_tiles};

/// The file that says where the log begins. Without it: with the first segment.
pub const PRUNED: &str = "pruned";
pub const PRUNED_NEW: &str = "pruned.new";

const MAGIC: &[u8; 8] = b"QFLOWPRN";
const VERSION: u32 = 1;
const FIXED: usize = 56;
/// More than the partial tiles of all levels and a partial bundle take.
const BYTES_MAX: usize = 4 << 20;

/// Where a log begins, and which record says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The first segment that is kept: those before it are no part of the log, also while some of
    /// them still lie there.
    pub segment: u32,
    /// Index of the first record that is kept (C2SP tlog-tiles calls it minimum index).
    pub minimum: u64,
    /// Index of the record of the pruning, and the address of its frame.
    pub record: u64,
    pub address: u64,
    /// The partial tiles and the partial bundle of the tree of `minimum` records.
    partials: Vec<u8>,
}

impl Pruned {
    /// `builder` is at `minimum`.
    pub fn new(segment: u32, record: u64, address: u64, builder: &TileBuilder) -> Self {
        let parts = builder.partials().map(|(_, bytes)| bytes);
        Self {
            segment,
            minimum: builder.size(),
            record,
            address,
            partials: parts.collect::<Vec<_>>().concat(),
        }
    }

    /// What lies beside the journal of the log at `path`. The default when it was never pruned.
    pub fn load(path: &Path, log_id: u64) -> Result<Self> {
        let bytes = match read_bounded(&path.join(PRUNED), BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let parsed = Self::parse(&bytes, log_id);
        parsed.or_else(|what| corrupt(format!("{PRUNED}: {what}")))
    }

    /// Read the bytes of the file, strictly.
    fn parse(bytes: &[u8], log_id: u64) -> std::result::Result<Self, &'static str> {
        let long = |at: usize| {
            let part = bytes.get(at..at + 8).and_then(|part| part.first_chunk());
            part.map_or(0, |part| u64::from_le_bytes(*part))
        };
        let partials = bytes.get(FIXED..).ok_or("not the file of a pruned log")?;
        let segment = u32::try_from(long(24)).map_err(|_| "the number of a segment")?;
        let parsed = Self {
            segment,
            minimum: long(32),
            record: long(40),
            address: long(48),
            partials: partials.to_vec(),
        };
        if long(16) != log_id {
            return Err("the file of another log");
        }
        // Whatever this does not write is refused, and a checksum that does not fit.
        if segment == 0 || parsed.encode(log_id) != bytes {
            return Err("not as it was written");
        }
        parsed.builder().ok_or("partial tiles that do not fit")?;
        Ok(parsed)
    }

    fn encode(&self, log_id: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.partials.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&VERSION.to_le_bytes());
        let numbers = [
            log_id,
            u64::from(self.segment),
            self.minimum,
            self.record,
            self.address,
        ];
        out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        out.extend_from_slice(&self.partials);
        let crc = crc32c::crc32c(&out[12..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Write the file, whole and durable: from then on the log begins there.
    pub fn save(&self, path: &Path, log_id: u64) -> io::Result<()> {
        let temporary = path.join(PRUNED_NEW);
        let mut file = File::create(&temporary)?;
        file.write_all(&self.encode(log_id))?;
        file.sync_all()?;
        fs::rename(&temporary, path.join(PRUNED))?;
        sync_directory(path)
    }

    /// The tree of what was pruned. None when its parts do not agree.
    pub fn builder(&self) -> Option<TileBuilder> {
        split_partials(self.minimum, &self.partials)
    }

    /// The first entry bundle that is kept. Hash tiles are all kept.
    pub fn first_bundle(&self) -> u64 {
        self.minimum / TILE_WIDTH as u64
    }
}

/// A builder of `size` leaves from its partial tiles, one after the other, and its bundle.
pub fn split_partials(size: u64, bytes: &[u8]) -> Option<TileBuilder> {
    let mut rest = bytes;
    let mut parts = Vec::new();
    for tile in partial_tiles(size) {
        let length = match tile.kind {
            TileKind::Hashes(_) => usize::from(tile.width) * 32,
            TileKind::Entries => rest.len(),
        };
        let (part, after) = rest.split_at_checked(length)?;
        parts.push((tile, part));
        rest = after;
    }
    let read = |tile: Tile| {
        let found = parts.iter().find(|(one, _)| *one == tile);
        found.map(|(_, part)| part.to_vec())
    };
    rest.is_empty().then(|| TileBuilder::resume(size, read))?
}

/// The root of the leaves of the last tile, which is not full; None when there are none.
pub fn low_root(builder: &TileBuilder, leaves: usize) -> Option<qflow_core::log::Hash> {
    let mut tree = Frontier::default();
    builder
        .last_leaves()
        .iter()
        .take(leaves)
        .for_each(|leaf| tree.push(*leaf));
    (tree.size() > 0).then(|| tree.root())
}
