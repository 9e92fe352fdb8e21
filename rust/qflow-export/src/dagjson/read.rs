//! Reading the JSON that `to_json` writes, and no other spelling of it.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use qflow_core::encoding::{DEPTH_MAX, Reader, Writer};

use super::to_json;
use crate::text::parse_cid;

/// Text that is not the JSON of a value as it is written here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct JsonError {
    pub at: usize,
    pub what: &'static str,
}

/// Append the canonical bytes of the value that `text` spells.
pub fn from_json(out: &mut Writer, text: &[u8]) -> Result<(), JsonError> {
    let mut parser = Parser::new(text);
    let value = parser.value(0)?;
    if parser.at != text.len() {
        return parser.refuse("bytes after the value");
    }
    let before = out.len();
    value.write(out);
    let mut again = Vec::with_capacity(text.len());
    let written = to_json(&mut again, &mut Reader::new(&out.as_slice()[before..]), 0);
    if written.is_err() || again != text {
        return parser.refuse("another spelling of a value than is written here");
    }
    Ok(())
}

/// A value whose maps are in the order of the text: canonical once it was spelled again.
#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Link(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

impl Value {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Null => out.null(),
            Self::Bool(value) => out.boolean(*value),
            Self::Integer(value) if *value < 0 => out.negative((-1 - *value) as u64),
            Self::Integer(value) => out.unsigned(*value as u64),
            // Not finite: nothing is written, and spelling it again finds that.
            Self::Float(value) => drop(out.float(*value)),
            Self::Text(text) => out.text(text),
            Self::Bytes(bytes) => out.bytes(bytes),
            Self::Link(cid) => out.link(cid),
            Self::List(items) => {
                out.array(items.len());
                items.iter().for_each(|item| item.write(out));
            }
            Self::Map(pairs) => {
                out.map(pairs.len());
                for (key, value) in pairs {
                    out.text(key);
                    value.write(out);
                }
            }
        }
    }
}

/// A place in a text.
pub struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

type Parsed<T> = Result<T, JsonError>;

