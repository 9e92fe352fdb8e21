//! Sealed states: what was sealed comes back, and nothing else does.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its vectors fails"
)]

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use qflow_core::encoding::{CidBytes, Item, Reader, Writer, block_cid, digest, raw_cid};
use qflow_core::sealing::{
    Block, Owner, PART_OVERHEAD, Root, STATE_BYTES_MAX, Sealer, SealingError, StateError,
    parse_root, seal_state,
};
use serde_json::Value as Json;

const CHAIN: [u8; 16] = [7; 16];
const OWNER: Owner<'static> = Owner {
    subnet: "default",
    chain: &CHAIN,
};
const NUMBER: u64 = 77;
/// Where the nonce of a part is.
const NONCE: std::ops::Range<usize> = 13 + 32..13 + 32 + 24;

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    let seed = blake3::hash(&seed.to_le_bytes());
    blake3::Hasher::new_keyed(seed.as_bytes())
        .finalize_xof()
        .fill(&mut noise);
    noise
}

fn sealer() -> Sealer {
    Sealer::new(&[1; 32])
}

fn seal(text: &[u8]) -> Vec<Block> {
    seal_state(&sealer(), NUMBER, &OWNER, text).unwrap()
}

/// What comes of blocks that somebody gives; the last is the root, which a record names.
fn open_as(
    sealer: &Sealer,
    owner: &Owner<'_>,
    named: &CidBytes,
    blocks: &[Block],
) -> Result<Vec<u8>, StateError> {
    let (root, _) = blocks.split_last().unwrap();
    let root = Root::open(named, &root.data)?;
    let known: HashMap<&[u8], &[u8]> = blocks
        .iter()
        .map(|block| (&block.cid[..], &block.data[..]))
        .collect();
    let found = root.parts.iter().filter_map(|cid| known.get(cid).copied());
    let parts: Vec<&[u8]> = found.collect();
    root.check_lengths(&parts)?;
    let mut text = vec![0; root.size];
    root.unseal(sealer, owner, &parts, &mut text)?;
    Ok(text)
}

fn open(blocks: &[Block]) -> Result<Vec<u8>, StateError> {
    open_as(&sealer(), &OWNER, &blocks.last().unwrap().cid, blocks)
}

fn fields(count: usize, size: usize, parts: &[CidBytes]) -> Writer {
    let mut out = Writer::default();
    out.map(count);
    out.text("v");
    out.unsigned(1);
    out.text("size");
    out.unsigned(size as u64);
    out.text("parts");
    out.array(parts.len());
    parts.iter().for_each(|cid| out.link(cid));
    out
}

/// A root by somebody who knows the format and not the key; `seal` is copied from another one.
fn forged_root(size: usize, parts: &[CidBytes], seal: &[u8]) -> Block {
    let mut out = fields(4, size, parts);
    out.text("sealed");
    out.bytes(seal);
    let data = out.into_bytes();
    let cid = block_cid(&data);
    Block { cid, data }
}

/// A root by somebody who has the key, over parts that may be anybody's.
fn sealed_root(size: usize, parts: &[CidBytes]) -> Block {
    let plain = fields(3, size, parts).into_bytes();
    let mut seal = Vec::new();
    let bound = [b"QFSR\x01", &CHAIN[..], &plain, b"default"].concat();
    sealer().seal(&bound, b"", &mut seal);
    forged_root(size, parts, &seal)
}

fn seal_of(root: &[u8]) -> Vec<u8> {
    root[root.len() - 72..].to_vec()
}

fn cids_of(root: &[u8]) -> Vec<CidBytes> {
    let parts = parse_root(root).unwrap().parts;
    parts.iter().map(|cid| (*cid).try_into().unwrap()).collect()
}

/// The same blocks with another one in a place and everything named anew: by who has no key, and,
/// so that the part is all that is wrong, under a root that is sealed.
fn with_part(blocks: &[Block], place: usize, data: Vec<u8>) -> [Vec<Block>; 2] {
    let (root, parts) = blocks.split_last().unwrap();
    let (mut parts, mut cids) = (parts.to_vec(), cids_of(&root.data));
    let (old, cid) = (parts[place].cid, raw_cid(&data));
    let size = parse_root(&root.data).unwrap().size + data.len();
    let size = size.saturating_sub(parts[place].data.len());
    parts[place] = Block { cid, data };
    let places = cids.iter_mut().filter(|cid| **cid == old);
    places.for_each(|place| *place = cid);
    let roots = [
        forged_root(size, &cids, &seal_of(&root.data)),
        sealed_root(size, &cids),
    ];
    roots.map(|root| [&parts[..], &[root]].concat())
}

