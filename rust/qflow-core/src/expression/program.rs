//! From source to a program: parse, refuse, add what the source needs of the library, compile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use jaq_core::compile::Undefined;
use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};
use jaq_core::load::parse::{Def, Parser, Term};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Filter};

use super::data::Kind;
use super::reads::{Read, Reads};
use super::walk::{Name, depth, names, signature, wraps_itself};
use super::{ExpressionError, SOURCE_BYTES_MAX, SOURCE_DEPTH_MAX, TOKENS_MAX, natives};

/// Functions whose answer depends on the machine or the moment, or that reach out of the program.
const REFUSED: [&str; 18] = [
    "now",
    "input",
    "inputs",
    "input_line_number",
    "input_filename",
    "debug",
    "debug_empty",
    "stderr",
    "stderr_empty",
    "env",
    "halt",
    "halt_error",
    "localtime",
    "strflocaltime",
    "get_search_list",
    "modulemeta",
    "$ENV",
    "$__prog_args",
];

/// The name under which the source itself is defined.
const MAIN: &str = "qflow_main";

pub struct Program {
    pub filter: Filter<Kind>,
    /// Variables that the source reads, without `$`, in the order of the names in scope.
    pub variables: Vec<String>,
    /// What the program wants for its variables, in their order.
    pub reads: Vec<Read>,
    /// Whether it wants the input as a whole.
    pub input: bool,
    /// Whether the answer is the first of the reads, as it is.
    pub is_read: bool,
}

/// Whether a program may ask for parts of what it reads, or must have each as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Parts,
    Whole,
}

type Library = BTreeMap<(&'static str, usize), Def<&'static str>>;

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let ours = load::parse(include_str!("prelude.jq"), |parser| parser.defs());
        let jaq = jaq_core::defs().chain(jaq_std::defs());
        let jaq = jaq.filter(|def| !natives::is_ours(def.name, def.args.len()));
        // Later ones replace earlier ones of the same name.
        jaq.chain(ours.unwrap_or_default())
            .map(|def| (signature(&def), def))
            .collect()
    })
}

/// Compile a source. The parser recurses by up to `TOKENS_MAX` levels before any can be refused.
pub fn compile(source: &str, scope: &[String], form: Form) -> Result<Program, ExpressionError> {
    let mut main = accepted(source)?;
    let (named, functions) = mentioned(source, &main)?;
    let referred = scope
        .iter()
        .filter(|name| named.contains(&*format!("${name}")));
    let variables: Vec<String> = referred.cloned().collect();
    let whole = || {
        variables
            .iter()
            .map(|name| (format!("${name}"), Read::whole(name)))
    };
    let (globals, reads, input): (Vec<String>, Vec<Read>, bool) = match form {
        Form::Parts => {
            let reads = Reads::of(scope, &mut main);
            let named = reads
                .found
                .into_iter()
                .map(|(name, read)| (name.to_owned(), read));
            let (globals, found) = named.unzip();
            (globals, found, reads.input)
        }
        Form::Whole => {
            let (globals, found) = whole().unzip();
            (globals, found, true)
        }
    };
    let first = globals.first().map(String::as_str);
    let is_read = !input && matches!(&main, Term::Var(name) if first == Some(name));
    let filter = link(source, main, functions, &globals, scope)?;
    Ok(Program {
        filter,
        variables,
        reads,
        input,
        is_read,
    })
}

/// The syntax tree of a source, unless it is too large, too deep, or cannot be bounded.
fn accepted(source: &str) -> Result<Term<&str>, ExpressionError> {
    let refuse = |at: &str, what: String| Err(ExpressionError::refused(source, at, what));
    let too_deep = format!("it is nested more than {SOURCE_DEPTH_MAX} deep");
    if source.len() > SOURCE_BYTES_MAX {
        return refuse(
            source,
            format!("it is longer than {SOURCE_BYTES_MAX} bytes"),
        );
    }
    if brackets(source) > SOURCE_DEPTH_MAX {
        return refuse(source, too_deep);
    }
    let main = parse(source)?;
    if depth(&main) > SOURCE_DEPTH_MAX {
        return refuse(source, too_deep);
    }
    match wraps_itself(&main) {
        Some(name) => {
            let what = format!("{name} takes functions and calls itself; values it may take: $x");
            refuse(name, what)
        }
        None => Ok(main),
    }
}

/// The variables and functions that a source names; none of them refused.
#[allow(clippy::type_complexity)] // used once, right above
fn mentioned<'s>(
    source: &'s str,
    main: &Term<&'s str>,
) -> Result<(BTreeSet<&'s str>, BTreeSet<(&'s str, usize)>), ExpressionError> {
    let (mut variables, mut functions) = (BTreeSet::new(), BTreeSet::new());
    names(main, &mut |name| match name {
        Name::Variable(name) => drop(variables.insert(name)),
        Name::Function(name, arity) => drop(functions.insert((name, arity))),
    });
    for name in variables
        .iter()
        .chain(functions.iter().map(|(name, _)| name))
    {
        if REFUSED.contains(name) {
            let why = "its answer would not be the same when the history is replayed";
            let what = format!("{name} is not supported: {why}");
            return Err(ExpressionError::refused(source, name, what));
        }
    }
    Ok((variables, functions))
}

