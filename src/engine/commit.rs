//! Commit and close.

use std::sync::Arc;

use crate::batch::{CommitBatch, Operation};
use crate::error::{Error, Result};
use crate::format::mark::MarkState;
use crate::index::{StateId, Topic};
use crate::key::{Commit, Content, Durability, Key, Receipt, Seq, check_name, check_partition};
use crate::observe;
use crate::state::{StateOwner, check_state};
use crate::sync::PoisonError;

use super::Engine;
use super::changes::{Change, Changes, StateEdit};

impl Engine {
    /// Commits one key by its names.
    pub(crate) fn commit(
        &self,
        key: Key<'_>,
        commit: Commit<'_>,
        durability: Durability,
    ) -> Result<Receipt> {
        key.check()?;
        let value = self.checked(&commit)?;
        let seq = loop {
            let appended = self.index.with_resolved(key.group(), key.topic(), |topic| {
                self.append_one(topic, key.partition(), value)
            });
            if let Some(seq) = appended? {
                break seq;
            }
        };
        self.acknowledge(seq, durability)
    }

    /// Commits one partition of a topic that was resolved before, or again if it was emptied since.
    pub(crate) fn commit_slot(
        &self,
        topic: &Arc<Topic>,
        partition: i32,
        commit: Commit<'_>,
        durability: Durability,
    ) -> Result<Receipt> {
        let value = self.checked(&commit)?;
        match self.append_one(topic, partition, value)? {
            Some(seq) => self.acknowledge(seq, durability),
            None => {
                let key = Key::new(topic.group(), topic.name(), partition);
                self.commit(key, commit, durability)
            }
        }
    }

    /// Appends one commit, or nothing if the topic was emptied and has to be resolved again.
    fn append_one(
        &self,
        topic: &Arc<Topic>,
        partition: i32,
        content: Content<'_>,
    ) -> Result<Option<u64>> {
        // The cache misses are taken before the lock is.
        let spot = topic.spot(partition);
        let mut log = self.log()?;
        if topic.is_detached() {
            return Ok(None);
        }
        let change = Change::Set { topic, spot, content };
        let appended = log.append(&self.index, Changes::of_keys(&[change]), self.durable());
        if appended.is_err() {
            log.discard(&self.index, topic);
        }
        appended.map(Some)
    }

    fn checked<'a>(&self, commit: &Commit<'a>) -> Result<Content<'a>> {
        commit.check(self.options.max_metadata_bytes)?;
        let now_ms = match commit.timestamp_ms {
            Some(timestamp_ms) => timestamp_ms,
            None => self.options.environment.now_ms(),
        };
        Ok(content(commit, now_ms))
    }

    /// Commits a batch. An empty one changes nothing.
    pub(crate) fn commit_batch(
        &self,
        batch: &CommitBatch,
        durability: Durability,
    ) -> Result<Receipt> {
        check_name("group", batch.group())?;
        let sorted = batch.sorted();
        for (topic, changes) in sorted.topics() {
            check_name("topic", topic)?;
            for (partition, operation) in changes {
                check_partition(partition)?;
                if let Operation::Commit(commit) = operation {
                    commit.check(self.options.max_metadata_bytes)?;
                }
            }
        }
        let states = edits(batch)?;
        let now_ms = self.options.environment.now_ms();
        loop {
            let names = sorted.topics().map(|(topic, _)| topic);
            let topics: Vec<Arc<Topic>> =
                names.map(|topic| self.index.resolve(batch.group(), topic)).collect();
            let mut keys = Vec::with_capacity(sorted.len());
            for (topic, (_, changes)) in topics.iter().zip(sorted.topics()) {
                keys.extend(changes.map(|(partition, operation)| {
                    let spot = topic.spot(partition);
                    match operation {
                        Operation::Commit(commit) => {
                            Change::Set { topic, spot, content: content(&commit, now_ms) }
                        }
                        Operation::Delete => Change::Delete { topic, partition },
                    }
                }));
            }
            let mut log = self.log()?;
            if topics.iter().any(|topic| topic.is_detached()) {
                continue;
            }
            let changes = Changes { keys: &keys, states: &states };
            let appended = match changes.is_empty() {
                true => log.check_open().map(|()| log.last_seq()),
                false => log.append(&self.index, changes, self.durable()),
            };
            // Topics that were resolved for nothing, by a delete or a failure.
            topics.iter().for_each(|topic| log.discard(&self.index, topic));
            drop(log);
            return self.acknowledge(appended?, durability);
        }
    }

    /// Waits as the durability asks, and makes the receipt.
    pub(super) fn acknowledge(&self, seq: u64, durability: Durability) -> Result<Receipt> {
        match durability {
            Durability::Buffered => {}
            Durability::Synced => self.make_durable(seq, None)?,
        }
        Ok(Receipt { seq: Seq(seq) })
    }

    /// Refuses further changes, makes everything durable, marks the store as closed in order and
    /// frees the directory. The second call reports `Closed`.
    pub(crate) fn close(&self) -> Result<()> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = lock.take() else { return Err(Error::closed()) };
        if self.process != std::process::id() {
            // A forked process has a copy of the handle, and no business with the store.
            return Err(Error::closed());
        }
        self.compact_before_close();
        let refusing = self.log().map(|mut log| log.close());
        // Nothing may follow the last mark, or touch a directory that is not ours any more.
        self.compaction.close();
        let closed = refusing.and_then(|()| self.write_mark(MarkState::Closed).map(|_| ()));
        self.spare.close();
        self.hand_on_numbers();
        self.meter.close();
        observe::closed(self.dir.path(), &closed);
        drop(held);
        closed
    }
}

/// The changes of states in a batch, checked.
fn edits(batch: &CommitBatch) -> Result<Vec<StateEdit<'_>>> {
    let edit = |(owner, name, part, change): (StateOwner, _, _, _)| {
        check_state(name, part)?;
        let id = StateId { group: batch.group(), owner: owner.number(), name, part };
        Ok(StateEdit { id, change })
    };
    batch.states().map(edit).collect()
}

/// What a commit that was checked sets its key to.
fn content<'a>(commit: &Commit<'a>, now_ms: i64) -> Content<'a> {
    Content {
        offset: commit.offset.0,
        leader_epoch: commit.leader_epoch,
        timestamp_ms: commit.timestamp_ms.unwrap_or(now_ms),
        expire_at_ms: commit.expire_at_ms,
        metadata: commit.metadata,
    }
}