#[test]
fn states_of_any_length_come_back() {
    for bytes in [0, 1, 1000, 16 << 10, 65_536, 300_000, 5 << 20] {
        let text = noise(bytes as u64, bytes);
        let blocks = seal(&text);
        assert_eq!(open(&blocks).unwrap(), text);
        let root = parse_root(&blocks.last().unwrap().data).unwrap();
        assert_eq!(root.size, bytes);
        assert_eq!(root.parts.len(), blocks.len() - 1);
    }
}

#[test]
fn a_state_is_bounded() {
    let long = vec![0; STATE_BYTES_MAX + 1];
    let refused = seal_state(&sealer(), NUMBER, &OWNER, &long);
    assert_eq!(refused, Err(StateError::TooLong(STATE_BYTES_MAX + 1)));
    let most = seal(&long[1..]);
    // All parts but the last are the same, and are one block.
    assert_eq!(most.len(), 2);
    assert_eq!(cids_of(&most[1].data).len(), 256);
    assert_eq!(open(&most).unwrap(), long[1..]);
}

#[test]
fn an_unchanged_part_is_the_same_block() {
    let before = noise(1, 4 << 20);
    let mut after = before.clone();
    after.splice(2_000_000..2_000_000, *b"a fact more");
    let cids = |text: &[u8]| {
        let blocks = seal(text).into_iter();
        blocks.map(|block| block.cid).collect::<HashSet<_>>()
    };
    let (before, after) = (cids(&before), cids(&after));
    assert!(before.len() > 40);
    assert!(after.difference(&before).count() <= 4);
}

#[test]
fn holds_s6_another_key_owner_or_part_is_refused() {
    let text = noise(2, 200_000);
    let blocks = seal(&text);
    let root = blocks.last().unwrap().cid;
    let other = Sealer::new(&[2; 32]);
    assert_eq!(
        open_as(&other, &OWNER, &root, &blocks),
        Err(StateError::Seal(SealingError::OtherKey))
    );
    let elsewhere = [
        Owner {
            subnet: "other",
            ..OWNER
        },
        Owner {
            subnet: "",
            ..OWNER
        },
        Owner {
            chain: &[8; 16],
            ..OWNER
        },
    ];
    for owner in elsewhere {
        assert_eq!(
            open_as(&sealer(), &owner, &root, &blocks),
            Err(StateError::Seal(SealingError::Altered))
        );
    }
    let mut changed = blocks.clone();
    changed[0].data[100] ^= 1;
    assert_eq!(open(&changed), Err(StateError::OtherPart(0)));
    assert_eq!(open(&blocks[1..]), Err(StateError::Lengths));
    let another = seal(&noise(3, 200_000)).last().unwrap().cid;
    let refused = open_as(&sealer(), &OWNER, &another, &blocks);
    assert_eq!(refused, Err(StateError::OtherRoot));
    assert_eq!(open(&blocks).unwrap(), text);
}

/// Bytes of a block of a state that were changed, and states that were cut, all refused.
fn flips_and_cuts(text: &[u8], step: usize) -> (usize, usize) {
    let blocks = seal(text);
    let (root, parts) = blocks.split_last().unwrap();
    let (mut flips, mut cuts) = (0, 0);
    for (place, part) in parts.iter().enumerate() {
        for at in (0..part.data.len()).step_by(step) {
            let mut changed = part.data.clone();
            changed[at] ^= 1 << (at % 8);
            let cut = part.data[..at].to_vec();
            for (data, count) in [(changed, &mut flips), (cut, &mut cuts)] {
                // Under its old name, and with all names made anew.
                let mut kept = blocks.clone();
                kept[place].data.clone_from(&data);
                assert!(open(&kept).is_err(), "{place} {at}");
                for given in with_part(&blocks, place, data) {
                    assert!(open(&given).is_err(), "{place} {at}");
                }
                *count += 3;
            }
        }
    }
    for at in 0..root.data.len() {
        let mut changed = root.data.clone();
        changed[at] ^= 1 << (at % 8);
        let cut = root.data[..at].to_vec();
        for (data, count) in [(changed, &mut flips), (cut, &mut cuts)] {
            let cid = block_cid(&data);
            for named in [root.cid, cid] {
                let given = [
                    parts,
                    &[Block {
                        cid: named,
                        data: data.clone(),
                    }],
                ]
                .concat();
                assert!(open(&given).is_err(), "root {at}");
                *count += 1;
            }
        }
    }
    (flips, cuts)
}

