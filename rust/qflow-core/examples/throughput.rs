//! Records checked a second, on one core: `cargo run --release --example throughput`.
#![expect(
    clippy::disallowed_methods,
    reason = "a measurement reads the clock; the library does not"
)]

use std::time::Instant;

use qflow_core::chain::{GENESIS, Record, Verifier, leaf_hash};
use qflow_core::encoding::block_cid;

const CHAINS: usize = 10_000;
const RECORDS_EACH: u64 = 20;

fn records() -> Vec<Vec<u8>> {
    let payload = block_cid(b"payload");
    let mut heads = vec![GENESIS; CHAINS];
    let mut records = Vec::new();
    for seq in 0..RECORDS_EACH {
        for (number, head) in heads.iter_mut().enumerate() {
            let mut chain = [0; 16];
            chain[8..].copy_from_slice(&(number as u64).to_be_bytes());
            let record = Record {
                chain,
                seq,
                prev: *head,
                kind: "q.qflow.exec.step_completed.v1",
                flow: "demo/orders/1.0.0",
                step: Some("/do/2/charge"),
                attempt: Some(1),
                at: 1_764_000_000_000 + seq,
                actor: "local",
                node: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
                subnet: "local",
                epoch: 1,
                payload: Some(&payload),
                meta: b"\xa1\x65frame\x612",
            };
            let record = record.encode().unwrap_or_default();
            *head = leaf_hash(&record);
            records.push(record);
        }
    }
    records
}

fn main() {
    let records = records();
    println!("{} records of {} bytes", records.len(), records[0].len());
    for round in 0..5 {
        let mut verifier = Verifier::new();
        let began = Instant::now();
        let good = records
            .iter()
            .filter(|record| verifier.push(record).is_ok())
            .count();
        let seconds = began.elapsed().as_secs_f64();
        assert_eq!(good, records.len());
        println!(
            "round {round}: {:.2} million records a second",
            good as f64 / seconds / 1e6
        );
    }
}
