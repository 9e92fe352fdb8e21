//! The values that expressions work on: JSON, with exact integers and unordered objects.

use std::ops::Deref;
use std::rc::Rc;

use super::budget::{Overrun, charge, charge_bytes, overrun};
use super::map::Map;
use crate::encoding::DEPTH_MAX;

/// A JSON value. Cloning shares; what is shared is copied when it is changed.
///
/// Objects have no order of their own: whatever walks one does so by key. A value that was read
/// back from the log has its keys in another order than the one that was written, and a replay must
/// not tell them apart.
#[derive(Debug, Clone, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    /// An integer beyond `i64`, carried exactly; arithmetic on it is that of floats.
    Wide(Rc<i128>),
    Float(f64),
    Text(Text),
    Array(Rc<Array>),
    Object(Rc<Object>),
}

/// Text that is shared, and appended to in place by its only owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(pub Rc<String>);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Rc::new(text.to_owned()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Rc::new(text))
    }
}

/// What a text takes beside its letters: two allocations and the value itself.
pub const TEXT_BYTES: usize = 96;

/// What an array or object takes beside its members.
pub const NODE_BYTES: usize = 80;

/// What each item of an array takes, with the room it grows into.
pub const ITEM_BYTES: usize = 32;

/// What each member of an object takes, with the room it grows into.
pub const MEMBER_BYTES: usize = 48;

#[derive(Debug, Clone, Default)]
pub struct Array {
    items: Vec<Value>,
    depth: u8,
}

#[derive(Debug, Clone, Default)]
pub struct Object {
    map: Map,
    depth: u8,
}

impl Deref for Array {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.items
    }
}

impl Deref for Object {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.map
    }
}

impl Value {
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// An array; ends the evaluation when it would be nested too deeply.
    #[must_use]
    pub fn array(items: Vec<Self>) -> Self {
        let depth = around(items.iter());
        Self::Array(Rc::new(Array { items, depth }))
    }

    /// An object; ends the evaluation when it would be nested too deeply.
    #[must_use]
    pub fn object(map: Map) -> Self {
        let depth = around(map.values());
        Self::Object(Rc::new(Object { map, depth }))
    }

    /// An integer of any size that Python or JSON may bring.
    #[must_use]
    pub fn integer(value: i128) -> Self {
        i64::try_from(value).map_or_else(|_| Self::Wide(Rc::new(value)), Self::Int)
    }

    /// The result of arithmetic: an integer where jq would write one.
    #[must_use]
    pub fn number(value: f64) -> Self {
        const WRITTEN_WHOLE_MAX: f64 = 1e17;
        if value.fract() == 0.0 && value.abs() < WRITTEN_WHOLE_MAX {
            return Self::Int(value as i64);
        }
        Self::Float(value)
    }

    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::Wide(_) | Self::Float(_) => "number",
            Self::Text(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    #[must_use]
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Wide(value) => Some(**value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn depth(&self) -> u8 {
        match self {
            Self::Array(array) => array.depth,
            Self::Object(object) => object.depth,
            _ => 0,
        }
    }
}

fn around<'a>(members: impl Iterator<Item = &'a Value>) -> u8 {
    let depth = members.map(Value::depth).max().unwrap_or(0) + 1;
    if usize::from(depth) > DEPTH_MAX {
        overrun(Overrun::Depth);
    }
    depth
}

impl Array {
    /// Charge for the copy that a change of a shared array makes.
    fn own(this: &Rc<Self>) {
        if Rc::strong_count(this) > 1 {
            charge(this.len());
            charge_bytes(NODE_BYTES + ITEM_BYTES * this.len());
        }
    }

    /// Change the items in any way: takes as long as there are items.
    pub fn change(this: &mut Rc<Self>, change: impl FnOnce(&mut Vec<Value>)) {
        charge(1 + this.len());
        Self::own(this);
        let array = Rc::make_mut(this);
        change(&mut array.items);
        array.depth = around(array.items.iter());
    }

    /// Take one item, which must exist, out of its place, and leave null there.
    pub fn take(this: &mut Rc<Self>, at: usize) -> Value {
        Self::own(this);
        std::mem::take(&mut Rc::make_mut(this).items[at])
    }

    /// Put one item in its place, which must exist and was taken.
    pub fn put(this: &mut Rc<Self>, at: usize, item: Value) {
        let array = Rc::make_mut(this);
        array.depth = array.depth.max(around(std::iter::once(&item)));
        array.items[at] = item;
    }

    /// Add items at the end.
    pub fn extend(this: &mut Rc<Self>, items: &[Value]) {
        Self::own(this);
        charge_bytes(ITEM_BYTES * items.len());
        charge(items.len());
        let array = Rc::make_mut(this);
        array.depth = array.depth.max(around(items.iter()));
        array.items.extend_from_slice(items);
    }

    pub fn into_items(this: Rc<Self>) -> Vec<Value> {
        Self::own(&this);
        Rc::try_unwrap(this).map_or_else(|shared| shared.items.clone(), |array| array.items)
    }
}

impl Object {
    /// The map, to be given new members. Charged when it is shared and so must be copied.
    pub fn own(this: &mut Rc<Self>) -> &mut Map {
        if Rc::strong_count(this) > 1 {
            charge(this.len());
            charge_bytes(NODE_BYTES + MEMBER_BYTES * this.len());
        }
        &mut Rc::make_mut(this).map
    }

    /// Put one member in its place.
    pub fn put(this: &mut Rc<Self>, key: Text, value: Value) {
        charge_bytes(MEMBER_BYTES);
        let depth = around(std::iter::once(&value)).max(this.depth);
        Self::own(this).insert(key, value);
        Rc::make_mut(this).depth = depth;
    }
}
