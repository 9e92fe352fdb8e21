//! What a replica writes before it is signed: checked against what it sees, its own writes too.

use std::borrow::Cow;

use super::build::Builder;
use super::change::{Action, BODY_BYTES_MAX, ChangeError, OPS_MAX};
use super::document::Document;
use super::overlay::{Found, Overlay};
use super::path::{self, PathError};
use super::shown::Kind;
use super::value::{Elements, ValueRef};
use super::view::Visitor;
pub use super::written::{Literal, Where};
use super::written::{OPERATION_BYTES, cost, expand, size};

/// Bytes of the columns of a change that is made here: there is room for everything around them
/// but many names of other changes, which then are in changes before it.
const COLUMNS_BYTES_MAX: usize = BODY_BYTES_MAX - 1024;

const NOTHING_BENEATH: &str = "nothing can be written beneath it";

/// Why nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("there is {found} at {path:?}: {wanted}")]
    Mismatch {
        path: String,
        found: &'static str,
        wanted: &'static str,
    },
    #[error("the root is always a map: it can only be merged with one")]
    Root,
    #[error("at once at most {OPS_MAX} operations and {COLUMNS_BYTES_MAX} bytes can be written")]
    TooLarge,
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// Gives the document for a moment. It is the same one each time, and nobody else has it then.
pub trait Ground {
    fn look<R>(&self, look: impl FnOnce(&mut Document) -> R) -> R;
}

/// A map beneath which all has been set that was written so far, each at a path of one more part.
struct Under {
    pointer: String,
    /// Its path in the open change; none when that has just begun.
    path: Option<u32>,
}

/// An open transaction. Nothing of it is in the document.
pub struct Draft {
    key: u64,
    full: Vec<Builder>,
    open: Builder,
    /// Bytes of the open one's columns, at most.
    cost: usize,
    operations: usize,
    /// While no more has been written than this, no overlay is needed.
    under: Option<Under>,
    /// What the transaction changes of what is seen; made when it is first asked for.
    overlay: Option<Box<Overlay>>,
}

impl Draft {
    /// `key` is chance, for hash tables.
    #[must_use]
    pub fn new(key: u64) -> Self {
        let (full, open) = (Vec::new(), Builder::new(key));
        Self {
            key,
            full,
            open,
            cost: 0,
            operations: 0,
            under: None,
            overlay: None,
        }
    }

    /// Operations so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// The changes to be, one after the other. None of them is empty.
    pub(super) fn into_builders(mut self) -> Vec<Builder> {
        if !self.open.is_empty() {
            self.full.push(self.open);
        }
        self.full
    }

    pub(super) fn builders(&self) -> impl Iterator<Item = &Builder> {
        self.full.iter().chain(std::iter::once(&self.open))
    }

    /// Have a scalar or a list at a path, in place of all that is there and beneath.
    #[inline]
    pub fn set(
        &mut self,
        ground: &impl Ground,
        at: Where<'_>,
        value: ValueRef<'_>,
    ) -> Result<(), WriteError> {
        if self.overlay.is_none()
            && let Some((above, part)) = at.split()
            && self.is_under(ground, above)?
        {
            let names = above.len() + part.len();
            self.make_room(1, 2 * OPERATION_BYTES + names + size(value))?;
            let above = self.path_above()?;
            let path = self.open.path(above, part)?;
            return self.push(path, Action::Set(value));
        }
        let parts = inner(at)?;
        self.check_above(ground, &parts)?;
        self.write(ground, &parts, Action::Set(value))
    }

    /// Whether a set beneath this pointer changes nothing above it that was not checked.
    #[inline]
    fn is_under(&mut self, ground: &impl Ground, above: &str) -> Result<bool, WriteError> {
        if let Some(under) = &self.under {
            return Ok(under.pointer == above);
        }
        if self.operations > 0 {
            return Ok(false);
        }
        let parts = path::parse_pointer(above)?;
        for depth in 1..=parts.len() {
            match ground.look(|document| document.kind_at(&parts[..depth])) {
                Kind::Absent | Kind::Map => {}
                found => {
                    return Err(mismatch(&parts[..depth], found, NOTHING_BENEATH));
                }
            }
        }
        self.under = Some(Under {
            pointer: above.to_owned(),
            path: None,
        });
        Ok(true)
    }

