//! What is given to be written: paths, maps as they are written down, and what they cost.

use std::borrow::Cow;

use super::change::{Action, OPS_MAX};
use super::path::{self, PathError};
use super::transaction::WriteError;
use super::value::{Value, ValueRef};

/// What an operation has in the columns beside its names and its value, at most.
pub(super) const OPERATION_BYTES: usize = 24;

/// A path as it is given by who writes.
#[derive(Clone, Copy, Debug)]
pub enum Where<'a> {
    /// RFC 6901.
    Pointer(&'a str),
    Parts(&'a [&'a str]),
}

impl<'a> Where<'a> {
    /// The parts, checked.
    pub fn parts(&self) -> Result<Vec<Cow<'a, str>>, PathError> {
        match self {
            Self::Pointer(pointer) => path::parse_pointer(pointer),
            Self::Parts(parts) => {
                let mut bounds = path::Bounds::default();
                let part = |part: &&'a str| bounds.enter(part).map(|()| Cow::Borrowed(*part));
                parts.iter().map(part).collect()
            }
        }
    }

    /// The pointer of what is above and the last part, unchecked, where nothing is escaped.
    #[inline]
    pub(super) fn split(&self) -> Option<(&'a str, &'a str)> {
        let Self::Pointer(pointer) = self else {
            return None;
        };
        let slash = pointer.bytes().rposition(|byte| byte == b'/')?;
        (!pointer.contains('~')).then(|| (&pointer[..slash], &pointer[slash + 1..]))
    }
}

/// A map as it is written down, in order: what a set or a merge expands.
#[derive(Clone, Debug)]
pub enum Literal {
    Value(Value),
    Map(Vec<(String, Literal)>),
}

/// What an operation adds to the columns, at most.
pub(super) fn cost(parts: &[Cow<'_, str>], action: &Action<'_>) -> usize {
    let names: usize = parts
        .iter()
        .map(|part| part.len() + OPERATION_BYTES / 2)
        .sum();
    let value = match action {
        Action::Set(value) => size(*value),
        Action::Append(elements) => match elements.whole() {
            Ok(value) => size(value),
            Err(list) => list.len(),
        },
        _ => 0,
    };
    OPERATION_BYTES + names + value
}

#[inline]
pub(super) fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(text) => text.len(),
        ValueRef::Bytes(bytes)
        | ValueRef::Link(bytes)
        | ValueRef::List(bytes)
        | ValueRef::Map(bytes) => bytes.len(),
        ValueRef::Null | ValueRef::Bool(_) | ValueRef::Int(_) | ValueRef::Float(_) => 0,
    }
}

/// Adds the operations of a map's members behind that of the map, which is the last one there.
/// `assigned`: each map within takes the place of what was there.
pub(super) fn expand<'a>(
    all: &mut Vec<(Vec<Cow<'a, str>>, Action<'a>)>,
    members: &'a [(String, Literal)],
    assigned: bool,
) -> Result<(), WriteError> {
    let Some(above) = all.last().map(|(parts, _)| parts.clone()) else {
        return Ok(());
    };
    let mut bounds = path::Bounds::default();
    above.iter().try_for_each(|part| bounds.enter(part))?;
    expand_below(all, &above, bounds, members, assigned)
}

fn expand_below<'a>(
    all: &mut Vec<(Vec<Cow<'a, str>>, Action<'a>)>,
    above: &[Cow<'a, str>],
    bounds: path::Bounds,
    members: &'a [(String, Literal)],
    assigned: bool,
) -> Result<(), WriteError> {
    for (name, member) in members {
        let mut bounds = bounds;
        bounds.enter(name)?;
        let mut parts = above.to_vec();
        parts.push(Cow::Borrowed(name));
        if all.len() > OPS_MAX {
            return Err(WriteError::TooLarge);
        }
        match member {
            Literal::Value(value) => all.push((parts, Action::Set(value.get()))),
            Literal::Map(members) => {
                if assigned {
                    all.push((parts.clone(), Action::SetMap));
                } else if members.is_empty() {
                    all.push((parts.clone(), Action::Map));
                }
                expand_below(all, &parts, bounds, members, assigned)?;
            }
        }
    }
    Ok(())
}
