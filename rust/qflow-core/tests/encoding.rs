//! Canonical bytes: one spelling for each value, in both directions.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its vectors fails"
)]

use proptest::prelude::*;
use qflow_core::encoding::{
    DecodeError, Item, Reader, Writer, block_cid, key_order, parse_cid_text,
};
use serde_json::Value as Json;

/// A value to test with; the product itself converts without such a form in between.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(u64),
    Float(f64),
    Bytes(Vec<u8>),
    Text(String),
    Link(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(String, Value)>),
}

fn write(out: &mut Writer, value: &Value) {
    match value {
        Value::Null => out.null(),
        Value::Bool(value) => out.boolean(*value),
        Value::Unsigned(value) => out.unsigned(*value),
        Value::Negative(value) => out.negative(*value),
        Value::Float(value) => assert!(out.float(*value)),
        Value::Bytes(value) => out.bytes(value),
        Value::Text(value) => out.text(value),
        Value::Link(cid) => out.link(cid),
        Value::Array(items) => {
            out.array(items.len());
            items.iter().for_each(|item| write(out, item));
        }
        Value::Map(pairs) => {
            out.map(pairs.len());
            for (key, value) in pairs {
                out.text(key);
                write(out, value);
            }
        }
    }
}

fn read(reader: &mut Reader) -> Result<Value, DecodeError> {
    Ok(match reader.item()? {
        Item::Null => Value::Null,
        Item::Bool(value) => Value::Bool(value),
        Item::Unsigned(value) => Value::Unsigned(value),
        Item::Negative(value) => Value::Negative(value),
        Item::Float(value) => Value::Float(value),
        Item::Bytes(value) => Value::Bytes(value.to_vec()),
        Item::Text(value) => Value::Text(value.to_owned()),
        Item::Link(cid) => Value::Link(cid.to_vec()),
        Item::Array(len) => Value::Array((0..len).map(|_| read(reader)).collect::<Result<_, _>>()?),
        Item::Map(len) => {
            let (mut pairs, mut before) = (Vec::new(), None);
            for _ in 0..len {
                let key = reader.key(before)?;
                pairs.push((key.to_owned(), read(reader)?));
                before = Some(key);
            }
            Value::Map(pairs)
        }
    })
}

fn check(data: &[u8]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(data);
    reader.skip_value(0)?;
    reader.finish()
}

fn bytes_of(value: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    write(&mut out, value);
    out.into_bytes()
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::Unsigned),
        (0_u32..64, any::<u64>()).prop_map(|(shift, n)| Value::Unsigned(n >> shift)),
        (0_u32..64, any::<u64>()).prop_map(|(shift, n)| Value::Negative(n >> shift)),
        any::<f64>()
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(Value::Float),
        any::<Vec<u8>>().prop_map(Value::Bytes),
        any::<String>().prop_map(Value::Text),
        any::<[u8; 8]>().prop_map(|data| Value::Link(block_cid(&data).to_vec())),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..8).prop_map(|map| {
                let mut pairs: Vec<_> = map.into_iter().collect();
                pairs.sort_by(|(left, _), (right, _)| key_order(left.as_bytes(), right.as_bytes()));
                Value::Map(pairs)
            }),
        ]
    })
}

/// How the CIDs of the blocks that we write begin: data, and bytes.
const OURS: [[u8; 4]; 2] = [[1, 0x71, 0x12, 32], [1, 0x55, 0x12, 32]];

/// What the short ways read, `item` reads, and as many bytes; what they must read, they read.
fn check_detours(data: &[u8]) {
    let mut long = Reader::new(data);
    let item = long.item();
    let [mut text, mut number, mut link] = [(); 3].map(|()| Reader::new(data));
    let text_due = match item {
        Ok(Item::Text(text)) if text.len() <= 255 => Some(text),
        _ => None,
    };
    let number_due = match item {
        Ok(Item::Unsigned(value)) => Some(value),
        _ => None,
    };
    let link_due = match item {
        Ok(Item::Link(cid)) if cid.len() == 36 && OURS.iter().any(|ours| cid.starts_with(ours)) => {
            Some(cid)
        }
        _ => None,
    };
    assert_eq!(text.short_text(), text_due);
    assert_eq!(number.short_unsigned(), number_due);
    assert_eq!(link.block_link(), link_due);
    let due = [text_due.is_some(), number_due.is_some(), link_due.is_some()];
    for (reader, due) in [text, number, link].iter().zip(due) {
        assert_eq!(reader.position(), if due { long.position() } else { 0 });
    }
}

