//! Functions that jaq's library leaves to the kind of value, or has otherwise than jq.

use std::rc::Rc;

use jaq_core::native::{Filter, Fun, bome, run, unary, v};
use jaq_core::{Cv, Error, RunPtr, ValR, ValXs};

use super::budget::{charge, charge_bytes, charge_read};
use super::data::Kind;
use super::json::{from_json, to_json};
use super::value::{Array, Object, Value};
use super::{operators, path, regex};

const DATE_FORMAT_BYTES_MAX: usize = 256;

/// Every native function in reach of an expression; the first of a name and arity counts.
pub fn all() -> impl Iterator<Item = Fun<Kind>> {
    let ours = conversion()
        .into_iter()
        .chain(structure())
        .chain(text())
        .chain(regex::natives());
    let std = jaq_std::base_funs().chain(jaq_std::extra_funs());
    let std = std.map(|(name, arity, native)| match name {
        // Behind a definition that checks the format: see the prelude.
        "strptime" => ("strptime_in_utc", arity, native),
        "strftime" => ("strftime_in_utc", arity, native),
        _ => (name, arity, native),
    });
    ours.map(run::<Kind>).chain(jaq_core::funs()).chain(std)
}

/// Whether a function is one of ours, and so hides jaq's definition of that name.
pub fn is_ours(name: &str, arity: usize) -> bool {
    let ours = conversion().into_iter().chain(structure()).chain(text());
    ours.into_iter()
        .any(|(known, args, _)| known == name && args.len() == arity)
}

type Table = Vec<Filter<RunPtr<Kind>>>;

fn conversion() -> Table {
    vec![
        ("nan", v(0), |_| bome(Ok(Value::Float(f64::NAN)))),
        ("infinite", v(0), |_| bome(Ok(Value::Float(f64::INFINITY)))),
        ("isnan", v(0), |cv| {
            bome(number(&cv.1).map(|n| Value::Bool(n.is_nan())))
        }),
        ("type", v(0), |cv| bome(Ok(Value::text(cv.1.kind())))),
        ("tojson", v(0), |cv| {
            bome(Ok(Value::Text(to_json(&cv.1).into())))
        }),
        ("fromjson", v(0), |cv| bome(parse(&cv.1, "JSON"))),
        ("tonumber", v(0), |cv| bome(to_number(cv.1))),
        ("not", v(0), |cv| {
            bome(Ok(Value::Bool(!jaq_core::ValT::as_bool(&cv.1))))
        }),
        ("date_format", v(1), |cv| {
            unary(cv, |_, format| date_format(format))
        }),
    ]
}

fn structure() -> Table {
    vec![
        ("range", v(3), range),
        ("length", v(0), |cv| bome(length(cv.1))),
        ("keys", v(0), |cv| bome(keys(cv.1))),
        ("keys_unsorted", v(0), |cv| bome(keys(cv.1))),
        ("has", v(1), |cv| unary(cv, has)),
        ("contains", v(1), |cv| {
            unary(cv, |x, y| contains(&x, &y).map(Value::Bool))
        }),
        ("indices", v(1), |cv| unary(cv, indices)),
        ("reverse", v(0), |cv| bome(reverse(cv.1))),
        ("bsearch", v(1), |cv| unary(cv, bsearch)),
        ("delpaths", v(1), |cv| unary(cv, delete_paths)),
    ]
}

fn text() -> Table {
    vec![
        ("join", v(1), |cv| unary(cv, join)),
        ("split", v(1), |cv| unary(cv, split)),
    ]
}

fn number(value: &Value) -> ValR<f64, Value> {
    value
        .as_float()
        .ok_or_else(|| Error::typ(value.clone(), "number"))
}

fn parse(value: &Value, what: &str) -> ValR<Value> {
    let text = value
        .as_text()
        .ok_or_else(|| Error::typ(value.clone(), "string"))?;
    from_json(text).map_err(|why| Error::str(format_args!("{value} is not {what}: {why}")))
}

