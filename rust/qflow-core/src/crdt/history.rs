//! What was done at a path, as far as the changes are here.

use std::borrow::Cow;

use super::change::{Action, Change};
use super::document::Document;
use super::path::write_pointer;
use super::touched::Touched;
use super::value::Value;
use super::{Cid, Dot, Key};

/// What an operation did.
#[derive(Clone, Debug)]
pub enum Did {
    Set(Value),
    SetMap,
    Delete,
    Increment(i64),
    Append(Vec<Value>),
    Map,
}

impl Did {
    /// The operation's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::SetMap => "set map",
            Self::Delete => "delete",
            Self::Increment(_) => "increment",
            Self::Append(_) => "append",
            Self::Map => "map",
        }
    }
}

impl From<Action<'_>> for Did {
    fn from(action: Action<'_>) -> Self {
        match action {
            Action::Set(value) => Self::Set(Value::of(value)),
            Action::SetMap => Self::SetMap,
            Action::Delete => Self::Delete,
            Action::Increment(by) => Self::Increment(by),
            Action::Append(elements) => Self::Append(elements.map(Value::of).collect()),
            Action::Map => Self::Map,
        }
    }
}

/// An operation of the past.
#[derive(Clone, Debug)]
pub struct Event {
    /// A JSON Pointer.
    pub path: String,
    pub did: Did,
    pub replica: Key,
    pub seq: u32,
    pub lamport: u64,
    /// Digest of the operation's CID.
    pub operation: Cid,
    /// Digest of its change's CID.
    pub change: Cid,
}

impl Document {
    /// The operations at a path and beneath it, the greatest stamp first, at most so many. Reads
    /// all changes that are here.
    #[must_use]
    pub fn history(&self, parts: &[Cow<'_, str>], limit: usize) -> Vec<Event> {
        let mut found: Vec<(Dot, u32, u32)> = Vec::new();
        for (id, change) in (0_u32..).zip(&self.changes) {
            let Some(change) = change else { continue };
            let inside = paths_within(change, parts);
            if !inside.iter().any(|is_inside| *is_inside) {
                continue;
            }
            let place = self.graph.place(id);
            for ((seq, at), (path, _)) in (place.first..).zip(0..).zip(change.ops()) {
                if inside[path as usize] {
                    found.push((
                        Dot {
                            line: place.line,
                            seq,
                        },
                        id,
                        at,
                    ));
                }
            }
        }
        found.sort_unstable_by(|left, right| self.graph.cmp(right.0, left.0));
        found.truncate(limit);
        found
            .iter()
            .filter_map(|(dot, id, at)| self.event(*dot, *id, *at))
            .collect()
    }

    fn event(&self, dot: Dot, id: u32, at: u32) -> Option<Event> {
        let change = self.changes[id as usize].as_ref()?;
        let (path, action) = change.ops().nth(at as usize)?;
        let named: Vec<(u32, &str)> = change.paths().collect();
        Some(Event {
            path: write_pointer(parts_of(&named, path)),
            did: action.into(),
            replica: change.header.replica,
            seq: dot.seq,
            lamport: self.graph.lamport(dot),
            operation: self.graph.operation_cid(dot),
            change: change.header.cid,
        })
    }

    /// The pointers of what was touched.
    #[must_use]
    pub fn pointers(&self, touched: Touched) -> Vec<String> {
        let nodes = touched.nodes().into_iter();
        nodes
            .map(|node| write_pointer(self.tree.parts(node)))
            .collect()
    }

    /// For each place where replicas equivocated the changes that show it, those that are here.
    #[must_use]
    pub fn evidence(&self) -> Vec<Vec<&Change>> {
        let forks = self.graph.forks().map(|fork| {
            let here = fork.branches.iter().filter_map(|cid| self.change(cid));
            here.map(AsRef::as_ref).collect::<Vec<&Change>>()
        });
        forks.filter(|changes| changes.len() > 1).collect()
    }
}

/// The parts of a path of a change.
pub(super) fn parts_of<'a>(named: &[(u32, &'a str)], path: u32) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut at = path;
    while let Some(index) = at.checked_sub(1) {
        let (parent, part) = named[index as usize];
        parts.push(part);
        at = parent;
    }
    parts.reverse();
    parts
}

/// For each path of a change, the root first, whether it is at or beneath another.
fn paths_within(change: &Change, parts: &[Cow<'_, str>]) -> Vec<bool> {
    // How many parts agree, while all above do; more than there are: within.
    let mut agree: Vec<Option<usize>> = vec![Some(0)];
    for (parent, part) in change.paths() {
        let above = agree[parent as usize];
        agree.push(above.and_then(|depth| match parts.get(depth) {
            None => Some(depth),
            Some(wanted) => (wanted == part).then_some(depth + 1),
        }));
    }
    agree
        .into_iter()
        .map(|depth| depth == Some(parts.len()))
        .collect()
}
