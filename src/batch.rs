//! Several changes of one group that take effect all or none.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::mem;

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
    /// The topics, in the order in which they were named. One that was named again after another is
    /// there again.
    topics: Vec<StoredTopic>,
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
struct StoredTopic {
    name: (usize, usize),
    /// Where its changes end. They begin where those of the topic before end.
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
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

/// The changes of keys that count, as the engine sees them: each key once, in order.
#[derive(Debug)]
pub(crate) struct Sorted<'a> {
    batch: &'a CommitBatch,
    /// Each topic with the place where its changes end.
    topics: Vec<(&'a str, usize)>,
    changes: Cow<'a, [Stored]>,
}

/// What happens to a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation<'a> {
    Commit(Commit<'a>),
    Delete,
}

impl<'a> Sorted<'a> {
    /// The topics, each with its partitions and what happens to them.
    pub(crate) fn topics(
        &self,
    ) -> impl Iterator<Item = (&'a str, impl Iterator<Item = (i32, Operation<'a>)>)> {
        let mut start = 0;
        self.topics.iter().map(move |(name, end)| {
            let changes = &self.changes[start..*end];
            start = *end;
            (*name, changes.iter().map(|stored| (stored.partition, self.batch.operation(stored))))
        })
    }

    /// How many changes there are.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }
}

impl CommitBatch {
    /// An empty batch for one group. Names and values are checked when the batch is committed.
    pub fn new(group: &str) -> CommitBatch {
        CommitBatch {
            group: group.to_owned(),
            text: String::new(),
            topics: Vec::new(),
            changes: Vec::new(),
            ascending: true,
            states: BTreeMap::new(),
        }
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
        self.topics.clear();
        self.changes.clear();
        self.states.clear();
        self.ascending = true;
    }

    /// The group of the batch.
    pub fn group(&self) -> &str {
        &self.group
    }

    fn push(&mut self, topic: &str, partition: i32, commit: Option<StoredCommit>) -> &mut Self {
        let end = self.changes.len() + 1;
        let before = self.topics.last().map(|last| self.text(last.name).cmp(topic));
        if before == Some(Ordering::Equal) {
            let last = self.changes.last();
            self.ascending &= last.is_some_and(|last| last.partition < partition);
            if let Some(last) = self.topics.last_mut() {
                last.end = end;
            }
        } else {
            self.ascending &= before != Some(Ordering::Greater);
            let name = self.store(topic);
            self.topics.push(StoredTopic { name, end });
        }
        self.changes.push(Stored { partition, commit });
        self
    }

    fn store(&mut self, text: &str) -> (usize, usize) {
        let from = self.text.len();
        self.text.push_str(text);
        (from, self.text.len())
    }

    fn text(&self, (from, to): (usize, usize)) -> &str {
        // Most metadata is empty.
        if from < to { &self.text[from..to] } else { "" }
    }

    /// The changes of keys that count.
    pub(crate) fn sorted(&self) -> Sorted<'_> {
        let names = self.topics.iter().map(|topic| (self.text(topic.name), topic.end));
        if self.ascending {
            let (topics, changes) = (names.collect(), Cow::Borrowed(&*self.changes));
            return Sorted { batch: self, topics, changes };
        }
        let mut start = 0;
        let mut runs: Vec<(&str, &[Stored])> = names
            .map(|(name, end)| (name, &self.changes[mem::replace(&mut start, end)..end]))
            .collect();
        // Both sorts are stable: the last change of a key stays the last, or the first in reverse.
        runs.sort_by_key(|(name, _)| *name);
        let (mut topics, mut changes) = (Vec::new(), Vec::with_capacity(self.changes.len()));
        for runs in runs.chunk_by(|(name, _), (next, _)| name == next) {
            let of_topic = runs.iter().flat_map(|(_, run)| *run).copied();
            let mut of_topic: Vec<Stored> = of_topic.collect();
            of_topic.reverse();
            of_topic.sort_by_key(|change| change.partition);
            of_topic.dedup_by_key(|change| change.partition);
            changes.append(&mut of_topic);
            topics.extend(runs.first().map(|(name, _)| (*name, changes.len())));
        }
        Sorted { batch: self, topics, changes: Cow::Owned(changes) }
    }

    fn operation(&self, stored: &Stored) -> Operation<'_> {
        match stored.commit {
            None => Operation::Delete,
            Some(commit) => Operation::Commit(Commit {
                offset: commit.offset,
                leader_epoch: commit.leader_epoch,
                metadata: self.text(commit.metadata),
                timestamp_ms: commit.timestamp_ms,
                expire_at_ms: commit.expire_at_ms,
            }),
        }
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
        let sorted = batch.sorted();
        let changes: Vec<_> = sorted
            .topics()
            .flat_map(|(topic, changes)| changes.map(move |change| (topic, change)))
            .collect();
        assert!(
            matches!(changes[..], [
                ("a", (0, Operation::Commit(commit))),
                ("b", (1, Operation::Delete)),
            ] if commit.offset == NextOffset(3) && commit.metadata == "m"),
            "{changes:?}"
        );
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
        assert_eq!((batch.len(), batch.sorted().len()), (4, 0));
        batch.clear();
        assert!(batch.is_empty());
    }
}
