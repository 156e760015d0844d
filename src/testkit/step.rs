//! What a history consists of, and what it makes of a state.

use std::collections::BTreeMap;
use std::fmt;

use super::FixedEnvironment;
use crate::key::{Commit, NextOffset};

/// What a store shows: group, topic and partition to offset and metadata.
pub type State = BTreeMap<(String, String, i32), (i64, String)>;

/// Topic, partition, and the offset and metadata that they get; none deletes.
pub type Change = (String, i32, Option<(i64, String)>);

/// One step of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Changes of one group that take effect all or none.
    Batch {
        /// The group.
        group: String,
        /// In order: of two changes of one key the last one counts.
        changes: Vec<Change>,
    },
    /// Delete all keys of a group, all or none.
    DeleteGroup(String),
    /// Delete all partitions of a group's topic, all or none.
    DeleteTopic(String, String),
    /// Delete what is due: group by group, in the order of their names, each all or none.
    Expire,
    /// Make everything durable.
    Sync,
    /// Make everything durable, and the log short.
    Compact,
    /// Close in order and open again.
    Reopen,
    /// The power fails, with that seed of [`SimDisk::power_cut`](super::SimDisk::power_cut), and the
    /// store is opened again.
    PowerCut(u64),
    /// The process dies, and the store is opened again.
    Kill,
}

impl Step {
    /// A batch of one commit without metadata.
    pub fn commit(group: &str, topic: &str, partition: i32, offset: i64) -> Step {
        Step::batch(group, [(topic, partition, Some((offset, String::new())))])
    }

    /// A batch of one delete.
    pub fn delete(group: &str, topic: &str, partition: i32) -> Step {
        Step::batch(group, [(topic, partition, None)])
    }

    /// A batch.
    pub fn batch<'a>(
        group: &str,
        changes: impl IntoIterator<Item = (&'a str, i32, Option<(i64, String)>)>,
    ) -> Step {
        let own = |(topic, partition, value): (&str, _, _)| (topic.into(), partition, value);
        Step::Batch { group: group.into(), changes: changes.into_iter().map(own).collect() }
    }

    /// What the step makes of a state. A crash is taken to lose nothing.
    pub fn apply(&self, state: &mut State) {
        match self {
            Step::Batch { group, changes } => {
                for (topic, partition, value) in changes {
                    let key = (group.clone(), topic.clone(), *partition);
                    match value {
                        Some(value) => state.insert(key, value.clone()),
                        None => state.remove(&key),
                    };
                }
            }
            Step::DeleteGroup(group) => state.retain(|key, _| key.0 != *group),
            Step::DeleteTopic(group, topic) => {
                state.retain(|key, _| key.0 != *group || key.1 != *topic);
            }
            Step::Expire => state.retain(|_, value| !is_due(value)),
            Step::Sync | Step::Compact | Step::Reopen | Step::PowerCut(_) | Step::Kill => {}
        }
    }

    /// The states that the step goes through, one for each part of it that takes effect all or none.
    /// None if it changes nothing.
    pub fn stages(&self, state: &State) -> Vec<State> {
        let mut stages = Vec::new();
        if *self == Step::Expire {
            let mut rest = state.clone();
            for (key, _) in state.iter().filter(|(_, value)| is_due(value)) {
                let before = rest.len();
                rest.retain(|(group, ..), value| *group != key.0 || !is_due(value));
                if rest.len() < before {
                    stages.push(rest.clone());
                }
            }
        } else {
            let mut next = state.clone();
            self.apply(&mut next);
            if next != *state {
                stages.push(next);
            }
        }
        stages
    }
}

/// The states after each step of a history, the empty one first.
pub fn states(history: &[Step]) -> Vec<State> {
    let mut state = State::new();
    let after = history.iter().map(|step| {
        step.apply(&mut state);
        state.clone()
    });
    std::iter::once(State::new()).chain(after).collect()
}

/// The commit that a history makes of an offset and metadata. With 30 `m` of metadata or more it
/// [expires](Commit::expire_at_ms), at a time that the offset decides: about half of them are due by
/// the clock of [`FixedEnvironment`].
pub fn commit_of(offset: i64, metadata: &str) -> Commit<'_> {
    let commit = Commit::new(NextOffset(offset)).metadata(metadata);
    match expiry_of(offset, metadata) {
        Some(expire_at_ms) => commit.expire_at_ms(expire_at_ms),
        None => commit,
    }
}

/// When such a commit expires.
pub(super) fn expiry_of(offset: i64, metadata: &str) -> Option<i64> {
    let expires = metadata.starts_with('m') && metadata.len() >= 30;
    expires.then_some(offset.wrapping_mul(0x0123_4567_89ab_cdef))
}

fn is_due((offset, metadata): &(i64, String)) -> bool {
    expiry_of(*offset, metadata).is_some_and(|expiry| expiry <= FixedEnvironment::NOW_MS)
}

/// As it would be written in a program.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, changes) = match self {
            Step::Batch { group, changes } => (group, changes),
            Step::DeleteGroup(group) => return write!(f, "Step::DeleteGroup({group:?}.into())"),
            Step::DeleteTopic(group, topic) => {
                return write!(f, "Step::DeleteTopic({group:?}.into(), {topic:?}.into())");
            }
            other => return write!(f, "Step::{other:?}"),
        };
        match &changes[..] {
            [(topic, partition, None)] => {
                write!(f, "Step::delete({group:?}, {topic:?}, {partition})")
            }
            [(topic, partition, Some((offset, metadata)))] if metadata.is_empty() => {
                write!(f, "Step::commit({group:?}, {topic:?}, {partition}, {offset})")
            }
            changes => {
                let changes: Vec<String> = changes.iter().map(change_text).collect();
                write!(f, "Step::batch({group:?}, [{}])", changes.join(", "))
            }
        }
    }
}

fn change_text((topic, partition, value): &Change) -> String {
    let value = match value {
        None => "None".into(),
        Some((offset, metadata)) => format!("Some(({offset}, {}))", metadata_text(metadata)),
    };
    format!("({topic:?}, {partition}, {value})")
}

fn metadata_text(metadata: &str) -> String {
    match metadata.chars().next() {
        None => "String::new()".into(),
        Some(first) if metadata.chars().all(|letter| letter == first) => {
            format!("\"{first}\".repeat({})", metadata.chars().count())
        }
        Some(_) => format!("{metadata:?}.into()"),
    }
}

/// A state in one line.
pub(super) fn brief(state: &State) -> String {
    let keys = state.iter().map(|((group, topic, partition), (offset, metadata))| {
        let metadata = match metadata.is_empty() {
            true => String::new(),
            false => format!(" {}", metadata_text(metadata)),
        };
        format!("{group}/{topic}/{partition}={offset}{metadata}")
    });
    format!("[{}]", keys.collect::<Vec<_>>().join(", "))
}
