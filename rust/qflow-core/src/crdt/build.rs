//! Building one change, operation by operation.

use hashbrown::HashTable;

use super::change::{Action, BODY_BYTES_MAX, ChangeError, OPS_MAX, Origin};
use super::change_check::hash_part;
use super::columns::{Columns, kind};
use super::path::{Bounds, PathError};
use super::value::{Elements, ValueRef};

/// A path that was named, whether or not an operation used it.
#[derive(Clone, Copy)]
struct Named {
    parent: u32,
    from: u32,
    len: u32,
    bounds: Bounds,
    /// Its number in the change; 0 before an operation used it or something beneath it.
    number: u32,
}

/// One change that grows. Paths that no operation uses are left out of it.
pub struct Builder {
    key: u64,
    named: Vec<Named>,
    parts: String,
    index: HashTable<u32>,
    columns: Columns,
}

impl Builder {
    /// `key` keeps whoever chooses the names from choosing how they fall in a hash table.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self {
            key,
            named: Vec::new(),
            parts: String::new(),
            index: HashTable::new(),
            columns: Columns::default(),
        }
    }

    /// Forget everything and keep the memory.
    pub fn clear(&mut self) {
        self.named.clear();
        self.parts.clear();
        self.index.clear();
        self.columns.clear();
    }

    /// Operations so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.kinds.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.kinds.is_empty()
    }

    /// Bytes of the columns so far, at most: the body has these and [`Origin::bytes_max`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.columns.bytes_max()
    }

    /// A name for the path one part below another (0 is the root), valid until `clear`.
    ///
    /// The part is checked, and the length of the whole path.
    pub fn path(&mut self, parent: u32, part: &str) -> Result<u32, PathError> {
        let hash = hash_part(self.key, parent, part);
        let known = self.index.find(hash, |at| {
            let named = &self.named[*at as usize];
            named.parent == parent && self.parts[named.range()] == *part
        });
        if let Some(at) = known {
            return Ok(at + 1);
        }
        let mut bounds = match parent.checked_sub(1) {
            Some(at) => self.named[at as usize].bounds,
            None => Bounds::default(),
        };
        bounds.enter(part)?;
        let at = self.named.len() as u32;
        self.named.push(Named {
            parent,
            from: self.parts.len() as u32,
            len: part.len() as u32,
            bounds,
            number: 0,
        });
        self.parts.push_str(part);
        let (named, parts, key) = (&self.named, &self.parts, self.key);
        self.index.insert_unique(hash, at, |at| {
            let named = &named[*at as usize];
            hash_part(key, named.parent, &parts[named.range()])
        });
        Ok(at + 1)
    }

    /// Add an operation at a path that `path` named, or at the root (0), where only a map is made.
    ///
    /// Refused, and nothing is added, when the change is full. Values were checked by whoever made
    /// them.
    pub fn push(&mut self, path: u32, action: Action<'_>) -> Result<(), ChangeError> {
        if self.len() >= OPS_MAX {
            return Err(ChangeError::TooMany);
        }
        if path == 0 && !matches!(action, Action::Map) {
            return Err(ChangeError::Columns("the root is always a map"));
        }
        let place = self.number(path);
        self.columns.places.push(place);
        match action {
            Action::Set(value) => self.value(0, value),
            Action::SetMap => self.columns.kinds.push(kind::SET_MAP),
            Action::Delete => self.columns.kinds.push(kind::DELETE),
            Action::Increment(by) => {
                self.columns.kinds.push(kind::INCREMENT);
                self.columns.ints.push(by);
            }
            Action::Append(elements) => self.append(&elements),
            Action::Map => self.columns.kinds.push(kind::MAKE_MAP),
        }
        Ok(())
    }

    /// The body. Refused when it would have more than 64 KiB.
    pub fn finish(&self, origin: &Origin<'_>) -> Result<Vec<u8>, ChangeError> {
        let mut columns = Vec::with_capacity(self.bytes());
        self.columns.write(&mut columns);
        let body = origin.body(self.len() as u32, &columns);
        if body.len() > BODY_BYTES_MAX {
            return Err(ChangeError::TooLong);
        }
        Ok(body)
    }

    /// The number of a path in the change, which it is given with its first operation, after the
    /// paths above it.
    fn number(&mut self, path: u32) -> u32 {
        let Some(at) = path.checked_sub(1) else {
            return 0;
        };
        let named = self.named[at as usize];
        if named.number != 0 {
            return named.number;
        }
        let parent = self.number(named.parent);
        self.columns.parents.push(parent);
        self.columns.key_lens.push(named.len);
        let part = &self.parts[named.range()];
        self.columns.keys.extend_from_slice(part.as_bytes());
        let number = self.columns.parents.len() as u32;
        self.named[at as usize].number = number;
        number
    }

    fn append(&mut self, elements: &Elements<'_>) {
        match elements.whole() {
            Ok(value) => self.value(kind::APPEND, value),
            Err(list) => self.blob(kind::APPEND_LIST, list),
        }
    }

    fn value(&mut self, base: u8, value: ValueRef<'_>) {
        let kind = match value {
            ValueRef::Null => kind::NULL,
            ValueRef::Bool(false) => kind::FALSE,
            ValueRef::Bool(true) => kind::TRUE,
            ValueRef::Int(value) => {
                self.columns.ints.push(value);
                kind::INT
            }
            ValueRef::Float(value) => {
                self.columns.floats.extend_from_slice(&value.to_be_bytes());
                kind::FLOAT
            }
            ValueRef::Text(text) => {
                self.columns.text_lens.push(text.len() as u32);
                self.columns.texts.extend_from_slice(text.as_bytes());
                kind::TEXT
            }
            ValueRef::Bytes(bytes) => return self.blob(base + kind::BYTES, bytes),
            ValueRef::Link(bytes) => return self.blob(base + kind::LINK, bytes),
            ValueRef::List(bytes) => return self.blob(base + kind::LIST, bytes),
            ValueRef::Map(bytes) => return self.blob(base + kind::MAP, bytes),
        };
        self.columns.kinds.push(base + kind);
    }

    fn blob(&mut self, kind: u8, bytes: &[u8]) {
        self.columns.kinds.push(kind);
        self.columns.blob_lens.push(bytes.len() as u32);
        self.columns.blobs.extend_from_slice(bytes);
    }
}

impl Named {
    fn range(&self) -> std::ops::Range<usize> {
        self.from as usize..(self.from + self.len) as usize
    }
}
