//! What an expression reads of its input and variables, so that no more than that is converted.
//!
//! `$workflow.id` needs one text of a whole flow document. Where such a path begins with a variable
//! or with the input itself, it becomes a variable of its own, which the caller looks up.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::path::{Opt, Part, Path};

use super::walk::children;

/// A path of keys, from a variable (without `$`) or, where there is none, from the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub variable: Option<String>,
    pub keys: Vec<String>,
}

impl Read {
    /// All of a variable.
    pub fn whole(name: &str) -> Self {
        let variable = Some(name.to_owned());
        Self {
            variable,
            keys: Vec::new(),
        }
    }
}

/// Names that no source can spell. What is read beyond them is read with its variable as a whole.
const NAMES: [&str; 16] = [
    "$ 0", "$ 1", "$ 2", "$ 3", "$ 4", "$ 5", "$ 6", "$ 7", "$ 8", "$ 9", "$ 10", "$ 11", "$ 12",
    "$ 13", "$ 14", "$ 15",
];

/// The reads of one expression, and the names under which it now has them.
pub struct Reads<'s> {
    scope: &'s [String],
    /// Variables that are bound within the source where the walk is now.
    bound: Vec<&'s str>,
    pub found: Vec<(&'s str, Read)>,
    /// Whether the input is also read as a whole.
    pub input: bool,
}

impl<'s> Reads<'s> {
    /// Replace the paths in `main`.
    pub fn of(scope: &'s [String], main: &mut Term<&'s str>) -> Self {
        let mut reads = Self {
            scope,
            bound: Vec::new(),
            found: Vec::new(),
            input: false,
        };
        reads.value(main, true);
        reads
    }

    fn in_scope(&self, name: &str) -> bool {
        self.scope.iter().any(|known| *known == name[1..])
    }

