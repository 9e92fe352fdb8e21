//! Blocks by their CIDs, against those that the IPLD project publishes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its vectors fails"
)]

use proptest::prelude::*;
use qflow_core::blocks::{Claim, LinksError, block_links, check_blocks};
use qflow_core::encoding::{
    Cid, Item, Reader, Writer, block_cid, cid_of, parse_cid, parse_cid_text, raw_cid,
};

const DAG_CBOR: u64 = 0x71;
const DAG_PB: u64 = 0x70;
const DAG_JSON: u64 = 0x129;

fn varint(data: &[u8], at: &mut usize) -> usize {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = data[*at];
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The blocks of the codec fixtures of the IPLD project, a CAR of version 1.
fn fixtures() -> Vec<(Cid, Vec<u8>)> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/codec-fixtures.car"
    );
    let car = std::fs::read(path).unwrap();
    let mut at = 0;
    at += varint(&car, &mut at);
    let mut blocks = Vec::new();
    while at < car.len() {
        let length = varint(&car, &mut at);
        let mut rest = &car[at..at + length];
        at += length;
        let cid = Cid::read_bytes(&mut rest).unwrap();
        blocks.push((cid, rest.to_vec()));
    }
    blocks
}

/// Every item of a value is read and written again.
fn rewritten(data: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(data);
    let mut out = Writer::default();
    while reader.position() < data.len() {
        match reader.item().unwrap() {
            Item::Null => out.null(),
            Item::Bool(value) => out.boolean(value),
            Item::Unsigned(value) => out.unsigned(value),
            Item::Negative(value) => out.negative(value),
            Item::Float(value) => assert!(out.float(value)),
            Item::Bytes(value) => out.bytes(value),
            Item::Text(value) => out.text(value),
            Item::Link(value) => out.link(&parse_cid(value).unwrap().to_bytes()),
            Item::Array(len) => out.array(len),
            Item::Map(len) => out.map(len),
        }
    }
    out.into_bytes()
}

fn is_good(cid: &[u8], data: &[u8]) -> bool {
    check_blocks(&[(cid, data)]) == [true]
}

#[test]
fn every_published_dag_cbor_block_round_trips_to_its_cid() {
    let mut count = 0;
    for (cid, data) in fixtures() {
        if cid.codec() != DAG_CBOR {
            continue;
        }
        let mut reader = Reader::new(&data);
        reader.skip_value(0).unwrap();
        reader.finish().unwrap();
        let again = rewritten(&data);
        assert_eq!(again, data, "{cid}");
        assert_eq!(block_cid(&again), *cid.to_bytes());
        count += 1;
    }
    assert_eq!(count, 128);
}

#[test]
fn every_published_block_is_what_its_cid_says() {
    let blocks: Vec<_> = fixtures()
        .into_iter()
        .map(|(cid, data)| (cid, cid.to_bytes(), data))
        .collect();
    let of = |codec| {
        let of = blocks.iter().filter(|(cid, ..)| cid.codec() == codec);
        of.count()
    };
    assert_eq!([DAG_CBOR, DAG_JSON, DAG_PB].map(of), [128, 128, 17]);
    let claims: Vec<Claim<'_>> = blocks
        .iter()
        .map(|(_, cid, data)| (&cid[..], &data[..]))
        .collect();
    assert_eq!(check_blocks(&claims), vec![true; 273]);
    let mut flips = 0;
    for (_, cid, data) in &blocks {
        for at in 0..data.len() {
            let mut changed = data.clone();
            changed[at] ^= 1;
            assert!(!is_good(cid, &changed));
            flips += 1;
        }
        assert!(!is_good(&cid[..cid.len() - 1], data));
    }
    assert!(flips > 200_000, "{flips}");
}

#[test]
fn links_stand_in_the_order_of_the_block() {
    let [first, second] = [raw_cid(b"first"), block_cid(b"\xf6")];
    let mut out = Writer::default();
    out.map(2);
    out.text("a");
    out.array(3);
    out.link(&second);
    out.bytes(&first);
    out.link(&first);
    out.text("b");
    out.link(&second);
    let data = out.into_bytes();
    let links = block_links(&block_cid(&data), &data).unwrap();
    assert_eq!(links, [&second[..], &first, &second]);
    assert!(block_links(&first, b"anything").unwrap().is_empty());
    let refused = |cid: &[u8], data| block_links(cid, data).unwrap_err();
    assert_eq!(refused(b"", b"\xf6"), LinksError::NotCid);
    let other = cid_of(b"", DAG_PB).unwrap().to_bytes();
    assert_eq!(refused(&other, b""), LinksError::Codec(DAG_PB));
    for data in [&b"\xf6\xf6"[..], b"", b"\x18\x01"] {
        let refused = refused(&block_cid(data), data);
        assert!(matches!(refused, LinksError::Data(_)));
    }
}

