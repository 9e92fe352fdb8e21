//! The blocks of a piece: against their CIDs, and which payloads are there.

use std::collections::HashSet;

use qflow_core::encoding::parse_cid;
use qflow_core::log::{Hash, sha256_all};

use super::Findings;
use crate::journal::spot;

/// SHA2-256 in a CID.
const SHA2_256: u64 = 0x12;

/// The blocks of the frames of a piece.
#[derive(Default)]
pub struct Blocks<'a> {
    cids: Vec<&'a [u8]>,
    /// For each frame, the blocks up to its end.
    ends: Vec<usize>,
    /// Address and digest of each block that is to be hashed, and its bytes.
    due: Vec<(u64, Hash)>,
    bytes: Vec<&'a [u8]>,
}

impl<'a> Blocks<'a> {
    pub fn push(&mut self, at: u64, cid: &'a [u8], data: &'a [u8], findings: &mut Findings) {
        self.cids.push(cid);
        let Some(parsed) = parse_cid(cid) else {
            return findings.add(spot(at), "a block's CID is not one");
        };
        let digest = Hash::try_from(parsed.hash().digest());
        match digest.ok().filter(|_| parsed.hash().code() == SHA2_256) {
            Some(digest) => {
                self.due.push((at, digest));
                self.bytes.push(data);
            }
            None => findings.add(spot(at), "a block's CID has another hash than SHA2-256"),
        }
    }

    pub fn end_frame(&mut self) {
        self.ends.push(self.cids.len());
    }

    pub fn count(&self) -> u64 {
        self.cids.len() as u64
    }

    /// Hash all of them, many at once.
    pub fn check(&self, findings: &mut Findings) {
        let mut hashes = Vec::with_capacity(self.bytes.len());
        sha256_all(self.bytes.iter().copied(), &mut hashes);
        for ((at, due), found) in self.due.iter().zip(&hashes) {
            if due != found {
                findings.add(spot(*at), "a block's bytes are not those of its CID");
            }
        }
    }

    /// The CIDs of one frame.
    pub fn of_frame(&self, frame: usize) -> Payloads<'a, '_> {
        let start = frame.checked_sub(1).map_or(0, |before| self.ends[before]);
        Payloads {
            cids: &self.cids[start..self.ends[frame]],
            next: 0,
            all: None,
        }
    }
}

/// Looks for payloads among the blocks of a frame.
pub struct Payloads<'a, 'b> {
    cids: &'b [&'a [u8]],
    next: usize,
    all: Option<HashSet<&'a [u8]>>,
}

impl Payloads<'_, '_> {
    /// Whether a payload lies there. Writers put blocks in the order of the records.
    pub fn have(&mut self, cid: &[u8]) -> bool {
        if self.cids.get(self.next).is_some_and(|next| *next == cid) {
            self.next += 1;
            return true;
        }
        let all = || self.cids.iter().copied().collect();
        self.all.get_or_insert_with(all).contains(cid)
    }
}
