//! Reading a policy, line by line.

use std::collections::HashMap;

use super::{Member, Named, Policy, PolicyError};
use crate::log::cosignature::WitnessKey;
use crate::log::note::{KeyError, VerifierKey};

/// Bytes of a policy: what is longer is refused unread.
pub const POLICY_BYTES_MAX: usize = 1 << 20;
/// Logs, and witnesses and groups together: what has more is refused.
const NAMES_MAX: usize = 2048;
/// What the quorum says when nobody must cosign.
const NONE: &str = "none";

pub fn parse(text: &str) -> Result<Policy, PolicyError> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(PolicyError::TooLong);
    }
    let mut draft = Draft::default();
    let Some(text) = text.strip_suffix('\n') else {
        let line = text.split('\n').count();
        let what = "the file must end with a newline".to_owned();
        return Err(PolicyError::Line { line, what });
    };
    for (line, content) in (1..).zip(text.split('\n')) {
        let read = draft.line(content);
        read.map_err(|what| PolicyError::Line { line, what })?;
    }
    draft.finish()
}

#[derive(Default)]
struct Draft {
    logs: Vec<Named<VerifierKey>>,
    witnesses: Vec<Named<WitnessKey>>,
    members: Vec<(String, Member)>,
    /// By name, where in `members` it is and whether a group has it already.
    names: HashMap<String, (usize, bool)>,
    quorum: Option<(String, Option<usize>)>,
}

impl Draft {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let control = |byte: u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
        if line.bytes().any(control) {
            return Err("a control character".into());
        }
        let items: Vec<&str> = line.split([' ', '\t']).filter(|i| !i.is_empty()).collect();
        match *items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", key] => self.log(key, None),
            ["log", key, url] => self.log(key, Some(url)),
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some(url)),
            ["group", name, needed, ref members @ ..] => self.group(name, needed, members),
            ["quorum", name] => self.quorum(name),
            ["log" | "witness" | "group" | "quorum", ..] => Err("wrong number of items".into()),
            _ => Err("a line begins with log, witness, group, quorum or #".into()),
        }
    }

    fn log(&mut self, key: &str, url: Option<&str>) -> Result<(), String> {
        let key = VerifierKey::parse(key).map_err(|error| wrong_key(&error))?;
        if self.logs.len() == NAMES_MAX {
            return Err(format!("more than {NAMES_MAX} logs"));
        }
        let same = |log: &Named<VerifierKey>| log.key.public() == key.public();
        if self.logs.iter().any(same) {
            return Err("a log with this key is listed already".into());
        }
        self.logs.push(Named {
            name: key.name().to_owned(),
            key,
            url: url.map(str::to_owned),
        });
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<&str>) -> Result<(), String> {
        let key = WitnessKey::parse(key).map_err(|error| wrong_key(&error))?;
        let same = |witness: &Named<WitnessKey>| witness.key.public() == key.public();
        if self.witnesses.iter().any(same) {
            return Err("a witness with this key is listed already".into());
        }
        self.define(name, Member::Witness)?;
        self.witnesses.push(Named {
            name: name.to_owned(),
            key,
            url: url.map(str::to_owned),
        });
        Ok(())
    }

    fn group(&mut self, name: &str, needed: &str, names: &[&str]) -> Result<(), String> {
        let members = names
            .iter()
            .map(|member| self.take(member))
            .collect::<Result<Vec<_>, _>>()?;
        let needed = match needed {
            "all" => members.len(),
            "any" => 1,
            count => threshold(count).ok_or("the threshold: a number, all or any")?,
        };
        if !(1..=members.len()).contains(&needed) {
            return Err(format!("{needed} of {} members", members.len()));
        }
        self.define(name, Member::Group { needed, members })
    }

    fn quorum(&mut self, name: &str) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("a second quorum line".into());
        }
        let place = match name {
            NONE => None,
            name => Some(self.known(name)?.0),
        };
        self.quorum = Some((name.to_owned(), place));
        Ok(())
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), String> {
        if name == NONE {
            return Err("the name none stands for no witness".into());
        }
        if self.members.len() == NAMES_MAX {
            return Err(format!("more than {NAMES_MAX} witnesses and groups"));
        }
        let place = (self.members.len(), false);
        if self.names.insert(name.to_owned(), place).is_some() {
            return Err("the name is defined already".into());
        }
        self.members.push((name.to_owned(), member));
        Ok(())
    }

    fn known(&mut self, name: &str) -> Result<&mut (usize, bool), String> {
        let found = self.names.get_mut(name);
        found.ok_or_else(|| "a name is not defined on a line before".into())
    }

    /// Make a name a member of a group: each may be that once, or a witness would count twice.
    fn take(&mut self, name: &str) -> Result<usize, String> {
        let (place, taken) = self.known(name)?;
        if std::mem::replace(taken, true) {
            return Err("a name is a member of a group already".into());
        }
        Ok(*place)
    }

    fn finish(self) -> Result<Policy, PolicyError> {
        let (quorum_name, quorum) = self.quorum.ok_or(PolicyError::NoQuorum)?;
        Ok(Policy {
            logs: self.logs,
            witnesses: self.witnesses,
            members: self.members,
            quorum_name,
            quorum,
        })
    }
}

fn threshold(text: &str) -> Option<usize> {
    let count: usize = text.parse().ok()?;
    (count.to_string() == text).then_some(count)
}

fn wrong_key(error: &KeyError) -> String {
    match error {
        KeyError::Type { found: 4, .. } => {
            "the key of a witness where the key of a log must stand".into()
        }
        KeyError::Type { found: 1, .. } => {
            "the key of a log where the key of a witness must stand".into()
        }
        other => other.to_string(),
    }
}
