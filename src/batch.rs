//! Several changes of one group that take effect all or none.

use std::collections::BTreeMap;

use crate::key::{Commit, NextOffset};
use crate::state::{StateChange, StateOwner};

/// Commits and deletes of keys of one group, and changes of its states, that take effect all or none,
/// also after a crash.
///
/// Where a key is named several times, the last change of it counts. A batch can be kept and
/// committed again, or [cleared](CommitBatch::clear) and refilled without allocating.
///
/// ```
/// use pagemark::{CommitBatch, Key, NextOffset, OffsetStore};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = OffsetStore::open(dir.path().join("offsets"))?;
/// let mut batch = CommitBatch::new("billing");
/// batch.commit("orders", 0, NextOffset(42)).commit("orders", 1, NextOffset(7)).delete("audit", 0);
/// store.commit_batch(&batch)?;
/// assert_eq!(store.fetch(Key::new("billing", "orders", 1)).unwrap().offset(), NextOffset(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CommitBatch {
    group: String,
    /// Topics and metadata of all changes, one after the other.
    text: String,
    changes: Vec<Stored>,
    /// Whether every change is of a higher (topic, partition) than the one before, so that no key
    /// can be named twice.
    ascending: bool,
    /// What happens to each state that is named, all changes of it taken together.
    states: BTreeMap<(StateOwner, String, i32), StoredState>,
}

#[derive(Clone, Debug)]
enum StoredState {
    Put(Vec<u8>),
    Append(Vec<u8>),
    Delete,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    topic: (usize, usize),
    partition: i32,
    commit: Option<StoredCommit>,
}

#[derive(Clone, Copy, Debug)]
struct StoredCommit {
    offset: NextOffset,
    leader_epoch: Option<i32>,
    timestamp_ms: Option<i64>,
    expire_at_ms: Option<i64>,
    metadata: (usize, usize),
}

/// One change of a batch, as the engine sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation<'a> {
    Commit(Commit<'a>),
    Delete,
}

impl CommitBatch {
    /// An empty batch for one group. Names and values are checked when the batch is committed.
    pub fn new(group: &str) -> CommitBatch {
        let (text, changes) = (String::new(), Vec::new());
        let states = BTreeMap::new();
        CommitBatch { group: group.to_owned(), text, changes, ascending: true, states }
    }