    /// Remember a read; None when there are no more names for paths.
    fn add(&mut self, name: Option<&'s str>, read: Read) -> Option<&'s str> {
        if let Some((known, _)) = self.found.iter().find(|(_, known)| *known == read) {
            return Some(known);
        }
        let taken = |name: &&str| self.found.iter().any(|(known, _)| known == name);
        let name = name.or_else(|| NAMES.into_iter().find(|name| !taken(name)))?;
        self.found.push((name, read));
        Some(name)
    }

    fn whole(&mut self, name: &'s str) {
        if self.in_scope(name) {
            self.add(Some(name), Read::whole(&name[1..]));
        }
    }

    fn values<'a>(&mut self, terms: impl IntoIterator<Item = &'a mut Term<&'s str>>, root: bool)
    where
        's: 'a,
    {
        terms.into_iter().for_each(|term| self.value(term, root));
    }

    /// A term whose outputs are used as values; `.` in it is the input where `root` says so.
    fn value(&mut self, term: &mut Term<&'s str>, root: bool) {
        match term {
            Term::Path(..) => self.path(term, root),
            Term::Var(name) if self.bound.contains(name) => {}
            Term::Var(name) => self.whole(name),
            Term::Id | Term::Recurse => self.input |= root,
            Term::Num(_) | Term::Break(_) => {}
            Term::Str(_, parts) => {
                let terms = parts.iter_mut().filter_map(|part| match part {
                    StrPart::Term(term) => Some(term),
                    _ => None,
                });
                self.values(terms, root);
            }
            Term::Arr(inner) => self.values(inner.as_deref_mut(), root),
            Term::Neg(inner) | Term::Label(_, inner) => self.value(inner, root),
            Term::Obj(members) => members
                .iter_mut()
                .for_each(|(k, v)| self.member(k, v, root)),
            Term::BinOp(left, op, right) => self.operation(left, op, right, root),
            Term::IfThenElse(branches, otherwise) => {
                branches
                    .iter_mut()
                    .for_each(|(test, then)| self.values([test, then], root));
                self.input |= root && otherwise.is_none();
                self.values(otherwise.as_deref_mut(), root);
            }
            Term::TryCatch(inner, catch) => {
                self.value(inner, root);
                self.values(catch.as_deref_mut(), false);
            }
            // What a function does with `.` is not known, nor on what it runs its arguments.
            Term::Call(_, args) => {
                self.input |= root;
                self.values(args, false);
            }
            Term::Fold(_, items, pattern, args) => {
                self.value(items, root);
                self.values(args.first_mut(), root);
                let rest = args.iter_mut().skip(1);
                self.binding(pattern, |reads| reads.values(rest, false));
            }
            Term::Def(defs, inner) => {
                defs.iter_mut().for_each(|def| self.definition(def));
                self.value(inner, root);
            }
        }
    }

    fn definition(&mut self, def: &mut Def<&'s str>) {
        let before = self.bound.len();
        self.bound
            .extend(def.args.iter().filter(|arg| arg.starts_with('$')));
        self.value(&mut def.body, false);
        self.bound.truncate(before);
    }

    /// A term of which nothing is replaced, because its paths count. What it mentions is read.
    fn any(&mut self, term: &Term<&'s str>) {
        if let Term::Var(name) = term {
            self.whole(name);
        }
        let mut inner = Vec::new();
        children(term, &mut |term| inner.push(term));
        inner.into_iter().for_each(|term| self.any(term));
    }

    fn binding(&mut self, pattern: &Pattern<&'s str>, within: impl FnOnce(&mut Self)) {
        let before = self.bound.len();
        self.pattern(pattern);
        within(self);
        self.bound.truncate(before);
    }

    fn pattern(&mut self, pattern: &Pattern<&'s str>) {
        match pattern {
            Pattern::Var(name) => self.bound.push(name),
            Pattern::Arr(inner) => inner.iter().for_each(|inner| self.pattern(inner)),
            Pattern::Obj(members) => {
                for (key, inner) in members {
                    self.input = true;
                    self.any(key);
                    self.pattern(inner);
                }
            }
        }
    }

    fn member(&mut self, key: &mut Term<&'s str>, value: &mut Option<Term<&'s str>>, root: bool) {
        match (&*key, &*value) {
            // Its name is also the key, so it stays as it is.
            (Term::Var(name), None) => {
                if !self.bound.contains(name) {
                    self.whole(name);
                }
                return;
            }
            // `{a}` is `{a: .a}`.
            (_, None) => {
                let index = (Part::Index(key.clone()), Opt::Essential);
                *value = Some(Term::Path(Box::new(Term::Id), Path(vec![index])));
            }
            _ => {}
        }
        self.value(key, root);
        self.values(value.as_mut(), root);
    }

    fn operation(
        &mut self,
        left: &mut Term<&'s str>,
        op: &BinaryOp<&'s str>,
        right: &mut Term<&'s str>,
        root: bool,
    ) {
        use BinaryOp::{Assign, Pipe, Update, UpdateAlt, UpdateMath};
        match op {
            Pipe(None) => {
                self.value(left, root);
                self.value(right, false);
            }
            Pipe(Some(pattern)) => {
                self.value(left, root);
                self.binding(pattern, |reads| reads.value(right, root));
            }
            Assign | Update | UpdateMath(_) | UpdateAlt => {
                self.input |= root;
                self.any(left);
                self.value(right, root && !matches!(op, Update));
            }
            _ => self.values([left, right], root),
        }
    }

    /// Replace a path that begins with keys of a variable or of the input.
    fn path(&mut self, term: &mut Term<&'s str>, root: bool) {
        let Term::Path(inner, path) = &mut *term else {
            return;
        };
        match self.narrowed(inner, path, root) {
            Some((name, len)) => {
                path.0.drain(..len);
                **inner = Term::Var(name);
            }
            None => self.value(inner, root),
        }
        for (part, _) in &mut path.0 {
            match part {
                Part::Index(index) => self.value(index, root),
                Part::Range(start, end) => self.values(start.iter_mut().chain(end), root),
            }
        }
        if path.0.is_empty() {
            *term = std::mem::take(inner);
        }
    }

    /// The name for the keys that a path begins with, and how many they are.
    fn narrowed(
        &mut self,
        inner: &Term<&'s str>,
        path: &Path<Term<&'s str>>,
        root: bool,
    ) -> Option<(&'s str, usize)> {
        let variable = match inner {
            Term::Id if root => None,
            Term::Var(name) if self.in_scope(name) && !self.bound.contains(name) => {
                Some(name[1..].to_owned())
            }
            _ => return None,
        };
        let keys: Vec<String> = path
            .0
            .iter()
            .map_while(|(part, opt)| key(part, *opt))
            .collect();
        let len = keys.len();
        let name = if len > 0 {
            self.add(None, Read { variable, keys })?
        } else {
            return None;
        };
        Some((name, len))
    }
}

/// The text of a plain key that must be there to be indexed with.
fn key(part: &Part<Term<&str>>, opt: Opt) -> Option<String> {
    match (part, opt) {
        (Part::Index(Term::Str(None, parts)), Opt::Essential) => match &parts[..] {
            [] => Some(String::new()),
            [StrPart::Str(text)] => Some((*text).to_owned()),
            _ => None,
        },
        _ => None,
    }
}
