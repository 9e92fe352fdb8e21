//! Regular expressions: in linear time, and charged by the size of text and pattern.

use jaq_core::native::{Filter, bome, v};
use jaq_core::{Cv, Error, RunPtr, ValR};
use regex_lite::{Captures, Regex, RegexBuilder};

use super::budget::charge;
use super::data::Kind;
use super::natives::object;
use super::value::Value;

/// Bytes of a pattern.
const PATTERN_BYTES_MAX: usize = 1_024;

/// Groups and repetitions within each other.
const PATTERN_NESTING_MAX: u32 = 32;

/// Sizes of a compiled pattern, and what each letter of the text then costs.
///
/// A pattern grows with its counted repetitions, and the time to match with its size.
const SIZES: [(usize, usize); 3] = [(1 << 12, 2), (1 << 14, 8), (1 << 16, 32)];

/// What compiling costs, in letters of text.
const COMPILING: usize = 256;

pub fn natives() -> Vec<Filter<RunPtr<Kind>>> {
    vec![
        ("matches", v(2), |cv| bome(apply(cv, false, true))),
        ("split_matches", v(2), |cv| bome(apply(cv, true, true))),
        ("split_", v(2), |cv| bome(apply(cv, true, false))),
    ]
}

struct Pattern {
    regex: Regex,
    global: bool,
    skips_empty: bool,
    /// What each letter of the text costs.
    cost: usize,
}

fn text_of(value: &Value) -> ValR<&str, Value> {
    value
        .as_text()
        .ok_or_else(|| Error::typ(value.clone(), "string"))
}

fn pattern(source: &Value, flags: &Value, letters: usize) -> ValR<Pattern, Value> {
    if let Value::Array(both) = source {
        // A pattern and its flags in one: `test(["a", "i"])`.
        let [source, more] = &both[..] else {
            return Err(Error::typ(source.clone(), "pattern and flags"));
        };
        return pattern(source, &(flags.clone() + more.clone())?, letters);
    }
    let text = text_of(source)?;
    if text.len() > PATTERN_BYTES_MAX {
        let what = format_args!("a regular expression has at most {PATTERN_BYTES_MAX} bytes");
        return Err(Error::str(what));
    }
    let flags = match flags {
        Value::Null => "",
        flags => text_of(flags)?,
    };
    let mut builder = RegexBuilder::new(text);
    builder.nest_limit(PATTERN_NESTING_MAX);
    let (mut global, mut skips_empty) = (false, false);
    for flag in flags.chars() {
        match flag {
            'g' => global = true,
            'n' => skips_empty = true,
            'i' => drop(builder.case_insensitive(true)),
            'x' => drop(builder.ignore_whitespace(true)),
            's' => drop(builder.dot_matches_new_line(true)),
            'p' => drop(builder.dot_matches_new_line(true).multi_line(true)),
            other => return Err(Error::str(format_args!("there is no regex flag {other:?}"))),
        }
    }
    let (regex, cost) = compile(&mut builder, letters)
        .map_err(|why| Error::str(format_args!("the regex {source} is refused: {why}")))?;
    Ok(Pattern {
        regex,
        global,
        skips_empty,
        cost,
    })
}

/// Compile within the smallest size that will do, which tells what matching costs.
fn compile(
    builder: &mut RegexBuilder,
    letters: usize,
) -> Result<(Regex, usize), regex_lite::Error> {
    for (size, cost) in &SIZES[..SIZES.len() - 1] {
        charge((COMPILING + letters).saturating_mul(*cost));
        if let Ok(regex) = builder.size_limit(*size).build() {
            return Ok((regex, *cost));
        }
    }
    let (size, cost) = SIZES[SIZES.len() - 1];
    charge((COMPILING + letters).saturating_mul(cost));
    Ok((builder.size_limit(size).build()?, cost))
}

/// The parts of a text: what is between matches, the matches, or both.
fn apply(mut cv: Cv<Kind>, between: bool, matches: bool) -> ValR<Value> {
    let (flags, source) = (cv.0.pop_var(), cv.0.pop_var());
    let text = text_of(&cv.1)?;
    let pattern = pattern(&source, &flags, text.len())?;
    let mut letters = Letters {
        text,
        byte: 0,
        count: 0,
    };
    let (mut parts, mut end) = (Vec::new(), 0);
    for captures in pattern.regex.captures_iter(text) {
        // The search for the next match may walk the rest of the text and come back.
        charge(1 + (text.len() - end) / 16 * pattern.cost);
        let whole = captures.get(0).map_or(0..0, |whole| whole.range());
        if pattern.skips_empty && whole.is_empty() {
            continue;
        }
        if between {
            parts.push(text[end..whole.start].to_owned().into());
        }
        if matches {
            parts.push(groups(&pattern.regex, &captures, &mut letters));
        }
        end = whole.end;
        if !pattern.global {
            break;
        }
    }
    if between {
        parts.push(text[end..].to_owned().into());
    }
    Ok(parts.into_iter().collect())
}

/// The whole match and its groups, each as jq describes it.
fn groups(regex: &Regex, captures: &Captures, letters: &mut Letters) -> Value {
    let start = captures.get(0).map_or(0, |whole| whole.start());
    letters.advance(start);
    let describe = |(name, group): (Option<&str>, Option<regex_lite::Match>)| {
        let (offset, length, string) = match group {
            Some(group) => (
                Value::from(letters.at(group.start())),
                Value::from(group.as_str().chars().count()),
                Value::from(group.as_str().to_owned()),
            ),
            None => (Value::Int(-1), Value::Int(0), Value::Null),
        };
        let group = object([("offset", offset), ("length", length), ("string", string)]);
        match name {
            Some(name) => (group + object([("name", Value::text(name))])).unwrap_or_default(),
            None => group,
        }
    };
    regex
        .capture_names()
        .zip(captures.iter())
        .map(describe)
        .collect()
}

/// Counts letters up to a byte, going forward from match to match.
struct Letters<'a> {
    text: &'a str,
    byte: usize,
    count: usize,
}

impl Letters<'_> {
    fn advance(&mut self, byte: usize) {
        self.count = self.at(byte);
        self.byte = byte;
    }

    fn at(&self, byte: usize) -> usize {
        match byte.checked_sub(self.byte) {
            Some(_) => self.count + self.text[self.byte..byte].chars().count(),
            None => 0,
        }
    }
}
