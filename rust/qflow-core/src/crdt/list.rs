//! A list: its live elements in the order of their stamps.

use super::Dot;
use super::by_line::ByLine;
use super::past::{Past, Stamps, greater, least_blind};
use super::value::{Elements, Value, ValueRef};

/// Set in the line of an append of several values, which are then one list.
const MANY: u32 = 1 << 31;

/// The values of one append.
#[derive(Clone, Debug)]
struct Entry {
    line: u32,
    seq: u32,
    value: Value,
}

impl Entry {
    fn dot(&self) -> Dot {
        Dot {
            line: self.line & !MANY,
            seq: self.seq,
        }
    }

    fn elements(&self) -> Elements<'_> {
        match self.value.get() {
            ValueRef::List(list) if self.line & MANY != 0 => Elements::of_checked(list),
            value => Elements::one(value),
        }
    }
}

/// The live appends of a line: whoever clears one saw all that came before it.
#[derive(Clone, Copy, Debug)]
struct Row {
    first: u32,
    last: u32,
}

/// What a snapshot says of a list. Every later operation saw all of it.
#[derive(Clone, Copy, Debug)]
struct Base {
    greatest: Dot,
    blind: Option<Dot>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct List {
    /// In order as far as `sorted`, then as they came.
    entries: Vec<Entry>,
    sorted: usize,
    base: Option<Base>,
    lines: ByLine<Row>,
}

impl List {
    /// A list from a snapshot, with its appends in order.
    pub fn loaded(greatest: Dot, blind: Option<Dot>, appends: &[Elements<'_>]) -> Self {
        let entries = appends.iter().map(|elements| entry(greatest, elements));
        let entries: Vec<Entry> = entries.collect();
        let sorted = entries.len();
        let base = Some(Base { greatest, blind });
        Self {
            entries,
            sorted,
            base,
            lines: ByLine::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn is_sorted(&self) -> bool {
        self.sorted == self.entries.len()
    }

    pub fn add<P: Past>(&mut self, dot: Dot, elements: &Elements<'_>, past: &P) {
        // Its stamp is greater than any that it saw.
        let after = |last: &Entry| past.covers(last.dot());
        let in_order = self.is_sorted() && self.entries.last().is_none_or(after);
        self.entries.push(entry(dot, elements));
        self.sorted += usize::from(in_order);
        match self.lines.get_mut(dot.line) {
            Some(row) => row.last = dot.seq,
            None => self.lines.put(
                dot.line,
                Row {
                    first: dot.seq,
                    last: dot.seq,
                },
            ),
        }
    }

    /// Takes away the elements that were seen; whether there were any.
    pub fn clear<P: Past>(&mut self, past: &P) -> bool {
        let mut any = self
            .base
            .take_if(|base| past.covers(base.greatest))
            .is_some();
        self.lines.retain(past, |_, row, seen| {
            any |= row.first < seen;
            row.last >= seen
        });
        if !any {
            return false;
        }
        if self.base.is_none() && self.lines.is_empty() {
            *self = Self::default();
            return true;
        }
        let sorted = self.entries[..self.sorted].iter();
        let gone = sorted.filter(|entry| past.covers(entry.dot())).count();
        self.sorted -= gone;
        self.entries.retain(|entry| !past.covers(entry.dot()));
        self.find_firsts();
        true
    }

    fn find_firsts(&mut self) {
        // The entries of a line are in order everywhere, as they came in that order.
        for entry in self.entries.iter().rev() {
            if let Some(row) = self.lines.get_mut(entry.dot().line) {
                row.first = entry.seq;
            }
        }
    }

    /// Brings the entries in order.
    pub fn settle<S: Stamps>(&mut self, stamps: &S) {
        if self.is_sorted() {
            return;
        }
        let (sorted, tail) = self.entries.split_at(self.sorted);
        let from = insertion(sorted, tail, stamps);
        if tail.len() == 1 {
            self.entries[from..].rotate_right(1);
            self.sorted += 1;
            return;
        }
        let order = order(&self.entries[from..], stamps);
        let mut tail: Vec<Option<Entry>> = self.entries.drain(from..).map(Some).collect();
        let in_order = order.iter().filter_map(|at| tail[*at as usize].take());
        self.entries.extend(in_order);
        self.sorted = self.entries.len();
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.entries
            .iter()
            .map(|entry| entry.elements().len())
            .sum()
    }

    /// Shows the values of each append, in order.
    pub fn each<S: Stamps, E>(
        &self,
        stamps: &S,
        show: impl FnMut(Elements<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.is_sorted() {
            return self.entries.iter().map(Entry::elements).try_for_each(show);
        }
        self.appends(stamps).into_iter().try_for_each(show)
    }

    /// The values of each append, in order.
    pub fn appends<S: Stamps>(&self, stamps: &S) -> Vec<Elements<'_>> {
        if self.is_sorted() {
            return self.entries.iter().map(Entry::elements).collect();
        }
        let order = order(&self.entries, stamps);
        order
            .iter()
            .map(|at| self.entries[*at as usize].elements())
            .collect()
    }

    pub fn greatest<S: Stamps>(&self, stamps: &S) -> Option<Dot> {
        let base = self.base.map(|base| base.greatest);
        let lasts = self.lines.iter().map(|(line, row)| Dot {
            line: *line,
            seq: row.last,
        });
        lasts.fold(base, |most, dot| greater(stamps, most, Some(dot)))
    }

    /// The first live append of each line.
    pub fn firsts(&self) -> impl Iterator<Item = Dot> {
        self.lines.iter().map(|(line, row)| Dot {
            line: *line,
            seq: row.first,
        })
    }

    /// The least stamp among the appends that did not see the register that wins.
    pub fn first_blind<S: Stamps>(&self, winner: Dot, stamps: &S) -> Option<Dot> {
        if let Some(base) = self.base {
            return base.blind;
        }
        least_blind(self.firsts(), winner, stamps)
    }

    pub fn bytes(&self) -> usize {
        let entries = self.entries.capacity() * size_of::<Entry>();
        size_of::<Self>() + entries + self.lines.bytes()
    }
}

fn entry(dot: Dot, elements: &Elements<'_>) -> Entry {
    debug_assert!(dot.line < MANY, "a document has fewer lines than 2^31");
    match elements.whole() {
        Ok(value) => Entry {
            line: dot.line,
            seq: dot.seq,
            value: Value::of(value),
        },
        Err(list) => {
            let value = Value::of(ValueRef::List(list));
            Entry {
                line: dot.line | MANY,
                seq: dot.seq,
                value,
            }
        }
    }
}

/// Where in the entries that are in order the least of the others belongs.
fn insertion<S: Stamps>(sorted: &[Entry], tail: &[Entry], stamps: &S) -> usize {
    if sorted.is_empty() {
        return 0;
    }
    let dots = tail.iter().map(Entry::dot);
    let least = dots.min_by(|left, right| stamps.cmp(*left, *right));
    least.map_or(sorted.len(), |least| {
        sorted.partition_point(|entry| stamps.cmp(entry.dot(), least).is_le())
    })
}

/// Indexes of the entries in the order of their stamps. The entries of a line are in order
/// already, and the sort finds such runs.
fn order<S: Stamps>(entries: &[Entry], stamps: &S) -> Vec<u32> {
    let dots = entries.iter().map(Entry::dot);
    let keys = dots.map(|dot| (stamps.lamport(dot), stamps.tie(dot)));
    let mut keyed: Vec<((u64, u64), u32)> = keys.zip(0..).collect();
    keyed.sort_by(|left, right| {
        left.0.cmp(&right.0).then_with(|| {
            let dot = |at: u32| entries[at as usize].dot();
            stamps.cmp(dot(left.1), dot(right.1))
        })
    });
    keyed.into_iter().map(|(_, at)| at).collect()
}