    /// The path of `under` in the open change.
    #[inline]
    fn path_above(&mut self) -> Result<u32, WriteError> {
        let Some(under) = &mut self.under else {
            return Ok(0);
        };
        if let Some(path) = under.path {
            return Ok(path);
        }
        let mut path = 0;
        for part in under.pointer.split('/').skip(1) {
            path = self.open.path(path, part)?;
        }
        under.path = Some(path);
        Ok(path)
    }

    /// Have a map at a path, in place of all that is there and beneath.
    pub fn set_map(
        &mut self,
        ground: &impl Ground,
        at: Where<'_>,
        members: &[(String, Literal)],
    ) -> Result<(), WriteError> {
        let parts = inner(at)?;
        self.check_above(ground, &parts)?;
        let mut all = vec![(parts, Action::SetMap)];
        expand(&mut all, members, true)?;
        self.write_all(ground, all)
    }

    /// Set each leaf of a map beneath a path; an empty map is made where there is none.
    pub fn merge(
        &mut self,
        ground: &impl Ground,
        at: Where<'_>,
        members: &[(String, Literal)],
    ) -> Result<(), WriteError> {
        let parts = at.parts()?;
        let mut all = vec![(parts, Action::Map)];
        expand(&mut all, members, false)?;
        self.check_merged(ground, &all[0].0.clone(), members)?;
        if members.is_empty() {
            return self.write_all(ground, all);
        }
        all.remove(0);
        self.write_all(ground, all)
    }

    /// Have nothing at a path and beneath. Where nothing is, nothing is written.
    pub fn delete(&mut self, ground: &impl Ground, at: Where<'_>) -> Result<(), WriteError> {
        let parts = inner(at)?;
        if self.kind(ground, &parts) == Kind::Absent {
            return Ok(());
        }
        self.write(ground, &parts, Action::Delete)
    }

    /// Add to a counter or to an integer that was set.
    pub fn increment(
        &mut self,
        ground: &impl Ground,
        at: Where<'_>,
        by: i64,
    ) -> Result<(), WriteError> {
        let parts = inner(at)?;
        self.check_above(ground, &parts)?;
        match self.kind(ground, &parts) {
            Kind::Absent | Kind::Integer | Kind::Counter => {}
            found => return Err(mismatch(&parts, found, "it cannot be incremented")),
        }
        self.write(ground, &parts, Action::Increment(by))
    }

    /// Put values at the end of a list, next to each other.
    pub fn append(
        &mut self,
        ground: &impl Ground,
        at: Where<'_>,
        elements: Elements<'_>,
    ) -> Result<(), WriteError> {
        let parts = inner(at)?;
        self.check_above(ground, &parts)?;
        match self.kind(ground, &parts) {
            Kind::Absent | Kind::List => {}
            found => return Err(mismatch(&parts, found, "nothing can be appended to it")),
        }
        self.write(ground, &parts, Action::Append(elements))
    }

    /// Show what is at a path to who writes; false when nothing is.
    pub fn view<V: Visitor>(
        &mut self,
        ground: &impl Ground,
        at: Where<'_>,
        visitor: &mut V,
    ) -> Result<Result<bool, V::Error>, WriteError> {
        let parts = at.parts()?;
        self.need_overlay(ground);
        let Some(mut overlay) = self.overlay.take() else {
            return Ok(Ok(false));
        };
        let shown = ground.look(|document| overlay.view(document, self, &parts, visitor));
        self.overlay = Some(overlay);
        Ok(shown)
    }

