//! From source to a program: parse, refuse, add what the source needs of the library, compile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use jaq_core::compile::Undefined;
use jaq_core::load::lex::Lexer;
use jaq_core::load::parse::{Def, Parser, Term};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Filter};

use super::data::Kind;
use super::walk::{Name, depth, names, signature};
use super::{ExpressionError, SOURCE_BYTES_MAX, SOURCE_DEPTH_MAX, natives};

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
}

type Library = BTreeMap<(&'static str, usize), Def<&'static str>>;

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let ours = load::parse(include_str!("prelude.jq"), |parser| parser.defs());
        let jaq = jaq_core::defs().chain(jaq_std::defs());
        let jaq = jaq.filter(|def| !natives::is_ours(def.name, def.args.len()));
        // Later ones replace earlier ones of the same name.
        jaq.chain(ours.unwrap_or_default()).map(|def| (signature(&def), def)).collect()
    })
}

/// Compile a source. It must run with a stack that is large enough for `SOURCE_BYTES_MAX` levels.
pub fn compile(source: &str, scope: &[String]) -> Result<Program, ExpressionError> {
    let refuse = |at: &str, what: String| ExpressionError::refused(source, at, what);
    if source.len() > SOURCE_BYTES_MAX {
        return Err(refuse(source, format!("it is longer than {SOURCE_BYTES_MAX} bytes")));
    }
    let main = parse(source)?;
    if depth(&main) > SOURCE_DEPTH_MAX {
        return Err(refuse(source, format!("it is nested more than {SOURCE_DEPTH_MAX} deep")));
    }
    let mut read = BTreeSet::new();
    let mut wanted = Vec::new();
    names(&main, &mut |name| match name {
        Name::Variable(name) => drop(read.insert(name)),
        Name::Function(name, arity) => wanted.push((name, arity)),
    });
    for name in read.iter().chain(wanted.iter().map(|(name, _)| name)) {
        if REFUSED.contains(name) {
            let why = "its answer would not be the same when the history is replayed";
            return Err(refuse(name, format!("{name} is not supported: {why}")));
        }
    }
    let globals: Vec<String> = scope
        .iter()
        .map(|name| format!("${name}"))
        .filter(|name| read.contains(name.as_str()))
        .collect();
    let filter = link(source, main, wanted, &globals, scope)?;
    let variables = globals.iter().map(|name| name[1..].to_owned()).collect();
    Ok(Program { filter, variables })
}

fn parse(source: &str) -> Result<Term<&str>, ExpressionError> {
    let tokens = Lexer::new(source).lex().map_err(|errors| match errors.first() {
        Some((expected, rest)) => {
            ExpressionError::refused(source, rest, format!("expected a {}", expected.as_str()))
        }
        None => ExpressionError::refused(source, source, "it cannot be read".to_owned()),
    })?;
    Parser::new(&tokens).parse(|parser| parser.term()).map_err(|errors| {
        let Some((expected, found)) = errors.first() else {
            return ExpressionError::refused(source, source, "it cannot be read".to_owned());
        };
        let expected = match expected.as_str() {
            "nothing" => "the end",
            expected => expected,
        };
        match found {
            Some(token) => {
                let what = format!("expected {expected}, found {:.40}", token.0);
                ExpressionError::refused(source, token.0, what)
            }
            None => {
                let what = format!("expected {expected} before the end");
                ExpressionError::refused(source, &source[source.len()..], what)
            }
        }
    })
}

/// Compile the source with the definitions that it reaches, and no others: programs are kept by the
/// thousand.
fn link<'s>(
    source: &'s str,
    main: Term<&'s str>,
    wanted: Vec<(&'s str, usize)>,
    globals: &[String],
    scope: &[String],
) -> Result<Filter<Kind>, ExpressionError> {
    let mut reach = Reach::default();
    for (name, arity) in wanted {
        reach.add(name, arity);
    }
    let used = reach.seen;
    let natives = natives::all().filter(|(name, args, _)| used.contains(&(*name, args.len())));
    let main = Def { name: MAIN, args: Vec::new(), body: main };
    let arena = Arena::default();
    let loaded = Loader::new(reach.defs.into_iter().chain([main]))
        .load(&arena, File { code: MAIN, path: () })
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
            format!("there is no variable {name} here (there are: {})", known.join(", "))
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
        let Some(def) = library().get(&(name, arity)) else { return };
        names(&def.body, &mut |name| {
            if let Name::Function(name, arity) = name {
                self.add(name, arity);
            }
        });
        self.defs.push(def.clone());
    }
}
