//! The digest by which a file is known: SHA-256, which everybody can compute.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

const PIECE_BYTES: usize = 1 << 20;

/// What a file is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    pub sha256: [u8; 32],
    pub bytes: u64,
}

/// The digest of bytes that come piece by piece.
#[derive(Default)]
pub struct Hasher {
    sha256: Sha256,
    bytes: u64,
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn finish(self) -> Digest {
        Digest {
            sha256: self.sha256.finalize().into(),
            bytes: self.bytes,
        }
    }
}

/// Read a file from end to end. `progress` is told the bytes that are done; false stops it.
pub fn hash_file(path: &Path, progress: &mut dyn FnMut(u64) -> bool) -> io::Result<Option<Digest>> {
    let mut file = File::open(path)?;
    let (mut hasher, mut piece) = (Hasher::default(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(Some(hasher.finish())),
            Ok(count) => hasher.update(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !progress(hasher.bytes) {
            return Ok(None);
        }
    }
}
