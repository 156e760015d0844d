//! Fetch: memory only, and never behind a lock that a writer holds.

use std::sync::Arc;

use crate::error::Result;
use crate::index::Topic;
use crate::key::{CommittedOffset, Key, NextOffset};

use super::Engine;

impl Engine {
    /// The newest value of a key.
    pub(crate) fn fetch(&self, key: Key<'_>) -> Option<CommittedOffset> {
        let mut found = self.index.read(key)?;
        self.note_durable(&mut found);
        Some(found)
    }

    /// Visits the newest values of a group.
    pub(crate) fn visit_group(
        &self,
        group: &str,
        mut visit: impl FnMut(&str, i32, &CommittedOffset),
    ) {
        let durable = self.durable();
        self.index.visit_group(group, |topic, partition, found| {
            found.durable = found.seq.0 <= durable;
            visit(topic, partition, found);
        });
    }

    /// The groups that have a value.
    pub(crate) fn groups(&self) -> Vec<String> {
        self.index.groups()
    }

    /// Resolves a key for later.
    pub(crate) fn slot(&self, key: Key<'_>) -> Result<Arc<Topic>> {
        key.check()?;
        Ok(self.index.resolve(key.group(), key.topic()))
    }

    /// The newest value of a key that was resolved before.
    pub(crate) fn fetch_slot(&self, topic: &Topic, partition: i32) -> Option<CommittedOffset> {
        if topic.is_detached() {
            return self.fetch(Key::new(topic.group(), topic.name(), partition));
        }
        let mut found = CommittedOffset::default();
        topic.read(partition, &mut found).then(|| {
            self.note_durable(&mut found);
            found
        })
    }

    /// The offset of a key that was resolved before.
    pub(crate) fn slot_offset(&self, topic: &Topic, partition: i32) -> Option<NextOffset> {
        match topic.is_detached() {
            true => self
                .index
                .with_topic(topic.group(), topic.name(), |topic| topic.offset(partition))
                .flatten(),
            false => topic.offset(partition),
        }
        .map(NextOffset)
    }

    /// Says whether a value that was read is durable. Looked up after the value was, so that the
    /// answer may be late but is never wrong.
    pub(crate) fn note_durable(&self, found: &mut CommittedOffset) {
        found.durable = found.seq.0 <= self.durable();
    }
}