    /// Adds a commit of one partition.
    pub fn commit<'a>(
        &mut self,
        topic: &str,
        partition: i32,
        commit: impl Into<Commit<'a>>,
    ) -> &mut Self {
        let Commit { offset, leader_epoch, metadata, timestamp_ms, expire_at_ms } = commit.into();
        let metadata = self.store(metadata);
        let commit = StoredCommit { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata };
        self.push(topic, partition, Some(commit))
    }

    /// Adds the delete of one partition's offset.
    pub fn delete(&mut self, topic: &str, partition: i32) -> &mut Self {
        self.push(topic, partition, None)
    }

    /// Sets the bytes of a state of the group: what is kept for it beside its offsets. A state is told
    /// apart by its owner, a name and a part, which is not negative; where a state is about a
    /// partition, these are the topic and the partition.
    ///
    /// Unlike those of a key, several changes of a state in one batch count in their order. See
    /// [`OffsetStore::state`](crate::OffsetStore::state) for an example.
    pub fn put_state(
        &mut self,
        owner: StateOwner,
        name: &str,
        part: i32,
        bytes: &[u8],
    ) -> &mut Self {
        self.states.insert((owner, name.to_owned(), part), StoredState::Put(bytes.to_vec()));
        self
    }

    /// Adds bytes at the end of a state, which is empty if it is not there. Only these bytes go to the
    /// log, so this is the way to change a long state often.
    pub fn append_state(
        &mut self,
        owner: StateOwner,
        name: &str,
        part: i32,
        bytes: &[u8],
    ) -> &mut Self {
        let stored = self
            .states
            .entry((owner, name.to_owned(), part))
            .or_insert_with(|| StoredState::Append(Vec::new()));
        match stored {
            StoredState::Put(before) | StoredState::Append(before) => {
                before.extend_from_slice(bytes);
            }
            StoredState::Delete => *stored = StoredState::Put(bytes.to_vec()),
        }
        self
    }

    /// Deletes a state. One that is not there is no error.
    pub fn delete_state(&mut self, owner: StateOwner, name: &str, part: i32) -> &mut Self {
        self.states.insert((owner, name.to_owned(), part), StoredState::Delete);
        self
    }

    /// The number of changes that were added, all changes of one state counted as one.
    pub fn len(&self) -> usize {
        self.changes.len() + self.states.len()
    }

    /// Whether nothing was added. Committing an empty batch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.states.is_empty()
    }

    /// Removes all changes and keeps the group and the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.changes.clear();
        self.states.clear();
        self.ascending = true;
    }

    /// The group of the batch.
    pub fn group(&self) -> &str {
        &self.group
    }

    fn push(&mut self, topic: &str, partition: i32, commit: Option<StoredCommit>) -> &mut Self {
        let last =
            self.changes.last().map(|last| (self.text(last.topic), last.partition, last.topic));
        let (range, ascends) = match last {
            Some((name, before, range)) if name == topic => (Some(range), before < partition),
            Some((name, _, _)) => (None, name < topic),
            None => (None, true),
        };
        let topic = range.unwrap_or_else(|| self.store(topic));
        self.ascending &= ascends;
        self.changes.push(Stored { topic, partition, commit });
        self
    }

    fn store(&mut self, text: &str) -> (usize, usize) {
        let from = self.text.len();
        self.text.push_str(text);
        (from, self.text.len())
    }

    fn text(&self, (from, to): (usize, usize)) -> &str {
        &self.text[from..to]
    }

    /// The numbers of the changes that count, each key once, those of a topic together.
    pub(crate) fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.changes.len() as u32).collect();
        if !self.ascending {
            let key = |number: &u32| {
                let change = &self.changes[*number as usize];
                (self.text(change.topic), change.partition)
            };
            // The sort is stable, so the last change of a key comes first once it is reversed.
            order.reverse();
            order.sort_by(|a, b| key(a).cmp(&key(b)));
            order.dedup_by(|a, b| key(a) == key(b));
        }
        order
    }

    /// The topic, partition and operation of a change.
    pub(crate) fn change(&self, number: u32) -> (&str, i32, Operation<'_>) {
        let change = &self.changes[number as usize];
        let operation = match change.commit {
            None => Operation::Delete,
            Some(commit) => Operation::Commit(Commit {
                offset: commit.offset,
                leader_epoch: commit.leader_epoch,
                metadata: self.text(commit.metadata),
                timestamp_ms: commit.timestamp_ms,
                expire_at_ms: commit.expire_at_ms,
            }),
        };
        (self.text(change.topic), change.partition, operation)
    }

    /// The changes of states, each state once, in order.
    pub(crate) fn states(&self) -> impl Iterator<Item = (StateOwner, &str, i32, StateChange<'_>)> {
        self.states.iter().map(|((owner, name, part), stored)| {
            let change = match stored {
                StoredState::Put(bytes) => StateChange::Put(bytes),
                StoredState::Append(bytes) => StateChange::Append(bytes),
                StoredState::Delete => StateChange::Delete,
            };
            (*owner, name.as_str(), *part, change)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_a_key_counts() {
        let mut batch = CommitBatch::new("g");
        batch.commit("b", 1, NextOffset(1)).commit("a", 0, NextOffset(2)).delete("b", 1);
        batch.commit("a", 0, Commit::new(NextOffset(3)).metadata("m"));
        assert_eq!(batch.len(), 4);
        let order = batch.order();
        assert_eq!(order.len(), 2);
        assert!(matches!(batch.change(order[0]), ("a", 0, Operation::Commit(commit))
            if commit.offset == NextOffset(3) && commit.metadata == "m"));
        assert!(matches!(batch.change(order[1]), ("b", 1, Operation::Delete)));
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    fn the_changes_of_a_state_count_in_their_order() {
        use StateOwner::{Application, Membership};
        let mut batch = CommitBatch::new("g");
        batch.append_state(Application, "s", 1, b"a").append_state(Application, "s", 1, b"b");
        batch.put_state(Application, "s", 0, b"a").append_state(Application, "s", 0, b"b");
        batch.append_state(Membership, "t", 0, b"a").delete_state(Membership, "t", 0);
        batch.delete_state(Membership, "s", 0).append_state(Membership, "s", 0, b"b");
        batch.append_state(Membership, "s", 0, b"c");
        let expected = [
            (Membership, "s", 0, StateChange::Put(b"bc")),
            (Membership, "t", 0, StateChange::Delete),
            (Application, "s", 0, StateChange::Put(b"ab")),
            (Application, "s", 1, StateChange::Append(b"ab")),
        ];
        assert_eq!(batch.states().collect::<Vec<_>>(), expected);
        assert_eq!((batch.len(), batch.order().len()), (4, 0));
        batch.clear();
        assert!(batch.is_empty());
    }
}
