//! Register items, map marks and tombs of a path that has more than one of them.

use std::cmp::Ordering;

use super::Dot;
use super::by_line::ByLine;
use super::node::Held;
use super::past::{Past, Stamps, greater};
use super::value::{Value, ValueRef};

#[derive(Clone, Debug)]
pub(super) struct Register {
    pub seq: u32,
    pub value: Value,
}

/// No line has two live items of one kind at a path. Its later register or tomb clears the
/// earlier one; of its map marks only the last one counts, for whoever clears that saw the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Items {
    pub registers: ByLine<Register>,
    pub marks: ByLine<u32>,
    pub tombs: ByLine<u32>,
    /// The line of the register with the greatest stamp, while there is one.
    winner: Option<u32>,
}

/// What a clear took away.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cleared {
    pub any: bool,
    pub tombs: usize,
}

impl Items {
    pub fn len(&self) -> usize {
        self.registers.len() + self.marks.len() + self.tombs.len()
    }

    /// The register with the greatest stamp.
    pub fn winner(&self) -> Option<(Dot, &Value)> {
        let line = self.winner?;
        let Register { seq, value } = self.registers.get(line)?;
        Some((Dot { line, seq: *seq }, value))
    }

    /// The last one that is left, taken out; `None` while there are more.
    pub fn only(&mut self) -> Option<(Held, Dot, Value)> {
        if self.len() != 1 {
            return None;
        }
        let null = || Value::of(ValueRef::Null);
        if let Some((line, Register { seq, value })) = self.registers.pop() {
            return Some((Held::Register, Dot { line, seq }, value));
        }
        if let Some((line, seq)) = self.marks.pop() {
            return Some((Held::Mark, Dot { line, seq }, null()));
        }
        let (line, seq) = self.tombs.pop()?;
        Some((Held::Tomb, Dot { line, seq }, null()))
    }

    /// Adds the register of an operation that has cleared what it saw.
    ///
    /// Where registers are left but no winner, the operation cleared it: so it has seen the
    /// greatest stamp, and its own is greater.
    pub fn add_register<S: Stamps>(&mut self, dot: Dot, value: Value, stamps: &S) {
        let wins = self
            .winner()
            .is_none_or(|(winner, _)| stamps.cmp(dot, winner) == Ordering::Greater);
        self.registers.put(
            dot.line,
            Register {
                seq: dot.seq,
                value,
            },
        );
        if wins {
            self.winner = Some(dot.line);
        }
    }

    /// Finds the winner anew where it was cleared and others were not.
    pub fn elect<S: Stamps>(&mut self, stamps: &S) {
        if self.winner.is_none() && !self.registers.is_empty() {
            let dots = self.register_dots();
            let winner = dots.fold(None, |most, dot| greater(stamps, most, Some(dot)));
            self.winner = winner.map(|dot| dot.line);
        }
    }

    /// Takes away everything that was seen. The winner may be missing afterwards.
    pub fn clear<P: Past>(&mut self, past: &P) -> Cleared {
        let before = self.len();
        let winner = self.winner;
        self.registers.retain(past, |_, row, seen| row.seq >= seen);
        self.winner = winner.filter(|line| self.registers.get(*line).is_some());
        self.clear_marks(past);
        let tombs = self.clear_tombs(past);
        Cleared {
            any: before != self.len(),
            tombs,
        }
    }

    pub fn clear_marks<P: Past>(&mut self, past: &P) {
        self.marks.retain(past, |_, seq, seen| *seq >= seen);
    }

    /// How many tombs were seen, and are gone.
    pub fn clear_tombs<P: Past>(&mut self, past: &P) -> usize {
        let before = self.tombs.len();
        self.tombs.retain(past, |_, seq, seen| *seq >= seen);
        before - self.tombs.len()
    }

    pub fn register_dots(&self) -> impl Iterator<Item = Dot> {
        self.registers.iter().map(|(line, row)| Dot {
            line: *line,
            seq: row.seq,
        })
    }

    pub fn mark_dots(&self) -> impl Iterator<Item = Dot> {
        self.marks.iter().map(|(line, seq)| Dot {
            line: *line,
            seq: *seq,
        })
    }

    pub fn tomb_dots(&self) -> impl Iterator<Item = Dot> {
        self.tombs.iter().map(|(line, seq)| Dot {
            line: *line,
            seq: *seq,
        })
    }

    pub fn mark_loaded(&mut self) {
        self.registers.mark_loaded();
        self.marks.mark_loaded();
        self.tombs.mark_loaded();
    }

    pub fn bytes(&self) -> usize {
        let rows = self.registers.bytes() + self.marks.bytes() + self.tombs.bytes();
        size_of::<Self>() + rows
    }
}
