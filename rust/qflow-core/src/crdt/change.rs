//! A change: up to 256 operations of one replica, after what it had seen. The page is
//! docs/formats/crdt.md.

use std::sync::Arc;

use super::change_check::{Layout, check_columns};
use super::change_ops::{Ops, Paths};
use super::path::PathError;
use super::value::{Elements, ValueError, ValueRef};
use super::{Cid, Key};
use crate::encoding::{DecodeError, Item, Reader, Writer, digest};
use crate::signature;

/// Operations of one change.
pub const OPS_MAX: usize = 256;
/// Bytes of the body of a change.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Changes of other replicas that one change may name.
pub const DEPS_MAX: usize = 1024;
/// Bytes of an operation id.
pub const OP_BYTES_MAX: usize = 64;

/// How the CID of a change begins: version 1, DAG-CBOR, SHA2-256, 32 bytes.
pub const CID_PREFIX: [u8; 4] = [0x01, 0x71, 0x12, 0x20];
/// How the CID of an operation begins: version 1, raw, SHA2-256, 32 bytes.
pub const OPERATION_PREFIX: [u8; 4] = [0x01, 0x55, 0x12, 0x20];
/// How the message that a replica signs begins; the CID follows.
pub const SIGNED_PREFIX: [u8; 21] = *b"qflow crdt change v1\n";
const MESSAGE_BYTES: usize = SIGNED_PREFIX.len() + CID_PREFIX.len() + 32;

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("not canonical DAG-CBOR: {0}")]
    Encoding(#[from] DecodeError),
    #[error("a change of more than {BODY_BYTES_MAX} bytes")]
    TooLong,
    #[error("a change of more than {OPS_MAX} operations")]
    TooMany,
    #[error("a change of version {0}; this software knows 1")]
    Version(u64),
    #[error("{0}")]
    Field(&'static str),
    #[error("columns: {0}")]
    Columns(&'static str),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// What one operation does at its path.
#[derive(Debug, Clone)]
pub enum Action<'a> {
    /// A scalar or a list.
    Set(ValueRef<'a>),
    /// An empty map in place of what was there; its members follow as operations of their own.
    SetMap,
    Delete,
    Increment(i64),
    Append(Elements<'a>),
    /// A map, beside what is there.
    Map,
}

/// Whose change it is and what came before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub doc: [u8; 16],
    pub replica: Key,
    /// Sequence number of its first operation.
    pub seq0: u32,
    /// How many operations it has.
    pub n: u32,
    pub prev: Option<Cid>,
    /// Sorted by bytes, each once, without `prev`.
    pub deps: Vec<Cid>,
    /// The id of the operation that its transaction was.
    pub op: Option<Box<[u8]>>,
    pub cid: Cid,
}

/// A change whose body was checked wholly. Its signature was not: [`Change::verify_all`].
#[derive(Clone, Debug)]
pub struct Change {
    pub header: Header,
    pub body: Arc<[u8]>,
    pub signature: [u8; 64],
    layout: Layout,
}

impl Change {
    /// Check a body, all of it but the signature: the one spelling of its fields and columns, its
    /// bounds, its paths and values.
    ///
    /// Work and memory are bounded by the size of the body, which is bounded.
    pub fn decode(body: &[u8], signature: [u8; 64]) -> Result<Self, ChangeError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(ChangeError::TooLong);
        }
        let (header, columns) = read_body(body)?;
        let layout = check_columns(body, columns, header.n)?;
        Ok(Self {
            header: Header {
                cid: digest(body),
                ..header
            },
            body: body.into(),
            signature,
            layout,
        })
    }

    /// Sign a change that was made here.
    #[must_use]
    pub fn sign(seed: &[u8; 32], cid: &Cid) -> [u8; 64] {
        signature::sign(seed, &signed_message(cid))
    }

    /// Whether each signature is its replica's, by the strict rules, on all cores.
    #[must_use]
    pub fn verify_all(changes: &[Self]) -> Vec<bool> {
        let message = |change: &Self| signed_message(&change.header.cid);
        let messages: Vec<_> = changes.iter().map(message).collect();
        let claim = |(change, message)| claim(change, message);
        let claims: Vec<_> = changes.iter().zip(&messages).map(claim).collect();
        signature::verify_all(&claims)
    }

    /// Each path: the number of the path above it (0 the root, else an earlier index + 1) and its
    /// last part.
    pub fn paths(&self) -> impl Iterator<Item = (u32, &str)> {
        Paths::new(&self.body, &self.layout)
    }

    /// Each operation: the number of its path (0 the root, else index + 1) and what it does there.
    /// Allocates nothing.
    pub fn ops(&self) -> impl Iterator<Item = (u32, Action<'_>)> {
        Ops::new(&self.body, &self.layout, self.header.n)
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }
}

fn claim<'a>(change: &'a Change, message: &'a [u8; MESSAGE_BYTES]) -> signature::Claim<'a> {
    (&change.header.replica, message, &change.signature)
}

/// What a replica signs of a change.
#[must_use]
pub fn signed_message(cid: &Cid) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    let (prefix, rest) = message.split_at_mut(SIGNED_PREFIX.len());
    prefix.copy_from_slice(&SIGNED_PREFIX);
    rest[..4].copy_from_slice(&CID_PREFIX);
    rest[4..].copy_from_slice(cid);
    message
}

