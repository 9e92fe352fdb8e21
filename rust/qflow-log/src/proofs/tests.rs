//! What a running node does between two reads.

use std::cell::Cell;
use std::fs;

use super::*;
use crate::log::{Log, Options};

#[test]
fn a_tile_that_was_given_up_meanwhile_is_looked_for_again() {
    let path = std::env::temp_dir().join(format!("qflow-proofs-{}", std::process::id()));
    let options = Options {
        origin: "node.example/log".into(),
        seed: [7; 32],
        queue_bytes_max: 1 << 20,
        segment_bytes: 1 << 20,
    };
    let log = Log::open(&path, &options).expect("a new log");
    let append = |count: usize| {
        log.append_durable(&vec![&b"record"[..]; count], &[])
            .expect("appended");
        log.publish().expect("published");
    };
    append(10);
    let tries = Cell::new(0);
    let proof = with_tiles(&path, |tiles| {
        tries.set(tries.get() + 1);
        // Two publications later the partial tiles of this checkpoint are gone.
        if tries.get() == 1 {
            append(1);
            append(1);
            assert!(!path.join("tile/0/000.p/10").exists());
        }
        tiles.inclusion(3, 10)
    });
    assert_eq!(tries.get(), 2);
    let (leaf, proof) = proof.expect("proven by the tiles of the next checkpoint");
    let root = root_at(&path, 10).expect("a smaller tree");
    assert_eq!(tree::verify_inclusion(3, 10, &leaf, &proof, &root), Ok(()));
    log.close().expect("closed");
    fs::remove_dir_all(&path).expect("removed");
}