    fn kind(&mut self, ground: &impl Ground, parts: &[Cow<'_, str>]) -> Kind {
        self.need_overlay(ground);
        let Some(mut overlay) = self.overlay.take() else {
            return Kind::Absent;
        };
        let kind = match overlay.find(parts) {
            Found::Kind(kind) => kind,
            Found::Below => ground.look(|document| document.kind_at(parts)),
            Found::Thinned => ground.look(|document| overlay.exact_kind(document, self, parts)),
        };
        self.overlay = Some(overlay);
        kind
    }

    /// Everything above a path is a map, or is not there yet.
    fn check_above(
        &mut self,
        ground: &impl Ground,
        parts: &[Cow<'_, str>],
    ) -> Result<(), WriteError> {
        for depth in 1..parts.len() {
            self.check_map(ground, &parts[..depth])?;
        }
        Ok(())
    }

    fn check_map(
        &mut self,
        ground: &impl Ground,
        parts: &[Cow<'_, str>],
    ) -> Result<(), WriteError> {
        self.need_overlay(ground);
        let thinned = match self.overlay.as_ref().map(|overlay| overlay.find(parts)) {
            Some(Found::Thinned) => true,
            Some(Found::Kind(Kind::Absent | Kind::Map)) => return Ok(()),
            _ => false,
        };
        // A map of which members were deleted is a map or gone, unless something else stands
        // beside it.
        if thinned && ground.look(|document| document.slots_at(parts)) <= 1 {
            return Ok(());
        }
        match self.kind(ground, parts) {
            Kind::Absent | Kind::Map => Ok(()),
            found => Err(mismatch(parts, found, NOTHING_BENEATH)),
        }
    }

    fn check_merged(
        &mut self,
        ground: &impl Ground,
        parts: &[Cow<'_, str>],
        members: &[(String, Literal)],
    ) -> Result<(), WriteError> {
        self.check_above(ground, parts)?;
        if !parts.is_empty() {
            self.check_map(ground, parts)?;
        }
        for (name, member) in members {
            if let Literal::Map(members) = member {
                let mut below = parts.to_vec();
                below.push(Cow::Borrowed(name));
                self.check_merged(ground, &below, members)?;
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        ground: &impl Ground,
        parts: &[Cow<'_, str>],
        action: Action<'_>,
    ) -> Result<(), WriteError> {
        self.make_room(1, cost(parts, &action))?;
        self.put(ground, parts, action)
    }

    /// Write operations that belong together: within one change, or not at all.
    fn write_all(
        &mut self,
        ground: &impl Ground,
        all: Vec<(Vec<Cow<'_, str>>, Action<'_>)>,
    ) -> Result<(), WriteError> {
        let bytes = all.iter().map(|(parts, action)| cost(parts, action)).sum();
        self.make_room(all.len(), bytes)?;
        for (parts, action) in all {
            self.put(ground, &parts, action)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        ground: &impl Ground,
        parts: &[Cow<'_, str>],
        action: Action<'_>,
    ) -> Result<(), WriteError> {
        let mut path = 0;
        for part in parts {
            path = self.open.path(path, part)?;
        }
        self.push(path, action.clone())?;
        if let Some(overlay) = &mut self.overlay {
            overlay.wrote(ground, parts, &action, self.operations as u32 - 1);
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, path: u32, action: Action<'_>) -> Result<(), WriteError> {
        self.open.push(path, action)?;
        self.operations += 1;
        Ok(())
    }

    /// Begin another change where this much does not fit into the open one any more.
    #[inline]
    fn make_room(&mut self, operations: usize, bytes: usize) -> Result<(), WriteError> {
        if self.open.len() + operations > OPS_MAX || self.cost + bytes > COLUMNS_BYTES_MAX {
            self.cut(operations, bytes)?;
        }
        self.cost += bytes;
        Ok(())
    }

    #[cold]
    fn cut(&mut self, operations: usize, bytes: usize) -> Result<(), WriteError> {
        if operations > OPS_MAX || bytes > COLUMNS_BYTES_MAX {
            return Err(WriteError::TooLarge);
        }
        if !self.open.is_empty() {
            self.full
                .push(std::mem::replace(&mut self.open, Builder::new(self.key)));
        }
        self.cost = 0;
        if let Some(under) = &mut self.under {
            under.path = None;
        }
        Ok(())
    }

    fn need_overlay(&mut self, ground: &impl Ground) {
        if self.overlay.is_none() {
            let overlay = ground.look(|document| Overlay::of(document, self));
            self.overlay = Some(Box::new(overlay));
        }
    }
}

/// The parts of a path that is not the root.
fn inner<'a>(at: Where<'a>) -> Result<Vec<Cow<'a, str>>, WriteError> {
    let parts = at.parts()?;
    if parts.is_empty() {
        Err(WriteError::Root)
    } else {
        Ok(parts)
    }
}

fn mismatch(parts: &[Cow<'_, str>], found: Kind, wanted: &'static str) -> WriteError {
    let found = match found {
        Kind::Absent => "nothing",
        Kind::Integer => "an integer",
        Kind::Counter => "a counter",
        Kind::List => "a list",
        Kind::Map => "a map",
        Kind::Scalar => "another value",
    };
    let path = path::write_pointer(parts.iter().map(AsRef::as_ref));
    WriteError::Mismatch {
        path,
        found,
        wanted,
    }
}