/// The fields of a body around its columns.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    pub doc: [u8; 16],
    pub replica: Key,
    pub seq0: u32,
    pub prev: Option<Cid>,
    /// Sorted by bytes, each once, without `prev`.
    pub deps: &'a [Cid],
    pub op: Option<&'a [u8]>,
}

impl Origin<'_> {
    /// What a body has at most beside the content of its columns.
    #[must_use]
    pub fn bytes_max(deps: usize, op: usize) -> usize {
        160 + 41 * deps + if op == 0 { 0 } else { op + 5 }
    }

    /// The body of a change with these columns.
    #[must_use]
    pub(super) fn body(&self, n: u32, columns: &[u8]) -> Vec<u8> {
        let op = self.op.map_or(0, <[u8]>::len);
        let bytes = Self::bytes_max(self.deps.len(), op) + columns.len();
        let mut out = Writer::with_capacity(bytes);
        out.map(if self.op.is_some() { 9 } else { 8 });
        out.text("n");
        out.unsigned(u64::from(n));
        out.raw(b"\x61v\x01");
        if let Some(op) = self.op {
            out.text("op");
            out.bytes(op);
        }
        out.text("doc");
        out.bytes(&self.doc);
        out.text("deps");
        out.array(self.deps.len());
        self.deps.iter().for_each(|dep| write_link(&mut out, dep));
        out.text("prev");
        match &self.prev {
            Some(prev) => write_link(&mut out, prev),
            None => out.null(),
        }
        out.text("seq0");
        out.unsigned(u64::from(self.seq0));
        out.text("columns");
        out.bytes(columns);
        out.text("replica");
        out.bytes(&self.replica);
        out.into_bytes()
    }
}

pub(super) fn write_link(out: &mut Writer, cid: &Cid) {
    out.link(&cid_bytes(CID_PREFIX, cid));
}

/// The bytes of a CID that begins like this, as [`CID_PREFIX`] is how one of a change does.
#[must_use]
pub fn cid_bytes(prefix: [u8; 4], digest: &Cid) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[..4].copy_from_slice(&prefix);
    bytes[4..].copy_from_slice(digest);
    bytes
}

/// The digest of the CID of a change; none of other bytes.
#[must_use]
pub fn parse_change_cid(cid: &[u8]) -> Option<Cid> {
    cid.strip_prefix(&CID_PREFIX)?.try_into().ok()
}