#[test]
fn every_spelling_of_a_head_is_read_as_the_item_says() {
    let rest: Vec<u8> = (0..300u16).map(|n| (n % 128) as u8).collect();
    for first in 0..=255u8 {
        for second in 0..=255u8 {
            check_detours(&[&[first, second], &rest[..]].concat());
            check_detours(&[first, second]);
        }
        check_detours(&[first]);
        check_detours(&[first, 0, 0, 0, 1, 0, 0, 0, 0]);
        check_detours(&[first, 0, 0, 0, 0, 255, 255, 255, 255]);
    }
    check_detours(&[]);
}

#[test]
fn a_link_to_a_block_is_read_as_the_item_says() {
    let mut data = vec![0xd8, 0x2a, 0x58, 0x25, 0];
    data.extend(block_cid(b"block"));
    for end in 0..=data.len() {
        check_detours(&data[..end]);
    }
    for at in 0..9 {
        for byte in 0..=255 {
            let mut data = data.clone();
            data[at] = byte;
            check_detours(&data);
        }
    }
}

proptest! {
    #[test]
    fn values_survive_a_round_trip(value in values()) {
        let data = bytes_of(&value);
        let mut reader = Reader::new(&data);
        prop_assert_eq!(&read(&mut reader).unwrap(), &value);
        prop_assert!(reader.finish().is_ok());
        prop_assert!(check(&data).is_ok());
    }

    #[test]
    fn bytes_from_outside_are_canonical_or_refused(data in any::<Vec<u8>>()) {
        if check(&data).is_ok() {
            let value = read(&mut Reader::new(&data)).unwrap();
            prop_assert_eq!(bytes_of(&value), data);
        }
    }

    #[test]
    fn what_is_read_without_a_detour_is_what_the_item_says(
        value in values(), change in any::<Option<(prop::sample::Index, u8)>>(),
    ) {
        let mut data = bytes_of(&value);
        if let Some((at, byte)) = change {
            let at = at.index(data.len());
            data[at] = byte;
        }
        check_detours(&data);
    }

    #[test]
    fn a_changed_byte_is_another_value_or_refused(
        value in values(), at in any::<prop::sample::Index>(), change in 1_u8..,
    ) {
        let mut data = bytes_of(&value);
        let at = at.index(data.len());
        data[at] ^= change;
        if check(&data).is_ok() {
            let other = read(&mut Reader::new(&data)).unwrap();
            prop_assert_eq!(bytes_of(&other), data);
        }
    }

    #[test]
    fn what_is_cut_short_is_refused(value in values(), at in any::<prop::sample::Index>()) {
        let data = bytes_of(&value);
        prop_assert!(check(&data[..at.index(data.len())]).is_err());
    }
}

fn vectors() -> Json {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/canonical.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn unhex(text: &Json) -> Vec<u8> {
    let text = text.as_str().unwrap();
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn golden_bytes_are_taken_and_have_their_cids() {
    let vectors = vectors();
    for case in vectors["canonical"].as_array().unwrap() {
        let data = unhex(&case["hex"]);
        check(&data).unwrap();
        assert_eq!(bytes_of(&read(&mut Reader::new(&data)).unwrap()), data);
        let cid = parse_cid_text(case["cid"].as_str().unwrap()).unwrap();
        assert_eq!(cid.to_bytes(), block_cid(&data));
    }
}

#[test]
fn other_spellings_are_refused() {
    let vectors = vectors();
    for case in vectors["refused"].as_array().unwrap() {
        assert!(check(&unhex(&case["hex"])).is_err(), "{case}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| [vec![0x81; levels], vec![0]].concat();
    assert!(check(&nested(128)).is_ok());
    for levels in [129, 1_000_000] {
        assert_eq!(
            check(&nested(levels)).unwrap_err().what,
            "nested too deeply"
        );
    }
}
