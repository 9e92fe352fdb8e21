//! Columns of text: plain, and as numbers into a dictionary.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType};

use crate::error::{ExportError, Result};
use crate::interner::Interner;
use crate::text::id_text;

/// Bytes of text in one column of one batch: Arrow's 32-bit offsets end at 2 GiB.
const TEXT_BYTES_MAX: usize = 1 << 30;
/// Bytes of a dictionary that is kept from batch to batch.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// How a column of names is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A dictionary for each batch: memory does not grow.
    PerBatch,
    /// One dictionary, which only grows: what a file of Arrow can have. Bounded.
    Kept,
    /// No dictionary.
    Plain,
}

impl Layout {
    pub fn data_type(self) -> DataType {
        match self {
            Self::PerBatch | Self::Kept => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
            Self::Plain => DataType::Utf8,
        }
    }
}

/// A column of names: few of them are different.
pub struct Names {
    layout: Layout,
    interner: Interner,
    kept: Option<ArrayRef>,
    numbers: Vec<i32>,
    missing: Vec<u32>,
    plain: Texts,
}

impl Names {
    pub fn new(layout: Layout, optional: bool) -> Self {
        Self {
            layout,
            interner: Interner::default(),
            kept: None,
            numbers: Vec::new(),
            missing: Vec::new(),
            plain: Texts::new(optional),
        }
    }

    #[inline]
    pub fn push(&mut self, name: Option<&[u8]>) -> Result<()> {
        if self.layout == Layout::Plain {
            self.plain.bytes.extend_from_slice(name.unwrap_or_default());
            return self.plain.end(name.is_some());
        }
        let number = match name {
            Some(name) => self.interner.number(name) as i32,
            None => {
                self.missing.push(self.numbers.len() as u32);
                0
            }
        };
        self.numbers.push(number);
        Ok(())
    }

    /// As `push`, of the text of an id, which is made once for each dictionary.
    #[inline]
    pub fn push_id(&mut self, id: &[u8; 16]) -> Result<()> {
        if self.layout == Layout::Plain {
            self.plain.bytes.extend_from_slice(&id_text(id));
            return self.plain.end(true);
        }
        self.push(Some(id))
    }

    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.finish_with(|out, name| out.extend_from_slice(name))
    }

    pub fn finish_ids(&mut self) -> Result<ArrayRef, ArrowError> {
        self.finish_with(|out, id| {
            let id = id.first_chunk().map(id_text).unwrap_or_default();
            out.extend_from_slice(&id);
        })
    }

    fn finish_with(&mut self, write: impl Fn(&mut Vec<u8>, &[u8])) -> Result<ArrayRef, ArrowError> {
        if self.layout == Layout::Plain {
            return self.plain.finish();
        }
        let rows = self.numbers.len();
        let numbers = std::mem::replace(&mut self.numbers, Vec::with_capacity(rows));
        let numbers = Int32Array::new(numbers.into(), self.missing(rows));
        let names = self.dictionary(write)?;
        let array = DictionaryArray::<Int32Type>::try_new(numbers, names)?;
        Ok(Arc::new(array))
    }

    fn dictionary(&mut self, write: impl Fn(&mut Vec<u8>, &[u8])) -> Result<ArrayRef, ArrowError> {
        let same = |kept: &&ArrayRef| kept.len() == self.interner.len();
        if let Some(kept) = self.kept.as_ref().filter(same) {
            return Ok(kept.clone());
        }
        let mut texts = Texts::new(false);
        for name in self.interner.texts() {
            write(&mut texts.bytes, name);
            texts.ends.push(texts.bytes.len() as i32);
        }
        if self.layout == Layout::PerBatch {
            self.interner.clear();
            return texts.finish();
        }
        if texts.bytes.len() > KEPT_BYTES_MAX {
            return Err(ArrowError::InvalidArgumentError(
                "too many different names for one dictionary; a stream or Parquet has no such bound"
                    .into(),
            ));
        }
        let names = texts.finish()?;
        self.kept = Some(names.clone());
        Ok(names)
    }

    fn missing(&mut self, rows: usize) -> Option<NullBuffer> {
        if self.missing.is_empty() {
            return None;
        }
        let mut set = BooleanBufferBuilder::new(rows);
        set.append_n(rows, true);
        for row in self.missing.drain(..) {
            set.set_bit(row as usize, false);
        }
        Some(NullBuffer::new(set.finish()))
    }
}

/// A column of texts.
pub struct Texts {
    /// Where the next text is appended.
    pub bytes: Vec<u8>,
    ends: Vec<i32>,
    /// Which are there; of a column without this, all.
    set: Option<BooleanBufferBuilder>,
}

impl Texts {
    pub fn new(optional: bool) -> Self {
        Self {
            bytes: Vec::new(),
            ends: vec![0],
            set: optional.then(|| BooleanBufferBuilder::new(0)),
        }
    }

    /// What was appended to `bytes` since is a text, or there is none.
    #[inline]
    pub fn end(&mut self, is_set: bool) -> Result<()> {
        if self.bytes.len() > TEXT_BYTES_MAX {
            return Err(ExportError::Invalid(
                "one commit has more text than a batch can hold".into(),
            ));
        }
        self.ends.push(self.bytes.len() as i32);
        if let Some(set) = &mut self.set {
            set.append(is_set);
        }
        Ok(())
    }

    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let (rows, bytes) = (self.ends.len(), self.bytes.len());
        let mut ends = Vec::with_capacity(rows);
        ends.push(0);
        let ends = OffsetBuffer::new(std::mem::replace(&mut self.ends, ends).into());
        let text = std::mem::replace(&mut self.bytes, Vec::with_capacity(bytes));
        let set = self.set.as_mut().and_then(nulls);
        let array = StringArray::try_new(ends, Buffer::from_vec(text), set)?;
        Ok(Arc::new(array))
    }
}

/// The rows that are set, unless all are.
pub fn nulls(set: &mut BooleanBufferBuilder) -> Option<NullBuffer> {
    Some(NullBuffer::new(set.finish())).filter(|nulls| nulls.null_count() > 0)
}
