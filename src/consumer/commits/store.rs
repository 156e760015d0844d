//! A store as the target of the commits of one group.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::target::{CommitError, CommitTarget, PartitionCommit};
use crate::batch::CommitBatch;
use crate::consumer::acks::{AckLimits, AckTracker};
use crate::consumer::position::Position;
use crate::error::Result;
use crate::key::{Durability, TopicPartition};
use crate::state::StateChange;
use crate::state::StateOwner::Acks;
use crate::store::{Durable, OffsetStore};

/// Commits to an [`OffsetStore`] under the name of a group. Nobody asks who may commit.
///
/// Each commit is one batch, appended without waiting and made durable by the background thread of the
/// store. A full disk and a quota are [`CommitError::RetryLater`]; names, metadata and states that the
/// store does not take are [`CommitError::Refused`]; everything else is [`CommitError::Stop`].
#[derive(Clone, Debug)]
pub struct StoreTarget {
    store: OffsetStore,
    group: String,
}

impl StoreTarget {
    /// Joins a store and the name of a group.
    pub fn new(store: OffsetStore, group: impl Into<String>) -> StoreTarget {
        StoreTarget { store, group: group.into() }
    }

    /// The completions of a partition that is to be assigned at a position: what was
    /// [acknowledged](super::AssignedPartition::acknowledge) with the offset that the position begins
    /// at, and is stored. If somebody else has committed since, as a reset does, or nobody has, it is a
    /// new tracker at the position.
    ///
    /// # Errors
    ///
    /// As [`AckTracker::restore`].
    pub fn acks(
        &self,
        partition: &TopicPartition,
        position: &Position,
        limits: AckLimits,
    ) -> Result<AckTracker> {
        let (topic, part) = (partition.topic(), partition.partition());
        let state = self.store.state(&self.group, Acks, topic, part);
        acks_of(state.as_deref(), position, limits)
    }
}

/// The completions that are stored beside the offset that a position begins at, or none.
pub(in crate::consumer) fn acks_of(
    state: Option<&[u8]>,
    position: &Position,
    limits: AckLimits,
) -> Result<AckTracker> {
    if let Some(bytes) = state {
        let acks = AckTracker::restore(bytes, limits)?;
        if [Some(position.next()), position.committed()] == [Some(acks.watermark()); 2] {
            return Ok(acks);
        }
    }
    AckTracker::new(position.next(), limits)
}

impl CommitTarget for StoreTarget {
    type Durable = StoreDurable;

    fn commit(
        &self,
        commits: &[PartitionCommit<'_>],
    ) -> std::result::Result<StoreDurable, CommitError> {
        let mut batch = CommitBatch::new(&self.group);
        for PartitionCommit { partition, commit, state } in commits {
            let (topic, partition) = (partition.topic(), partition.partition());
            batch.commit(topic, partition, *commit);
            match *state {
                Some(StateChange::Put(bytes)) => batch.put_state(Acks, topic, partition, bytes),
                Some(StateChange::Append(bytes)) => {
                    batch.append_state(Acks, topic, partition, bytes)
                }
                Some(StateChange::Delete) => batch.delete_state(Acks, topic, partition),
                None => &mut batch,
            };
        }
        let taken = self
            .store
            .commit_batch_with(&batch, Durability::Buffered)
            .map_err(CommitError::by_store)?;
        Ok(StoreDurable::new(self.store.durable(taken.seq())))
    }
}

/// Whether a commit that went to a store is durable.
#[derive(Debug)]
pub struct StoreDurable(Durable);

impl StoreDurable {
    pub(in crate::consumer) fn new(durable: Durable) -> StoreDurable {
        StoreDurable(durable)
    }
}

impl Future for StoreDurable {
    type Output = std::result::Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|done| done.map(drop).map_err(CommitError::by_store))
    }
}
