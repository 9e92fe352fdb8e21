//! Rows as Arrow columns, and the batches that they make.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch, TimestampMillisecondArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use qflow_core::chain::RawView;

use crate::error::Result;
use crate::scan::Sink;
use crate::text::push_cid;
use crate::texts::{Layout, Names, Texts, nulls};
use crate::value::push_value;

/// What becomes of the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Somebody takes them one by one.
    Stream,
    /// A file of Arrow, in which a dictionary can grow and not change: names of which there may be
    /// many are plain.
    File,
}

impl Target {
    fn few(self) -> Layout {
        match self {
            Self::Stream => Layout::PerBatch,
            Self::File => Layout::Kept,
        }
    }

    fn many(self) -> Layout {
        match self {
            Self::Stream => Layout::PerBatch,
            Self::File => Layout::Plain,
        }
    }
}

/// The columns of an export.
#[must_use]
pub fn schema(target: Target, contents: bool) -> SchemaRef {
    let (few, many) = (target.few().data_type(), target.many().data_type());
    let at = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("index", DataType::Int64, false),
        Field::new("chain", many.clone(), false),
        Field::new("seq", DataType::Int64, false),
        Field::new("prev", DataType::FixedSizeBinary(32), false),
        Field::new("type", few.clone(), false),
        Field::new("flow", few.clone(), false),
        Field::new("step", many.clone(), true),
        Field::new("attempt", DataType::Int64, true),
        Field::new("at", at, false),
        Field::new("actor", many, false),
        Field::new("node", few.clone(), false),
        Field::new("subnet", few, false),
        Field::new("epoch", DataType::Int64, false),
        Field::new("payload", DataType::Utf8, true),
        Field::new("meta", DataType::Utf8, false),
    ];
    if contents {
        fields.push(Field::new("content", DataType::Utf8, true));
    }
    Arc::new(Schema::new(fields))
}

/// The columns of the batch that is being made.
pub struct Columns {
    schema: SchemaRef,
    index: Vec<i64>,
    chain: Names,
    seq: Vec<i64>,
    prev: Vec<u8>,
    kind: Names,
    flow: Names,
    step: Names,
    attempt: Vec<i64>,
    attempt_set: BooleanBufferBuilder,
    at: Vec<i64>,
    actor: Names,
    node: Names,
    subnet: Names,
    epoch: Vec<i64>,
    payload: Texts,
    meta: Texts,
    content: Option<Texts>,
}

impl Columns {
    #[must_use]
    pub fn new(target: Target, contents: bool) -> Self {
        let (few, many) = (target.few(), target.many());
        Self {
            schema: schema(target, contents),
            index: Vec::new(),
            chain: Names::new(many, false),
            seq: Vec::new(),
            prev: Vec::new(),
            kind: Names::new(few, false),
            flow: Names::new(few, false),
            step: Names::new(many, true),
            attempt: Vec::new(),
            attempt_set: BooleanBufferBuilder::new(0),
            at: Vec::new(),
            actor: Names::new(many, false),
            node: Names::new(few, false),
            subnet: Names::new(few, false),
            epoch: Vec::new(),
            payload: Texts::new(true),
            meta: Texts::new(false),
            content: contents.then(|| Texts::new(true)),
        }
    }

    /// Rows that wait for `finish`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes of text that wait for `finish`.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let content = self.content.as_ref().map_or(0, |texts| texts.bytes.len());
        self.meta.bytes.len() + self.payload.bytes.len() + content
    }

    /// The batch of the rows so far; the columns begin anew.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = self.len();
        let chain = self.chain.finish_ids()?;
        let prev = Buffer::from_vec(std::mem::take(&mut self.prev));
        let attempt = Int64Array::new(take(&mut self.attempt, rows), nulls(&mut self.attempt_set));
        let at = TimestampMillisecondArray::new(take(&mut self.at, rows), None);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::new(take(&mut self.index, rows), None)),
            chain,
            Arc::new(Int64Array::new(take(&mut self.seq, rows), None)),
            Arc::new(FixedSizeBinaryArray::try_new(32, prev, None)?),
            self.kind.finish()?,
            self.flow.finish()?,
            self.step.finish()?,
            Arc::new(attempt),
            Arc::new(at.with_timezone("UTC")),
            self.actor.finish()?,
            self.node.finish()?,
            self.subnet.finish()?,
            Arc::new(Int64Array::new(take(&mut self.epoch, rows), None)),
            self.payload.finish()?,
            self.meta.finish()?,
        ];
        if let Some(content) = &mut self.content {
            columns.push(content.finish()?);
        }
        self.prev.reserve(rows * 32);
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

impl Sink for Columns {
    #[inline]
    fn meta(&mut self) -> &mut Vec<u8> {
        &mut self.meta.bytes
    }

    #[inline]
    fn row(&mut self, index: u64, record: &RawView<'_>, content: Option<&[u8]>) -> Result<()> {
        // Of a record's numbers none is above 2^63 - 1, nor is there a log with so many records.
        self.index.push(index as i64);
        self.chain.push_id(&record.chain)?;
        self.seq.push(record.seq as i64);
        self.prev.extend_from_slice(&record.prev);
        self.kind.push(Some(record.kind))?;
        self.flow.push(Some(record.flow))?;
        self.step.push(record.step)?;
        self.attempt.push(record.attempt.unwrap_or_default() as i64);
        self.attempt_set.append(record.attempt.is_some());
        self.at.push(record.at as i64);
        self.actor.push(Some(record.actor))?;
        self.node.push(Some(record.node))?;
        self.subnet.push(Some(record.subnet))?;
        self.epoch.push(record.epoch as i64);
        if let Some(cid) = record.payload {
            push_cid(&mut self.payload.bytes, cid);
        }
        self.payload.end(record.payload.is_some())?;
        self.meta.end(true)?;
        if let Some(texts) = &mut self.content {
            if let Some(content) = content {
                push_value(&mut texts.bytes, index, content)?;
            }
            texts.end(content.is_some())?;
        }
        Ok(())
    }
}

fn take(values: &mut Vec<i64>, rows: usize) -> ScalarBuffer<i64> {
    std::mem::replace(values, Vec::with_capacity(rows)).into()
}
