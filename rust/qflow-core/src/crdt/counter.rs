//! A counter: its live increments, by line.

use std::collections::VecDeque;

use super::Dot;
use super::by_line::ByLine;
use super::past::{Past, Stamps, greater, least_blind};

/// Consecutive operations of a line, each of which adds the same.
#[derive(Clone, Copy, Debug)]
struct Run {
    seq: u32,
    n: u32,
    by: i64,
}

impl Run {
    fn last(&self) -> u32 {
        self.seq + (self.n - 1)
    }

    fn sum(&self) -> i128 {
        i128::from(self.by) * i128::from(self.n)
    }
}

/// What is live of a line's increments is always the last of them: whoever clears one saw all
/// that came before it.
#[derive(Clone, Debug)]
struct Row {
    first: Run,
    rest: VecDeque<Run>,
}

impl Row {
    fn last(&self) -> u32 {
        self.rest.back().unwrap_or(&self.first).last()
    }

    fn push(&mut self, seq: u32, by: i64) {
        let last = self.rest.back_mut().unwrap_or(&mut self.first);
        if last.by == by && last.seq.checked_add(last.n) == Some(seq) {
            last.n += 1;
        } else {
            self.rest.push_back(Run { seq, n: 1, by });
        }
    }

    /// Takes away what comes before `seen` and gives its sum; `None` when nothing is left then.
    fn clear(&mut self, seen: u32) -> (i128, bool) {
        let mut gone = 0;
        while self.first.last() < seen {
            gone += self.first.sum();
            match self.rest.pop_front() {
                Some(next) => self.first = next,
                None => return (gone, false),
            }
        }
        let n = seen.saturating_sub(self.first.seq);
        gone += i128::from(self.first.by) * i128::from(n);
        self.first.seq += n;
        self.first.n -= n;
        (gone, true)
    }
}

/// What a snapshot says of a counter. Every later operation saw all of it.
#[derive(Clone, Copy, Debug)]
struct Base {
    sum: i128,
    greatest: Dot,
    /// The first increment that did not see the register that wins.
    blind: Option<Dot>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Counter {
    sum: i128,
    base: Option<Base>,
    lines: ByLine<Row>,
}

impl Counter {
    pub fn loaded(sum: i128, greatest: Dot, blind: Option<Dot>) -> Self {
        let base = Some(Base {
            sum,
            greatest,
            blind,
        });
        Self {
            sum,
            base,
            lines: ByLine::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.lines.is_empty()
    }

    /// Cannot overflow: no document has 2^63 operations, and a snapshot's sum is bounded.
    pub fn sum(&self) -> i128 {
        self.sum
    }

    pub fn add(&mut self, dot: Dot, by: i64) {
        self.sum += i128::from(by);
        match self.lines.get_mut(dot.line) {
            Some(row) => row.push(dot.seq, by),
            None => {
                let first = Run {
                    seq: dot.seq,
                    n: 1,
                    by,
                };
                self.lines.put(
                    dot.line,
                    Row {
                        first,
                        rest: VecDeque::new(),
                    },
                );
            }
        }
    }

    /// Takes away the increments that were seen; whether there were any.
    pub fn clear<P: Past>(&mut self, past: &P) -> bool {
        let before = self.sum;
        let mut any = false;
        if let Some(base) = self.base.take_if(|base| past.covers(base.greatest)) {
            self.sum -= base.sum;
            any = true;
        }
        let sum = &mut self.sum;
        self.lines.retain(past, |_, row, seen| {
            any |= row.first.seq < seen;
            let (gone, left) = row.clear(seen);
            *sum -= gone;
            left
        });
        debug_assert!(any || before == self.sum);
        any
    }

    pub fn greatest<S: Stamps>(&self, stamps: &S) -> Option<Dot> {
        let lasts = self.lines.iter().map(|(line, row)| Dot {
            line: *line,
            seq: row.last(),
        });
        let base = self.base.map(|base| base.greatest);
        lasts.fold(base, |most, dot| greater(stamps, most, Some(dot)))
    }

    /// The first live increment of each line.
    pub fn firsts(&self) -> impl Iterator<Item = Dot> {
        self.lines.iter().map(|(line, row)| Dot {
            line: *line,
            seq: row.first.seq,
        })
    }

    /// The least stamp among the increments that did not see the register that wins.
    pub fn first_blind<S: Stamps>(&self, winner: Dot, stamps: &S) -> Option<Dot> {
        if let Some(base) = self.base {
            return base.blind;
        }
        least_blind(self.firsts(), winner, stamps)
    }

    pub fn bytes(&self) -> usize {
        let runs: usize = self.lines.iter().map(|(_, row)| row.rest.capacity()).sum();
        size_of::<Self>() + self.lines.bytes() + runs * size_of::<Run>()
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::crdt::Cid;

    struct Seen(Vec<u32>);

    impl Past for Seen {
        fn seen(&self, line: u32) -> u32 {
            self.0[line as usize]
        }

        fn entries(&self) -> impl Iterator<Item = (u32, u32)> {
            (0..).zip(self.0.iter().copied())
        }

        fn width(&self) -> usize {
            self.0.len()
        }
    }

    /// By number, then by line; nobody saw anything.
    struct Blind;

    impl Stamps for Blind {
        fn lamport(&self, dot: Dot) -> u64 {
            u64::from(dot.seq)
        }

        fn cmp(&self, left: Dot, right: Dot) -> Ordering {
            (left.seq, left.line).cmp(&(right.seq, right.line))
        }

        fn saw(&self, _: Dot, _: Dot) -> bool {
            false
        }

        fn operation_cid(&self, _: Dot) -> Cid {
            Cid::default()
        }
    }

    proptest! {
        #[test]
        fn a_clear_takes_the_first_of_each_line_in_the_middle_of_runs_too(
            adds in prop::collection::vec((0_u32..3, 1_u32..3, 1_i64..3), 1..40),
            clears in prop::collection::vec(prop::collection::vec(0_u32..40, 3), 1..5),
        ) {
            let (mut counter, mut model) = (Counter::default(), BTreeMap::new());
            let mut next = [0; 3];
            for (line, step, by) in adds {
                let dot = Dot { line, seq: next[line as usize] };
                counter.add(dot, by);
                model.insert((dot.seq, line), i128::from(by));
                next[line as usize] += step;
            }
            for seen in clears {
                let before = model.len();
                model.retain(|(seq, line), _| *seq >= seen[*line as usize]);
                prop_assert_eq!(counter.clear(&Seen(seen)), before != model.len());
                prop_assert_eq!(counter.sum(), model.values().sum::<i128>());
                let dot = |(seq, line): (u32, u32)| Dot { line, seq };
                let greatest = model.keys().next_back().copied().map(dot);
                prop_assert_eq!(counter.greatest(&Blind), greatest);
                let first = model.keys().next().copied().map(dot);
                prop_assert_eq!(counter.first_blind(Dot { line: 9, seq: 0 }, &Blind), first);
                prop_assert_eq!(counter.is_empty(), model.is_empty());
            }
        }
    }
}
