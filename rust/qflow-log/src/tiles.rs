//! Tiles and bundles as a tree grows.

use qflow_core::log::{
    Frontier, Hash, TILE_WIDTH, Tile, TileKind, bundle_entry, leaf_hash, parse_bundle,
    parse_hashes, tile_width,
};

/// Levels of tiles in the largest tree.
pub const LEVELS: usize = 7;

/// A tree and the tiles at its right edge, which are not full yet.
#[derive(Default)]
pub struct TileBuilder {
    tree: Frontier,
    levels: [Vec<u8>; LEVELS],
    bundle: Vec<u8>,
}

impl TileBuilder {
    /// Go on from the partial tiles of a tree of `size` leaves. None unless they are whole and
    /// agree: then the root is that of their hashes, and the entries are those of the leaves.
    pub fn resume(size: u64, mut read: impl FnMut(Tile) -> Option<Vec<u8>>) -> Option<Self> {
        let mut builder = Self::default();
        let mut hashes = Vec::new();
        for tile in partial_tiles(size) {
            let (data, width) = (read(tile)?, usize::from(tile.width));
            let TileKind::Hashes(level) = tile.kind else {
                builder.bundle = data;
                continue;
            };
            let mut part = Frontier::default();
            parse_hashes(&data, width)
                .ok()?
                .iter()
                .for_each(|hash| part.push(*hash));
            hashes.extend(part.hashes());
            builder.levels[usize::from(level)] = data;
        }
        builder.tree = Frontier::from_hashes(size, &hashes)?;
        builder.holds_entries().then_some(builder)
    }

    fn holds_entries(&self) -> bool {
        let width = (self.size() % TILE_WIDTH as u64) as usize;
        parse_bundle(&self.bundle, width).is_ok_and(|entries| {
            let leaves = self.levels[0].as_chunks().0.iter();
            leaves.copied().eq(entries.into_iter().map(leaf_hash))
        })
    }

    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    pub fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// The leaves of the last tile, while it is not full.
    pub fn last_leaves(&self) -> &[Hash] {
        self.levels[0].as_chunks().0
    }

