//! The members of an object, sorted by key: most objects are small, and are read more than changed.

use super::budget::charge;
use super::value::{Text, Value};

#[derive(Debug, Clone, Default)]
pub struct Map(Vec<(Text, Value)>);

impl Map {
    /// Members in any order; of two with one key the later stays.
    #[must_use]
    pub fn from_members(mut members: Vec<(Text, Value)>) -> Self {
        if members.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Self(members);
        }
        members.sort_by(|left, right| left.0.cmp(&right.0));
        let mut map: Vec<(Text, Value)> = Vec::with_capacity(members.len());
        for member in members {
            match map.last_mut() {
                Some(last) if last.0 == member.0 => *last = member,
                _ => map.push(member),
            }
        }
        Self(map)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(key))
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.find(key).ok().map(|at| &mut self.0[at].1)
    }

    /// Charged for the members that make room.
    pub fn insert(&mut self, key: Text, value: Value) {
        match self.find(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                charge((self.0.len() - at) / 64);
                self.0.insert(at, (key, value));
            }
        }
    }

    /// Charged for the members that move up.
    pub fn remove(&mut self, key: &str) {
        if let Ok(at) = self.find(key) {
            charge((self.0.len() - at) / 64);
            self.0.remove(at);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Text, &Value)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub fn keys(&self) -> impl Iterator<Item = &Text> {
        self.0.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|(_, value)| value)
    }
}
