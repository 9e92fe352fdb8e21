//! What one run leaves for the next: where to go on without reading what was verified.

use std::collections::BTreeSet;

use qflow_core::chain::{Begun, Live, Verifier};
use qflow_core::log::{Checkpoint, Hash, sha256};

use super::Counts;
use super::growth::{Growth, Last};
use crate::pruned::{Pruned, split_partials};
use crate::tiles::TileBuilder;

const MAGIC: &[u8; 8] = b"QFLOWVST";
const VERSION: u32 = 1;

/// A verification as it stood at a signed head.
pub struct State {
    pub builder: TileBuilder,
    pub chains: Verifier,
    pub counts: Counts,
    pub last: Last,
    /// Where the log began, and by which record.
    pub cut: [u64; 3],
    /// Heads that are known to be of this log.
    pub proven: Vec<Checkpoint>,
}

/// What names a cut: the minimum index, the index of its record, and the address of that.
pub fn cut_of(pruned: &Pruned) -> [u64; 3] {
    [pruned.minimum, pruned.record, pruned.address]
}

/// Write what the next run needs. It is of the head in `growth.last`.
pub fn encode(log_id: u64, pruned: &Pruned, growth: &Growth<'_>) -> Vec<u8> {
    let mut out = Out(Vec::new());
    out.0.extend_from_slice(MAGIC);
    out.0.extend_from_slice(&[0; 4]);
    out.0.extend_from_slice(&VERSION.to_le_bytes());
    out.long(log_id);
    out.0.extend_from_slice(&sha256(&growth.last.note));
    let Counts {
        chains,
        heads,
        blocks,
        absent,
    } = growth.counts;
    let Last { frame, end, note } = &growth.last;
    for number in [*frame, *end, growth.size(), chains, heads, blocks, absent] {
        out.long(number);
    }
    cut_of(pruned)
        .into_iter()
        .for_each(|number| out.long(number));
    out.bytes(note);
    let parts = growth.builder.partials().map(|(_, bytes)| bytes);
    out.bytes(&parts.collect::<Vec<_>>().concat());
    let heads = growth.recent.iter().chain(&growth.published);
    let heads = heads.map(|head| (head.size, head.root));
    let asked = growth.roots.iter().map(|(size, root)| (*size, *root));
    let proven: BTreeSet<(u64, Hash)> = heads.chain(asked).collect();
    out.bytes(&proven.into_iter().flat_map(head_bytes).collect::<Vec<_>>());
    let live = growth.chains.live();
    out.bytes(&live.iter().flat_map(live_bytes).collect::<Vec<_>>());
    out.bytes(&growth.chains.begun().to_bytes());
    let crc = crc32c::crc32c(&out.0[12..]);
    out.0[8..12].copy_from_slice(&crc.to_le_bytes());
    out.0
}

/// Read a state of this log. Says why it is of no use.
pub fn decode(bytes: &[u8], log_id: u64) -> Result<State, &'static str> {
    const DAMAGED: &str = "the state of the last run is damaged";
    if bytes.is_empty() {
        return Err("there is no state of an earlier run");
    }
    let mut read = In(bytes);
    let (magic, crc) = (read.take(8), read.take(4));
    if magic != Some(MAGIC) || crc != Some(&crc32c::crc32c(read.0).to_le_bytes()) {
        return Err(DAMAGED);
    }
    if read.take(4) != Some(&VERSION.to_le_bytes()) {
        return Err("the state of the last run is of another version");
    }
    if read.long() != Some(log_id) {
        return Err("the state of the last run is of another log");
    }
    read.state().ok_or(DAMAGED)
}

struct Out(Vec<u8>);

impl Out {
    fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.long(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn long(&mut self) -> Option<u64> {
        let bytes = self.take(8)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.long()?).ok()?;
        self.take(count)
    }

    fn state(&mut self) -> Option<State> {
        let digest = self.take(32)?;
        let (frame, end, size) = (self.long()?, self.long()?, self.long()?);
        let counts = Counts {
            chains: self.long()?,
            heads: self.long()?,
            blocks: self.long()?,
            absent: self.long()?,
        };
        let cut = [self.long()?, self.long()?, self.long()?];
        let note = self.bytes()?.to_vec();
        let builder = split_partials(size, self.bytes()?)?;
        let proven = self.bytes()?.as_chunks::<40>().0;
        let live = self.bytes()?.as_chunks::<56>().0;
        let begun = Begun::from_bytes(self.bytes()?)?;
        let whole = self.0.is_empty() && sha256(&note) == digest;
        whole.then(|| State {
            builder,
            chains: Verifier::resume(live.iter().map(read_live), begun),
            counts,
            last: Last { frame, end, note },
            cut,
            proven: proven.iter().map(read_head).collect(),
        })
    }
}

fn head_bytes((size, root): (u64, Hash)) -> [u8; 40] {
    let mut out = [0; 40];
    out[..8].copy_from_slice(&size.to_le_bytes());
    out[8..].copy_from_slice(&root);
    out
}

fn read_head(bytes: &[u8; 40]) -> Checkpoint {
    let (size, root) = split(bytes);
    Checkpoint { size, root }
}

fn live_bytes(live: &Live) -> [u8; 56] {
    let mut out = [0; 56];
    out[..16].copy_from_slice(&live.chain);
    out[16..24].copy_from_slice(&live.next.to_le_bytes());
    out[24..].copy_from_slice(&live.hash);
    out
}

fn read_live(bytes: &[u8; 56]) -> Live {
    let (chain, rest) = bytes.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    let (next, hash) = split(rest);
    let chain = *chain;
    Live { chain, next, hash }
}

/// A number and a hash.
fn split(bytes: &[u8]) -> (u64, Hash) {
    let (number, rest) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    let hash = rest.first_chunk().copied().unwrap_or_default();
    (u64::from_le_bytes(*number), hash)
}