fn parse(source: &str) -> Result<Term<&str>, ExpressionError> {
    let unreadable = || ExpressionError::refused(source, source, "it cannot be read".to_owned());
    let mut tokens = Lexer::new(source)
        .lex()
        .map_err(|errors| match errors.first() {
            Some((expected, rest)) => {
                ExpressionError::refused(source, rest, format!("expected a {}", expected.as_str()))
            }
            None => unreadable(),
        })?;
    if normalise(&mut tokens) > TOKENS_MAX {
        let what = format!("it has more than {TOKENS_MAX} words and signs");
        return Err(ExpressionError::refused(source, source, what));
    }
    Parser::new(&tokens)
        .parse(|parser| parser.term())
        .map_err(|errors| {
            errors.first().map_or_else(unreadable, |(expected, found)| {
                let expected = match expected.as_str() {
                    "nothing" => "the end",
                    expected => expected,
                };
                match found {
                    Some(Token(found, _)) => {
                        let what = format!("expected {expected}, found {found:.40}");
                        ExpressionError::refused(source, found, what)
                    }
                    None => {
                        let what = format!("expected {expected} before the end");
                        ExpressionError::refused(source, &source[source.len()..], what)
                    }
                }
            })
        })
}

/// Brackets open at once, wherever they stand: the lexer recurses for each.
fn brackets(source: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// Spell `..` as the function that it stands for, and count the tokens.
///
/// jaq walks `..` by recursion within the iterator of each level, so that each value costs as many
/// steps as it is deep, and none of them are counted.
fn normalise(tokens: &mut [Token<&str>]) -> usize {
    let mut count = tokens.len();
    for Token(text, kind) in tokens {
        match kind {
            Tok::Sym if *text == ".." => (*text, *kind) = ("recurse", Tok::Word),
            Tok::Block(inner) => count += normalise(inner),
            Tok::Str(parts) => {
                for part in parts {
                    if let StrPart::Term(inner) = part {
                        count += normalise(std::slice::from_mut(inner));
                    }
                }
            }
            _ => {}
        }
    }
    count
}

/// Compile the source with the definitions that it reaches, and no others: programs are kept by the
/// thousand.
fn link<'s>(
    source: &'s str,
    main: Term<&'s str>,
    wanted: BTreeSet<(&'s str, usize)>,
    globals: &[String],
    scope: &[String],
) -> Result<Filter<Kind>, ExpressionError> {
    let mut reach = Reach::default();
    for (name, arity) in wanted {
        reach.add(name, arity);
    }
    let used = reach.seen;
    let natives = natives::all().filter(|(name, args, _)| used.contains(&(*name, args.len())));
    let main = Def {
        name: MAIN,
        args: Vec::new(),
        body: main,
    };
    let arena = Arena::default();
    let loaded = Loader::new(reach.defs.into_iter().chain([main]))
        .load(
            &arena,
            File {
                code: MAIN,
                path: (),
            },
        )
        .map_err(|_| ExpressionError::refused(source, source, "it cannot be read".to_owned()))?;
    let compiler = Compiler::default()
        .with_funs(natives)
        .with_global_vars(globals.iter().map(String::as_str));
    compiler.compile(loaded).map_err(|errors| {
        let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
        first.map_or_else(
            || ExpressionError::refused(source, source, "it does not compile".to_owned()),
            |(name, undefined)| undefined_name(source, name, &undefined, scope),
        )
    })
}

fn undefined_name(
    source: &str,
    name: &str,
    undefined: &Undefined,
    scope: &[String],
) -> ExpressionError {
    let what = match undefined {
        Undefined::Filter(0) => format!("there is no function {name}"),
        Undefined::Filter(arity) => {
            let plural = if *arity == 1 { "" } else { "s" };
            format!("there is no function {name} with {arity} argument{plural}")
        }
        Undefined::Var => {
            let known: Vec<_> = scope.iter().map(|name| format!("${name}")).collect();
            format!(
                "there is no variable {name} here (there are: {})",
                known.join(", ")
            )
        }
        _ => format!("there is no {} {name} here", undefined.as_str()),
    };
    ExpressionError::refused(source, name, what)
}

/// The definitions in reach, each after those that it uses.
#[derive(Default)]
struct Reach<'s> {
    seen: BTreeSet<(&'s str, usize)>,
    defs: Vec<Def<&'s str>>,
}

impl<'s> Reach<'s> {
    fn add(&mut self, name: &'s str, arity: usize) {
        if !self.seen.insert((name, arity)) {
            return;
        }
        let Some(def) = library().get(&(name, arity)) else {
            return;
        };
        names(&def.body, &mut |name| {
            if let Name::Function(name, arity) = name {
                self.add(name, arity);
            }
        });
        self.defs.push(def.clone());
    }
}
