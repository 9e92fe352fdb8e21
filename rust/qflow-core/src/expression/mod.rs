//! Runtime expressions: jq by jaq, bounded in steps, memory and output.
//!
//! docs/decisions/0002-expressions-by-jaq-with-fuel.md says how, and what differs from jq.

mod budget;
mod compare;
mod data;
mod json;
mod natives;
mod operators;
mod path;
mod program;
mod regex;
mod value;
mod walk;

pub use budget::Overrun;
pub use value::{Map, Text, Value};

use jaq_core::{Ctx, Vars};

use budget::{Place, metered};
use data::{Data, Kind};
use program::Program;

/// Bytes of the source of an expression.
pub const SOURCE_BYTES_MAX: usize = 16 << 10;

/// Terms of a source within each other.
pub const SOURCE_DEPTH_MAX: usize = 256;

/// Steps of one evaluation. Memory costs fuel too, one unit for 16 bytes at most.
pub const FUEL_MAX: u64 = 2_000_000;

/// Contexts alive at once: what jaq keeps of generators that it has not finished.
pub const LIVE_CONTEXTS_MAX: u32 = 50_000;

/// Steps within each other.
pub const NESTING_MAX: u32 = 2_000;

/// Native stack of one evaluation: a second net below `NESTING_MAX`.
pub const STACK_BYTES_MAX: usize = 4 << 20;

/// Stack for compiling: a source of `SOURCE_BYTES_MAX` can nest by each byte before it is measured.
const COMPILING_STACK_BYTES: usize = 64 << 20;

/// Letters of a source that an error message shows.
const SHOWN_MAX: usize = 200;

/// An expression was refused, failed, or went over a bound. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionError(String);

impl ExpressionError {
    /// `at` is a part of `source`.
    fn refused(source: &str, at: &str, what: String) -> Self {
        let from = (at.as_ptr() as usize).wrapping_sub(source.as_ptr() as usize);
        let before = source.get(..from).unwrap_or("");
        let (line, column) = match before.rsplit_once('\n') {
            Some((lines, last)) => (lines.matches('\n').count() + 2, last.chars().count() + 1),
            None => (1, before.chars().count() + 1),
        };
        Self(format!("{}, line {line}, column {column}: {what}", quoted(source)))
    }

    fn failed(source: &str, what: &impl std::fmt::Display) -> Self {
        Self(format!("{}: {what}", quoted(source)))
    }
}

fn quoted(source: &str) -> String {
    let shown: String = source.chars().take(SHOWN_MAX).collect();
    let rest = if shown.len() < source.len() { "..." } else { "" };
    format!("the expression `{shown}{rest}`")
}

/// A compiled expression.
pub struct Expression {
    source: String,
    program: Program,
}

impl Expression {
    /// Compile a source. `scope` has the names of variables that it may read, without `$`.
    pub fn new(source: &str, scope: &[String]) -> Result<Self, ExpressionError> {
        // The parser and the compiler recurse, and a source from outside says how deep.
        let compiled = std::thread::scope(|threads| {
            std::thread::Builder::new()
                .stack_size(COMPILING_STACK_BYTES)
                .spawn_scoped(threads, || program::compile(source, scope))
                .map(|thread| thread.join())
        });
        let program = match compiled {
            Ok(Ok(program)) => program?,
            Ok(Err(_)) => {
                return Err(ExpressionError::failed(source, &"it cannot be compiled"));
            }
            Err(why) => return Err(ExpressionError::failed(source, &why)),
        };
        Ok(Self { source: source.to_owned(), program })
    }

    /// Names of the variables that the source reads, without `$`.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.program.variables
    }

    /// The first output, or None when there is none. `variables` are in the order of the names.
    ///
    /// The same input gives the same answer on every machine, and so does an overrun.
    pub fn evaluate(
        &self,
        value: Value,
        variables: Vec<Value>,
    ) -> Result<Option<Value>, ExpressionError> {
        let filter = &self.program.filter;
        let first = metered(|| {
            let data = Data { lut: &filter.lut, place: Place::start() };
            let context = Ctx::<Kind>::new(data, Vars::new(variables));
            let first = filter.id.run((context, value)).next()?;
            Some(first.map_err(|raised| match raised.get_err() {
                Ok(raised) => raised.to_string(),
                Err(_) => "it breaks out of itself".to_owned(),
            }))
        });
        match first {
            Ok(first) => first.transpose().map_err(|raised| self.failed(&raised)),
            Err(bound) => Err(self.failed(&bound)),
        }
    }

    fn failed(&self, what: &impl std::fmt::Display) -> ExpressionError {
        ExpressionError::failed(&self.source, what)
    }
}
