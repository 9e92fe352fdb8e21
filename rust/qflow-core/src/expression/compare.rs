//! The order of all values, that of jq: null, booleans, numbers, text, arrays, objects.
//!
//! It is total, so that sorting is sound; not-a-number is below every number.

use std::cmp::Ordering::{self, Equal, Greater, Less};

use super::budget::{charge, charge_read};
use super::value::Value;

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Wide(_) | Value::Float(_) => 2,
        Value::Text(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

fn wide(value: &Value) -> Option<i128> {
    match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Wide(value) => Some(**value),
        _ => None,
    }
}

fn compare_floats(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right)
        .unwrap_or_else(|| right.is_nan().cmp(&left.is_nan()))
}

/// Exact: a float does not round the integer that it is compared with.
fn compare_mixed(left: i128, right: f64) -> Ordering {
    if right.is_nan() {
        return Greater;
    }
    // The cast saturates far beyond any integer that a value holds.
    left.cmp(&(right.trunc() as i128)).then_with(|| {
        if right.fract() > 0.0 {
            Less
        } else if right.fract() < 0.0 {
            Greater
        } else {
            Equal
        }
    })
}

fn compare_numbers(left: &Value, right: &Value) -> Ordering {
    match (wide(left), wide(right), left, right) {
        (Some(left), Some(right), ..) => left.cmp(&right),
        (Some(left), _, _, Value::Float(right)) => compare_mixed(left, *right),
        (_, Some(right), Value::Float(left), _) => compare_mixed(right, *left).reverse(),
        (_, _, Value::Float(left), Value::Float(right)) => compare_floats(*left, *right),
        _ => Equal,
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        charge(1);
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Text(left), Self::Text(right)) => {
                charge_read(left.len().min(right.len()));
                left.cmp(right)
            }
            (Self::Array(left), Self::Array(right)) => left.iter().cmp(right.iter()),
            // Keys decide first, and only then values.
            (Self::Object(left), Self::Object(right)) => {
                charge(left.len().min(right.len()));
                left.keys()
                    .cmp(right.keys())
                    .then_with(|| left.values().cmp(right.values()))
            }
            _ if rank(self) == 2 && rank(other) == 2 => compare_numbers(self, other),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Value {}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Equal
    }
}