#[test]
fn holds_s14_every_byte_changed_and_every_cut_is_refused() {
    let (flips, cuts) = flips_and_cuts(&noise(4, 700), 1);
    assert_eq!(flips, 3 * (700 + PART_OVERHEAD) + 2 * 141);
    assert_eq!(cuts, flips);
    let (flips, cuts) = flips_and_cuts(&noise(5, 150_000), 499);
    assert!(flips > 1000 && cuts == flips);
    println!("flips {flips}, cuts {cuts}");
}

/// Each pair of parts changes places, in a root that is made anew and named by its own CID.
#[test]
fn holds_s14_parts_in_another_order_left_out_or_doubled_are_refused() {
    let blocks = seal(&noise(6, 1_200_000));
    let (root, parts) = blocks.split_last().unwrap();
    let (cids, seal) = (cids_of(&root.data), seal_of(&root.data));
    assert!(cids.len() >= 12);
    let length = |cid: &CidBytes| {
        let part = parts.iter().find(|part| part.cid == *cid).unwrap();
        part.data.len() - PART_OVERHEAD
    };
    let refused = |cids: &[CidBytes]| {
        let size = cids.iter().map(length).sum();
        let given = [parts, &[forged_root(size, cids, &seal)]].concat();
        let opened = open(&given);
        assert!(matches!(
            opened,
            Err(StateError::Seal(_) | StateError::Root(_))
        ));
    };
    let mut orders = 0;
    for first in 0..cids.len() {
        for second in first + 1..cids.len() {
            let mut order = cids.clone();
            order.swap(first, second);
            refused(&order);
            orders += 1;
        }
        let mut fewer = cids.clone();
        fewer.remove(first);
        refused(&fewer);
        let mut doubled = cids.clone();
        doubled.insert(first, cids[first]);
        refused(&doubled);
    }
    assert_eq!(orders, cids.len() * (cids.len() - 1) / 2);
}

#[test]
fn holds_s14_parts_and_roots_of_another_execution_subnet_or_key_are_refused() {
    let text = noise(7, 400_000);
    let blocks = seal(&text);
    let (mut chain, mut subnet) = (OWNER, OWNER);
    (chain.chain, subnet.subnet) = (&[8; 16], "other");
    let strangers = [
        seal_state(&sealer(), NUMBER, &chain, &text).unwrap(),
        seal_state(&sealer(), NUMBER, &subnet, &text).unwrap(),
        seal_state(&Sealer::new(&[2; 32]), NUMBER, &OWNER, &text).unwrap(),
    ];
    let mut splices = 0;
    for stranger in &strangers {
        assert!(open(stranger).is_err());
        // The other key cuts elsewhere, and may make fewer parts or more.
        let places = 0..stranger.len().min(blocks.len()) - 1;
        for (place, part) in places.zip(stranger) {
            for given in with_part(&blocks, place, part.data.clone()) {
                assert!(open(&given).is_err());
                splices += 1;
            }
        }
    }
    assert!(splices >= 18, "{splices}");
    println!("splices {splices}");
}

#[test]
fn holds_s14_a_part_of_an_older_state_or_number_does_not_come_into_this_one() {
    let text = noise(7, 400_000);
    let blocks = seal(&text);
    let renumbered = seal_state(&sealer(), NUMBER + 1, &OWNER, &text).unwrap();
    for stranger in [renumbered, seal(&noise(8, 400_000))] {
        let places = 0..stranger.len().min(blocks.len()) - 1;
        for (place, part) in places.zip(stranger) {
            let [given, _] = with_part(&blocks, place, part.data);
            assert_eq!(open(&given), Err(StateError::Seal(SealingError::Altered)));
        }
    }
}

/// What a torn write leaves is made anew with other content: no two texts share a nonce.
#[test]
fn holds_s15_no_nonce_occurs_twice_in_states_that_grow() {
    let mut text = noise(9, 100_000);
    let mut nonces: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut uses = 0;
    for round in 0..200_u32 {
        text.splice(50_000..50_000, round.to_be_bytes());
        for part in &seal(&text)[..] {
            if !part.data.starts_with(b"QFST") {
                continue;
            }
            uses += 1;
            let known = nonces.entry(part.data[NONCE].to_vec());
            assert_eq!(*known.or_insert_with(|| part.data.clone()), part.data);
        }
    }
    assert!(nonces.len() >= 200 && uses > nonces.len());
}

