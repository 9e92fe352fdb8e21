//! `.[i]`, `.[a:b]` and changes through them, as jq has them: null is an empty container, and an
//! array grows to the index that is set.

use std::ops::Range;
use std::rc::Rc;

use jaq_core::path::Opt;
use jaq_core::{Error, Exn, ValR, ValX};

use super::budget::{charge, charge_bytes, charge_read};
use super::value::{Array, ITEM_BYTES, Object, Value};

/// What a step into null costs. A path through null never ends by itself, and jaq keeps paths in a
/// list that is freed by recursion: this keeps it short.
const NULL_STEP: usize = 50;

fn position(index: &Value, len: usize) -> Option<usize> {
    let at = index.as_float()?.floor();
    let at = if at < 0.0 { at + len as f64 } else { at };
    (at >= 0.0).then_some(at as usize)
}

pub fn index(value: Value, index: &Value) -> ValR<Value> {
    charge(1);
    match (&value, index) {
        (_, Value::Object(range)) if !matches!(value, Value::Object(_)) => {
            slice(value, ends(range)?)
        }
        (Value::Null, Value::Text(_) | Value::Null | Value::Int(_) | Value::Float(_)) => {
            charge(NULL_STEP);
            Ok(Value::Null)
        }
        (Value::Object(map), Value::Text(key)) => {
            charge_read(key.len());
            Ok(map.get(key).cloned().unwrap_or(Value::Null))
        }
        (Value::Array(items), Value::Int(_) | Value::Float(_)) => {
            let at = position(index, items.len());
            Ok(at
                .and_then(|at| items.get(at))
                .cloned()
                .unwrap_or(Value::Null))
        }
        (Value::Array(items), Value::Array(part)) => Ok(indices_of(items, part)),
        _ => Err(Error::index(value, index.clone())),
    }
}

/// The ends of a slice, in the form that paths have them.
fn ends(range: &Object) -> ValR<Range<Option<&Value>>, Value> {
    match (range.get("start"), range.get("end")) {
        (None, None) => Err(Error::str("a slice has a start, an end, or both")),
        (start, end) => Ok(start..end),
    }
}

/// Where `part` begins within `items`.
pub fn indices_of(items: &[Value], part: &[Value]) -> Value {
    if part.is_empty() {
        return Value::array(Vec::new());
    }
    let at = items
        .windows(part.len())
        .enumerate()
        .filter(|(_, window)| *window == part);
    at.map(|(at, _)| Value::from(at)).collect()
}

fn bound(end: Option<&Value>, len: usize, open: usize, round: fn(f64) -> f64) -> Option<usize> {
    match end {
        None | Some(Value::Null) => Some(open),
        Some(end) => {
            let at = round(end.as_float()?);
            let at = if at < 0.0 { at + len as f64 } else { at };
            Some((at.max(0.0) as usize).min(len))
        }
    }
}

/// The range of positions that a slice means, within `len`.
fn positions(range: &Range<Option<&Value>>, len: usize) -> ValR<Range<usize>, Value> {
    let start = bound(range.start, len, 0, f64::floor);
    let end = bound(range.end, len, len, f64::ceil);
    match (start, end) {
        (Some(start), Some(end)) => Ok(start..end.max(start)),
        _ => Err(Error::str("the ends of a slice must be numbers or null")),
    }
}

pub fn slice(value: Value, range: Range<Option<&Value>>) -> ValR<Value> {
    charge(1);
    match value {
        Value::Null => {
            charge(NULL_STEP);
            Ok(Value::Null)
        }
        Value::Array(items) => {
            let part = positions(&range, items.len())?;
            Ok(items[part].iter().cloned().collect())
        }
        Value::Text(text) => {
            charge_read(text.len() * 8);
            let part = positions(&range, text.chars().count())?;
            Ok(text
                .chars()
                .skip(part.start)
                .take(part.len())
                .collect::<String>()
                .into())
        }
        other => Err(Error::typ(other, "array or string")),
    }
}

