//! JSON text of values, both ways.

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::budget::{charge_bytes, charge_read};
use super::map::Map;
use super::value::{ITEM_BYTES, MEMBER_BYTES, NODE_BYTES, TEXT_BYTES, Value};

/// Letters of a value that an error message shows.
const SHOWN_MAX: usize = 80;

/// Writes JSON, and stops with an error when `left` bytes are not enough.
struct Output {
    text: String,
    left: usize,
}

impl Write for Output {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let Some(left) = self.left.checked_sub(part.len()) else {
            self.text
                .push_str(&part[..part.floor_char_boundary(self.left)]);
            return Err(fmt::Error);
        };
        self.left = left;
        self.text.push_str(part);
        Ok(())
    }
}

/// The compact JSON of a value, charged for.
pub fn to_json(value: &Value) -> String {
    let mut out = Output {
        text: String::new(),
        left: usize::MAX,
    };
    // Writing to a string cannot fail, and this one is large enough.
    let _ = write(&mut out, value);
    out.text
}

fn write(out: &mut Output, value: &Value) -> fmt::Result {
    charge_bytes(16);
    match value {
        Value::Null => out.write_str("null"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::Wide(value) => write!(out, "{value}"),
        Value::Float(value) => write_float(out, *value),
        Value::Text(text) => write_text(out, text),
        Value::Array(items) => {
            let mut before = '[';
            for item in items.iter() {
                out.write_char(before)?;
                write(out, item)?;
                before = ',';
            }
            out.write_str(if before == '[' { "[]" } else { "]" })
        }
        Value::Object(map) => {
            let mut before = '{';
            for (key, member) in map.iter() {
                out.write_char(before)?;
                write_text(out, key)?;
                out.write_char(':')?;
                write(out, member)?;
                before = ',';
            }
            out.write_str(if before == '{' { "{}" } else { "}" })
        }
    }
}

/// The shortest text that reads back as the same float; null when it is not a number, as in jq.
fn write_float(out: &mut Output, value: f64) -> fmt::Result {
    let value = value.clamp(f64::MIN, f64::MAX);
    if value.is_nan() {
        out.write_str("null")
    } else if value.fract() == 0.0 && value.abs() < 1e17 {
        write!(out, "{value:.0}")
    } else if (1e-5..1e17).contains(&value.abs()) {
        write!(out, "{value}")
    } else {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        write!(out, "{digits}e{sign}{exponent:0>2}")
    }
}

fn write_text(out: &mut Output, text: &str) -> fmt::Result {
    charge_bytes(2 * text.len().min(out.left));
    out.write_char('"')?;
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f {
            continue;
        }
        out.write_str(&text[plain..at])?;
        plain = at + 1;
        match byte {
            b'"' => out.write_str("\\\"")?,
            b'\\' => out.write_str("\\\\")?,
            b'\n' => out.write_str("\\n")?,
            b'\t' => out.write_str("\\t")?,
            b'\r' => out.write_str("\\r")?,
            0x08 => out.write_str("\\b")?,
            0x0c => out.write_str("\\f")?,
            _ => write!(out, "\\u{byte:04x}")?,
        }
    }
    out.write_str(&text[plain..])?;
    out.write_char('"')
}

/// What error messages show of a value: its JSON, cut when it is long.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Output {
            text: String::new(),
            left: SHOWN_MAX,
        };
        let cut = write(&mut out, self).is_err();
        f.write_str(&out.text)?;
        if cut { f.write_str("...") } else { Ok(()) }
    }
}

/// Read one JSON text (RFC 8259). Nesting is bounded by the reader, at 128.
pub fn from_json(text: &str) -> Result<Value, String> {
    charge_read(text.len());
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        charge_bytes(TEXT_BYTES + value.len());
        Ok(Value::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        charge_bytes(NODE_BYTES);
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            charge_bytes(ITEM_BYTES);
            items.push(item);
        }
        Ok(Value::array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        charge_bytes(NODE_BYTES);
        let mut members = Vec::new();
        while let Some((key, value)) = access.next_entry::<String, _>()? {
            charge_bytes(MEMBER_BYTES + TEXT_BYTES + key.len());
            members.push((key.into(), value));
        }
        Ok(Value::object(Map::from_members(members)))
    }
}
