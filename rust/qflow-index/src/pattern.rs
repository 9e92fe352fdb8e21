//! Names with `*` in them.

/// A name in which `*` stands for any characters or none, and `[*]` for a star.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What stands between the stars: one part is a name without any.
    parts: Vec<String>,
}

impl Pattern {
    #[must_use]
    pub fn new(text: &str) -> Self {
        let (mut parts, mut rest) = (vec![String::new()], text);
        while let Some(letter) = rest.chars().next() {
            let after = rest.strip_prefix("[*]");
            let part = parts.last_mut();
            match (letter, after, part) {
                (_, Some(after), Some(part)) => {
                    part.push('*');
                    rest = after;
                    continue;
                }
                ('*', None, _) => parts.push(String::new()),
                (_, None, Some(part)) => part.push(letter),
                (_, _, None) => {}
            }
            rest = &rest[letter.len_utf8()..];
        }
        Self { parts }
    }

    /// The name, when the pattern is one.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        match &self.parts[..] {
            [name] => Some(name),
            _ => None,
        }
    }

    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = &self.parts[..] else {
            return self.exact() == Some(name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        // Of each part the first place suffices: what follows has the most room then.
        for part in middle {
            let Some(at) = rest.find(part.as_str()) else {
                return false;
            };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use proptest::prelude::*;

    #[test]
    fn stars_stand_for_any_characters_or_none() {
        for (pattern, name, want) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("a*", "a", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("*b", "abab", true),
            ("a[*]", "a*", true),
            ("a[*]", "ab", false),
            ("[*", "[x", true),
            ("[*]*", "*tail", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                want,
                "{pattern} {name}"
            );
        }
    }

    fn by_recursion(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|at| by_recursion(rest, &name[at..])),
            Some((letter, rest)) => name.first() == Some(letter) && by_recursion(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_definition_says(pattern in "[ab*é]{0,8}", name in "[abé]{0,10}") {
            let left: Vec<char> = pattern.chars().collect();
            let right: Vec<char> = name.chars().collect();
            prop_assert_eq!(Pattern::new(&pattern).matches(&name), by_recursion(&left, &right));
        }
    }
}
