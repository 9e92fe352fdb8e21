//! `+ - * / %` and unary `-`, as jq has them, each charged before it allocates.

use std::collections::BTreeSet;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::rc::Rc;

use jaq_core::ops::Math;
use jaq_core::{Error, ValR};

use super::budget::{charge, charge_bytes, charge_read};
use super::value::{Array, Object, TEXT_BYTES, Text, Value};

type Answer = ValR<Value>;

/// Integers stay exact while they fit; beyond, and for all else, numbers are floats.
fn arithmetic(
    left: Value,
    op: Math,
    right: Value,
    exact: fn(i64, i64) -> Option<i64>,
    float: fn(f64, f64) -> f64,
) -> Answer {
    charge(1);
    if let (Value::Int(left), Value::Int(right)) = (&left, &right)
        && let Some(result) = exact(*left, *right)
    {
        return Ok(Value::Int(result));
    }
    match (left.as_float(), right.as_float()) {
        (Some(left), Some(right)) => Ok(Value::number(float(left, right))),
        _ => Err(Error::math(left, op, right)),
    }
}

fn append(mut left: Text, right: &str) -> Value {
    // Twice: a text that grows has room to grow into.
    charge_bytes(2 * right.len());
    if Rc::strong_count(&left.0) > 1 {
        charge_bytes(TEXT_BYTES + left.len());
    }
    Rc::make_mut(&mut left.0).push_str(right);
    Value::Text(left)
}

fn merge(mut left: Rc<Object>, right: Rc<Object>, deep: bool) -> Value {
    for (key, new) in right.iter() {
        let new = match (left.get(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) if deep => {
                merge(old.clone(), new.clone(), true)
            }
            _ => new.clone(),
        };
        Object::put(&mut left, key.clone(), new);
    }
    Value::Object(left)
}

impl Add for Value {
    type Output = Answer;

    fn add(self, right: Self) -> Answer {
        match (self, right) {
            (Self::Null, value) | (value, Self::Null) => Ok(value),
            (Self::Text(left), Self::Text(right)) => Ok(append(left, &right)),
            (Self::Array(mut left), Self::Array(right)) => {
                Array::extend(&mut left, &right);
                Ok(Self::Array(left))
            }
            (Self::Object(left), Self::Object(right)) => Ok(merge(left, right, false)),
            (left, right) => arithmetic(left, Math::Add, right, i64::checked_add, |l, r| l + r),
        }
    }
}

impl Sub for Value {
    type Output = Answer;

    fn sub(self, right: Self) -> Answer {
        match (self, right) {
            (Self::Array(mut left), Self::Array(right)) => {
                let gone = right.iter().collect::<BTreeSet<_>>();
                charge(left.len());
                Array::change(&mut left, |items| items.retain(|item| !gone.contains(item)));
                Ok(Self::Array(left))
            }
            (left, right) => arithmetic(left, Math::Sub, right, i64::checked_sub, |l, r| l - r),
        }
    }
}

fn repeat(text: &str, times: &Value) -> Value {
    let times = times.as_float().unwrap_or(0.0);
    if times.is_nan() || times < 0.0 {
        return Value::Null;
    }
    // A product that saturates is more than any budget.
    let times = times as usize;
    charge_bytes(text.len().saturating_mul(times).saturating_add(TEXT_BYTES));
    Value::Text(text.repeat(times).into())
}

impl Mul for Value {
    type Output = Answer;

    fn mul(self, right: Self) -> Answer {
        match (self, right) {
            (Self::Object(left), Self::Object(right)) => Ok(merge(left, right, true)),
            (Self::Text(text), times) | (times, Self::Text(text)) if times.as_float().is_some() => {
                Ok(repeat(&text, &times))
            }
            (left, right) => arithmetic(left, Math::Mul, right, i64::checked_mul, |l, r| l * r),
        }
    }
}

/// The parts of a text between separators; its letters when the separator is empty.
pub fn split(text: &str, separator: &str) -> Value {
    charge_read(text.len());
    let part = |part: &str| {
        charge_bytes(TEXT_BYTES + part.len());
        Value::text(part)
    };
    Value::array(match (text, separator) {
        ("", _) => Vec::new(),
        (_, "") => text
            .chars()
            .map(|letter| part(letter.encode_utf8(&mut [0; 4])))
            .collect(),
        _ => text.split(separator).map(part).collect(),
    })
}

fn divide_by_zero(left: &Value, right: &Value) -> Error<Value> {
    Error::str(format_args!(
        "{left} and {right} cannot be divided: the divisor is zero"
    ))
}

impl Div for Value {
    type Output = Answer;

    fn div(self, right: Self) -> Answer {
        match (self, right) {
            (Self::Text(text), Self::Text(separator)) => Ok(split(&text, &separator)),
            (left, right) if left.as_float().is_some() && right.as_float() == Some(0.0) => {
                Err(divide_by_zero(&left, &right))
            }
            (left, right) => {
                let exact = |l: i64, r: i64| (l.checked_rem(r)? == 0).then_some(l / r);
                arithmetic(left, Math::Div, right, exact, |l, r| l / r)
            }
        }
    }
}

impl Rem for Value {
    type Output = Answer;

    /// Both sides are cut to integers first, and the sign is that of the left one.
    fn rem(self, right: Self) -> Answer {
        charge(1);
        match (self.as_float(), right.as_float()) {
            (Some(left), Some(right)) if left.is_nan() || right.is_nan() => {
                Ok(Self::Float(f64::NAN))
            }
            (Some(_), Some(_)) => {
                let divisor = right.to_integer().unsigned_abs();
                if divisor == 0 {
                    return Err(divide_by_zero(&self, &right));
                }
                let dividend = self.to_integer();
                let rest = (dividend.unsigned_abs() % divisor) as i128;
                Ok(Self::integer(if dividend < 0 { -rest } else { rest }))
            }
            _ => Err(Error::math(self, Math::Rem, right)),
        }
    }
}

impl Neg for Value {
    type Output = Answer;

    fn neg(self) -> Answer {
        match self.as_float() {
            Some(_) => arithmetic(Self::Int(0), Math::Sub, self, i64::checked_sub, |l, r| {
                l - r
            }),
            None => Err(Error::typ(self, "number")),
        }
    }
}

impl Value {
    /// A number cut to an integer of 64 bits; 0 for what is no number.
    pub fn to_integer(&self) -> i128 {
        match self {
            Self::Int(value) => i128::from(*value),
            Self::Wide(value) => **value,
            Self::Float(value) => i128::from(*value as i64),
            _ => 0,
        }
    }
}
