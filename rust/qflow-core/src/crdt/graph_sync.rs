//! What documents tell each other: heads, what the other lacks, what all have seen.

use std::collections::BTreeSet;

use super::change::Header;
use super::context::{Context, Extent};
use super::graph::{Admission, ChangeId, Graph, Head, NONE, Next, Refusal};
use super::{Cid, Key};

/// The answer to a clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// What the other lacks, in a causal order.
    pub changes: Vec<ChangeId>,
    /// The other lacks what is compacted here: it needs the snapshot first.
    pub snapshot: bool,
    /// Heads that are not here. The other may have more, or another branch, or lie: nothing is
    /// taken for seen because of them, so `changes` may hold what it has. Where that is too much,
    /// ranges tell exactly.
    pub unknown: Vec<Head>,
}

impl Graph {
    /// The last change of every line, sorted. Several of one replica show that it equivocated.
    #[must_use]
    pub fn heads(&self) -> Vec<Head> {
        let mut heads: Vec<Head> = self
            .open_lines()
            .map(|line| self.head(line, self.whole(line)))
            .collect();
        heads.sort_unstable();
        heads
    }

    /// The heads of what a context has.
    #[must_use]
    pub fn heads_of(&self, context: &Context) -> Vec<Head> {
        let extent = |line: u32| context.extent(line);
        let lines = self.open_lines().filter(|line| extent(*line).changes() > 0);
        let lines: Vec<u32> = lines.collect();
        // A line that ends where a branch leaves it is no head of its own: which branch became a
        // line of its own depends on the order of arrival.
        let left = lines.iter().map(|line| self.lines[*line as usize].base);
        let left: BTreeSet<(u32, u32)> = left.filter(|base| base.0 != NONE).collect();
        let is_head = |line: &u32| !left.contains(&(*line, extent(*line).changes() - 1));
        let heads = lines
            .into_iter()
            .filter(is_head)
            .map(|line| self.head(line, extent(line)));
        let mut heads: Vec<Head> = heads.collect();
        heads.sort_unstable();
        heads
    }

