//! Whether a record is what a query asks for.

use qflow_core::chain::{RecordError, RecordView};

use crate::chunk::Field;
use crate::pattern::Pattern;
use crate::words::{each_text, each_word, indexed};

/// Words of one query.
pub const WORDS_MAX: usize = 32;

/// What is asked for; None asks for nothing. Names are patterns.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    pub chain: Option<[u8; 16]>,
    /// `namespace/name/version`, `namespace/name` or `name`.
    pub flow: Option<&'a str>,
    pub kind: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub node: Option<&'a str>,
    pub subnet: Option<&'a str>,
    /// UTC milliseconds, inclusive.
    pub since: Option<u64>,
    /// UTC milliseconds, exclusive.
    pub until: Option<u64>,
    /// Words, all of which must be there.
    pub text: Option<&'a str>,
}

/// What cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("text: there is no word in it to search for")]
    NoWord,
    #[error("text: {found} words, at most {WORDS_MAX}")]
    Words { found: usize },
}

/// A query, ready to be compared with records. The same for the index, exports and rules.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub chain: Option<[u8; 16]>,
    pub flow: Option<FlowPattern>,
    pub kind: Option<Pattern>,
    pub actor: Option<Pattern>,
    pub node: Option<Pattern>,
    pub subnet: Option<Pattern>,
    pub since: Option<u64>,
    pub until: Option<u64>,
    /// In lower case, each once.
    pub words: Vec<String>,
}

impl Filter {
    pub fn new(asked: &Asked<'_>) -> Result<Self, FilterError> {
        let mut words: Vec<String> = Vec::new();
        each_word(asked.text.unwrap_or_default(), |word| {
            words.push(word.to_owned())
        });
        words.sort_unstable();
        words.dedup();
        if asked.text.is_some() && words.is_empty() {
            return Err(FilterError::NoWord);
        }
        if words.len() > WORDS_MAX {
            return Err(FilterError::Words { found: words.len() });
        }
        Ok(Self {
            chain: asked.chain,
            flow: asked.flow.map(FlowPattern::new),
            kind: asked.kind.map(Pattern::new),
            actor: asked.actor.map(Pattern::new),
            node: asked.node.map(Pattern::new),
            subnet: asked.subnet.map(Pattern::new),
            since: asked.since,
            until: asked.until,
            words,
        })
    }

    #[must_use]
    pub fn matches(&self, record: &RecordView<'_>) -> bool {
        let named =
            |asked: &Option<Pattern>, name| asked.as_ref().is_none_or(|one| one.matches(name));
        self.chain.is_none_or(|chain| chain == record.chain)
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at < until)
            && named(&self.kind, record.kind)
            && named(&self.actor, record.actor)
            && named(&self.node, record.node)
            && named(&self.subnet, record.subnet)
            && self
                .flow
                .as_ref()
                .is_none_or(|flow| flow.matches(record.flow))
            && self.has_words(record)
    }

    /// Which of these records are asked for, or which of them is none and why.
    pub fn select<'a>(
        &self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<usize>, (usize, RecordError)> {
        let mut found = Vec::new();
        for (at, data) in records.into_iter().enumerate() {
            let record = RecordView::parse(data).map_err(|error| (at, error))?;
            if self.matches(&record) {
                found.push(at);
            }
        }
        Ok(found)
    }

    /// What the index has of the words.
    #[must_use]
    pub fn terms_of_words(&self) -> Vec<String> {
        let mut terms: Vec<String> = self.words.iter().map(|word| indexed(word).into()).collect();
        terms.sort_unstable();
        terms.dedup();
        terms
    }

    /// The one value that a field may have, when that is known without looking.
    #[must_use]
    pub fn exact(&self, field: Field) -> Option<&str> {
        match field {
            Field::Flow => self.flow.as_ref().and_then(FlowPattern::exact),
            _ => self.pattern(field).and_then(Pattern::exact),
        }
    }

    /// Whether the field is asked for at all.
    #[must_use]
    pub fn asks(&self, field: Field) -> bool {
        match field {
            Field::Flow => self.flow.is_some(),
            _ => self.pattern(field).is_some(),
        }
    }

    /// Whether a value of a field is asked for.
    #[must_use]
    pub fn takes(&self, field: Field, value: &str) -> bool {
        match field {
            Field::Flow => self.flow.as_ref().is_none_or(|flow| flow.matches(value)),
            _ => self.pattern(field).is_none_or(|one| one.matches(value)),
        }
    }

    fn pattern(&self, field: Field) -> Option<&Pattern> {
        match field {
            Field::Flow => None,
            Field::Kind => self.kind.as_ref(),
            Field::Actor => self.actor.as_ref(),
            Field::Node => self.node.as_ref(),
            Field::Subnet => self.subnet.as_ref(),
        }
    }

    fn has_words(&self, record: &RecordView<'_>) -> bool {
        if self.words.is_empty() {
            return true;
        }
        // One bit for each word: there are at most 32.
        let (all, mut found) = (u64::MAX >> (64 - self.words.len()), 0u64);
        each_text(record, |text| {
            if found == all {
                return;
            }
            each_word(text, |word| {
                if let Ok(at) = self.words.binary_search_by(|one| one.as_str().cmp(word)) {
                    found |= 1 << at;
                }
            });
        });
        found == all
    }
}

