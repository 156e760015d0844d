//! A member that commits often, resolved once.

use std::sync::Arc;

use super::cell::{Cell, Held};
use super::{Coordinator, CoordinatorError, PartitionCommit, PartitionRefusal};
use crate::group::claims::{ClaimEpoch, Replaces};
use crate::group::classic::CommitRequest;
use crate::key::{Commit, Durability, Key, Receipt};
use crate::store::Slot;
use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Somebody who commits for a group, and when it was last known that it may.
///
/// Its commits are checked as those of [`Coordinator::commit`]. What was checked is not checked again
/// as long as nothing else happens to the group and the clock shows the same millisecond: then the
/// answer would be the same, and the session of the member would end at the same time.
#[derive(Clone, Debug)]
pub struct Committer {
    coordinator: Coordinator,
    cell: Arc<Cell>,
    by: Arc<By>,
}

#[derive(Debug)]
struct By {
    request: CommitRequest,
    /// The version of the group at which it was let pass, and the time. Read and written under the
    /// lock of the group.
    version: AtomicU64,
    at_ms: AtomicI64,
}

/// A partition that a member commits, resolved once.
#[derive(Clone, Debug)]
pub struct FencedSlot {
    by: Committer,
    slot: Slot,
    topic: Arc<str>,
    partition: i32,
    claim: Option<ClaimEpoch>,
}

impl Coordinator {
    /// Resolves who commits for a group, for many commits that then need no look-up.
    ///
    /// # Errors
    ///
    /// [`InvalidGroupId`](crate::group::GroupError::InvalidGroupId). Whether it is a member is asked
    /// with each commit.
    pub fn committer(&self, group: &str, by: CommitRequest) -> Result<Committer, CoordinatorError> {
        let (version, at_ms) = (AtomicU64::new(0), AtomicI64::new(0));
        let by = Arc::new(By { request: by, version, at_ms });
        Ok(Committer { coordinator: self.clone(), cell: self.cell(group)?, by })
    }
}

impl Committer {
    /// Resolves a partition, claimed with `claim` or not at all.
    ///
    /// # Errors
    ///
    /// [`PartitionRefusal::UnknownPartition`] and [`PartitionRefusal::Invalid`].
    pub fn slot(
        &self,
        topic: &str,
        partition: i32,
        claim: Option<ClaimEpoch>,
    ) -> Result<FencedSlot, PartitionRefusal> {
        let key = Key::new(&self.cell.name, topic, partition);
        self.coordinator.check_partition(key)?;
        let slot = self.coordinator.store().slot(key).map_err(PartitionRefusal::Invalid)?;
        Ok(FencedSlot { by: self.clone(), slot, topic: topic.into(), partition, claim })
    }
}

impl FencedSlot {
    /// [`Coordinator::commit`] of this partition alone.
    ///
    /// # Errors
    ///
    /// As there. What concerns the partition is in the inner result.
    pub fn commit<'a>(
        &self,
        now_ms: i64,
        commit: impl Into<Commit<'a>>,
    ) -> Result<Result<Receipt, PartitionRefusal>, CoordinatorError> {
        self.replace(now_ms, commit, Replaces::Anything)
    }

    /// The same with what the commit expects to find.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn replace<'a>(
        &self,
        now_ms: i64,
        commit: impl Into<Commit<'a>>,
        replaces: Replaces,
    ) -> Result<Result<Receipt, PartitionRefusal>, CoordinatorError> {
        let Committer { coordinator, cell, by } = &self.by;
        let mut commit = commit.into();
        let limit = coordinator.store().options().max_metadata_bytes;
        if let Err(error) = commit.check(limit) {
            return Ok(Err(PartitionRefusal::Invalid(error)));
        }
        let mut held = coordinator.lock(cell, now_ms)?;
        if !by.has_passed(held.version, now_ms) {
            if let Err(error) = coordinator.check_commit(now_ms, cell, &mut held, &by.request) {
                return coordinator.unlocked(held, Err(error));
            }
            by.pass(held.version, now_ms);
        }
        if let Err(refusal) = self.admit(&held, commit, replaces) {
            return coordinator.unlocked(held, Ok(Err(refusal)));
        }
        commit.timestamp_ms.get_or_insert(now_ms);
        let receipt = self.slot.commit_with(commit, Durability::Buffered)?;
        drop(held);
        coordinator.acknowledge(receipt).map(Ok)
    }

    fn admit(
        &self,
        held: &Held,
        commit: Commit<'_>,
        replaces: Replaces,
    ) -> Result<(), PartitionRefusal> {
        let Self { topic, partition, claim, .. } = self;
        let (partition, claim) = (*partition, *claim);
        if claim.is_none() && replaces == Replaces::Anything && held.claims.is_plain() {
            return Ok(());
        }
        let state = None;
        let offset = PartitionCommit { topic, partition, commit, claim, replaces, state };
        held.admit(&offset, || self.slot.offset())
    }
}

impl By {
    fn has_passed(&self, version: u64, now_ms: i64) -> bool {
        self.version.load(Ordering::Relaxed) == version
            && self.at_ms.load(Ordering::Relaxed) == now_ms
    }

    fn pass(&self, version: u64, now_ms: i64) {
        self.version.store(version, Ordering::Relaxed);
        self.at_ms.store(now_ms, Ordering::Relaxed);
    }
}
