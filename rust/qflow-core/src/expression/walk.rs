//! What the syntax tree of a jq program says about it.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::path::Part;

/// Call `visit` for each term directly within this one, definitions included.
pub fn children<'a, 's>(term: &'a Term<&'s str>, visit: &mut dyn FnMut(&'a Term<&'s str>)) {
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => {}
        Term::Str(_, parts) => parts.iter().filter_map(inner_term).for_each(visit),
        Term::Arr(inner) => inner.iter().for_each(|term| visit(term)),
        Term::Obj(members) => {
            let terms = members
                .iter()
                .flat_map(|(key, value)| std::iter::once(key).chain(value));
            terms.for_each(visit);
        }
        Term::Neg(inner) | Term::Label(_, inner) => visit(inner),
        Term::BinOp(left, op, right) => {
            visit(left);
            if let BinaryOp::Pipe(Some(pattern)) = op {
                pattern_terms(pattern, visit);
            }
            visit(right);
        }
        Term::Fold(_, items, pattern, args) => {
            visit(items);
            pattern_terms(pattern, visit);
            args.iter().for_each(visit);
        }
        Term::TryCatch(inner, catch) => {
            visit(inner);
            catch.iter().for_each(|term| visit(term));
        }
        Term::IfThenElse(branches, otherwise) => {
            branches
                .iter()
                .flat_map(|(test, then)| [test, then])
                .for_each(&mut *visit);
            otherwise.iter().for_each(|term| visit(term));
        }
        Term::Def(defs, inner) => {
            defs.iter().for_each(|def| visit(&def.body));
            visit(inner);
        }
        Term::Call(_, args) => args.iter().for_each(visit),
        Term::Path(inner, path) => {
            visit(inner);
            path.0.iter().for_each(|(part, _)| part_terms(part, visit));
        }
    }
}

fn inner_term<'a, 's>(part: &'a StrPart<&'s str, Term<&'s str>>) -> Option<&'a Term<&'s str>> {
    match part {
        StrPart::Term(term) => Some(term),
        _ => None,
    }
}

fn part_terms<'a, 's>(part: &'a Part<Term<&'s str>>, visit: &mut dyn FnMut(&'a Term<&'s str>)) {
    match part {
        Part::Index(index) => visit(index),
        Part::Range(start, end) => start.iter().chain(end).for_each(visit),
    }
}

fn pattern_terms<'a, 's>(pattern: &'a Pattern<&'s str>, visit: &mut dyn FnMut(&'a Term<&'s str>)) {
    match pattern {
        Pattern::Var(_) => {}
        Pattern::Arr(patterns) => patterns
            .iter()
            .for_each(|inner| pattern_terms(inner, visit)),
        Pattern::Obj(members) => {
            for (key, inner) in members {
                visit(key);
                pattern_terms(inner, visit);
            }
        }
    }
}

/// Terms within each other. What is compiled to a chain counts as one: members of an object, parts
/// of a text, branches, definitions.
pub fn depth(term: &Term<&str>) -> usize {
    let chain = match term {
        Term::Str(_, parts) => parts.len(),
        Term::Obj(members) => members.len(),
        Term::IfThenElse(branches, _) => branches.len(),
        Term::Path(_, path) => path.0.len(),
        Term::Def(defs, _) => defs.len(),
        _ => 1,
    };
    let mut deepest = 0;
    children(term, &mut |inner| deepest = deepest.max(depth(inner)));
    chain + deepest
}

/// Names that a term calls, with the number of arguments, and variables that it reads.
pub fn names<'s>(term: &Term<&'s str>, visit: &mut dyn FnMut(Name<'s>)) {
    match term {
        Term::Call(name, args) => visit(Name::Function(name, args.len())),
        Term::Str(Some(format), _) => visit(Name::Function(format, 0)),
        Term::Var(name) => visit(Name::Variable(name)),
        _ => {}
    }
    children(term, &mut |inner| names(inner, visit));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'s> {
    Function(&'s str, usize),
    /// With its `$`.
    Variable(&'s str),
}

/// A definition that takes functions and calls itself, if there is one.
///
/// Each such call wraps the functions that it was given, without end and without any step that is
/// counted while the wrapping grows.
pub fn wraps_itself<'s>(term: &Term<&'s str>) -> Option<&'s str> {
    find_wrapping(term, &mut Vec::new())
}

fn find_wrapping<'s>(term: &Term<&'s str>, around: &mut Vec<(&'s str, usize)>) -> Option<&'s str> {
    match term {
        Term::Call(name, args) if around.contains(&(*name, args.len())) => return Some(name),
        Term::Def(defs, inner) => {
            for def in defs {
                let takes_functions = def.args.iter().any(|arg| !arg.starts_with('$'));
                let before = around.len();
                around.extend(takes_functions.then(|| signature(def)));
                let found = find_wrapping(&def.body, around);
                around.truncate(before);
                if found.is_some() {
                    return found;
                }
            }
            return find_wrapping(inner, around);
        }
        _ => {}
    }
    let mut found = None;
    children(term, &mut |inner| {
        found = found.or_else(|| find_wrapping(inner, around));
    });
    found
}

/// A definition's name and number of arguments.
pub fn signature<'s>(def: &Def<&'s str>) -> (&'s str, usize) {
    (def.name, def.args.len())
}
