//! Runtime expressions: jq by jaq, bounded in steps, memory and output.
//!
//! docs/decisions/0002-expressions-by-jaq-with-fuel.md says how, and what differs from jq.

mod budget;
mod compare;
mod data;
mod json;
mod map;
mod natives;
mod operators;
mod path;
mod program;
mod reads;
mod regex;
mod value;
mod walk;

pub use budget::Overrun;
pub use map::Map;
pub use reads::Read;
pub use value::{Text, Value};

use jaq_core::{Ctx, Vars};

use budget::{Place, metered};
use data::{Data, Kind};
use std::sync::OnceLock;

use program::{Form, Program};

/// Bytes of the source of an expression.
pub const SOURCE_BYTES_MAX: usize = 16 << 10;

/// Words and signs of a source.
pub const TOKENS_MAX: usize = 4_096;

/// Terms of a source within each other.
pub const SOURCE_DEPTH_MAX: usize = 256;

/// Steps of one evaluation: half a second at most.
pub const FUEL_MAX: u64 = 2_000_000;

/// Bytes that one evaluation allocates for values, counting those that it frees again.
pub const ALLOCATED_BYTES_MAX: u64 = 48 << 20;

/// Contexts alive at once: what jaq keeps of generators that it has not finished.
pub const LIVE_CONTEXTS_MAX: u32 = 50_000;

/// Steps within each other.
pub const NESTING_MAX: u32 = 1_200;

/// Native stack of one evaluation, which must fit the smallest that a thread of a library has.
pub const STACK_BYTES_MAX: usize = 1_280 << 10;

/// Stack for compiling: the parser takes some of it for each of `TOKENS_MAX`.
const COMPILING_STACK_BYTES: usize = 16 << 20;

/// A source that is too short to need that much is compiled at once.
const SHORT_SOURCE_BYTES: usize = 256;

/// Letters of a source, or of what it raised, that an error message shows.
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
        Self(format!(
            "{}, line {line}, column {column}: {what}",
            quoted(source)
        ))
    }

    fn failed(source: &str, what: &impl std::fmt::Display) -> Self {
        Self(format!("{}: {what}", quoted(source)))
    }
}

fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN_MAX).collect();
    let rest = if start.len() < text.len() { "..." } else { "" };
    format!("{start}{rest}")
}

fn quoted(source: &str) -> String {
    format!("the expression `{}`", shown(source))
}

fn compile(source: &str, scope: &[String], form: Form) -> Result<Program, ExpressionError> {
    if source.len() <= SHORT_SOURCE_BYTES {
        program::compile(source, scope, form)
    } else {
        compile_apart(source, scope, form)
    }
}

/// The parser and the compiler recurse, and a source from outside says how deep.
fn compile_apart(source: &str, scope: &[String], form: Form) -> Result<Program, ExpressionError> {
    let failed = || ExpressionError::failed(source, &"there is no memory to compile it");
    std::thread::scope(|threads| {
        let thread = std::thread::Builder::new().stack_size(COMPILING_STACK_BYTES);
        let thread = thread.spawn_scoped(threads, || program::compile(source, scope, form));
        thread.map_err(|_| failed())?.join().map_err(|_| failed())?
    })
}

/// A compiled expression.
///
/// It asks for the parts of its input and variables that it reads (`reads`). Where one of them
/// cannot be reached, `whole` is a program that takes everything, and so says what jq says of it.
pub struct Expression {
    source: String,
    scope: Vec<String>,
    program: Program,
    whole: OnceLock<Result<Program, ExpressionError>>,
}

/// What an evaluation works on: the values that were asked for, in that order.
pub enum Inputs {
    Parts {
        input: Option<Value>,
        reads: Vec<Value>,
    },
    Whole {
        input: Value,
        variables: Vec<Value>,
    },
}

impl Expression {
    /// Compile a source. `scope` has the names of variables that it may read, without `$`.
    pub fn new(source: &str, scope: &[String]) -> Result<Self, ExpressionError> {
        Ok(Self {
            source: source.to_owned(),
            scope: scope.to_vec(),
            program: compile(source, scope, Form::Parts)?,
            whole: OnceLock::new(),
        })
    }

    /// Names of the variables that the source reads, without `$`.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.program.variables
    }

    /// What `Inputs::Parts` must have. A key of null is null, and one that an object lacks is too.
    #[must_use]
    pub fn reads(&self) -> &[Read] {
        &self.program.reads
    }

    /// Whether `Inputs::Parts` must have the input as a whole.
    #[must_use]
    pub fn reads_input(&self) -> bool {
        self.program.input
    }

    /// Whether the answer is the first read as it is, so that nothing need be evaluated.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.program.is_read
    }

    /// The first output, or None when there is none.
    ///
    /// The same values give the same answer on every machine, and so does an overrun.
    pub fn evaluate(&self, inputs: Inputs) -> Result<Option<Value>, ExpressionError> {
        let (program, input, variables) = match inputs {
            Inputs::Parts { input, reads } => (&self.program, input.unwrap_or_default(), reads),
            Inputs::Whole { input, variables } => {
                let whole = || compile(&self.source, &self.scope, Form::Whole);
                let program = self
                    .whole
                    .get_or_init(whole)
                    .as_ref()
                    .map_err(Clone::clone)?;
                (program, input, variables)
            }
        };
        let filter = &program.filter;
        let first = metered(|| {
            let data = Data {
                lut: &filter.lut,
                place: Place::start(),
            };
            let context = Ctx::<Kind>::new(data, Vars::new(variables));
            let first = filter.id.run((context, input)).next()?;
            Some(first.map_err(raised))
        });
        match first {
            Ok(first) => first.transpose().map_err(|why| self.failed(&why)),
            Err(bound) => Err(self.failed(&bound)),
        }
    }

    fn failed(&self, what: &impl std::fmt::Display) -> ExpressionError {
        ExpressionError::failed(&self.source, what)
    }
}

/// What jq raised, as a text.
fn raised(exception: jaq_core::Exn<Value>) -> String {
    match exception.get_err().map(jaq_core::Error::into_val) {
        Ok(Value::Text(text)) => shown(&text),
        Ok(other) => other.to_string(),
        Err(_) => "it breaks out of itself".to_owned(),
    }
}