impl<'a> Parser<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Bytes that were read.
    pub fn position(&self) -> usize {
        self.at
    }

    fn refuse<T>(&self, what: &'static str) -> Parsed<T> {
        Err(JsonError { at: self.at, what })
    }

    fn skip(&mut self, token: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &[u8], what: &'static str) -> Parsed<()> {
        if self.skip(token) {
            Ok(())
        } else {
            self.refuse(what)
        }
    }

    /// The value here; `depth` counts the lists and maps around it.
    pub fn value(&mut self, depth: usize) -> Parsed<Value> {
        match self.text.get(self.at) {
            Some(b'n') => self.expect(b"null", "a value").map(|()| Value::Null),
            Some(b't') => self.expect(b"true", "a value").map(|()| Value::Bool(true)),
            Some(b'f') => self
                .expect(b"false", "a value")
                .map(|()| Value::Bool(false)),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'[') => self.list(depth),
            Some(b'{') if self.skip(b"{\"/\":") => self.reserved(depth),
            Some(b'{') => self.pairs(depth).map(Value::Map),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.refuse("a value is due"),
        }
    }

    fn check_depth(&self, depth: usize) -> Parsed<()> {
        if depth < DEPTH_MAX {
            Ok(())
        } else {
            self.refuse("nested too deeply")
        }
    }

    fn list(&mut self, depth: usize) -> Parsed<Value> {
        self.check_depth(depth)?;
        let mut items = Vec::new();
        self.expect(b"[", "a list")?;
        while !self.skip(b"]") {
            if !items.is_empty() {
                self.expect(b",", "a comma")?;
            }
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    fn pairs(&mut self, depth: usize) -> Parsed<Vec<(String, Value)>> {
        self.check_depth(depth)?;
        let mut pairs = Vec::new();
        self.expect(b"{", "a map")?;
        while !self.skip(b"}") {
            if !pairs.is_empty() {
                self.expect(b",", "a comma")?;
            }
            let key = self.string()?;
            self.expect(b":", "a colon")?;
            pairs.push((key, self.value(depth + 1)?));
        }
        Ok(pairs)
    }

    /// What follows `{"/":`.
    fn reserved(&mut self, depth: usize) -> Parsed<Value> {
        let value = if self.skip(b"{\"bytes\":") {
            let text = self.string()?;
            let bytes = STANDARD_NO_PAD.decode(text);
            self.expect(b"}", "the end of bytes")?;
            bytes.map(Value::Bytes).ok()
        } else if self.skip(b"{\"map\":") {
            let pairs = self.pairs(depth)?;
            self.expect(b"}", "the end of a map")?;
            Some(Value::Map(pairs))
        } else {
            parse_cid(self.string()?.as_bytes()).map(Value::Link)
        };
        self.expect(b"}", "the end of a reserved map")?;
        value.map_or_else(|| self.refuse("no link, bytes or map"), Ok)
    }

    fn number(&mut self) -> Parsed<Value> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let end = rest.iter().position(|byte| !is_part(byte));
        let text = std::str::from_utf8(&rest[..end.unwrap_or(rest.len())]).unwrap_or_default();
        let value = if text.contains(['.', 'e', 'E']) {
            text.parse().ok().map(Value::Float)
        } else {
            let range = -(1i128 << 64)..1i128 << 64;
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.map(Value::Integer)
        };
        match value {
            Some(value) => {
                self.at += text.len();
                Ok(value)
            }
            None => self.refuse("a number"),
        }
    }

    pub fn string(&mut self) -> Parsed<String> {
        self.expect(b"\"", "a string")?;
        let mut out = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.iter().position(|b| matches!(b, b'"' | b'\\')) else {
                return self.refuse("the end of a string");
            };
            out.extend_from_slice(&rest[..end]);
            self.at += end + 1;
            if rest[end] == b'"' {
                break;
            }
            self.escape(&mut out)?;
        }
        String::from_utf8(out).or_else(|_| self.refuse("text not UTF-8"))
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Parsed<()> {
        let Some(letter) = self.text.get(self.at) else {
            return self.refuse("the end of a string");
        };
        self.at += 1;
        out.push(match letter {
            b'"' | b'\\' => *letter,
            b'b' => 0x08,
            b't' => 0x09,
            b'n' => 0x0a,
            b'f' => 0x0c,
            b'r' => 0x0d,
            b'u' => {
                // Only control characters are written so: two zeros and two digits.
                let digits = self.text.get(self.at..self.at + 4);
                let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let Some(code) = code.filter(|code| *code < 0x20) else {
                    return self.refuse("an escape");
                };
                self.at += 4;
                code
            }
            _ => return self.refuse("an escape"),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spelled(value: &Value) -> (Vec<u8>, String) {
        let mut out = Writer::with_capacity(64);
        value.write(&mut out);
        let mut json = Vec::new();
        to_json(&mut json, &mut Reader::new(out.as_slice()), 0).expect("canonical");
        (out.into_bytes(), String::from_utf8(json).expect("UTF-8"))
    }

    fn map(pairs: Vec<(&str, Value)>) -> Value {
        Value::Map(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }

    #[test]
    fn values_are_spelled_as_the_specification_has_them() {
        let cid = parse_cid(b"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku");
        let known = [
            (Value::Integer((1 << 64) - 1), "18446744073709551615"),
            (Value::Integer(-(1 << 64)), "-18446744073709551616"),
            (Value::Float(1.0), "1.0"),
            (Value::Float(-0.0), "-0.0"),
            (Value::Float(1e300), "1e300"),
            (Value::Float(f64::MIN_POSITIVE), "2.2250738585072014e-308"),
            (Value::Bytes(vec![0, 255, 62]), r#"{"/":{"bytes":"AP8+"}}"#),
            (Value::Bytes(vec![1]), r#"{"/":{"bytes":"AQ"}}"#),
            (
                Value::Link(cid.expect("a CID")),
                r#"{"/":"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"}"#,
            ),
            (
                Value::Text("\0\u{1f}\"\\\r\n\t\u{8}\u{c}/é\u{2028}".into()),
                "\"\\u0000\\u001f\\\"\\\\\\r\\n\\t\\b\\f/é\u{2028}\"",
            ),
            (
                map(vec![("/", Value::Text("bafk".into()))]),
                r#"{"/":{"map":{"/":"bafk"}}}"#,
            ),
            (
                map(vec![
                    ("", Value::Null),
                    ("/", map(vec![("bytes", Value::Null)])),
                ]),
                r#"{"/":{"map":{"":null,"/":{"bytes":null}}}}"#,
            ),
        ];
        for (value, text) in known {
            let (bytes, json) = spelled(&value);
            assert_eq!(json, text);
            let mut again = Writer::with_capacity(64);
            from_json(&mut again, json.as_bytes()).expect("as it was written");
            assert_eq!(again.as_slice(), bytes);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let texts = [
            " 1",
            "1 ",
            "01",
            "1.",
            "+1",
            "1E5",
            "1.00",
            "NaN",
            "1e999",
            "-0",
            "[1,]",
            "[,1]",
            r#"{"b":1,"a":2}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"/":"no"}"#,
            r#"{"/":{"bytes":"AQ=="}}"#,
            r#"{"/":{"map":{"a":1}}}"#,
            r#"{"a":1,"/":2}"#,
            r#""\u0041""#,
            r#""\ud800""#,
            r#""\/""#,
            "\"\n\"",
            "\"",
            "{",
            "[",
            "tru",
            "18446744073709551616",
            r#"{"/":{"map":1}}"#,
        ];
        for text in texts {
            let found = from_json(&mut Writer::default(), text.as_bytes());
            assert!(found.is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(from_json(&mut Writer::default(), deep.as_bytes()).is_err());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-(1i128 << 64)..1i128 << 64).prop_map(Value::Integer),
            any::<f64>()
                .prop_filter("finite", |value| value.is_finite())
                .prop_map(Value::Float),
            any::<String>().prop_map(Value::Text),
            any::<Vec<u8>>().prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            let keys = prop_oneof![Just("/".to_owned()), Just(String::new()), any::<String>()];
            let sorted = |map: std::collections::BTreeMap<String, Value>| {
                let mut pairs: Vec<(String, Value)> = map.into_iter().collect();
                pairs.sort_by(|(left, _), (right, _)| {
                    qflow_core::encoding::key_order(left.as_bytes(), right.as_bytes())
                });
                Value::Map(pairs)
            };
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                proptest::collection::btree_map(keys, inner, 0..6).prop_map(sorted),
            ]
        })
    }

    proptest! {
        #[test]
        fn holds_h14_every_value_is_read_back_to_its_bytes(value in values()) {
            let (bytes, json) = spelled(&value);
            let mut again = Writer::with_capacity(64);
            from_json(&mut again, json.as_bytes()).expect("as it was written");
            prop_assert_eq!(again.as_slice(), bytes);
        }
    }
}