fn to_number(value: Value) -> ValR<Value> {
    match &value {
        Value::Int(_) | Value::Wide(_) | Value::Float(_) => Ok(value),
        Value::Text(text) => match from_json(text) {
            Ok(number) if number.kind() == "number" && text.trim() == &**text => Ok(number),
            _ => Err(Error::str(format_args!(
                "{value} cannot be parsed as a number"
            ))),
        },
        _ => Err(Error::str(format_args!(
            "{value} cannot be parsed as a number"
        ))),
    }
}

fn date_format(format: Value) -> ValR<Value> {
    match format.as_text() {
        // %Q names a zone, whose rules differ between machines.
        Some(text) if text.len() <= DATE_FORMAT_BYTES_MAX && !text.contains('Q') => Ok(format),
        _ => Err(Error::str(format_args!(
            "{format} is not a date format that is supported"
        ))),
    }
}

/// `range(from; to; by)`; each number costs a step, whoever asks for it.
fn range(mut cv: Cv<'_, Kind>) -> ValXs<'_, Value> {
    let (by, to, from) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
    let numbers = [&from, &to, &by].map(number);
    if let Some(error) = numbers.into_iter().find_map(Result::err) {
        return bome(Err(error));
    }
    let forward = by > Value::Int(0);
    let backward = by < Value::Int(0);
    let mut next = Some(from);
    Box::new(std::iter::from_fn(move || {
        let this = next.take()?;
        let within = if forward {
            this < to
        } else {
            backward && this > to
        };
        // A step of zero never arrives: it repeats, as in jq, until the fuel is gone.
        if !within && (forward || backward || this == to) {
            return None;
        }
        match this.clone() + by.clone() {
            Ok(following) => {
                next = Some(following);
                Some(Ok(this))
            }
            Err(error) => Some(Err(error.into())),
        }
    }))
}

fn length(value: Value) -> ValR<Value> {
    match value {
        Value::Null => Ok(Value::Int(0)),
        Value::Text(text) => {
            charge_read(text.len());
            Ok(text.chars().count().into())
        }
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(map) => Ok(map.len().into()),
        Value::Bool(_) => Err(Error::str("a boolean has no length")),
        number if number < Value::Int(0) => -number,
        number => Ok(number),
    }
}

fn keys(value: Value) -> ValR<Value> {
    match value {
        Value::Array(items) => Ok((0..items.len()).map(Value::from).collect()),
        Value::Object(map) => Ok(map.keys().cloned().map(Value::Text).collect()),
        other => Err(Error::str(format_args!("{other} has no keys"))),
    }
}

fn has(value: Value, key: Value) -> ValR<Value> {
    match (&value, &key) {
        (Value::Null, Value::Text(_) | Value::Int(_) | Value::Float(_)) => Ok(false.into()),
        (Value::Object(map), Value::Text(key)) => Ok(map.get(key).is_some().into()),
        (Value::Array(items), key) if key.as_float().is_some() => {
            let at = key.as_float().unwrap_or(-1.0);
            Ok((at >= 0.0 && at < items.len() as f64).into())
        }
        _ => Err(Error::index(value, key)),
    }
}

fn contains(whole: &Value, part: &Value) -> ValR<bool, Value> {
    if whole.kind() != part.kind() {
        let what = format_args!("{whole} and {part} cannot be checked for containing");
        return Err(Error::str(what));
    }
    Ok(holds(whole, part))
}

fn holds(whole: &Value, part: &Value) -> bool {
    charge(1);
    match (whole, part) {
        (Value::Text(whole), Value::Text(part)) => {
            charge_read(8 * (whole.len() + part.len()));
            whole.contains(&**part)
        }
        (Value::Array(whole), Value::Array(part)) => part
            .iter()
            .all(|part| whole.iter().any(|item| holds(item, part))),
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, part)| whole.get(key).is_some_and(|member| holds(member, part))),
        _ => whole == part,
    }
}

fn reverse(value: Value) -> ValR<Value> {
    match value {
        Value::Null => Ok(Value::array(Vec::new())),
        Value::Text(text) => Ok(text.chars().rev().collect::<String>().into()),
        Value::Array(mut items) => {
            Array::change(&mut items, |items| items.reverse());
            Ok(Value::Array(items))
        }
        other => Err(Error::typ(other, "array or string")),
    }
}