    /// Append a record; `full` is given each tile and bundle that it fills, and may take it.
    #[inline]
    pub fn push<E>(
        &mut self,
        record: &[u8],
        leaf: Hash,
        full: impl FnMut(Tile, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        bundle_entry(&mut self.bundle, record);
        let levels = &mut self.levels;
        self.tree.push_with(leaf, |level, hash| {
            if level % 8 == 0 {
                levels[level / 8].extend_from_slice(hash);
            }
        });
        if self.size().is_multiple_of(TILE_WIDTH as u64) {
            self.flush(full)
        } else {
            Ok(())
        }
    }

    /// Append records, of which `leaves` are the hashes; `full` is as for `push`.
    pub fn extend<'r, E>(
        &mut self,
        records: impl IntoIterator<Item = &'r [u8]>,
        mut leaves: &[Hash],
        mut full: impl FnMut(Tile, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut records = records.into_iter();
        while !leaves.is_empty() {
            let room = TILE_WIDTH - (self.size() % TILE_WIDTH as u64) as usize;
            let (now, later) = leaves.split_at(room.min(leaves.len()));
            for record in records.by_ref().take(now.len()) {
                bundle_entry(&mut self.bundle, record);
            }
            let levels = &mut self.levels;
            self.tree.extend_with(now, |level, hashes| {
                if level % 8 == 0 {
                    levels[level / 8].extend_from_slice(hashes.as_flattened());
                }
            });
            if now.len() == room {
                self.flush(&mut full)?;
            }
            leaves = later;
        }
        Ok(())
    }

    /// Append the leaves of a whole tile by its root, where a tile begins. `full` is given the
    /// tiles above it that it fills.
    pub fn graft<E>(
        &mut self,
        root: Hash,
        full: impl FnMut(Tile, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let levels = &mut self.levels;
        self.tree.push_subtree(8, root, |level, hash| {
            if level % 8 == 0 {
                levels[level / 8].extend_from_slice(hash);
            }
        });
        self.flush_above(1, full)
    }

    fn flush<E>(
        &mut self,
        mut full: impl FnMut(Tile, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let tile = Tile {
            kind: TileKind::Entries,
            index: self.size() / TILE_WIDTH as u64 - 1,
            width: TILE_WIDTH as u16,
        };
        full(tile, &mut self.bundle)?;
        self.bundle.clear();
        self.flush_above(0, full)
    }

    /// Give away the tiles that are full, from a level on.
    fn flush_above<E>(
        &mut self,
        from: u8,
        mut full: impl FnMut(Tile, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let width = TILE_WIDTH as u16;
        let tile = |kind, index| Tile { kind, index, width };
        let bundles = self.size() / TILE_WIDTH as u64;
        for (level, hashes) in (from..).zip(&mut self.levels[usize::from(from)..]) {
            if hashes.len() < TILE_WIDTH * 32 {
                break;
            }
            let index = (bundles >> (8 * level)) - 1;
            full(tile(TileKind::Hashes(level), index), hashes)?;
            hashes.clear();
        }
        Ok(())
    }

    /// The tiles and the bundle that are not full.
    pub fn partials(&self) -> impl Iterator<Item = (Tile, &[u8])> {
        partial_tiles(self.size()).map(|tile| match tile.kind {
            TileKind::Hashes(level) => (tile, &*self.levels[usize::from(level)]),
            TileKind::Entries => (tile, &*self.bundle),
        })
    }
}

/// The places of the partial tiles of a tree, level by level, and of its partial bundle.
pub fn partial_tiles(size: u64) -> impl Iterator<Item = Tile> {
    let at = move |kind, level: u8| {
        let index = size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
        let width = tile_width(level, index, size) as u16;
        Tile { kind, index, width }
    };
    let hashes = (0..LEVELS as u8).map(move |level| at(TileKind::Hashes(level), level));
    hashes
        .chain([at(TileKind::Entries, 0)])
        .filter(|tile| tile.width > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::convert::Infallible;

    #[test]
    fn a_builder_goes_on_from_its_partial_tiles() {
        let mut files = HashMap::new();
        let mut builder = TileBuilder::default();
        for number in 0..70_000u32 {
            if number % 4999 == 0 {
                files.extend(builder.partials().map(|(tile, data)| (tile, data.to_vec())));
                let resumed = TileBuilder::resume(builder.size(), |tile| files.get(&tile).cloned());
                let resumed = resumed.expect("the partial tiles are whole");
                assert_eq!(resumed.root(), builder.root());
                builder = resumed;
            }
            let record = number.to_le_bytes();
            let done: Result<(), Infallible> =
                builder.push(&record, leaf_hash(&record), |tile, data| {
                    files.insert(tile, data.to_vec());
                    Ok(())
                });
            assert_eq!(done, Ok(()));
        }
        assert_eq!(
            files[&Tile {
                kind: TileKind::Hashes(1),
                index: 0,
                width: 256
            }]
                .len(),
            8192
        );
    }

    #[test]
    fn records_appended_at_once_make_the_same_tiles() {
        let records: Vec<[u8; 4]> = (0..3000u32).map(u32::to_le_bytes).collect();
        let leaves: Vec<Hash> = records.iter().map(|record| leaf_hash(record)).collect();
        let (mut alone, mut at_once) = (TileBuilder::default(), TileBuilder::default());
        let (mut due, mut found) = (Vec::new(), Vec::new());
        for (record, leaf) in records.iter().zip(&leaves) {
            let _ = alone.push(record, *leaf, |tile, data| {
                due.push((tile, data.clone()));
                Ok::<(), ()>(())
            });
        }
        let mut from = 0;
        for count in [1, 255, 256, 3, 1000, 512, 973] {
            let span = from..from + count;
            let some = records[span.clone()].iter().map(<[u8; 4]>::as_slice);
            let _ = at_once.extend(some, &leaves[span], |tile, data| {
                found.push((tile, data.clone()));
                Ok::<(), ()>(())
            });
            from += count;
        }
        assert_eq!(from, records.len());
        assert!(due == found && alone.partials().eq(at_once.partials()));
        assert_eq!(alone.root(), at_once.root());
    }

    #[test]
    fn partial_tiles_that_disagree_are_refused() {
        let mut builder = TileBuilder::default();
        for number in 0..300u32 {
            let record = number.to_le_bytes();
            let _ = builder.push(&record, leaf_hash(&record), |_, _| Ok::<(), ()>(()));
        }
        let good: HashMap<Tile, Vec<u8>> = builder
            .partials()
            .map(|(tile, data)| (tile, data.to_vec()))
            .collect();
        assert!(TileBuilder::resume(300, |tile| good.get(&tile).cloned()).is_some());
        for broken in good.keys().filter(|tile| tile.kind != TileKind::Hashes(1)) {
            let mut files = good.clone();
            files.entry(*broken).and_modify(|data| data[5] ^= 1);
            assert!(TileBuilder::resume(300, |tile| files.get(&tile).cloned()).is_none());
            assert!(TileBuilder::resume(300, |tile| good.get(&tile).cloned()).is_some());
        }
    }
}
