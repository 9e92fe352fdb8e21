//! Values: what a register or an element of a list holds.

use crate::encoding::{DecodeError, Item, Reader, Writer};

/// Lists and maps of one value that may be open at once.
pub const VALUE_DEPTH_MAX: usize = 64;
/// Text of so many bytes lies in the value itself.
const SHORT_MAX: usize = 14;

/// Why bytes are not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    #[error("an integer beyond 64 bits, or a float that is not finite")]
    Number,
    #[error("a value of more than {VALUE_DEPTH_MAX} levels")]
    TooDeep,
    #[error("not a list")]
    NotAList,
    #[error("a map is a value only as an element of a list")]
    Map,
    #[error("a link that is not a CID")]
    Link,
    #[error("nothing to append")]
    Nothing,
}

/// A value that lies in other bytes. Lists and maps are canonical DAG-CBOR and were checked.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// The bytes of a CID.
    Link(&'a [u8]),
    /// Canonical DAG-CBOR of a list.
    List(&'a [u8]),
    /// Canonical DAG-CBOR of a map; only as an element.
    Map(&'a [u8]),
}

/// Equal when the canonical encodings are: -0.0 is not 0.0, and 1 is not 1.0.
impl PartialEq for ValueRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Int(left), Self::Int(right)) => left == right,
            (Self::Float(left), Self::Float(right)) => left.to_bits() == right.to_bits(),
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Bytes(left), Self::Bytes(right))
            | (Self::Link(left), Self::Link(right))
            | (Self::List(left), Self::List(right))
            | (Self::Map(left), Self::Map(right)) => left == right,
            _ => false,
        }
    }
}

impl Eq for ValueRef<'_> {}

impl<'a> ValueRef<'a> {
    /// A list, from its DAG-CBOR; refused when it is not canonical, too deep, or no list.
    pub fn list(bytes: &'a [u8]) -> Result<Self, ValueError> {
        match read_all(bytes)? {
            list @ Self::List(_) => Ok(list),
            _ => Err(ValueError::NotAList),
        }
    }

    /// The next value of a reader, checked: an element, so it may be a map. `depth` counts the
    /// lists and maps around it.
    pub fn read(reader: &mut Reader<'a>, depth: usize) -> Result<Self, ValueError> {
        let from = reader.position();
        Ok(match reader.item()? {
            Item::Null => Self::Null,
            Item::Bool(value) => Self::Bool(value),
            Item::Unsigned(value) => {
                Self::Int(i64::try_from(value).map_err(|_| ValueError::Number)?)
            }
            Item::Negative(value) => {
                Self::Int(!i64::try_from(value).map_err(|_| ValueError::Number)?)
            }
            Item::Float(value) => Self::Float(value),
            Item::Text(value) => Self::Text(value),
            Item::Bytes(value) => Self::Bytes(value),
            Item::Link(value) => Self::Link(value),
            Item::Array(len) => {
                let depth = open(depth)?;
                for _ in 0..len {
                    Self::read(reader, depth)?;
                }
                Self::List(reader.since(from))
            }
            Item::Map(len) => {
                let depth = open(depth)?;
                let mut before = None;
                for _ in 0..len {
                    before = Some(reader.key(before)?);
                    Self::read(reader, depth)?;
                }
                Self::Map(reader.since(from))
            }
        })
    }

    /// Append the canonical DAG-CBOR.
    pub fn write(&self, out: &mut Writer) {
        match *self {
            Self::Null => out.null(),
            Self::Bool(value) => out.boolean(value),
            Self::Int(value) => out.integer(value),
            Self::Float(value) => {
                let finite = out.float(value);
                debug_assert!(finite, "values are checked where they are made");
            }
            Self::Text(value) => out.text(value),
            Self::Bytes(value) => out.bytes(value),
            Self::Link(value) => out.link(value),
            Self::List(value) | Self::Map(value) => out.raw(value),
        }
    }
}

fn open(depth: usize) -> Result<usize, ValueError> {
    if depth >= VALUE_DEPTH_MAX {
        return Err(ValueError::TooDeep);
    }
    Ok(depth + 1)
}

fn read_all(bytes: &[u8]) -> Result<ValueRef<'_>, ValueError> {
    let mut reader = Reader::new(bytes);
    let value = ValueRef::read(&mut reader, 0)?;
    reader.finish()?;
    Ok(value)
}

/// The elements of one append, in order; at least one.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    form: Form<'a>,
}