fn indices(value: Value, part: Value) -> ValR<Value> {
    match (&value, &part) {
        (Value::Null, _) => Ok(Value::Null),
        (Value::Text(_), Value::Text(part)) if part.is_empty() => Ok(Value::Null),
        (Value::Text(text), Value::Text(part)) => {
            charge_read(text.len());
            Ok(text_indices(text, part))
        }
        (Value::Array(items), Value::Array(part)) => Ok(path::indices_of(items, part)),
        (Value::Array(items), item) => {
            let at = items.iter().enumerate().filter(|(_, other)| *other == item);
            Ok(at.map(|(at, _)| Value::from(at)).collect())
        }
        _ => Err(Error::index(value, part)),
    }
}

/// Where a text begins within another, counted in letters; occurrences may overlap.
fn text_indices(text: &str, part: &str) -> Value {
    let starts = text.char_indices().enumerate();
    let at = starts.filter(|(_, (byte, _))| {
        charge(1);
        text.as_bytes()[*byte..].starts_with(part.as_bytes())
    });
    at.map(|(at, _)| Value::from(at)).collect()
}

fn bsearch(value: Value, item: Value) -> ValR<Value> {
    let Value::Array(items) = value else {
        return Err(Error::typ(value, "array"));
    };
    Ok(match items.binary_search(&item) {
        Ok(at) => at.into(),
        Err(at) => Value::Int(-1 - at as i64),
    })
}

/// Delete from the last path to the first, so that none moves what another one means.
fn delete_paths(value: Value, paths: Value) -> ValR<Value> {
    let Value::Array(paths) = paths else {
        return Err(Error::typ(paths, "array"));
    };
    let mut paths = Array::into_items(paths);
    paths.sort();
    paths
        .iter()
        .rev()
        .try_fold(value, |value, path| match path {
            Value::Array(path) => delete_path(value, path),
            other => Err(Error::typ(other.clone(), "path (an array)")),
        })
}

fn delete_path(value: Value, path: &[Value]) -> ValR<Value> {
    charge(1);
    let (Some((first, rest)), false) = (path.split_first(), matches!(value, Value::Null)) else {
        return Ok(Value::Null);
    };
    if !rest.is_empty() && path::index(value.clone(), first)? == Value::Null {
        return Ok(value);
    }
    let essential = jaq_core::path::Opt::Essential;
    let deleted = path::update_index(value, first, essential, |member| {
        if rest.is_empty() {
            Ok(None)
        } else {
            Ok(delete_path(member, rest).map(Some)?)
        }
    });
    deleted.map_err(|why| match why.get_err() {
        Ok(why) => why,
        Err(_) => Error::str("a path cannot be deleted"),
    })
}

fn join(value: Value, separator: Value) -> ValR<Value> {
    let items = jaq_core::ValT::values(value).collect::<ValR<Vec<_>, _>>()?;
    if items.is_empty() {
        return Ok(Value::text(""));
    }
    let between = match &separator {
        Value::Null => "",
        Value::Text(text) => text,
        _ => return Err(Error::typ(separator, "string")),
    };
    let mut joined = String::new();
    for (at, item) in items.iter().enumerate() {
        charge_bytes(2 * between.len());
        joined.push_str(if at == 0 { "" } else { between });
        match item {
            Value::Null => {}
            Value::Text(text) => {
                charge_bytes(2 * text.len());
                joined.push_str(text);
            }
            Value::Array(_) | Value::Object(_) => return Err(Error::typ(item.clone(), "string")),
            other => joined.push_str(&to_json(other)),
        }
    }
    Ok(Value::Text(joined.into()))
}

fn split(value: Value, separator: Value) -> ValR<Value> {
    match (&value, &separator) {
        (Value::Text(text), Value::Text(separator)) => Ok(operators::split(text, separator)),
        _ => Err(Error::str("split input and separator must be strings")),
    }
}

/// An object of text keys.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let mut object = Rc::<Object>::default();
    for (key, value) in members {
        Object::put(&mut object, key.into(), value);
    }
    Value::Object(object)
}
