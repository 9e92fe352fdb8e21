//! Tiles and entry bundles: their paths and their bytes (C2SP tlog-tiles).

use super::hash::Hash;
use super::{TILE_WIDTH, TREE_SIZE_MAX};
use crate::chain::RECORD_BYTES_MAX;

/// A tile that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    #[error("no path of a tile")]
    Path,
    #[error("{found} bytes, {width} hashes have {expected}")]
    Length {
        found: usize,
        width: usize,
        expected: usize,
    },
    #[error("entry {entry} of the bundle ends early, is empty or is longer than 8000 bytes")]
    Entry { entry: usize },
    #[error("{extra} bytes after the last entry of the bundle")]
    Trailing { extra: usize },
}

/// What a tile holds: hashes of a level, or records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    Hashes(u8),
    Entries,
}

impl TileKind {
    /// The level of its tiles; entries lie with the leaves.
    #[must_use]
    pub fn level(self) -> u8 {
        match self {
            Self::Hashes(level) => level,
            Self::Entries => 0,
        }
    }
}

/// The place of a tile. `width` is 1 to 256; below 256 it is a partial tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    pub kind: TileKind,
    pub index: u64,
    pub width: u16,
}

impl Tile {
    /// The path below the log's prefix: `tile/0/x001/x234/067` or `tile/entries/000.p/17`.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = String::from("tile/");
        match self.kind {
            TileKind::Hashes(level) => path.push_str(&level.to_string()),
            TileKind::Entries => path.push_str("entries"),
        }
        let digits = self.index.to_string();
        let padded = format!("{digits:0>width$}", width = digits.len().div_ceil(3) * 3);
        for at in (0..padded.len()).step_by(3) {
            path.push_str(if at + 3 < padded.len() { "/x" } else { "/" });
            path.push_str(&padded[at..at + 3]);
        }
        if usize::from(self.width) < TILE_WIDTH {
            path.push_str(&format!(".p/{}", self.width));
        }
        path
    }

    /// Read a path, strictly: only what `path` writes.
    pub fn parse_path(path: &str) -> Result<Self, TileError> {
        let rest = path.strip_prefix("tile/").ok_or(TileError::Path)?;
        let (kind, rest) = rest.split_once('/').ok_or(TileError::Path)?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes(level.parse().map_err(|_| TileError::Path)?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().map_err(|_| TileError::Path)?),
            None => (rest, TILE_WIDTH as u16),
        };
        if index.len() > 32 {
            return Err(TileError::Path);
        }
        let digits: String = index.chars().filter(char::is_ascii_digit).collect();
        let index = digits.parse().map_err(|_| TileError::Path)?;
        let tile = Self { kind, index, width };
        let exact = index <= TREE_SIZE_MAX && width >= 1 && tile.path() == path;
        if exact {
            Ok(tile)
        } else {
            Err(TileError::Path)
        }
    }
}

/// Hashes or entries that the tile `index` of `level` has in a tree of `size` leaves, 0 to 256.
#[must_use]
pub fn tile_width(level: u8, index: u64, size: u64) -> usize {
    let nodes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
    let start = index.saturating_mul(TILE_WIDTH as u64);
    usize::try_from(nodes.saturating_sub(start))
        .unwrap_or(TILE_WIDTH)
        .min(TILE_WIDTH)
}

/// Append an entry to a bundle: its length, two bytes big-endian, and its bytes.
pub fn bundle_entry(bundle: &mut Vec<u8>, record: &[u8]) {
    bundle.extend_from_slice(&(record.len() as u16).to_be_bytes());
    bundle.extend_from_slice(record);
}

/// Read the hashes of a tile of this width.
pub fn parse_hashes(data: &[u8], width: usize) -> Result<&[Hash], TileError> {
    let (hashes, rest) = data.as_chunks::<32>();
    if hashes.len() == width && rest.is_empty() && (1..=TILE_WIDTH).contains(&width) {
        Ok(hashes)
    } else {
        Err(TileError::Length {
            found: data.len(),
            width,
            expected: width * 32,
        })
    }
}

/// Read the entries of a bundle of this width.
pub fn parse_bundle(data: &[u8], width: usize) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::with_capacity(width.min(TILE_WIDTH));
    let mut rest = data;
    for entry in 0..width {
        let bad = TileError::Entry { entry };
        let (length, after) = rest.split_first_chunk::<2>().ok_or(bad.clone())?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 || length > RECORD_BYTES_MAX || length > after.len() {
            return Err(bad);
        }
        let (record, after) = after.split_at(length);
        entries.push(record);
        rest = after;
    }
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(TileError::Trailing { extra: rest.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = |kind, index, width| Tile { kind, index, width }.path();
        assert_eq!(tile(TileKind::Hashes(0), 0, 256), "tile/0/000");
        assert_eq!(
            tile(TileKind::Hashes(1), 1_234_067, 256),
            "tile/1/x001/x234/067"
        );
        assert_eq!(
            tile(TileKind::Entries, 1_234_067, 8),
            "tile/entries/x001/x234/067.p/8"
        );
        assert_eq!(tile(TileKind::Entries, 1000, 256), "tile/entries/x001/000");
    }

    #[test]
    fn holds_h18_paths_and_widths_that_are_not_exact_are_refused() {
        for good in [
            "tile/0/000",
            "tile/entries/x001/000.p/255",
            "tile/5/x999/999",
        ] {
            assert_eq!(
                Tile::parse_path(good).map(|tile| tile.path()).as_deref(),
                Ok(good)
            );
        }
        for bad in [
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/00/000",
            "tile/+1/000",
            "tile/0/0",
            "tile/0/x000/000",
            "tile/0/x001/0067",
            "tile/0/000.p/1/",
            "tile/0/../000",
            "tile/256/000",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(Tile::parse_path(bad), Err(TileError::Path), "{bad}");
        }
    }

    #[test]
    fn holds_h18_bytes_that_are_not_exact_are_refused() {
        let mut bundle = Vec::new();
        bundle_entry(&mut bundle, b"one");
        bundle_entry(&mut bundle, b"two");
        assert_eq!(parse_bundle(&bundle, 2), Ok(vec![&b"one"[..], b"two"]));
        assert_eq!(
            parse_bundle(&bundle, 1),
            Err(TileError::Trailing { extra: 5 })
        );
        assert_eq!(parse_bundle(&bundle, 3), Err(TileError::Entry { entry: 2 }));
        assert!(parse_bundle(&bundle[..9], 2).is_err());
        assert!(parse_bundle(&[0, 0], 1).is_err());
        assert!(parse_hashes(&[0; 64], 2).is_ok());
        assert!(parse_hashes(&[0; 64], 1).is_err());
        assert!(parse_hashes(&[0; 65], 2).is_err());
        assert!(parse_hashes(&[0; 257 * 32], 257).is_err());
    }

    #[test]
    fn widths_follow_from_the_size() {
        assert_eq!(tile_width(0, 0, 255), 255);
        assert_eq!(tile_width(0, 1, 255), 0);
        assert_eq!(tile_width(1, 0, 256 * 3 + 7), 3);
        assert_eq!(tile_width(1, 0, 1 << 40), 256);
        assert_eq!(tile_width(9, 0, 1 << 40), 0);
    }
}
