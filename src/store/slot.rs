//! One key that was looked up once.

use std::sync::Arc;

use super::Inner;
use crate::error::Result;
use crate::index::Topic;
use crate::key::{Commit, CommittedOffset, Durability, NextOffset, Receipt};

/// A resolved key: commits and fetches that skip the look-up by names.
///
/// It keeps its store open, and stays good when the key is deleted.
#[derive(Clone, Debug)]
pub struct Slot {
    pub(super) inner: Arc<Inner>,
    pub(super) topic: Arc<Topic>,
    pub(super) partition: i32,
}

impl Slot {
    /// [`OffsetStore::commit`](crate::OffsetStore::commit) for this key.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn commit<'a>(&self, commit: impl Into<Commit<'a>>) -> Result<Receipt> {
        self.commit_with(commit, self.inner.engine.options().durability)
    }

    /// [`OffsetStore::commit_with`](crate::OffsetStore::commit_with) for this key.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn commit_with<'a>(
        &self,
        commit: impl Into<Commit<'a>>,
        durability: Durability,
    ) -> Result<Receipt> {
        self.inner.engine.commit_slot(&self.topic, self.partition, commit.into(), durability)
    }

    /// [`OffsetStore::fetch`](crate::OffsetStore::fetch) for this key.
    pub fn fetch(&self) -> Option<CommittedOffset> {
        self.inner.engine.fetch_slot(&self.topic, self.partition)
    }

    /// The committed offset alone.
    pub fn offset(&self) -> Option<NextOffset> {
        self.inner.engine.slot_offset(&self.topic, self.partition)
    }
}
