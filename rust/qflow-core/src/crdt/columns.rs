//! The columns of a change as plain numbers and bytes, and how they are written.

use super::column::{deltas, write_column, write_number};

/// What one operation is, and of what type its value. The numbers are those of the format.
pub mod kind {
    pub const NULL: u8 = 0;
    pub const FALSE: u8 = 1;
    pub const TRUE: u8 = 2;
    pub const INT: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const TEXT: u8 = 5;
    pub const BYTES: u8 = 6;
    pub const LINK: u8 = 7;
    pub const LIST: u8 = 8;
    /// Only of an element.
    pub const MAP: u8 = 9;
    /// A set is the type of its value; an append of one element is this and the type.
    pub const APPEND: u8 = 16;
    /// An append of two or more elements, as one list.
    pub const APPEND_LIST: u8 = 26;
    pub const SET_MAP: u8 = 27;
    pub const DELETE: u8 = 28;
    pub const INCREMENT: u8 = 29;
    pub const MAKE_MAP: u8 = 30;
    pub const MAX: u8 = MAKE_MAP;

    /// The column in which what belongs to a kind lies.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum Lies {
        Nowhere,
        Ints,
        Floats,
        Texts,
        Blobs,
        /// No operation has this kind.
        Refused,
    }

    #[must_use]
    pub const fn lies(kind: u8) -> Lies {
        let value = if kind >= APPEND && kind < APPEND_LIST {
            kind - APPEND
        } else if kind == MAP {
            return Lies::Refused;
        } else {
            kind
        };
        match value {
            NULL | FALSE | TRUE | SET_MAP | DELETE | MAKE_MAP => Lies::Nowhere,
            INT | INCREMENT => Lies::Ints,
            FLOAT => Lies::Floats,
            TEXT => Lies::Texts,
            BYTES | LINK | LIST | MAP | APPEND_LIST => Lies::Blobs,
            _ => Lies::Refused,
        }
    }
}

/// The content of one change, in the order of its paths and operations.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Of each path, the number of the path above it: 0 for the root, else index + 1.
    pub parents: Vec<u32>,
    pub key_lens: Vec<u32>,
    pub keys: Vec<u8>,
    /// Of each operation, the number of its path.
    pub places: Vec<u32>,
    pub kinds: Vec<u8>,
    pub ints: Vec<i64>,
    /// Big-endian, 8 bytes each.
    pub floats: Vec<u8>,
    pub text_lens: Vec<u32>,
    pub texts: Vec<u8>,
    pub blob_lens: Vec<u32>,
    pub blobs: Vec<u8>,
}

impl Columns {
    pub fn clear(&mut self) {
        self.parents.clear();
        self.key_lens.clear();
        self.keys.clear();
        self.places.clear();
        self.kinds.clear();
        self.ints.clear();
        self.floats.clear();
        self.text_lens.clear();
        self.texts.clear();
        self.blob_lens.clear();
        self.blobs.clear();
    }

    /// Append them as they stand in a body.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_number(out, self.parents.len() as u64);
        write_lens(out, &self.parents);
        write_lens(out, &self.key_lens);
        out.extend_from_slice(&self.keys);
        write_column(
            out,
            deltas(self.places.iter().map(|place| i64::from(*place))),
        );
        write_column(out, self.kinds.iter().map(|kind| u64::from(*kind)));
        write_column(out, deltas(self.ints.iter().copied()));
        out.extend_from_slice(&self.floats);
        write_lens(out, &self.text_lens);
        out.extend_from_slice(&self.texts);
        write_lens(out, &self.blob_lens);
        out.extend_from_slice(&self.blobs);
    }

    /// What `write` appends, at most.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        // Each number with its share of the head of a chunk: of up to 21 bits four bytes.
        let small = 4 * (self.parents.len() + self.places.len()) + 2 * self.kinds.len();
        let lens = 4 * (self.key_lens.len() + self.text_lens.len() + self.blob_lens.len());
        let ints = 11 * self.ints.len();
        let bytes = self.keys.len() + self.floats.len() + self.texts.len() + self.blobs.len();
        24 + small + lens + ints + bytes
    }
}

fn write_lens(out: &mut Vec<u8>, lens: &[u32]) {
    write_column(out, lens.iter().map(|len| u64::from(*len)));
}
