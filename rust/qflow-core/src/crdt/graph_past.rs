//! What a change saw: contexts of the newest changes as they come, of older ones when asked.

use super::Dot;
use super::context::{Context, Extent};
use super::graph::{ChangeId, Graph, NONE, Record};

/// Entries of contexts that are kept; the contexts of lines that have long been silent are dropped
/// beyond, and walked again from the graph should the line go on.
const ENTRIES_MAX: usize = 8 << 20;

impl Graph {
    /// What the newest change of a line saw of other lines. Never dropped for the change that was
    /// added last.
    #[must_use]
    pub fn context(&self, line: u32) -> &Context {
        self.lines[line as usize]
            .context
            .as_deref()
            .unwrap_or(&self.floor)
    }

    /// Whether one operation was seen by another. For the newest change of a line a look into its
    /// context; for older ones a walk back through the changes that can lie between. Below the
    /// cut only what the line itself tells is known.
    #[must_use]
    pub fn saw(&self, later: Dot, earlier: Dot) -> bool {
        if later.line == earlier.line {
            return earlier.seq < later.seq;
        }
        let record = self.record(later);
        let id = self.lines[record.line as usize].changes[record.index as usize].1;
        if id < self.cut_at {
            return false;
        }
        let line = &self.lines[later.line as usize];
        if self.is_last(id) && !line.dropped {
            return self.context(later.line).covers(earlier);
        }
        self.past_since(record, self.lamport(earlier))
            .covers(earlier)
    }

    /// What everything that is named saw, with what is named.
    #[must_use]
    pub fn closure(&self, named: &[ChangeId]) -> Context {
        let mut context = self.floor.clone();
        for id in named {
            let record = &self.changes[*id as usize];
            self.cover(&mut context, (record.line, record.index + 1), NONE, 0);
        }
        context
    }

    /// What a change saw, its own line included.
    pub(super) fn before(&self, id: ChangeId) -> Context {
        self.past_since(&self.changes[id as usize], 0)
    }

    /// How much of its line a change and those before it are.
    pub(super) fn extent(&self, line: u32, changes: u32) -> Extent {
        let Some(last) = changes.checked_sub(1) else {
            return Extent::default();
        };
        let (_, id) = self.lines[line as usize].changes[last as usize];
        Extent::new(changes, self.changes[id as usize].end())
    }

    /// The whole of a line.
    pub(super) fn whole(&self, line: u32) -> Extent {
        self.extent(line, self.lines[line as usize].changes.len() as u32)
    }

    /// Brings the context of a line up to what its next change names.
    pub(super) fn see(&mut self, line: u32, deps: &[ChangeId]) {
        let held = &mut self.lines[line as usize];
        let base = held.base;
        let begins = held.changes.is_empty() && base.0 != NONE;
        if deps.is_empty() && !begins && !held.dropped {
            return;
        }
        let before = held.context.take();
        let width = before.as_ref().map_or(0, |context| context.width());
        let mut context = match before {
            Some(context) => context,
            None => Box::new(self.past(line)),
        };
        if begins {
            self.cover(&mut context, (base.0, base.1 + 1), line, 0);
        }
        for dep in deps {
            let record = &self.changes[*dep as usize];
            self.cover(&mut context, (record.line, record.index + 1), line, 0);
        }
        self.entries = self.entries + context.width() - width;
        let held = &mut self.lines[line as usize];
        held.dropped = false;
        held.context = (!context.is_empty()).then_some(context);
        self.drop_contexts(line);
    }

    /// The context of a line's newest change, walked anew.
    pub(super) fn past(&self, line: u32) -> Context {
        let mut context = self.floor.clone();
        let held = &self.lines[line as usize];
        if !held.dropped {
            return context;
        }
        if held.base.0 != NONE {
            self.cover(&mut context, (held.base.0, held.base.1 + 1), line, 0);
        }
        for (_, id) in &held.changes {
            for dep in self.deps_of(*id) {
                let record = &self.changes[*dep as usize];
                self.cover(&mut context, (record.line, record.index + 1), line, 0);
            }
        }
        context
    }

    /// What a change saw, as far as it can have a lamport of at least `bound`.
    fn past_since(&self, record: &Record, bound: u64) -> Context {
        let mut context = self.floor.clone();
        let base = self.lines[record.line as usize].base;
        if record.index == 0 && base.0 != NONE {
            self.cover(&mut context, (base.0, base.1 + 1), NONE, bound);
        }
        self.cover(&mut context, (record.line, record.index), NONE, bound);
        let id = self.lines[record.line as usize].changes[record.index as usize].1;
        for dep in self.deps_of(id) {
            let record = &self.changes[*dep as usize];
            self.cover(&mut context, (record.line, record.index + 1), NONE, bound);
        }
        context
    }

    /// Adds the first changes of a line, and all they saw, to a context; `own` is a line that it
    /// has wholly. What is in it already is not walked again, so along a line every change that is
    /// seen is paid once. Changes below the bound are passed over.
    fn cover(&self, context: &mut Context, target: (u32, u32), own: u32, bound: u64) {
        let mut open = vec![target];
        while let Some((line, upto)) = open.pop() {
            let have = context.extent(line).changes();
            if line == own || have >= upto {
                continue;
            }
            let held = &self.lines[line as usize];
            context.raise(line, self.extent(line, upto));
            if held.changes.len() == upto as usize && !held.dropped {
                context.merge(self.context(line), own);
                continue;
            }
            if have == 0 && held.base.0 != NONE {
                open.push((held.base.0, held.base.1 + 1));
            }
            let new = &held.changes[have as usize..upto as usize];
            let old = new.partition_point(|(_, id)| self.changes[*id as usize].top() < bound);
            for (_, id) in &new[old..] {
                for dep in self.deps_of(*id) {
                    let record = &self.changes[*dep as usize];
                    if record.top() >= bound {
                        open.push((record.line, record.index + 1));
                    }
                }
            }
        }
    }

    /// Drops contexts, going round the lines, until they are within bounds again.
    fn drop_contexts(&mut self, except: u32) {
        let lines = self.lines.len() as u32;
        let mut tries = lines;
        while self.entries > ENTRIES_MAX && tries > 0 {
            self.hand = (self.hand + 1) % lines;
            tries -= 1;
            let held = &mut self.lines[self.hand as usize];
            if self.hand == except {
                continue;
            }
            if let Some(context) = held.context.take() {
                self.entries -= context.width();
                held.dropped = true;
            }
        }
    }
}
