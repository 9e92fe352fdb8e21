//! What an open transaction changes of what its writer sees.
//!
//! Its operations saw all that is here, and their stamps will be greater than all that are here.
//! So where it wrote, what is seen follows from that alone, or from it and what was seen before.
//! Only where it deleted within a map it takes the tree itself to know: a copy of it is made then,
//! once, with what was written.

use std::borrow::Cow;
use std::cmp::Ordering;

use hashbrown::HashTable;

use super::change::{Action, Change, Origin};
use super::document::Document;
use super::graph::Graph;
use super::history::parts_of;
use super::names::NameHash;
use super::past::{Past, Stamps};
use super::shown::Kind;
use super::transaction::{Draft, Ground};
use super::tree::{NodeId, Tree};
use super::value::{Elements, Value, ValueRef};
use super::view::Visitor;
use super::{Cid, Dot};

/// The line of operations that are not signed: no document has so many.
const OWN: u32 = (1 << 31) - 1;

/// Of what kind a path is to the writer, as far as the transaction's operations tell.
pub(super) enum Found {
    Kind(Kind),
    /// It wrote nothing there: as in the document.
    Below,
    /// It deleted something beneath it.
    Thinned,
}

enum State {
    Untouched,
    Thinned,
    Absent,
    Map,
    Value(Value),
    /// Increments of this kind of number.
    Number(Kind),
    /// Appends.
    List,
}

struct Own {
    parent: u32,
    name: Box<str>,
    /// By which its children name it: another one after all beneath it was cleared.
    identity: u32,
    /// What the document has here and beneath was cleared.
    hidden: bool,
    state: State,
}

/// The paths that a transaction wrote at.
pub(super) struct Overlay {
    nodes: Vec<Own>,
    table: HashTable<u32>,
    hash: NameHash,
    identities: u32,
    /// The tree with what was written, and the document's epoch then.
    copy: Option<(u64, Tree)>,
}

impl Overlay {
    /// Of what a draft has so far.
    pub(super) fn of(document: &mut Document, draft: &Draft) -> Self {
        let root = Own {
            parent: 0,
            name: "".into(),
            identity: 0,
            hidden: false,
            state: State::Map,
        };
        let mut overlay = Self {
            nodes: vec![root],
            table: HashTable::new(),
            hash: NameHash::of(&document.chance),
            identities: 0,
            copy: None,
        };
        each_operation(document, draft, |parts, action, _| {
            let kind = || document.kind_at(parts);
            overlay.note(parts, action, kind);
        });
        overlay
    }