    fn open_lines(&self) -> impl Iterator<Item = u32> + '_ {
        let lines = (0u32..).zip(&self.lines);
        lines
            .filter(|(_, line)| !line.buried)
            .map(|(number, _)| number)
    }

    fn head(&self, line: u32, extent: Extent) -> Head {
        let (_, id) = self.lines[line as usize].changes[extent.changes() as usize - 1];
        let cid = self.changes[id as usize].cid;
        Head {
            replica: *self.key_of(line),
            seq: extent.operations(),
            cid,
        }
    }

    /// Where the next change of a replica goes, to have seen all that is here.
    #[must_use]
    pub fn deps_for(&self, replica: &Key) -> Next {
        let ends = self
            .lines_of(replica)
            .map(|line| self.head(line, self.whole(line)));
        let last = ends.max();
        let prev = last.map(|head| head.cid);
        let frontier = self
            .frontier
            .iter()
            .map(|id| self.changes[*id as usize].cid);
        let mut deps: Vec<Cid> = frontier.filter(|cid| Some(*cid) != prev).collect();
        deps.sort_unstable();
        Next {
            prev,
            seq0: last.map_or(0, |head| head.seq),
            deps,
        }
    }

    /// The lines of a replica that have an end, the newest first.
    pub(super) fn lines_of(&self, replica: &Key) -> impl Iterator<Item = u32> + '_ {
        let number = self.replica_of(replica);
        let last = number.map(|number| self.replicas[number as usize].last_line);
        let is_line = |line: &u32| *line != NONE;
        let sibling = move |line: &u32| Some(self.lines[*line as usize].sibling).filter(is_line);
        let lines = std::iter::successors(last.filter(is_line), sibling);
        lines.filter(|line| !self.lines[*line as usize].buried)
    }

    /// What one with these heads lacks. Only their CIDs count, whatever replica and sequence number
    /// stand beside them; those that are not here claim nothing.
    #[must_use]
    pub fn since(&self, clock: &[Head]) -> Since {
        let mut known = Vec::with_capacity(clock.len());
        let mut unknown = Vec::new();
        for head in clock {
            match self.id_of(&head.cid) {
                Some(id) => known.push(id),
                None => unknown.push(*head),
            }
        }
        let snapshot = !self.contains_cut(None, &known);
        let has = self.closure(&known);
        let lines = (0u32..).zip(&self.lines);
        let lacks = lines.flat_map(|(line, held)| {
            held.changes[has.extent(line).changes() as usize..]
                .iter()
                .map(|change| change.1)
        });
        let mut changes: Vec<ChangeId> = lacks.collect();
        changes.sort_unstable();
        Since {
            changes,
            snapshot,
            unknown,
        }
    }

    /// Where compaction may cut: what all members have shown, by signed changes, to have seen, and
    /// every change that is here beside it saw too; never less than the cut before. A change of
    /// a member that is on its way follows one that is here, so it saw the cut as well.
    ///
    /// A member that never wrote holds it where it is, and so do branches that did not see each
    /// other: a member may go on with any of them.
    #[must_use]
    pub fn stable(&self, members: &[Key]) -> Vec<Head> {
        let mut all: Option<Context> = None;
        for member in members {
            let mut lines = self.lines_of(member).peekable();
            if lines.peek().is_none() {
                return self.heads_of(&self.floor);
            }
            for shown in lines.map(|line| self.shown(line)) {
                match &mut all {
                    Some(all) => all.limit(|line| shown.extent(line)),
                    None => all = Some(shown),
                }
            }
        }
        let mut all = all.unwrap_or_else(|| self.floor.clone());
        while self.narrow(&mut all) {}
        self.heads_of(&all)
    }

    /// Takes away what the first change beside it on some line did not see; whether there was any.
    /// What is left may have other changes beside it then.
    fn narrow(&self, cut: &mut Context) -> bool {
        let mut narrower = false;
        for line in self.open_lines() {
            let changes = &self.lines[line as usize].changes;
            let Some((_, first)) = changes.get(cut.extent(line).changes() as usize) else {
                continue;
            };
            let saw = self.before(*first);
            if cut
                .extents()
                .any(|(line, extent)| extent > saw.extent(line))
            {
                cut.limit(|line| saw.extent(line));
                narrower = true;
            }
        }
        narrower
    }

    /// What the newest change of a line saw, with the line itself.
    pub(super) fn shown(&self, line: u32) -> Context {
        let held = &self.lines[line as usize];
        let walked = held.dropped.then(|| self.past(line));
        let mut context = walked.unwrap_or_else(|| self.context(line).clone());
        context.raise(line, self.whole(line));
        context
    }

    /// Whether a change that names these saw all that is compacted.
    pub(super) fn contains_cut(&self, prev: Option<ChangeId>, deps: &[ChangeId]) -> bool {
        if self.cut_at == 0 {
            return true;
        }
        let named: BTreeSet<ChangeId> = prev.iter().chain(deps).copied().collect();
        let above = named.last().is_some_and(|id| *id >= self.cut_at);
        above || self.tips.iter().all(|tip| named.contains(tip))
    }

    /// Whether a change that is not here has its place below the cut, as far as can be told.
    pub(super) fn below(&self, header: &Header) -> Result<Option<Admission>, Refusal> {
        if self.cut_at == 0 || header.prev.is_some_and(|cid| self.knows(&cid)) {
            return Ok(None);
        }
        let floor = self
            .lines_of(&header.replica)
            .map(|line| self.floor.extent(line));
        let cut = floor.max().unwrap_or_default().operations();
        let end = header.seq0.saturating_add(header.n);
        match (header.seq0 < cut, end <= cut) {
            (true, true) => Ok(Some(Admission::Below)),
            (true, false) => Err(Refusal::Stale),
            (false, _) => Ok(None),
        }
    }
}
