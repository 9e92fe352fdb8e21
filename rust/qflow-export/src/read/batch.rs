//! Reading rows back from Arrow batches.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field};

use super::cursor::{cid, id, value};
use crate::columns::{Target, schema};
use crate::error::{ExportError, Result};
use crate::parts::Parts;

/// The columns of one batch.
pub struct BatchRows<'a> {
    batch: &'a RecordBatch,
}

impl<'a> BatchRows<'a> {
    /// Take a batch that has the columns of an export, by name and type. Names may be plain.
    pub fn new(batch: &'a RecordBatch, contents: bool) -> Result<Self> {
        let (due, found) = (schema(Target::Stream, contents), batch.schema());
        let (due, found) = (due.fields(), found.fields());
        let same = |(due, found): (&Arc<Field>, &Arc<Field>)| {
            let (due_type, found_type) = (due.data_type(), found.data_type());
            let plain =
                matches!(due_type, DataType::Dictionary(..)) && *found_type == DataType::Utf8;
            due.name() == found.name() && (due_type == found_type || plain)
        };
        let is_export = due.len() == found.len() && due.iter().zip(found).all(same);
        if is_export {
            Ok(Self { batch })
        } else {
            Err(ExportError::Invalid(
                "the columns are not those of an export".into(),
            ))
        }
    }

    /// The row at a place of the batch.
    pub fn row(&self, row: usize) -> Result<Parts, String> {
        let number = |column: usize| self.number(column, row);
        let text = |column: usize| self.name(column, row);
        let at = self.set(8, row)?.as_primitive::<TimestampMillisecondType>();
        Ok(Parts {
            index: number(0)?.ok_or("no index")?,
            chain: id(text(1)?.ok_or("no chain")?.as_bytes())?,
            seq: number(2)?.ok_or("no seq")?,
            prev: self.hash(3, row)?,
            kind: text(4)?.ok_or("no type")?.to_owned(),
            flow: text(5)?.ok_or("no flow")?.to_owned(),
            step: text(6)?.map(str::to_owned),
            attempt: number(7)?,
            at: u64::try_from(at.value(row)).map_err(|_| "a time before 1970")?,
            actor: text(9)?.ok_or("no actor")?.to_owned(),
            node: text(10)?.ok_or("no node")?.to_owned(),
            subnet: text(11)?.ok_or("no subnet")?.to_owned(),
            epoch: number(12)?.ok_or("no epoch")?,
            payload: self
                .text(13, row)
                .map(|text| cid(text.as_bytes()))
                .transpose()?,
            meta: value(self.text(14, row).ok_or("no meta")?.as_bytes())?,
            content: self
                .text(15, row)
                .map(|text| value(text.as_bytes()))
                .transpose()?,
        })
    }

    fn set(&self, column: usize, row: usize) -> Result<&ArrayRef, String> {
        let array = self.batch.column(column);
        if array.is_valid(row) {
            Ok(array)
        } else {
            Err(format!("no {}", self.batch.schema().field(column).name()))
        }
    }

    fn number(&self, column: usize, row: usize) -> Result<Option<u64>, String> {
        let array = self.batch.column(column).as_primitive::<Int64Type>();
        let number = array.is_valid(row).then(|| u64::try_from(array.value(row)));
        number.transpose().map_err(|_| "a number below zero".into())
    }

    fn hash(&self, column: usize, row: usize) -> Result<[u8; 32], String> {
        let array = self.set(column, row)?.as_fixed_size_binary();
        let hash = array.value(row).try_into();
        hash.map_err(|_| "a hash that has not 32 bytes".into())
    }

    fn name(&self, column: usize, row: usize) -> Result<Option<&str>, String> {
        let Some(array) = self.batch.column(column).as_dictionary_opt::<Int32Type>() else {
            return Ok(self.text(column, row));
        };
        let Some(key) = array.key(row) else {
            return Ok(None);
        };
        let values = array.values().as_string::<i32>();
        if key < values.len() && values.is_valid(key) {
            Ok(Some(values.value(key)))
        } else {
            Err("a text that is not in its dictionary".into())
        }
    }

    fn text(&self, column: usize, row: usize) -> Option<&str> {
        let array = self.batch.columns().get(column)?.as_string::<i32>();
        array.is_valid(row).then(|| array.value(row))
    }
}
