//! Reading the paths and operations of a change that was checked.

use super::change::Action;
use super::change_check::{Layout, section};
use super::column::{Column, undelta};
use super::columns::kind;
use super::value::{Elements, ValueRef};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn take_text<'a>(rest: &mut &'a str, lens: &mut Column<'_>) -> Option<&'a str> {
    let (taken, after) = rest.split_at_checked(lens.next()? as usize)?;
    *rest = after;
    Some(taken)
}

fn take_bytes<'a>(rest: &mut &'a [u8], lens: &mut Column<'_>) -> Option<&'a [u8]> {
    rest.split_off(..lens.next()? as usize)
}

pub struct Paths<'a> {
    left: usize,
    parents: Column<'a>,
    lens: Column<'a>,
    keys: &'a str,
}

impl<'a> Paths<'a> {
    pub fn new(body: &'a [u8], layout: &Layout) -> Self {
        Self {
            left: layout.paths.into(),
            parents: Column::new(section(body, layout.parents, layout.key_lens)),
            lens: Column::new(section(body, layout.key_lens, layout.keys)),
            keys: text(section(body, layout.keys, layout.places)),
        }
    }
}

impl<'a> Iterator for Paths<'a> {
    type Item = (u32, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let part = take_text(&mut self.keys, &mut self.lens)?;
        Some((self.parents.next()? as u32, part))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

pub struct Ops<'a> {
    left: u32,
    places: Column<'a>,
    place: i64,
    kinds: Column<'a>,
    ints: Column<'a>,
    int: i64,
    floats: &'a [u8],
    text_lens: Column<'a>,
    texts: &'a str,
    blob_lens: Column<'a>,
    blobs: &'a [u8],
}

impl<'a> Ops<'a> {
    pub fn new(body: &'a [u8], layout: &Layout, n: u32) -> Self {
        Self {
            left: n,
            places: Column::new(section(body, layout.places, layout.kinds)),
            place: 0,
            kinds: Column::new(section(body, layout.kinds, layout.ints)),
            ints: Column::new(section(body, layout.ints, layout.floats)),
            int: 0,
            floats: section(body, layout.floats, layout.text_lens),
            text_lens: Column::new(section(body, layout.text_lens, layout.texts)),
            texts: text(section(body, layout.texts, layout.blob_lens)),
            blob_lens: Column::new(section(body, layout.blob_lens, layout.blobs)),
            blobs: section(body, layout.blobs, layout.to),
        }
    }

    #[inline]
    fn int(&mut self) -> Option<i64> {
        self.int = undelta(self.int, self.ints.next()?);
        Some(self.int)
    }

    #[inline]
    fn blob(&mut self) -> Option<&'a [u8]> {
        take_bytes(&mut self.blobs, &mut self.blob_lens)
    }

    #[inline]
    fn value(&mut self, kind: u8) -> Option<ValueRef<'a>> {
        Some(match kind {
            kind::NULL => ValueRef::Null,
            kind::FALSE => ValueRef::Bool(false),
            kind::TRUE => ValueRef::Bool(true),
            kind::INT => ValueRef::Int(self.int()?),
            kind::FLOAT => {
                let float;
                (float, self.floats) = self.floats.split_first_chunk()?;
                ValueRef::Float(f64::from_be_bytes(*float))
            }
            kind::TEXT => ValueRef::Text(take_text(&mut self.texts, &mut self.text_lens)?),
            kind::BYTES => ValueRef::Bytes(self.blob()?),
            kind::LINK => ValueRef::Link(self.blob()?),
            kind::LIST => ValueRef::List(self.blob()?),
            _ => ValueRef::Map(self.blob()?),
        })
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = (u32, Action<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.place = undelta(self.place, self.places.next()?);
        let action = match self.kinds.next()? as u8 {
            kind::SET_MAP => Action::SetMap,
            kind::DELETE => Action::Delete,
            kind::INCREMENT => Action::Increment(self.int()?),
            kind::MAKE_MAP => Action::Map,
            kind::APPEND_LIST => Action::Append(Elements::of_checked(self.blob()?)),
            kind if kind >= kind::APPEND => {
                Action::Append(Elements::one(self.value(kind - kind::APPEND)?))
            }
            kind => Action::Set(self.value(kind)?),
        };
        Some((self.place as u32, action))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}
