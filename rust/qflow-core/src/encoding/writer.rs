//! Appending canonical items to a buffer. The caller sorts map keys (`key_order`).

const UNSIGNED: u8 = 0x00;
const NEGATIVE: u8 = 0x20;
const BYTES: u8 = 0x40;
const TEXT: u8 = 0x60;
const ARRAY: u8 = 0x80;
const MAP: u8 = 0xa0;
const LINK: [u8; 2] = [0xd8, 0x2a];

/// A buffer that grows by whole items.
#[derive(Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.out
    }

    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Forget what was written and keep the memory.
    pub fn clear(&mut self) {
        self.out.clear();
    }

    fn head(&mut self, major: u8, value: u64) {
        // Shortest form only: a longer one would give the same value a second CID.
        let bytes = value.to_be_bytes();
        let (extra, from) = match value {
            0..24 => {
                self.out.push(major | bytes[7]);
                return;
            }
            24..0x100 => (24, 7),
            0x100..0x1_0000 => (25, 6),
            0x1_0000..0x1_0000_0000 => (26, 4),
            _ => (27, 0),
        };
        self.out.push(major | extra);
        self.out.extend_from_slice(&bytes[from..]);
    }

    pub fn null(&mut self) {
        self.out.push(0xf6);
    }

    pub fn boolean(&mut self, value: bool) {
        self.out.push(if value { 0xf5 } else { 0xf4 });
    }

    pub fn unsigned(&mut self, value: u64) {
        self.head(UNSIGNED, value);
    }

    /// The integer `-1 - value`.
    pub fn negative(&mut self, value: u64) {
        self.head(NEGATIVE, value);
    }

    pub fn integer(&mut self, value: i64) {
        if value < 0 {
            self.negative(!value as u64);
        } else {
            self.unsigned(value as u64);
        }
    }

    /// False, and nothing is written, when the value is not finite.
    #[must_use]
    pub fn float(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return false;
        }
        self.out.push(0xfb);
        self.out.extend_from_slice(&value.to_bits().to_be_bytes());
        true
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.out.extend_from_slice(value);
    }

    pub fn text(&mut self, value: &str) {
        self.head(TEXT, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// A list of `len` items, which the caller writes next.
    pub fn array(&mut self, len: usize) {
        self.head(ARRAY, len as u64);
    }

    /// A map of `len` pairs, which the caller writes next in `key_order`.
    pub fn map(&mut self, len: usize) {
        self.head(MAP, len as u64);
    }

    /// A link to the block with this CID (its bytes).
    pub fn link(&mut self, cid: &[u8]) {
        self.out.extend_from_slice(&LINK);
        self.head(BYTES, cid.len() as u64 + 1);
        // The identity multibase prefix, which DAG-CBOR keeps for historical reasons.
        self.out.push(0);
        self.out.extend_from_slice(cid);
    }

    /// Items that are already canonical.
    pub fn raw(&mut self, items: &[u8]) {
        self.out.extend_from_slice(items);
    }
}