/// Change one member; the change is None when the member shall go.
pub fn update_index<'a>(
    value: Value,
    index: &Value,
    opt: Opt,
    change: impl FnOnce(Value) -> Result<Option<Value>, Exn<'a, Value>>,
) -> ValX<'a, Value> {
    charge(1);
    match (value, index) {
        (value @ (Value::Null | Value::Array(_)), Value::Object(range)) => {
            update_slice(value, ends(range)?, opt, change)
        }
        (Value::Null, Value::Text(_)) => {
            charge(NULL_STEP);
            let made = update_member(Rc::default(), index, change)?;
            Ok(if made.is_empty() {
                Value::Null
            } else {
                Value::Object(made)
            })
        }
        (Value::Null, Value::Int(_) | Value::Float(_)) => {
            charge(NULL_STEP);
            let made = update_item(Rc::default(), index, change)?;
            Ok(if made.is_empty() {
                Value::Null
            } else {
                Value::Array(made)
            })
        }
        (Value::Object(map), Value::Text(_)) => {
            update_member(map, index, change).map(Value::Object)
        }
        (Value::Array(items), Value::Int(_) | Value::Float(_)) => {
            update_item(items, index, change).map(Value::Array)
        }
        (value, _) => opt.fail(value, |value| Exn::from(Error::index(value, index.clone()))),
    }
}

fn update_member<'a>(
    mut map: Rc<Object>,
    key: &Value,
    change: impl FnOnce(Value) -> Result<Option<Value>, Exn<'a, Value>>,
) -> Result<Rc<Object>, Exn<'a, Value>> {
    let Value::Text(key) = key else {
        return Ok(map);
    };
    charge_read(key.len());
    // The old value leaves its place, so that it has one owner and is changed without a copy.
    let old = match map.get(key) {
        Some(_) => Object::own(&mut map).get_mut(key).map(std::mem::take),
        None => None,
    };
    let known = old.is_some();
    match change(old.unwrap_or_default())? {
        Some(new) => Object::put(&mut map, key.clone(), new),
        None if known => Object::own(&mut map).remove(key),
        None => {}
    }
    Ok(map)
}

fn update_item<'a>(
    mut items: Rc<Array>,
    index: &Value,
    change: impl FnOnce(Value) -> Result<Option<Value>, Exn<'a, Value>>,
) -> Result<Rc<Array>, Exn<'a, Value>> {
    let len = items.len();
    let Some(at) = position(index, len) else {
        return Err(Exn::from(Error::str(format_args!(
            "index {index} is before the array"
        ))));
    };
    if at >= len {
        if let Some(new) = change(Value::Null)? {
            charge_bytes((at - len).saturating_mul(ITEM_BYTES));
            let mut tail = vec![Value::Null; at - len];
            tail.push(new);
            Array::extend(&mut items, &tail);
        }
        return Ok(items);
    }
    let old = Array::take(&mut items, at);
    match change(old)? {
        Some(new) => Array::put(&mut items, at, new),
        None => {
            Array::change(&mut items, |items| drop(items.remove(at)));
        }
    }
    Ok(items)
}

pub fn update_slice<'a>(
    value: Value,
    range: Range<Option<&Value>>,
    opt: Opt,
    change: impl FnOnce(Value) -> Result<Option<Value>, Exn<'a, Value>>,
) -> ValX<'a, Value> {
    charge(1);
    let mut items = match value {
        Value::Null => Rc::default(),
        Value::Array(items) => items,
        other => return opt.fail(other, |value| Exn::from(Error::typ(value, "array"))),
    };
    let part = positions(&range, items.len())?;
    let new = match change(items[part.clone()].iter().cloned().collect())? {
        Some(Value::Array(new)) => new,
        None => Rc::default(),
        Some(other) => return Err(Exn::from(Error::typ(other, "array"))),
    };
    charge(items.len() + new.len());
    Array::change(&mut items, |items| {
        drop(items.splice(part, new.iter().cloned()))
    });
    Ok(Value::Array(items))
}