#[derive(Debug, Clone)]
enum Form<'a> {
    One(ValueRef<'a>),
    Many {
        left: usize,
        items: Reader<'a>,
        list: &'a [u8],
    },
    Done,
}

impl<'a> Elements<'a> {
    #[must_use]
    pub fn one(value: ValueRef<'a>) -> Self {
        Self {
            form: Form::One(value),
        }
    }

    /// The elements of a list, from its DAG-CBOR, which is checked.
    pub fn of_list(list: &'a [u8]) -> Result<Self, ValueError> {
        let mut reader = Reader::new(list);
        let Item::Array(len) = reader.item()? else {
            return Err(ValueError::NotAList);
        };
        let items = reader.clone();
        let mut only = None;
        for _ in 0..len {
            // The list around them is this append, and no level of a value.
            only = Some(ValueRef::read(&mut reader, 0)?);
        }
        reader.finish()?;
        let form = match (len, only) {
            (1, Some(value)) => Form::One(value),
            (_, None) => return Err(ValueError::Nothing),
            _ => Form::Many {
                left: len,
                items,
                list,
            },
        };
        Ok(Self { form })
    }

    /// As `of_list`, of a list that was checked and has at least two elements.
    pub(super) fn of_checked(list: &'a [u8]) -> Self {
        let mut items = Reader::new(list);
        let left = match items.item() {
            Ok(Item::Array(len)) => len,
            _ => 0,
        };
        Self {
            form: Form::Many { left, items, list },
        }
    }

    /// The whole list as DAG-CBOR, or its only element.
    pub(super) fn whole(&self) -> Result<ValueRef<'a>, &'a [u8]> {
        match &self.form {
            Form::One(value) => Ok(*value),
            Form::Many { list, .. } => Err(list),
            Form::Done => Ok(ValueRef::Null),
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<ValueRef<'a>> {
        match &mut self.form {
            Form::One(value) => {
                let value = *value;
                self.form = Form::Done;
                Some(value)
            }
            Form::Many { left, items, .. } => {
                *left = left.checked_sub(1)?;
                ValueRef::read(items, 0).ok()
            }
            Form::Done => None,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.form {
            Form::One(_) => 1,
            Form::Many { left, .. } => *left,
            Form::Done => 0,
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// A value that owns its bytes, in 16 bytes: numbers and text of up to 14 bytes need no others.
#[derive(Clone, Debug)]
pub struct Value(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Short(u8, [u8; SHORT_MAX]),
    Long(Box<Long>),
}

#[derive(Clone, Debug)]
enum Long {
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Link(Box<[u8]>),
    List(Box<[u8]>),
    Map(Box<[u8]>),
}

impl Value {
    #[must_use]
    pub fn of(value: ValueRef<'_>) -> Self {
        let long = match value {
            ValueRef::Null => return Self(Repr::Null),
            ValueRef::Bool(value) => return Self(Repr::Bool(value)),
            ValueRef::Int(value) => return Self(Repr::Int(value)),
            ValueRef::Float(value) => return Self(Repr::Float(value)),
            ValueRef::Text(text) if text.len() <= SHORT_MAX => {
                let mut short = [0; SHORT_MAX];
                short[..text.len()].copy_from_slice(text.as_bytes());
                return Self(Repr::Short(text.len() as u8, short));
            }
            ValueRef::Text(text) => Long::Text(text.into()),
            ValueRef::Bytes(bytes) => Long::Bytes(bytes.into()),
            ValueRef::Link(bytes) => Long::Link(bytes.into()),
            ValueRef::List(bytes) => Long::List(bytes.into()),
            ValueRef::Map(bytes) => Long::Map(bytes.into()),
        };
        Self(Repr::Long(Box::new(long)))
    }

    #[must_use]
    pub fn get(&self) -> ValueRef<'_> {
        match &self.0 {
            Repr::Null => ValueRef::Null,
            Repr::Bool(value) => ValueRef::Bool(*value),
            Repr::Int(value) => ValueRef::Int(*value),
            Repr::Float(value) => ValueRef::Float(*value),
            Repr::Short(len, short) => {
                let text = std::str::from_utf8(&short[..usize::from(*len)]);
                ValueRef::Text(text.unwrap_or_default())
            }
            Repr::Long(long) => match &**long {
                Long::Text(text) => ValueRef::Text(text),
                Long::Bytes(bytes) => ValueRef::Bytes(bytes),
                Long::Link(bytes) => ValueRef::Link(bytes),
                Long::List(bytes) => ValueRef::List(bytes),
                Long::Map(bytes) => ValueRef::Map(bytes),
            },
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Value {}
