//! What the records of a chain say about its execution.

use qflow_core::chain::RecordView;
use qflow_core::encoding::{Item, Reader};

use crate::packed::{Packer, Unpacker};

pub const CREATED: &str = "q.qflow.exec.created.v1";
const SUSPENDED: &str = "q.qflow.exec.suspended.v1";
const PAUSED: &str = "q.qflow.exec.paused.v1";
const RESUMED: &str = "q.qflow.exec.resumed.v1";
const COMPLETED: &str = "q.qflow.exec.completed.v1";
const FAULTED: &str = "q.qflow.exec.faulted.v1";
const ABORTED: &str = "q.qflow.exec.aborted.v1";
const SNAPSHOT: &str = "q.qflow.checkpoint.created.v1";

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Running,
    Waiting,
    Paused,
    Completed,
    Faulted,
    Aborted,
}

impl Status {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Waiting => "waiting",
            Status::Paused => "paused",
            Status::Completed => "completed",
            Status::Faulted => "faulted",
            Status::Aborted => "aborted",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [
            Status::Running,
            Status::Waiting,
            Status::Paused,
            Status::Completed,
            Status::Faulted,
            Status::Aborted,
        ]
        .into_iter()
        .find(|status| status.name() == name)
    }

    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Faulted | Status::Aborted)
    }

    fn of_end(kind: &str) -> Option<Self> {
        match kind {
            COMPLETED => Some(Status::Completed),
            FAULTED => Some(Status::Faulted),
            ABORTED => Some(Status::Aborted),
            _ => None,
        }
    }
}

/// A status, and what would wake the execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub status: Status,
    pub wake_at: Option<i64>,
    pub listens: Vec<String>,
}

impl Standing {
    fn waits_for_nothing(status: Status) -> Self {
        Self {
            status,
            wake_at: None,
            listens: Vec::new(),
        }
    }
}

/// What some records of a chain make of where the execution stood before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    /// It is paused, and keeps what it waited for.
    Held,
    Becomes(Standing),
}

impl Effect {
    /// Apply the next record. `began_paused` says which kind of beginning this effect is of.
    ///
    /// Paused holds until resumed: attempts that were in flight may still be recorded meanwhile.
    pub fn apply(&mut self, record: &RecordView<'_>, began_paused: bool) {
        let paused = match self {
            Effect::Nothing => began_paused,
            Effect::Held => true,
            Effect::Becomes(standing) => standing.status == Status::Paused,
        };
        if record.kind == SNAPSHOT {
        } else if let Some(status) = Status::of_end(record.kind) {
            *self = Effect::Becomes(Standing::waits_for_nothing(status));
        } else if record.kind == PAUSED {
            match self {
                Effect::Becomes(standing) => standing.status = Status::Paused,
                _ => *self = Effect::Held,
            }
        } else if paused && record.kind != RESUMED {
        } else if record.kind == SUSPENDED {
            *self = Effect::Becomes(suspended(record.meta));
        } else {
            *self = Effect::Becomes(Standing::waits_for_nothing(Status::Running));
        }
    }

    /// Where the execution stands after it.
    #[must_use]
    pub fn over(&self, before: Standing) -> Standing {
        match self {
            Effect::Nothing => before,
            Effect::Held => Standing {
                status: Status::Paused,
                ..before
            },
            Effect::Becomes(standing) => standing.clone(),
        }
    }
}

/// One execution as its records tell it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    pub flow: String,
    pub parent: Option<String>,
    /// The CID of the flow's document.
    pub definition: String,
    pub started_at: u64,
    pub updated_at: u64,
    pub seq: u64,
    pub snapshot_seq: Option<u64>,
    pub standing: Standing,
}

impl Execution {
    /// What the first record of a chain makes.
    #[must_use]
    pub fn begin(record: &RecordView<'_>) -> Self {
        let (mut parent, mut definition) = (None, String::new());
        each_pair(record.meta, |key, value| match (key, value) {
            ("parent", Item::Text(text)) => parent = Some(text.to_owned()),
            ("definition", Item::Text(text)) => definition = text.to_owned(),
            _ => {}
        });
        Self {
            flow: record.flow.to_owned(),
            parent,
            definition,
            started_at: record.at,
            updated_at: record.at,
            seq: record.seq,
            snapshot_seq: None,
            standing: Standing::waits_for_nothing(Status::Running),
        }
    }

