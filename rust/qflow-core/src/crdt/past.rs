//! What the tree has to know of the hash graph.

use std::cmp::Ordering;

use super::context::Seen;
use super::graph::Graph;
use super::{Cid, Dot};

/// What one operation saw: its line up to itself, and of the other lines what its context holds.
pub trait Past {
    /// How many operations of a line it saw; they are the line's first.
    fn seen(&self, line: u32) -> u32;

    /// The lines of which it saw something, and how many operations of each. Lines of which no
    /// more was seen than lies below a snapshot's cut may be missing.
    fn entries(&self) -> impl Iterator<Item = (u32, u32)>;

    /// How many entries there are, or more.
    fn width(&self) -> usize;

    #[inline]
    fn covers(&self, dot: Dot) -> bool {
        dot.seq < self.seen(dot.line)
    }
}

/// The order of operations, which is the same everywhere, and their causality.
pub trait Stamps {
    fn lamport(&self, dot: Dot) -> u64;

    /// By (lamport, replica, seq, change).
    fn cmp(&self, left: Dot, right: Dot) -> Ordering;

    /// Orders operations of one Lamport time as their stamps do, as far as it differs: the
    /// beginning of the replica's key. Zero where that is not at hand.
    fn tie(&self, _dot: Dot) -> u64 {
        0
    }

    /// Whether the earlier one is in the context of the later one.
    fn saw(&self, later: Dot, earlier: Dot) -> bool;

    fn operation_cid(&self, dot: Dot) -> Cid;

    /// Whether it lies below the cut of the snapshot that the document was loaded from.
    fn is_below_cut(&self, _dot: Dot) -> bool {
        false
    }
}

/// The greater of two stamps, where nothing is less than anything.
pub(super) fn greater<S: Stamps>(stamps: &S, left: Option<Dot>, right: Option<Dot>) -> Option<Dot> {
    match (left, right) {
        (Some(one), Some(other)) if stamps.cmp(one, other) == Ordering::Less => right,
        (Some(_), _) => left,
        (None, _) => right,
    }
}

/// The least stamp of those that did not see an operation.
pub(super) fn least_blind<S: Stamps>(
    dots: impl Iterator<Item = Dot>,
    unseen: Dot,
    stamps: &S,
) -> Option<Dot> {
    let blind = dots.filter(|dot| !stamps.saw(*dot, unseen));
    blind.min_by(|left, right| stamps.cmp(*left, *right))
}

impl Past for Seen<'_> {
    #[inline]
    fn seen(&self, line: u32) -> u32 {
        if line == self.dot.line {
            return self.dot.seq;
        }
        self.context.extent(line).operations()
    }

    fn entries(&self) -> impl Iterator<Item = (u32, u32)> {
        let others = self
            .context
            .entries()
            .filter(|(line, _)| *line != self.dot.line);
        others.chain([(self.dot.line, self.dot.seq)])
    }

    #[inline]
    fn width(&self) -> usize {
        self.context.width() + 1
    }
}

impl Stamps for Graph {
    #[inline]
    fn lamport(&self, dot: Dot) -> u64 {
        self.lamport(dot)
    }

    #[inline]
    fn cmp(&self, left: Dot, right: Dot) -> Ordering {
        self.cmp(left, right)
    }

    fn tie(&self, dot: Dot) -> u64 {
        self.key_of(dot.line)
            .first_chunk()
            .map_or(0, |first| u64::from_be_bytes(*first))
    }

    fn saw(&self, later: Dot, earlier: Dot) -> bool {
        self.saw(later, earlier)
    }

    fn operation_cid(&self, dot: Dot) -> Cid {
        self.operation_cid(dot)
    }

    fn is_below_cut(&self, dot: Dot) -> bool {
        self.floor.covers(dot)
    }
}
