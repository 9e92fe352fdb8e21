//! Rows by line: a scan while they are few, an index once they are many.

use hashbrown::HashTable;

use super::past::Past;

/// So many rows are found faster by looking at all of them.
const SCAN_MAX: usize = 16;

/// At most one row for each line, in no order.
#[derive(Clone, Debug)]
pub(super) struct ByLine<T> {
    rows: Vec<(u32, T)>,
    index: Option<Box<HashTable<u32>>>,
    /// Some rows may lie below a snapshot's cut: the entries of a past need not name their lines.
    loaded: bool,
}

impl<T> Default for ByLine<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            index: None,
            loaded: false,
        }
    }
}

impl<T> ByLine<T> {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(u32, T)> {
        self.rows.iter()
    }

    pub fn mark_loaded(&mut self) {
        self.loaded = true;
    }

    #[inline]
    pub fn get(&self, line: u32) -> Option<&T> {
        self.position(line).map(|at| &self.rows[at].1)
    }

    #[inline]
    pub fn get_mut(&mut self, line: u32) -> Option<&mut T> {
        self.position(line).map(|at| &mut self.rows[at].1)
    }

    /// The row of the line is this one from now on.
    pub fn put(&mut self, line: u32, row: T) {
        match self.position(line) {
            Some(at) => self.rows[at].1 = row,
            None => self.push(line, row),
        }
    }

    /// Any one of the rows, when there is one.
    pub fn pop(&mut self) -> Option<(u32, T)> {
        (!self.rows.is_empty()).then(|| self.remove(self.rows.len() - 1))
    }

    /// Shows each row whose line was seen to `keep`, with how much of the line was, and removes
    /// those that it does not want. Walks the rows or the lines that were seen, whichever are
    /// fewer.
    pub fn retain<P: Past>(&mut self, past: &P, mut keep: impl FnMut(u32, &mut T, u32) -> bool) {
        if !self.loaded && past.width() < self.rows.len() {
            for (line, seen) in past.entries() {
                if let Some(at) = self.position(line)
                    && !keep(line, &mut self.rows[at].1, seen)
                {
                    self.remove(at);
                }
            }
            return;
        }
        for at in (0..self.rows.len()).rev() {
            let (line, row) = &mut self.rows[at];
            let seen = past.seen(*line);
            if seen > 0 && !keep(*line, row, seen) {
                self.remove(at);
            }
        }
        if self.rows.is_empty() {
            self.loaded = false;
        }
    }

    /// Whether one of the rows whose lines were seen is `wanted`.
    pub fn any_seen<P: Past>(&self, past: &P, wanted: impl Fn(&T, u32) -> bool) -> bool {
        if !self.loaded && past.width() < self.rows.len() {
            let mut entries = past.entries();
            return entries.any(|(line, seen)| self.get(line).is_some_and(|row| wanted(row, seen)));
        }
        self.rows.iter().any(|(line, row)| {
            let seen = past.seen(*line);
            seen > 0 && wanted(row, seen)
        })
    }

    /// Bytes of the rows and their index.
    pub fn bytes(&self) -> usize {
        let index = self
            .index
            .as_ref()
            .map_or(0, |index| index.allocation_size());
        self.rows.capacity() * size_of::<(u32, T)>() + index
    }

    #[inline]
    fn position(&self, line: u32) -> Option<usize> {
        match &self.index {
            None => self.rows.iter().position(|row| row.0 == line),
            Some(index) => index
                .find(mix(line), |at| self.rows[*at as usize].0 == line)
                .map(|at| *at as usize),
        }
    }

    fn push(&mut self, line: u32, row: T) {
        let at = self.rows.len();
        self.rows.push((line, row));
        let rows = &self.rows;
        let hash = |at: &u32| mix(rows[*at as usize].0);
        match &mut self.index {
            Some(index) => {
                index.insert_unique(mix(line), at as u32, hash);
            }
            None if at < SCAN_MAX => {}
            None => {
                let mut index = HashTable::with_capacity(2 * at);
                for at in 0..=at as u32 {
                    index.insert_unique(hash(&at), at, hash);
                }
                self.index = Some(Box::new(index));
            }
        }
    }

    fn remove(&mut self, at: usize) -> (u32, T) {
        let last = self.rows.len() - 1;
        if let Some(index) = &mut self.index {
            let gone = index.find_entry(mix(self.rows[at].0), |row| *row as usize == at);
            if let Ok(entry) = gone {
                entry.remove();
            }
            let moved = index.find_mut(mix(self.rows[last].0), |row| *row as usize == last);
            if let Some(moved) = moved {
                *moved = at as u32;
            }
        }
        self.rows.swap_remove(at)
    }
}

/// Lines are numbered here, so nobody elsewhere chooses their hashes.
pub(super) fn mix(id: u32) -> u64 {
    u64::from(id)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(26)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Seen(BTreeMap<u32, u32>);

    impl Past for Seen {
        fn seen(&self, line: u32) -> u32 {
            self.0.get(&line).copied().unwrap_or(0)
        }

        fn entries(&self) -> impl Iterator<Item = (u32, u32)> {
            self.0.iter().map(|(line, seen)| (*line, *seen))
        }

        fn width(&self) -> usize {
            self.0.len()
        }
    }

    proptest! {
        #[test]
        fn rows_are_found_however_many_there_are(
            puts in prop::collection::vec((0_u32..60, 0_u32..9), 0..120),
            seen in prop::collection::btree_map(0_u32..60, 0_u32..9, 0..60),
        ) {
            let (mut rows, mut model) = (ByLine::default(), BTreeMap::new());
            for (at, (line, seq)) in puts.into_iter().enumerate() {
                rows.put(line, seq);
                model.insert(line, seq);
                if at % 40 == 39 {
                    rows.retain(&Seen(seen.clone()), |_, seq, seen| *seq >= seen);
                    model.retain(|line, seq| *seq >= seen.get(line).copied().unwrap_or(0));
                }
            }
            for line in 0..60 {
                prop_assert_eq!(rows.get(line), model.get(&line));
            }
            prop_assert_eq!(rows.len(), model.len());
        }
    }
}
