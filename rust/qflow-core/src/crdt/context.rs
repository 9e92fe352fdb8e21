//! What a change saw of every line: sparse while short, dense later, over a floor all share.

use std::sync::Arc;

use super::Dot;

/// Up to this many entries a row stays a sorted list, however few lines there are.
const SHORT: usize = 12;

/// How much of a line was seen: its first `changes` changes, which hold its first `operations`.
///
/// Both only grow along a line, so of two extents the one with more changes has more of both. They
/// are one word, for the maximum of two rows is taken often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent(u64);

impl Extent {
    #[must_use]
    pub fn new(changes: u32, operations: u32) -> Self {
        Self(u64::from(changes) << 32 | u64::from(operations))
    }

    #[must_use]
    pub fn changes(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[must_use]
    pub fn operations(self) -> u32 {
        self.0 as u32
    }
}

#[derive(Clone, Debug)]
enum Row {
    /// Sorted by line.
    Sparse(Vec<(u32, Extent)>),
    /// Indexed by line; nothing seen where the extent is zero.
    Dense(Vec<Extent>),
}

/// What the newest change of a line saw of the other lines.
#[derive(Clone, Debug)]
pub struct Context {
    /// What lies below a snapshot's cut: everybody has seen it.
    floor: Arc<Vec<Extent>>,
    row: Row,
}

impl Context {
    /// Sees the floor and nothing else.
    #[must_use]
    pub(super) fn above(floor: &Arc<Vec<Extent>>) -> Self {
        let floor = Arc::clone(floor);
        let row = Row::Sparse(Vec::new());
        Self { floor, row }
    }

    /// Whether the operation is in it. O(1) once dense, and a search among few while sparse.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        dot.seq < self.extent(dot.line).operations()
    }

    /// How much of a line it has.
    #[must_use]
    pub fn extent(&self, line: u32) -> Extent {
        let own = match &self.row {
            Row::Dense(row) => row.get(line as usize).copied().unwrap_or_default(),
            Row::Sparse(row) => match row.binary_search_by_key(&line, |entry| entry.0) {
                Ok(at) => row[at].1,
                Err(_) => Extent::default(),
            },
        };
        if own == Extent::default() {
            return self.floor.get(line as usize).copied().unwrap_or_default();
        }
        own
    }

    /// The lines of which it has more than the floor, and how many operations of each; by line.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.extents()
            .map(|(line, extent)| (line, extent.operations()))
    }

    pub(super) fn extents(&self) -> impl Iterator<Item = (u32, Extent)> + '_ {
        let (sparse, dense) = match &self.row {
            Row::Sparse(row) => (row.as_slice(), [].as_slice()),
            Row::Dense(row) => ([].as_slice(), row.as_slice()),
        };
        let dense = (0u32..).zip(dense.iter().copied());
        let seen = dense.filter(|(_, extent)| *extent != Extent::default());
        sparse.iter().copied().chain(seen)
    }

    /// How many lines it has more of than the floor.
    #[must_use]
    pub fn len(&self) -> usize {
        self.extents().count()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.extents().next().is_none()
    }

    /// Entries that are held in memory, seen or not.
    pub(super) fn width(&self) -> usize {
        match &self.row {
            Row::Sparse(row) => row.len(),
            Row::Dense(row) => row.len(),
        }
    }

    /// Makes it have at least this much of a line.
    pub(super) fn raise(&mut self, line: u32, to: Extent) {
        match &mut self.row {
            Row::Dense(row) => {
                if row.len() <= line as usize {
                    row.resize(line as usize + 1, Extent::default());
                }
                let entry = &mut row[line as usize];
                *entry = to.max(*entry);
            }
            Row::Sparse(row) => match row.binary_search_by_key(&line, |entry| entry.0) {
                Ok(at) => row[at].1 = to.max(row[at].1),
                Err(at) => {
                    row.insert(at, (line, to));
                    self.settle();
                }
            },
        }
    }

    /// Makes it have everything that another has, but for one line.
    pub(super) fn merge(&mut self, other: &Context, except: u32) {
        if let (Row::Dense(row), Row::Dense(theirs)) = (&mut self.row, &other.row) {
            let before = row.get(except as usize).copied();
            if row.len() < theirs.len() {
                row.resize(theirs.len(), Extent::default());
            }
            for (mine, theirs) in row.iter_mut().zip(theirs) {
                *mine = (*theirs).max(*mine);
            }
            if let Some(entry) = row.get_mut(except as usize) {
                *entry = before.unwrap_or_default();
            }
            return;
        }
        if self.is_empty() && other.extent(except) == Extent::default() {
            self.row = other.row.clone();
            return;
        }
        for (line, extent) in other.extents().filter(|(line, _)| *line != except) {
            self.raise(line, extent);
        }
    }

    /// A sparse row becomes dense when that costs at most a few times its memory.
    fn settle(&mut self) {
        let Row::Sparse(row) = &self.row else { return };
        let Some((last, _)) = row.last() else { return };
        let lines = *last as usize + 1;
        if row.len() <= SHORT || row.len() * 4 < lines {
            return;
        }
        let mut dense = vec![Extent::default(); lines];
        for (line, extent) in row {
            dense[*line as usize] = *extent;
        }
        self.row = Row::Dense(dense);
    }

    /// Keeps of every line at most what another has: what both have seen.
    pub(super) fn limit(&mut self, by: impl Fn(u32) -> Extent) {
        let kept = self
            .extents()
            .map(|(line, extent)| (line, extent.min(by(line))));
        let kept: Vec<(u32, Extent)> = kept.filter(|(_, extent)| extent.changes() > 0).collect();
        self.row = Row::Sparse(kept);
        self.settle();
    }
}

/// What one operation saw: the context of its change, and its line as far as itself.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub context: &'a Context,
    pub dot: Dot,
}
