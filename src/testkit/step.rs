//! What a history consists of, and what it makes of a state.

use std::collections::BTreeMap;
use std::fmt;

use super::FixedEnvironment;
use crate::key::{Commit, NextOffset};
use crate::state::StateOwner;

/// What a store shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// Group, topic and partition to offset and metadata.
    pub offsets: BTreeMap<(String, String, i32), (i64, String)>,
    /// Group, owner, name and part to bytes.
    pub states: BTreeMap<(String, StateOwner, String, i32), Vec<u8>>,
}

impl State {
    /// A store that shows nothing.
    pub fn new() -> State {
        State::default()
    }
}

/// Topic, partition, and the offset and metadata that they get; none deletes.
pub type Change = (String, i32, Option<(i64, String)>);

/// Owner, name and part of a state, and what happens to it.
pub type StateStep = (StateOwner, String, i32, Edit);

/// What happens to a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It gets these bytes in place of those that it has.
    Put(Vec<u8>),
    /// It gets these bytes behind those that it has.
    Append(Vec<u8>),
    /// It goes.
    Delete,
}

/// One step of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Changes of one group that take effect all or none.
    Batch {
        /// The group.
        group: String,
        /// In order: of two changes of one key the last one counts.
        changes: Vec<Change>,
        /// In order.
        states: Vec<StateStep>,
    },
    /// Delete all keys and all states of a group, all or none.
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
        let changes = changes.into_iter().map(own).collect();
        Step::Batch { group: group.into(), changes, states: Vec::new() }
    }

    /// The batch with one more change, of a state. Another step stays as it is.
    pub fn with(mut self, owner: StateOwner, name: &str, part: i32, edit: Edit) -> Step {
        if let Step::Batch { states, .. } = &mut self {
            states.push((owner, name.into(), part, edit));
        }
        self
    }

    /// What the step makes of a state. A crash is taken to lose nothing.
    pub fn apply(&self, state: &mut State) {
        match self {
            Step::Batch { group, changes, states } => {
                for (topic, partition, value) in changes {
                    let key = (group.clone(), topic.clone(), *partition);
                    match value {
                        Some(value) => state.offsets.insert(key, value.clone()),
                        None => state.offsets.remove(&key),
                    };
                }
                for (owner, name, part, edit) in states {
                    let id = (group.clone(), *owner, name.clone(), *part);
                    match edit {
                        Edit::Put(bytes) => drop(state.states.insert(id, bytes.clone())),
                        Edit::Append(bytes) => state.states.entry(id).or_default().extend(bytes),
                        Edit::Delete => drop(state.states.remove(&id)),
                    }
                }
            }
            Step::DeleteGroup(group) => {
                state.offsets.retain(|key, _| key.0 != *group);
                state.states.retain(|id, _| id.0 != *group);
            }
            Step::DeleteTopic(group, topic) => {
                state.offsets.retain(|key, _| key.0 != *group || key.1 != *topic);
            }
            Step::Expire => state.offsets.retain(|_, value| !is_due(value)),
            Step::Sync | Step::Compact | Step::Reopen | Step::PowerCut(_) | Step::Kill => {}
        }
    }

    /// The states that the step goes through, one for each part of it that takes effect all or none.
    /// None if it changes nothing.
    pub fn stages(&self, state: &State) -> Vec<State> {
        let mut stages = Vec::new();
        if *self == Step::Expire {
            let mut rest = state.clone();
            for (key, _) in state.offsets.iter().filter(|(_, value)| is_due(value)) {
                let before = rest.offsets.len();
                rest.offsets.retain(|(group, ..), value| *group != key.0 || !is_due(value));
                if rest.offsets.len() < before {
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
    // The golden ratio of all times: those of small offsets, too, lie anywhere.
    expires.then_some(offset.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64))
}

fn is_due((offset, metadata): &(i64, String)) -> bool {
    expiry_of(*offset, metadata).is_some_and(|expiry| expiry <= FixedEnvironment::NOW_MS)
}

/// As it would be written in a program.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, changes, states) = match self {
            Step::Batch { group, changes, states } => (group, changes, states),
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
        }?;
        states.iter().try_for_each(|(owner, name, part, edit)| {
            write!(f, ".with(StateOwner::{owner:?}, {name:?}, {part}, {})", edit_text(edit))
        })
    }
}

fn change_text((topic, partition, value): &Change) -> String {
    let value = match value {
        None => "None".into(),
        Some((offset, metadata)) => format!("Some(({offset}, {}))", metadata_text(metadata)),
    };
    format!("({topic:?}, {partition}, {value})")
}

fn edit_text(edit: &Edit) -> String {
    match edit {
        Edit::Put(bytes) => format!("Edit::Put({})", bytes_text(bytes)),
        Edit::Append(bytes) => format!("Edit::Append({})", bytes_text(bytes)),
        Edit::Delete => "Edit::Delete".into(),
    }
}

fn bytes_text(bytes: &[u8]) -> String {
    match bytes {
        [first, rest @ ..] if rest.len() > 3 && rest.iter().all(|byte| byte == first) => {
            format!("vec![{first}; {}]", bytes.len())
        }
        bytes => format!("vec!{bytes:?}"),
    }
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
    let keys = state.offsets.iter().map(|((group, topic, partition), (offset, metadata))| {
        let metadata = match metadata.is_empty() {
            true => String::new(),
            false => format!(" {}", metadata_text(metadata)),
        };
        format!("{group}/{topic}/{partition}={offset}{metadata}")
    });
    let states = state.states.iter().map(|((group, owner, name, part), bytes)| {
        format!("{group}/{owner:?}/{name}/{part}={}", bytes_text(bytes))
    });
    format!("[{}]", keys.chain(states).collect::<Vec<_>>().join(", "))
}
