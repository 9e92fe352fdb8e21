//! Our values as jaq knows values, and the context in which it runs.

use std::ops::Range;
use std::rc::Rc;

use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::data::HasLut;
use jaq_core::path::Opt;
use jaq_core::{DataT, Error, Exn, Lut, ValR, ValX};

use super::budget::{Place, charge, charge_bytes, charge_read};
use super::json::to_json;
use super::map::Map;
use super::value::{Array, ITEM_BYTES, MEMBER_BYTES, NODE_BYTES, TEXT_BYTES, Text, Value};

/// What jaq runs on: our values, in a context that counts.
pub struct Kind;

impl DataT for Kind {
    type V<'a> = Value;
    type Data<'a> = Data<'a>;
}

/// The program, handed out one step at a time.
#[derive(Clone)]
pub struct Data<'a> {
    pub lut: &'a Lut<Kind>,
    pub place: Place,
}

impl<'a> HasLut<'a, Kind> for Data<'a> {
    fn lut(&self) -> &'a Lut<Kind> {
        self.place.step();
        self.lut
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<isize> for Value {
    fn from(value: isize) -> Self {
        Self::Int(value as i64)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::integer(value as i128)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::number(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        charge_bytes(TEXT_BYTES + value.len());
        Self::Text(value.into())
    }
}

impl From<Range<Option<Value>>> for Value {
    fn from(range: Range<Option<Value>>) -> Self {
        charge_bytes(NODE_BYTES + 2 * (MEMBER_BYTES + TEXT_BYTES));
        let member = |(name, end): (&str, Option<Value>)| (name.into(), end.unwrap_or_default());
        let ends = [("end", range.end), ("start", range.start)];
        Self::object(Map::from_members(ends.into_iter().map(member).collect()))
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Self {
        charge_bytes(NODE_BYTES);
        Self::array(
            items
                .into_iter()
                .inspect(|_| charge_bytes(ITEM_BYTES))
                .collect(),
        )
    }
}

/// The items of an array, one after the other, without a copy of it.
struct Items(Rc<Array>, std::ops::Range<usize>);

impl Iterator for Items {
    type Item = ValR<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        charge(1);
        self.1.next().map(|at| Ok(self.0[at].clone()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.1.size_hint()
    }
}

fn not_iterable<T>(value: Value) -> ValR<T, Value> {
    Err(Error::typ(value, "iterable (array or object)"))
}

impl jaq_core::ValT for Value {
    fn from_num(text: &str) -> ValR<Self> {
        let refused = || Error::str(format_args!("{text} is not a number"));
        if let Ok(value) = text.parse::<i128>() {
            return Ok(Self::integer(value));
        }
        text.parse().map(Self::number).map_err(|_| refused())
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(pairs: I) -> ValR<Self> {
        charge_bytes(NODE_BYTES);
        let mut members = Vec::new();
        for (key, value) in pairs {
            charge_bytes(MEMBER_BYTES);
            let Value::Text(key) = key else {
                return Err(Error::str(format_args!(
                    "an object cannot have the key {key}"
                )));
            };
            members.push((key, value));
        }
        Ok(Self::object(Map::from_members(members)))
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Self, Self), Self>> {
        match self {
            Self::Array(items) => {
                let pair = |(at, item): (usize, _)| Ok((Self::from(at), item));
                Box::new(Array::into_items(items).into_iter().enumerate().map(pair))
            }
            Self::Object(map) => {
                charge_bytes(MEMBER_BYTES * map.len());
                let pairs: Vec<_> = map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                Box::new(
                    pairs
                        .into_iter()
                        .map(|(key, value)| Ok((Self::Text(key), value))),
                )
            }
            other => box_once(not_iterable(other)),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        match self {
            Self::Array(items) => {
                let all = 0..items.len();
                Box::new(Items(items, all))
            }
            Self::Object(map) => {
                charge_bytes(ITEM_BYTES * map.len());
                let values: Vec<_> = map.values().cloned().collect();
                Box::new(values.into_iter().map(Ok))
            }
            other => box_once(not_iterable(other)),
        }
    }

    fn index(self, index: &Self) -> ValR<Self> {
        super::path::index(self, index)
    }

    fn range(self, range: Range<Option<&Self>>) -> ValR<Self> {
        super::path::slice(self, range)
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match self {
            Self::Array(items) => Array::into_items(items).into_iter().flat_map(f).collect(),
            Self::Object(map) => {
                charge_bytes(NODE_BYTES + MEMBER_BYTES * map.len());
                let mut mapped = Vec::with_capacity(map.len());
                for (key, value) in map.iter() {
                    if let Some(value) = f(value.clone()).next().transpose()? {
                        mapped.push((key.clone(), value));
                    }
                }
                Ok(Self::object(Map::from_members(mapped)))
            }
            other => opt.fail(other, |value| {
                Exn::from(Error::typ(value, "iterable (array or object)"))
            }),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        super::path::update_index(self, index, opt, |value| f(value).next().transpose())
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<Option<&Self>>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        super::path::update_slice(self, range, opt, |value| f(value).next().transpose())
    }

    fn as_bool(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    fn into_string(self) -> Self {
        match self {
            Self::Text(_) => self,
            other => Self::Text(to_json(&other).into()),
        }
    }
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self {
            Self::Array(items) => Ok(Array::into_items(items).into_iter().collect()),
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Wide(_))
    }

    fn as_isize(&self) -> Option<isize> {
        match self {
            Self::Int(value) => isize::try_from(*value).ok(),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        self.as_float()
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        let text = self.as_text()?;
        charge_read(text.len());
        Some(text.as_bytes())
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        Self::from_utf8_bytes(part.to_vec())
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        charge_bytes(TEXT_BYTES + bytes.as_ref().len());
        Self::Text(Text::from(
            String::from_utf8_lossy(bytes.as_ref()).into_owned(),
        ))
    }
}