#[test]
fn as_many_blocks_are_taken_as_the_root_has_parts() {
    let (blocks, empty) = (seal(b"text"), seal(b""));
    let root = Root::open(&blocks[1].cid, &blocks[1].data).unwrap();
    let (part, none) = (&blocks[0].data[..], &empty[0].data[..]);
    assert_eq!(root.check_lengths(&[part]), Ok(()));
    for given in [&[][..], &[part, none], &[part, part]] {
        assert_eq!(root.check_lengths(given), Err(StateError::Lengths));
    }
}

#[test]
fn other_forms_of_a_root_are_refused() {
    let blocks = seal(&noise(10, 100_000));
    let root = &blocks.last().unwrap().data;
    let (cids, seal) = (cids_of(root), seal_of(root));
    let shown = |block: &[u8]| parse_root(block).unwrap_err().what;
    let of = |size, parts: &[CidBytes]| forged_root(size, parts, &seal).data;
    assert_eq!(
        shown(&of(STATE_BYTES_MAX + 1, &cids)),
        "a state that is too long"
    );
    for (size, parts) in [(0, &[][..]), (5, &[cids[0]; 2]), (300_000, &cids[..1])] {
        assert_eq!(
            shown(&of(size, parts)),
            "another number of parts than the size allows"
        );
    }
    let data: CidBytes = block_cid(root);
    assert_eq!(shown(&of(9, &[data])), "a part that is no sealed block");
    assert_eq!(
        shown(&forged_root(9, &cids[..1], &seal[1..]).data),
        "a root without its seal"
    );
    assert_eq!(
        shown(&[root, &b"\0"[..]].concat()),
        "bytes after the end of the value"
    );
    // A list of 2^32 parts costs nothing.
    let claim = b"\xa4\x61v\x01\x64size\x1a\x04\0\0\0\x65parts\x9a\xff\xff\xff\xff";
    assert_eq!(shown(claim), "a length beyond the end");
}

fn unhex(text: &Json) -> Vec<u8> {
    let text = text.as_str().unwrap();
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn golden_bytes() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/state.json"
    );
    let vectors: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let states = vectors["states"].as_array().unwrap();
    assert!(states.len() >= 3);
    for case in states {
        let owner = Owner {
            subnet: case["subnet"].as_str().unwrap(),
            chain: &unhex(&case["chain"]).try_into().unwrap(),
        };
        let sealer = Sealer::new(&unhex(&case["key"]).try_into().unwrap());
        let hashes = (0..case["hashes"].as_u64().unwrap_or(0)).map(|n| digest(&n.to_be_bytes()));
        let text = [unhex(&case["text"]), hashes.flatten().collect()].concat();
        let number = case["number"].as_u64().unwrap();
        let blocks = seal_state(&sealer, number, &owner, &text).unwrap();
        let (root, parts) = blocks.split_last().unwrap();
        assert_eq!(root.data, unhex(&case["root"]));
        assert_eq!(
            parts[0].data[..100.min(parts[0].data.len())],
            unhex(&case["part"])
        );
        let opened = open_as(&sealer, &owner, &root.cid, &blocks);
        assert_eq!(opened.unwrap(), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn holds_s15_equal_states_are_equal_bytes_and_others_share_no_nonce(
        seed in 0..4_u64, bytes in 0..400_000_usize, other in 0..4_u64,
    ) {
        let (text, another) = (noise(seed, bytes), noise(other, bytes));
        let (blocks, others) = (seal(&text), seal(&another));
        prop_assert_eq!(&blocks, &seal(&text));
        prop_assert_eq!(open(&blocks).unwrap(), text.clone());
        let nonces = |blocks: &[Block]| {
            let parts = blocks[..blocks.len() - 1].iter();
            parts.map(|part| part.data[NONCE].to_vec()).collect::<HashSet<_>>()
        };
        let same = nonces(&blocks).intersection(&nonces(&others)).count() > 0;
        prop_assert_eq!(same, text == another);
    }

    #[test]
    fn roots_of_strangers_are_refused_and_read_within_bounds(
        data in prop::collection::vec(any::<u8>(), 0..300), size: u64, count: u32,
    ) {
        prop_assert!(parse_root(&data).is_err());
        let mut out = Writer::default();
        out.raw(b"\xa4\x61v\x01\x64size");
        out.unsigned(size);
        out.raw(b"\x65parts");
        out.array(count as usize);
        out.raw(&data);
        if let Ok(root) = parse_root(out.as_slice()) {
            prop_assert!(root.parts.len() * 41 < data.len());
        }
        let mut reader = Reader::new(out.as_slice());
        prop_assert!(!matches!(reader.item(), Ok(Item::Null)));
    }
}