/// A flow by as many of its parts as are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowPattern {
    parts: Vec<Pattern>,
    exact: Option<String>,
}

impl FlowPattern {
    #[must_use]
    pub fn new(text: &str) -> Self {
        let parts: Vec<Pattern> = text.split('/').map(Pattern::new).collect();
        let names: Option<Vec<&str>> = parts.iter().map(Pattern::exact).collect();
        let exact = names.filter(|names| names.len() > 2);
        Self {
            exact: exact.map(|names| names.join("/")),
            parts,
        }
    }

    /// The whole key, when the pattern can be no other.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        self.exact.as_deref()
    }

    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        if let [name] = &self.parts[..] {
            return key.split('/').nth(1).is_some_and(|one| name.matches(one));
        }
        let mut parts = key.split('/');
        let begins = self
            .parts
            .iter()
            .all(|part| parts.next().is_some_and(|one| part.matches(one)));
        begins && (self.parts.len() < 3 || parts.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Filter, FilterError, FlowPattern};
    use qflow_core::chain::{GENESIS, Record};

    #[test]
    fn a_flow_is_named_by_its_parts() {
        for (pattern, key, want) in [
            ("greet", "test/greet/1.0.0", true),
            ("greet", "greet/test/1.0.0", false),
            ("test/greet", "test/greet/2", true),
            ("test/greet/1", "test/greet/1", true),
            ("test/greet/1", "test/greet/1/2", false),
            ("qflow/node", "qflow/node", true),
            ("*/greet/*", "a/b/greet", false),
            ("shop/*", "shop/any/1", true),
            ("*", "shop/any/1", true),
            ("gre*", "test/greet/1", true),
        ] {
            assert_eq!(
                FlowPattern::new(pattern).matches(key),
                want,
                "{pattern} {key}"
            );
        }
    }

    fn record<'a>() -> Record<'a> {
        Record {
            chain: [7; 16],
            seq: 0,
            prev: GENESIS,
            kind: "q.qflow.exec.created.v1",
            flow: "shop/order/1.0.0",
            step: Some("/do/0/charge"),
            attempt: None,
            at: 1000,
            actor: "Ann",
            node: "node",
            subnet: "default",
            epoch: 0,
            payload: None,
            meta: b"\xa1\x61k\x65hello",
        }
    }

    #[test]
    fn each_field_decides() {
        let (record, other) = (record(), Some("other"));
        let asks = |asked: Asked<'_>| Filter::new(&asked).is_ok_and(|one| one.matches(&record));
        assert!(asks(Asked::default()));
        for (good, bad) in [
            (
                Asked {
                    chain: Some([7; 16]),
                    ..Asked::default()
                },
                Asked {
                    chain: Some([8; 16]),
                    ..Asked::default()
                },
            ),
            (
                Asked {
                    flow: Some("order"),
                    ..Asked::default()
                },
                Asked {
                    flow: other,
                    ..Asked::default()
                },
            ),
            (
                Asked {
                    kind: Some("q.qflow.exec.*"),
                    ..Asked::default()
                },
                Asked {
                    kind: other,
                    ..Asked::default()
                },
            ),
            (
                Asked {
                    actor: Some("Ann"),
                    ..Asked::default()
                },
                Asked {
                    actor: Some("ann"),
                    ..Asked::default()
                },
            ),
            (
                Asked {
                    node: Some("n*"),
                    ..Asked::default()
                },
                Asked {
                    node: other,
                    ..Asked::default()
                },
            ),
            (
                Asked {
                    subnet: Some("default"),
                    ..Asked::default()
                },
                Asked {
                    subnet: other,
                    ..Asked::default()
                },
            ),
            (
                Asked {
                    since: Some(1000),
                    ..Asked::default()
                },
                Asked {
                    since: Some(1001),
                    ..Asked::default()
                },
            ),
            (
                Asked {
                    until: Some(1001),
                    ..Asked::default()
                },
                Asked {
                    until: Some(1000),
                    ..Asked::default()
                },
            ),
            (
                Asked {
                    text: Some("HELLO ann charge"),
                    ..Asked::default()
                },
                Asked {
                    text: Some("hello k"),
                    ..Asked::default()
                },
            ),
        ] {
            assert!(asks(good.clone()), "{good:?}");
            assert!(!asks(bad.clone()), "{bad:?}");
        }
    }

    #[test]
    fn a_search_for_no_word_is_refused() {
        let asked = |text| {
            Filter::new(&Asked {
                text: Some(text),
                ..Asked::default()
            })
        };
        assert_eq!(asked("--").err(), Some(FilterError::NoWord));
        let many: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        assert_eq!(
            asked(&many.join(" ")).err(),
            Some(FilterError::Words { found: 40 })
        );
    }
}