#[test]
fn cids_of_version_0_are_read_where_others_wrote_them() {
    let text = "Qma1Uttm8E5e2Vb6VUkNuSsGsfaMyrfc2KqSVQ3tsZUcYk";
    let cid = parse_cid_text(text).unwrap();
    assert_eq!((cid.codec(), cid.to_string().as_str()), (DAG_PB, text));
    assert_eq!(parse_cid(&cid.to_bytes()), Some(cid));
    assert_eq!(parse_cid(&cid.to_bytes()[..33]), None);
    // It is the hash of what the block says, as any other.
    let data = b"\x0a\x02\x08\x01";
    let bytes = [&[0x12, 0x20][..], &raw_cid(data)[4..]].concat();
    assert!(is_good(&bytes, data));
    assert!(!is_good(&bytes, b""));
}

#[test]
fn blake3_is_known_and_other_hashes_are_not() {
    let data = b"a block";
    let digest = blake3::hash(data);
    for (hash, good) in [(0x1e, true), (0x12, false), (0x00, false), (0x16, false)] {
        let cid = [&[1, 0x55, hash, 32][..], digest.as_bytes()].concat();
        assert_eq!(is_good(&cid, data), good, "{hash}");
    }
    // Another digest of 20 bytes, and the bytes themselves in the place of a hash.
    assert!(!is_good(
        &[&[1, 0x55, 0x11, 20][..], &[0; 20]].concat(),
        data
    ));
    assert!(!is_good(&[&[1, 0x55, 0, 7][..], data].concat(), data));
}

#[test]
fn data_that_is_not_canonical_is_not_good_whatever_it_hashes_to() {
    for data in [
        &b"\x18\x01"[..],
        b"\xa2\x61b\x01\x61a\x01",
        b"\xf6\xf6",
        b"",
    ] {
        assert!(!is_good(&block_cid(data), data));
        assert!(is_good(&raw_cid(data), data));
    }
}

/// More than one core alone takes.
#[test]
fn many_blocks_are_judged_in_their_order() {
    let blocks = |bad: usize| (0..1000_usize).map(move |n| ([n as u8; 999], n % bad == 0));
    for bad in [1, 7, 1000] {
        let made: Vec<_> = blocks(bad)
            .map(|(mut data, bad)| {
                let cid = raw_cid(&data);
                data[500] ^= u8::from(bad);
                (cid, data)
            })
            .collect();
        let claims = made.iter().map(|(cid, data)| (&cid[..], &data[..]));
        let good: Vec<bool> = blocks(bad).map(|(_, bad)| !bad).collect();
        assert_eq!(check_blocks(&claims.collect::<Vec<_>>()), good);
    }
}

proptest! {
    #[test]
    fn many_blocks_are_judged_as_each_alone(
        blocks in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..300), 0..4_u8, any::<bool>()), 0..200,
        ),
    ) {
        let made: Vec<(Vec<u8>, Vec<u8>, bool)> = blocks.into_iter().map(|(data, kind, good)| {
            let mut cid = match kind {
                0 => raw_cid(&data).to_vec(),
                1 => [&[1, 0x55, 0x1e, 32][..], blake3::hash(&data).as_bytes()].concat(),
                2 => cid_of(&data, DAG_JSON).unwrap().to_bytes(),
                _ => [&[0x12, 0x20][..], &raw_cid(&data)[4..]].concat(),
            };
            *cid.last_mut().unwrap() ^= u8::from(!good);
            (cid, data, good)
        }).collect();
        let claims = made.iter().map(|(cid, data, _)| (&cid[..], &data[..]));
        let claims: Vec<Claim<'_>> = claims.collect();
        let good: Vec<bool> = made.iter().map(|(_, _, good)| *good).collect();
        prop_assert_eq!(check_blocks(&claims), good);
    }

    #[test]
    fn bytes_of_strangers_are_judged(
        cid in prop::collection::vec(any::<u8>(), 0..50),
        data in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        prop_assert!(!is_good(&cid, &data));
        let _ = block_links(&cid, &data);
    }
}
