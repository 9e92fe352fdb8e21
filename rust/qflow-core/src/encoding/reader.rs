//! Reading canonical items, refusing every other spelling of the same value.

use super::cid::is_ours;
use super::{DEPTH_MAX, is_cid, key_order};

/// Why bytes are not canonical DAG-CBOR, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct DecodeError {
    pub at: usize,
    pub what: &'static str,
}

/// One item. The content of a list (`Array`) or map (`Map`) follows as further items.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// The integer `-1 - n`.
    Negative(u64),
    Float(f64),
    Bytes(&'a [u8]),
    Text(&'a str),
    Link(&'a [u8]),
    Array(usize),
    Map(usize),
}

/// A cursor over bytes from outside. Allocates nothing.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    #[must_use]
    pub fn refuse(&self, what: &'static str) -> DecodeError {
        DecodeError { at: self.at, what }
    }

    /// Everything must have been read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.at == self.data.len() {
            return Ok(());
        }
        Err(self.refuse("bytes after the end of the value"))
    }

    /// Read these very bytes, or leave the cursor where it is.
    #[inline(always)]
    pub fn skip_exact(&mut self, expected: &[u8]) -> bool {
        let found = self.data[self.at..].starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// The next bytes as they are, whatever they mean; None when there are not enough.
    #[inline]
    pub fn take_fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.data[self.at..].first_chunk()?;
        self.at += N;
        Some(taken)
    }

    /// The next item if it is text of at most 255 bytes, without the detour over `item`: most are.
    /// None leaves the cursor where it is, and says nothing about what is there.
    #[inline]
    pub fn short_text(&mut self) -> Option<&'a str> {
        let from = self.at;
        let text = std::str::from_utf8(self.short_text_bytes()?).ok();
        if text.is_none() {
            self.at = from;
        }
        text
    }

    /// As `short_text`, for who checks later that the bytes are UTF-8.
    #[inline]
    pub fn short_text_bytes(&mut self) -> Option<&'a [u8]> {
        let (first, rest) = self.data[self.at..].split_first()?;
        let (header, bytes) = match first {
            0x60..=0x77 => (1, rest.get(..usize::from(first - 0x60))?),
            0x78 => {
                let (len, rest) = rest.split_first().filter(|(len, _)| **len >= 24)?;
                (2, rest.get(..usize::from(*len))?)
            }
            _ => return None,
        };
        self.at += header + bytes.len();
        Some(bytes)
    }

    /// The next item if it is an unsigned number in its shortest form, as `short_text` is of text.
    #[inline]
    pub fn short_unsigned(&mut self) -> Option<u64> {
        let (first, rest) = self.data[self.at..].split_first()?;
        let (value, least, bytes) = match first {
            0x00..=0x17 => (u64::from(*first), 0, 1),
            0x18 => (u64::from(*rest.first()?), 24, 2),
            0x19 => (u16::from_be_bytes(*rest.first_chunk()?).into(), 1 << 8, 3),
            0x1a => (u32::from_be_bytes(*rest.first_chunk()?).into(), 1 << 16, 5),
            0x1b => (u64::from_be_bytes(*rest.first_chunk()?), 1 << 32, 9),
            _ => return None,
        };
        (value >= least).then(|| self.at += bytes)?;
        Some(value)
    }

    /// The CID of the next item if it is a link to a block as we write them, as `short_text` is of
    /// text.
    #[inline]
    pub fn block_link(&mut self) -> Option<&'a [u8]> {
        let rest = self.data[self.at..].strip_prefix(b"\xd8\x2a\x58\x25\x00")?;
        let cid = rest.first_chunk::<36>()?;
        is_ours(cid).then(|| self.at += 5 + cid.len())?;
        Some(cid)
    }

    /// The bytes read since a former `position`.
    #[must_use]
    pub fn since(&self, position: usize) -> &'a [u8] {
        &self.data[position..self.at]
    }

    #[inline]
    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let rest = &self.data[self.at..];
        if len > rest.len() as u64 {
            return Err(self.refuse("cut short"));
        }
        let (taken, _) = rest.split_at(len as usize);
        self.at += taken.len();
        Ok(taken)
    }

    fn long_argument(&mut self, info: u8) -> Result<u64, DecodeError> {
        let (len, least) = match info {
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 => return Err(self.refuse("indefinite length")),
            _ => return Err(self.refuse("reserved length")),
        };
        let value = self
            .take(len)?
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        if value < least {
            return Err(self.refuse("not the shortest form of a number"));
        }
        Ok(value)
    }

    #[inline]
    fn argument(&mut self, info: u8) -> Result<u64, DecodeError> {
        if info < 24 {
            Ok(u64::from(info))
        } else {
            self.long_argument(info)
        }
    }

    /// The number of items that follow: each has at least one byte, so no length can claim more.
    fn count(&mut self, info: u8, bytes_each: usize) -> Result<usize, DecodeError> {
        let count = self.argument(info)?;
        if count > ((self.data.len() - self.at) / bytes_each) as u64 {
            return Err(self.refuse("a length beyond the end"));
        }
        Ok(count as usize)
    }

    /// The next item.
    #[inline]
    pub fn item(&mut self) -> Result<Item<'a>, DecodeError> {
        let Some(&first) = self.data.get(self.at) else {
            return Err(self.refuse("cut short"));
        };
        self.at += 1;
        let info = first & 0x1f;
        Ok(match first >> 5 {
            0 => Item::Unsigned(self.argument(info)?),
            1 => Item::Negative(self.argument(info)?),
            2 => {
                let len = self.argument(info)?;
                Item::Bytes(self.take(len)?)
            }
            3 => {
                let len = self.argument(info)?;
                let text = self.take(len)?;
                Item::Text(std::str::from_utf8(text).map_err(|_| self.refuse("text not UTF-8"))?)
            }
            4 => Item::Array(self.count(info, 1)?),
            5 => Item::Map(self.count(info, 2)?),
            6 => Item::Link(self.link(info)?),
            _ => self.simple(info)?,
        })
    }

    fn link(&mut self, info: u8) -> Result<&'a [u8], DecodeError> {
        if self.argument(info)? != 42 {
            return Err(self.refuse("a tag other than 42"));
        }
        let Item::Bytes(content) = self.item_after_tag()? else {
            return Err(self.refuse("a link must hold bytes"));
        };
        match content.split_first() {
            Some((0, cid)) if is_cid(cid) => Ok(cid),
            _ => Err(self.refuse("a link must hold a CID")),
        }
    }

    /// The content of a tag; a tag within a tag would recurse without bound.
    fn item_after_tag(&mut self) -> Result<Item<'a>, DecodeError> {
        match self.data.get(self.at) {
            Some(first) if first >> 5 == 2 => self.item(),
            Some(_) => Err(self.refuse("a link must hold bytes")),
            None => Err(self.refuse("cut short")),
        }
    }

    fn simple(&mut self, info: u8) -> Result<Item<'a>, DecodeError> {
        match info {
            20 => Ok(Item::Bool(false)),
            21 => Ok(Item::Bool(true)),
            22 => Ok(Item::Null),
            27 => {
                let bits = self
                    .take(8)?
                    .iter()
                    .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                let value = f64::from_bits(bits);
                if value.is_finite() {
                    Ok(Item::Float(value))
                } else {
                    Err(self.refuse("a float that is not finite"))
                }
            }
            25 | 26 => Err(self.refuse("a float shorter than 64 bits")),
            _ => Err(self.refuse("undefined, or another simple value")),
        }
    }

    /// A map key, which must come after `before` in the canonical order.
    #[inline]
    pub fn key(&mut self, before: Option<&str>) -> Result<&'a str, DecodeError> {
        let key = match self.short_text() {
            Some(key) => key,
            None => match self.item()? {
                Item::Text(key) => key,
                _ => return Err(self.refuse("a key that is not text")),
            },
        };
        match before.map(|before| key_order(before.as_bytes(), key.as_bytes())) {
            None | Some(std::cmp::Ordering::Less) => Ok(key),
            Some(std::cmp::Ordering::Equal) => Err(self.refuse("a key twice")),
            Some(std::cmp::Ordering::Greater) => Err(self.refuse("keys out of order")),
        }
    }

    /// Read one whole value and check it; `depth` counts the lists and maps around it.
    pub fn skip_value(&mut self, depth: usize) -> Result<(), DecodeError> {
        if self.short_text().is_some() || self.short_unsigned().is_some() {
            return Ok(());
        }
        let item = self.item()?;
        self.skip_content(item, depth)
    }

    /// Read and check what follows an item that was read.
    pub fn skip_content(&mut self, item: Item<'a>, depth: usize) -> Result<(), DecodeError> {
        if !matches!(item, Item::Array(_) | Item::Map(_)) {
            return Ok(());
        }
        if depth >= DEPTH_MAX {
            return Err(self.refuse("nested too deeply"));
        }
        match item {
            Item::Array(len) => (0..len).try_for_each(|_| self.skip_value(depth + 1)),
            Item::Map(len) => {
                let mut before = None;
                for _ in 0..len {
                    before = Some(self.key(before)?);
                    self.skip_value(depth + 1)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