    /// Of what kind a path is.
    pub(super) fn find(&self, parts: &[Cow<'_, str>]) -> Found {
        let (node, hidden) = self.walk(parts);
        let state = node.map(|at| &self.nodes[at as usize].state);
        Found::Kind(match state {
            None | Some(State::Untouched) if hidden => Kind::Absent,
            None | Some(State::Untouched) => return Found::Below,
            Some(State::Thinned) => return Found::Thinned,
            Some(State::Absent) => Kind::Absent,
            Some(State::Map) => Kind::Map,
            Some(State::Value(value)) => match value.get() {
                ValueRef::Int(_) => Kind::Integer,
                ValueRef::List(_) => Kind::List,
                _ => Kind::Scalar,
            },
            Some(State::Number(kind)) => *kind,
            Some(State::List) => Kind::List,
        })
    }

    /// The transaction wrote this: its `seq`-th operation.
    pub(super) fn wrote(
        &mut self,
        ground: &impl Ground,
        parts: &[Cow<'_, str>],
        action: &Action<'_>,
        seq: u32,
    ) {
        self.note(parts, action, || {
            ground.look(|document| document.kind_at(parts))
        });
        if let Some((_, copy)) = &mut self.copy {
            ground.look(|document| apply(copy, &document.graph, parts, action, seq));
        }
    }

    fn note(
        &mut self,
        parts: &[Cow<'_, str>],
        action: &Action<'_>,
        document: impl FnOnce() -> Kind,
    ) {
        let before = match self.find(parts) {
            Found::Kind(kind) => kind,
            Found::Below => match action {
                Action::Increment(_) => document(),
                _ => Kind::Absent,
            },
            Found::Thinned => Kind::Absent,
        };
        let deletes = matches!(action, Action::Delete);
        let mut at = 0;
        for part in parts {
            let state = &mut self.nodes[at as usize].state;
            match (deletes, &state) {
                (true, State::Untouched | State::Map | State::Thinned) if at != 0 => {
                    *state = State::Thinned;
                }
                (false, _) => *state = State::Map,
                _ => {}
            }
            at = self.intern(at, part);
        }
        if matches!(action, Action::Set(_) | Action::SetMap | Action::Delete) {
            self.identities += 1;
            let identity = self.identities;
            let own = &mut self.nodes[at as usize];
            (own.identity, own.hidden) = (identity, true);
        }
        self.nodes[at as usize].state = match action {
            Action::Set(value) => State::Value(Value::of(*value)),
            Action::SetMap | Action::Map => State::Map,
            Action::Delete => State::Absent,
            Action::Increment(_) if before == Kind::Integer => State::Number(Kind::Integer),
            Action::Increment(_) => State::Number(Kind::Counter),
            Action::Append(_) => State::List,
        };
    }

    /// The node of a path, if there is one, and whether what the document has there is hidden.
    fn walk(&self, parts: &[Cow<'_, str>]) -> (Option<u32>, bool) {
        let (mut at, mut hidden) = (0, false);
        for part in parts {
            let Some(child) = self.child(at, part) else {
                return (None, hidden);
            };
            at = child;
            hidden |= self.nodes[at as usize].hidden;
        }
        (Some(at), hidden)
    }

    fn child(&self, parent: u32, part: &str) -> Option<u32> {
        let parent = self.nodes[parent as usize].identity;
        let hash = self.hash.hash(parent, part.as_bytes());
        let is_it = |at: &u32| {
            let own = &self.nodes[*at as usize];
            own.parent == parent && *own.name == *part
        };
        self.table.find(hash, is_it).copied()
    }

    fn intern(&mut self, parent: u32, part: &str) -> u32 {
        if let Some(known) = self.child(parent, part) {
            return known;
        }
        let parent = self.nodes[parent as usize].identity;
        let at = self.nodes.len() as u32;
        self.identities += 1;
        self.nodes.push(Own {
            parent,
            name: part.into(),
            identity: self.identities,
            hidden: false,
            state: State::Untouched,
        });
        let (hash, nodes) = (&self.hash, &self.nodes);
        let of = |at: &u32| {
            let own = &nodes[*at as usize];
            hash.hash(own.parent, own.name.as_bytes())
        };
        self.table.insert_unique(of(&at), at, of);
        at
    }

    /// Show what is at a path.
    pub(super) fn view<V: Visitor>(
        &mut self,
        document: &mut Document,
        draft: &Draft,
        parts: &[Cow<'_, str>],
        visitor: &mut V,
    ) -> Result<bool, V::Error> {
        let (node, hidden) = self.walk(parts);
        match node.map(|at| &self.nodes[at as usize].state) {
            Some(State::Absent) => return Ok(false),
            None if hidden => return Ok(false),
            None => return document.view(parts, visitor),
            Some(State::Value(value)) => match value.get() {
                ValueRef::List(list) => show_list(list, visitor)?,
                value => visitor.value(value)?,
            },
            Some(_) => {
                let copy = self.copy(document, draft);
                let Some(node) = copy.find(parts.iter().map(AsRef::as_ref)) else {
                    return Ok(false);
                };
                return copy.view(node, &Ahead(&document.graph), visitor);
            }
        }
        Ok(true)
    }

    pub(super) fn exact_kind(
        &mut self,
        document: &mut Document,
        draft: &Draft,
        parts: &[Cow<'_, str>],
    ) -> Kind {
        let copy = self.copy(document, draft);
        match copy.find(parts.iter().map(AsRef::as_ref)) {
            Some(node) => copy.kind_of(node, &Ahead(&document.graph)),
            None => Kind::Absent,
        }
    }

    fn copy(&mut self, document: &mut Document, draft: &Draft) -> &Tree {
        let kept = self
            .copy
            .take()
            .filter(|(epoch, _)| *epoch == document.epoch);
        let (_, made) = kept.unwrap_or_else(|| {
            let mut copy = document.tree.clone();
            each_operation(document, draft, |parts, action, seq| {
                apply(&mut copy, &document.graph, parts, action, seq);
            });
            (document.epoch, copy)
        });
        let (_, copy) = self.copy.insert((document.epoch, made));
        copy.settle(&Ahead(&document.graph));
        copy
    }
}

fn show_list<V: Visitor>(list: &[u8], visitor: &mut V) -> Result<(), V::Error> {
    let elements = Elements::of_checked(list);
    visitor.enter_list(elements.len())?;
    for element in elements {
        visitor.value(element)?;
    }
    visitor.leave_list()
}

fn apply(tree: &mut Tree, graph: &Graph, parts: &[Cow<'_, str>], action: &Action<'_>, seq: u32) {
    let node = parts
        .iter()
        .fold(NodeId::ROOT, |node, part| tree.intern(node, part));
    let dot = Dot { line: OWN, seq };
    tree.apply(node, dot, action, &All(seq), &Ahead(graph));
}

/// Shows every operation of a draft, with its path and its number.
fn each_operation(
    document: &Document,
    draft: &Draft,
    mut show: impl FnMut(&[Cow<'_, str>], &Action<'_>, u32),
) {
    let (doc, replica) = (*document.doc(), document.me);
    let origin = Origin {
        doc,
        replica,
        seq0: 0,
        prev: None,
        deps: &[],
        op: None,
    };
    let mut seq = 0;
    for builder in draft.builders() {
        let body = builder.finish(&origin);
        let Ok(Ok(change)) = body.map(|body| Change::decode(&body, [0; 64])) else {
            continue;
        };
        let named: Vec<(u32, &str)> = change.paths().collect();
        for (path, action) in change.ops() {
            let parts = parts_of(&named, path).into_iter();
            let parts: Vec<Cow<'_, str>> = parts.map(Cow::Borrowed).collect();
            show(&parts, &action, seq);
            seq += 1;
        }
    }
}

/// The stamps of the graph, and after them those of the transaction.
struct Ahead<'a>(&'a Graph);

impl Stamps for Ahead<'_> {
    fn lamport(&self, dot: Dot) -> u64 {
        if dot.line == OWN {
            u64::MAX / 2 + u64::from(dot.seq)
        } else {
            self.0.lamport(dot)
        }
    }

    fn cmp(&self, left: Dot, right: Dot) -> Ordering {
        match (left.line, right.line) {
            (OWN, OWN) => left.seq.cmp(&right.seq),
            (OWN, _) => Ordering::Greater,
            (_, OWN) => Ordering::Less,
            _ => self.0.cmp(left, right),
        }
    }

    fn saw(&self, later: Dot, earlier: Dot) -> bool {
        match (later.line, earlier.line) {
            (OWN, OWN) => earlier.seq < later.seq,
            (OWN, _) => true,
            (_, OWN) => false,
            _ => self.0.saw(later, earlier),
        }
    }

    fn operation_cid(&self, dot: Dot) -> Cid {
        if dot.line == OWN {
            [0xff; 32]
        } else {
            self.0.operation_cid(dot)
        }
    }
}

/// Everything that is here, and so many operations of the transaction.
struct All(u32);

impl Past for All {
    fn seen(&self, line: u32) -> u32 {
        if line == OWN { self.0 } else { u32::MAX }
    }

    fn entries(&self) -> impl Iterator<Item = (u32, u32)> {
        std::iter::empty()
    }

    fn width(&self) -> usize {
        usize::MAX
    }
}
