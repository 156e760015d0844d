//! What a consumer tells while it works.

use super::error::ConsumerError;
use super::partition::ConsumerPartition;
use crate::consumer::commits::Unstored;
use crate::consumer::position::Reset;
use crate::key::{NextOffset, TopicPartition};

/// Hears what happens to the partitions of a [`Consumer`](super::Consumer): Kafka's
/// `ConsumerRebalanceListener`, partition by partition.
///
/// It is called from within the consumer's calls, on their thread. `()` listens to nothing.
pub trait ConsumerListener {
    /// Says where to start a partition, instead of what is `committed` or the
    /// [`StartPolicy`](crate::consumer::StartPolicy). For those who keep offsets with their results.
    fn start(
        &mut self,
        _partition: &TopicPartition,
        _committed: Option<NextOffset>,
    ) -> Option<NextOffset> {
        None
    }

    /// A partition was assigned and will be read.
    fn assigned(&mut self, _partition: &mut ConsumerPartition<'_>) {}

    /// A partition is about to be given away. What is processed here is still committed, if the
    /// [`CommitPolicy`](crate::consumer::CommitPolicy) commits what is given away.
    fn revoked(&mut self, _partition: &mut ConsumerPartition<'_>) {}

    /// A partition belongs to somebody else already. Nothing of it is committed any more, and what was
    /// read and not committed is delivered again, to its new owner.
    fn lost(&mut self, _partition: &TopicPartition) {}

    /// The policy chose where to read a partition. Behind
    /// [`ResetReason::BelowStart`](crate::consumer::ResetReason::BelowStart) records were never read.
    fn reset(&mut self, _partition: &TopicPartition, _reset: &Reset) {}

    /// What was done in a partition that was given away or lost is not known to be stored.
    fn unstored(&mut self, _unstored: &Unstored) {}

    /// Something failed that the consumer tries again by itself: a heartbeat, a fetch of offsets, an
    /// automatic commit. For the program's own log.
    fn failed(&mut self, _error: &ConsumerError) {}
}

impl ConsumerListener for () {}

impl<L: ConsumerListener + ?Sized> ConsumerListener for &mut L {
    fn start(
        &mut self,
        partition: &TopicPartition,
        committed: Option<NextOffset>,
    ) -> Option<NextOffset> {
        (**self).start(partition, committed)
    }

    fn assigned(&mut self, partition: &mut ConsumerPartition<'_>) {
        (**self).assigned(partition);
    }

    fn revoked(&mut self, partition: &mut ConsumerPartition<'_>) {
        (**self).revoked(partition);
    }

    fn lost(&mut self, partition: &TopicPartition) {
        (**self).lost(partition);
    }

    fn reset(&mut self, partition: &TopicPartition, reset: &Reset) {
        (**self).reset(partition, reset);
    }

    fn unstored(&mut self, unstored: &Unstored) {
        (**self).unstored(unstored);
    }

    fn failed(&mut self, error: &ConsumerError) {
        (**self).failed(error);
    }
}
