//! Commit and close.

use std::sync::Arc;
use std::sync::PoisonError;

use crate::batch::{CommitBatch, Operation};
use crate::error::{Error, Result};
use crate::format::mark::MarkState;
use crate::index::Topic;
use crate::key::{Commit, Durability, Key, Receipt, Seq, check_name, check_partition};

use super::Engine;
use super::log::{Change, NewValue};

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
        value: NewValue<'_>,
    ) -> Result<Option<u64>> {
        // The cache misses are taken before the lock is.
        topic.prefetch(partition);
        let mut log = self.log()?;
        if topic.is_detached() {
            return Ok(None);
        }
        let change = Change::Set { topic, partition, value };
        let appended = log.append(&self.index, &[change], self.durable());
        if appended.is_err() {
            log.discard(&self.index, topic);
        }
        appended.map(Some)
    }

    fn checked<'a>(&self, commit: &Commit<'a>) -> Result<NewValue<'a>> {
        commit.check(self.options.max_metadata_bytes)?;
        Ok(NewValue {
            offset: commit.offset.0,
            leader_epoch: commit.leader_epoch,
            timestamp_ms: commit.timestamp_ms.unwrap_or_else(|| self.options.environment.now_ms()),
            metadata: commit.metadata,
        })
    }

    /// Commits a batch. An empty one changes nothing.
    pub(crate) fn commit_batch(
        &self,
        batch: &CommitBatch,
        durability: Durability,
    ) -> Result<Receipt> {
        check_name("group", batch.group())?;
        let operations = batch.operations();
        let mut values = Vec::with_capacity(operations.len());
        for (topic, partition, operation) in &operations {
            check_name("topic", topic)?;
            check_partition(*partition)?;
            values.push(match operation {
                Operation::Commit(commit) => Some(self.checked(commit)?),
                Operation::Delete => None,
            });
        }
        let mut topics: Vec<Arc<Topic>> = Vec::with_capacity(operations.len());
        loop {
            topics.clear();
            for (topic, _, _) in &operations {
                let again = topics.last().filter(|last| last.name() == *topic).cloned();
                topics.push(again.unwrap_or_else(|| self.index.resolve(batch.group(), topic)));
            }
            let changes: Vec<Change<'_>> = topics
                .iter()
                .zip(operations.iter().zip(&values))
                .map(|(topic, ((_, partition, _), value))| match *value {
                    Some(value) => Change::Set { topic, partition: *partition, value },
                    None => Change::Delete { topic, partition: *partition },
                })
                .collect();
            for change in &changes {
                if let Change::Set { topic, partition, .. } = change {
                    topic.prefetch(*partition);
                }
            }
            let mut log = self.log()?;
            if topics.iter().any(|topic| topic.is_detached()) {
                continue;
            }
            let appended = match changes.is_empty() {
                true => log.check_open().map(|()| log.last_seq()),
                false => log.append(&self.index, &changes, self.durable()),
            };
            // Topics that were resolved for nothing, by a delete or a failure.
            for topic in &topics {
                log.discard(&self.index, topic);
            }
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
        self.log()?.close();
        let closed = self.write_mark(MarkState::Closed);
        self.spare.close();
        drop(held);
        closed
    }
}
