//! The nodes of a document's tree and the table that finds them by name.

use hashbrown::HashTable;

use super::Dot;
use super::names::{NameHash, little_endian};
use super::tree::NodeId;
use super::value::{Value, ValueRef};

pub(super) const NONE: u32 = u32::MAX;
/// Names of up to so many bytes lie in the node itself.
const SHORT_MAX: usize = 8;
/// The length of a name that does not.
const LONG: u8 = 0xff;
/// Where it begins, and above so many bits its length.
const LONG_SHIFT: u32 = 48;

/// The one item that a node holds inline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    Register,
    Mark,
    Tomb,
}

/// Among which children of its parent a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is live in it or beneath it: no walk comes by.
    Nowhere,
    /// Something other than a tomb is live in it or beneath it: it is present.
    Alive,
    /// Only tombs are.
    Tombed,
}

/// 48 bytes. Nodes are never freed: a name that was used is found again.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The bytes of a short name, or where a long one begins and its length.
    name: [u8; SHORT_MAX],
    /// Of the register when it holds one, else null.
    pub value: Value,
    pub parent: u32,
    /// Its index among the children of its parent.
    pub at: u32,
    /// What most nodes do not need.
    pub extra: u32,
    line: u32,
    seq: u32,
    name_len: u8,
    pub held: Held,
    pub place: Place,
    pub suspect: bool,
}

impl Node {
    pub fn dot(&self) -> Dot {
        Dot {
            line: self.line,
            seq: self.seq,
        }
    }

    pub fn hold(&mut self, held: Held, dot: Dot, value: Value) {
        (self.line, self.seq) = (dot.line, dot.seq);
        self.held = held;
        self.value = value;
    }

    /// Hold nothing any more; what it was.
    pub fn release(&mut self) -> (Held, Dot, Value) {
        let held = std::mem::replace(&mut self.held, Held::Nothing);
        let value = std::mem::replace(&mut self.value, Value::of(ValueRef::Null));
        (held, self.dot(), value)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Nodes {
    all: Vec<Node>,
    long: Vec<u8>,
    table: HashTable<u32>,
    hash: NameHash,
}

impl Nodes {
    pub fn new(hash: NameHash) -> Self {
        let (long, table) = (Vec::new(), HashTable::new());
        let mut nodes = Self {
            all: Vec::new(),
            long,
            table,
            hash,
        };
        nodes.push(NONE, b"");
        nodes
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    #[inline]
    pub fn get(&self, id: NodeId) -> &Node {
        &self.all[id.0 as usize]
    }

    #[inline]
    pub fn get_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.all[id.0 as usize]
    }

    pub fn name(&self, id: NodeId) -> &str {
        std::str::from_utf8(name_of(self.get(id), &self.long)).unwrap_or_default()
    }

    /// Orders as names are ordered in canonical DAG-CBOR, but for long names that begin alike.
    pub fn rank(&self, id: NodeId) -> u128 {
        let node = self.get(id);
        let name = name_of(node, &self.long);
        let first = little_endian(&name[..name.len().min(SHORT_MAX)]).swap_bytes();
        (name.len() as u128) << 64 | u128::from(first)
    }

    pub fn find(&self, parent: NodeId, part: &str) -> Option<NodeId> {
        let hash = self.hash.hash(parent.0, part.as_bytes());
        self.lookup(hash, parent, part.as_bytes())
    }

    #[inline]
    pub fn intern(&mut self, parent: NodeId, part: &str) -> NodeId {
        let part = part.as_bytes();
        let hash = self.hash.hash(parent.0, part);
        if let Some(id) = self.lookup(hash, parent, part) {
            return id;
        }
        if self.table.len() == self.table.capacity() {
            self.grow();
        }
        let id = self.push(parent.0, part);
        self.table
            .insert_unique(hash, id.0, |_| unreachable!("there is room"));
        id
    }

    /// Bytes that nodes, names and the table hold.
    pub fn bytes(&self) -> usize {
        let nodes = self.all.capacity() * size_of::<Node>();
        nodes + self.long.capacity() + self.table.allocation_size()
    }

    #[inline]
    fn lookup(&self, hash: u64, parent: NodeId, part: &[u8]) -> Option<NodeId> {
        let found = if part.len() <= SHORT_MAX {
            let name = little_endian(part);
            self.table.find(hash, |id| {
                let node = &self.all[*id as usize];
                node.parent == parent.0
                    && usize::from(node.name_len) == part.len()
                    && u64::from_le_bytes(node.name) == name
            })
        } else {
            self.table.find(hash, |id| {
                let node = &self.all[*id as usize];
                node.parent == parent.0 && name_of(node, &self.long) == part
            })
        };
        found.map(|id| NodeId(*id))
    }

    fn push(&mut self, parent: u32, part: &[u8]) -> NodeId {
        let id = self.all.len();
        if id == self.all.capacity() {
            self.all.reserve_exact((id / 4).max(16));
        }
        let (name, name_len) = self.keep(part);
        self.all.push(Node {
            name,
            value: Value::of(ValueRef::Null),
            parent,
            at: NONE,
            extra: NONE,
            line: 0,
            seq: 0,
            name_len,
            held: Held::Nothing,
            place: Place::Nowhere,
            suspect: false,
        });
        NodeId(id as u32)
    }

    fn keep(&mut self, part: &[u8]) -> ([u8; SHORT_MAX], u8) {
        if part.len() <= SHORT_MAX {
            return (little_endian(part).to_le_bytes(), part.len() as u8);
        }
        if self.long.len() + part.len() > self.long.capacity() {
            self.long
                .reserve_exact((self.long.len() / 4).max(part.len()));
        }
        let place = self.long.len() as u64 | (part.len() as u64) << LONG_SHIFT;
        self.long.extend_from_slice(part);
        (place.to_le_bytes(), LONG)
    }

    /// A table of twice the size, filled in the order of the nodes, which reads them in sequence.
    #[cold]
    fn grow(&mut self) {
        let mut table = HashTable::with_capacity((2 * self.table.capacity()).max(28));
        for (id, node) in (0_u32..).zip(&self.all).skip(1) {
            let hash = self.hash.hash(node.parent, name_of(node, &self.long));
            table.insert_unique(hash, id, |_| unreachable!("there is room"));
        }
        self.table = table;
    }
}

#[inline]
fn name_of<'a>(node: &'a Node, long: &'a [u8]) -> &'a [u8] {
    if node.name_len != LONG {
        return &node.name[..usize::from(node.name_len)];
    }
    let place = u64::from_le_bytes(node.name);
    let at = (place & ((1 << LONG_SHIFT) - 1)) as usize;
    &long[at..at + (place >> LONG_SHIFT) as usize]
}