/// The fields of a body, checked, and its columns, unchecked. The CID is left zero.
fn read_body(body: &[u8]) -> Result<(Header, &[u8]), ChangeError> {
    let mut reader = Reader::new(body);
    let fields = match reader.item()? {
        Item::Map(fields @ (8 | 9)) => fields,
        _ => return Err(ChangeError::Field("a change is a map of 8 or 9 fields")),
    };
    let n = read_u32(&mut reader, b"\x61n")?;
    if n as usize > OPS_MAX {
        return Err(ChangeError::TooMany);
    }
    check_version(&mut reader)?;
    let op = if fields == 9 {
        Some(read_op(&mut reader)?)
    } else {
        None
    };
    let doc = read_fixed(&mut reader, b"\x63doc")?;
    let deps = read_deps(&mut reader)?;
    let prev = read_prev(&mut reader)?;
    let seq0 = read_u32(&mut reader, b"\x64seq0")?;
    let Item::Bytes(columns) = field(&mut reader, b"\x67columns")? else {
        return Err(ChangeError::Field("the columns are no bytes"));
    };
    let replica = read_fixed(&mut reader, b"\x67replica")?;
    reader.finish()?;
    let header = Header {
        doc,
        replica,
        seq0,
        n,
        prev,
        deps,
        op,
        cid: [0; 32],
    };
    check_order(&header)?;
    Ok((header, columns))
}

fn check_version(reader: &mut Reader<'_>) -> Result<(), ChangeError> {
    match field(reader, b"\x61v")? {
        Item::Unsigned(1) => Ok(()),
        Item::Unsigned(version) => Err(ChangeError::Version(version)),
        _ => Err(ChangeError::Field("the version is no number")),
    }
}

/// What can be said of a change's place without the changes before it.
fn check_order(header: &Header) -> Result<(), ChangeError> {
    if header.seq0.checked_add(header.n).is_none() {
        return Err(ChangeError::Field("more operations than a line can have"));
    }
    if header.prev.is_none() && header.seq0 != 0 {
        return Err(ChangeError::Field("the first change of a line begins at 0"));
    }
    if !header.deps.is_sorted_by(|left, right| left < right) {
        return Err(ChangeError::Field(
            "deps are not sorted, or one is there twice",
        ));
    }
    match header.prev {
        Some(prev) if header.deps.binary_search(&prev).is_ok() => {
            Err(ChangeError::Field("prev is among the deps"))
        }
        _ => Ok(()),
    }
}

fn field<'a>(reader: &mut Reader<'a>, key: &[u8]) -> Result<Item<'a>, ChangeError> {
    if !reader.skip_exact(key) {
        return Err(ChangeError::Field(
            "a field is missing, unknown, or in another place",
        ));
    }
    Ok(reader.item()?)
}

fn read_u32(reader: &mut Reader<'_>, key: &[u8]) -> Result<u32, ChangeError> {
    match field(reader, key)? {
        Item::Unsigned(value) => u32::try_from(value).ok(),
        _ => None,
    }
    .ok_or(ChangeError::Field("a number that is none, or too great"))
}

fn read_fixed<const N: usize>(reader: &mut Reader<'_>, key: &[u8]) -> Result<[u8; N], ChangeError> {
    match field(reader, key)? {
        Item::Bytes(bytes) => bytes.try_into().ok(),
        _ => None,
    }
    .ok_or(ChangeError::Field("a field of another type or length"))
}

fn read_op(reader: &mut Reader<'_>) -> Result<Box<[u8]>, ChangeError> {
    match field(reader, b"\x62op")? {
        Item::Bytes(op) if (1..=OP_BYTES_MAX).contains(&op.len()) => Ok(op.into()),
        _ => Err(ChangeError::Field("an operation id has 1 to 64 bytes")),
    }
}

fn read_deps(reader: &mut Reader<'_>) -> Result<Vec<Cid>, ChangeError> {
    let count = match field(reader, b"\x64deps")? {
        Item::Array(count) if count <= DEPS_MAX => count,
        _ => return Err(ChangeError::Field("deps are a list of at most 1,024 links")),
    };
    (0..count).map(|_| change_link(reader.item()?)).collect()
}

fn read_prev(reader: &mut Reader<'_>) -> Result<Option<Cid>, ChangeError> {
    match field(reader, b"\x64prev")? {
        Item::Null => Ok(None),
        link => change_link(link).map(Some),
    }
}

/// A link to a change: no other hash and no other codec can name one.
fn change_link(item: Item<'_>) -> Result<Cid, ChangeError> {
    match item {
        Item::Link(cid) => parse_change_cid(cid),
        _ => None,
    }
    .ok_or(ChangeError::Field("not a link to a change"))
}