    /// The row without what has columns of its own: the id, the flow and the status.
    #[must_use]
    pub fn pack(&self, id: &[u8; 16]) -> Vec<u8> {
        let status = self.standing.status.name();
        let mut out = Packer::new(&[id, status.as_bytes(), b"/", self.flow.as_bytes()]);
        out.number(u64::from(self.parent.is_some()));
        out.text(self.parent.as_deref().unwrap_or_default());
        out.text(&self.definition);
        out.number(self.started_at);
        out.number(self.updated_at);
        out.number(self.seq);
        out.optional(self.snapshot_seq);
        out.optional(self.standing.wake_at.map(|at| at as u64));
        out.number(self.standing.listens.len() as u64);
        for one in &self.standing.listens {
            out.text(one);
        }
        out.finish()
    }

    /// The row with its columns. None: it is not what was packed.
    #[must_use]
    pub fn unpack(id: &[u8; 16], flow: &str, status: &str, row: &[u8]) -> Option<Self> {
        let mut row = Unpacker::new(&[id, status.as_bytes(), b"/", flow.as_bytes()], row)?;
        let has_parent = row.number()? == 1;
        let parent = row.text()?.to_owned();
        let mut found = Self {
            flow: flow.to_owned(),
            parent: has_parent.then_some(parent),
            definition: row.text()?.to_owned(),
            started_at: row.number()?,
            updated_at: row.number()?,
            seq: row.number()?,
            snapshot_seq: row.optional()?,
            standing: Standing::waits_for_nothing(Status::parse(status)?),
        };
        found.standing.wake_at = row.optional()?.map(|at| at as i64);
        for _ in 0..row.count()? {
            found.standing.listens.push(row.text()?.to_owned());
        }
        row.finish().map(|()| found)
    }
}

/// Whether a record holds a snapshot of its execution.
#[must_use]
pub fn is_snapshot(kind: &str) -> bool {
    kind == SNAPSHOT
}

fn suspended(meta: &[u8]) -> Standing {
    let mut standing = Standing::waits_for_nothing(Status::Waiting);
    let mut reader = Reader::new(meta);
    let Ok(Item::Map(pairs)) = reader.item() else {
        return standing;
    };
    for _ in 0..pairs {
        let (Ok(Item::Text(key)), Ok(value)) = (reader.item(), reader.item()) else {
            break;
        };
        match (key, value) {
            ("wake_at", Item::Unsigned(at)) => standing.wake_at = i64::try_from(at).ok(),
            ("wake_at", Item::Negative(below)) => {
                standing.wake_at = i64::try_from(below).ok().map(|below| !below);
            }
            ("listen", Item::Array(len)) => {
                for _ in 0..len {
                    match reader.item() {
                        Ok(Item::Text(text)) => standing.listens.push(text.to_owned()),
                        Ok(other) => drop(reader.skip_content(other, 2)),
                        Err(_) => break,
                    }
                }
            }
            (_, other) => drop(reader.skip_content(other, 1)),
        }
    }
    standing
}

/// Each pair of a canonical map; of lists and maps within only that they are there.
fn each_pair<'a>(meta: &'a [u8], mut take: impl FnMut(&'a str, Item<'a>)) {
    let mut reader = Reader::new(meta);
    let Ok(Item::Map(pairs)) = reader.item() else {
        return;
    };
    for _ in 0..pairs {
        let (Ok(Item::Text(key)), Ok(value)) = (reader.item(), reader.item()) else {
            return;
        };
        take(key, value);
        if reader.skip_content(value, 1).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Execution, Standing, Status};

    #[test]
    fn a_row_holds_what_was_packed() {
        let one = Execution {
            flow: "a/b/1".into(),
            parent: Some("p:1".into()),
            definition: "bafy".into(),
            started_at: 1,
            updated_at: u64::MAX >> 1,
            seq: 7,
            snapshot_seq: Some(3),
            standing: Standing {
                status: Status::Waiting,
                wake_at: Some(-5),
                listens: vec!["a.b".into(), "*".into()],
            },
        };
        let row = one.pack(&[1; 16]);
        let found = Execution::unpack(&[1; 16], "a/b/1", "waiting", &row);
        assert_eq!(found.as_ref(), Some(&one));
        for (id, flow, status) in [
            ([2; 16], "a/b/1", "waiting"),
            ([1; 16], "a/b/2", "waiting"),
            ([1; 16], "a/b/1", "running"),
        ] {
            assert_eq!(Execution::unpack(&id, flow, status, &row), None);
        }
    }
}
