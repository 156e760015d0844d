//! One partition of a consumer.

use crate::consumer::acks::AckTracker;
use crate::consumer::commits::AssignedPartition;
use crate::consumer::position::Position;
use crate::error::Result;
use crate::key::{LastProcessed, NextOffset, TopicPartition};

/// An assigned partition, as [`Consumer::partition`](super::Consumer::partition) finds it.
#[derive(Debug)]
pub struct ConsumerPartition<'a> {
    partition: &'a TopicPartition,
    assigned: AssignedPartition<'a>,
    acks: Option<&'a mut AckTracker>,
}

impl<'a> ConsumerPartition<'a> {
    pub(super) fn new(
        partition: &'a TopicPartition,
        assigned: AssignedPartition<'a>,
        acks: Option<&'a mut AckTracker>,
    ) -> ConsumerPartition<'a> {
        ConsumerPartition { partition, assigned, acks }
    }

    /// Which one it is.
    pub fn topic_partition(&self) -> &TopicPartition {
        self.partition
    }

    /// How far it is read, done, and committed. Out of order, what is done is in
    /// [`acks`](ConsumerPartition::acks) until it is committed.
    pub fn position(&self) -> &Position {
        self.assigned.position()
    }

    /// What is complete out of order, if the consumer keeps that.
    pub fn acks(&self) -> Option<&AckTracker> {
        self.acks.as_deref()
    }

    /// Notes that the record at an offset is processed, and may be committed. Unless the consumer takes
    /// records [out of order](super::ConsumerOptions::out_of_order), all records before it are, too.
    ///
    /// # Errors
    ///
    /// As [`Position::mark`] and [`AckTracker::complete`]: the record was not read, or there are too
    /// many gaps.
    pub fn processed(&mut self, offset: i64) -> Result<()> {
        match &mut self.acks {
            // Its watermark is marked when its state is taken along: what is beyond a watermark that
            // is stored without its state counts for nothing.
            Some(acks) => {
                let is_news = acks.complete(offset)?;
                self.assigned.count(is_news.into());
            }
            None => drop(self.assigned.done(LastProcessed(offset))?),
        }
        Ok(())
    }

    /// Reads on at another offset, and commits so. Back: records are delivered once more, and the next
    /// commit goes back if they were committed. Forth: what is left out counts as processed.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a negative offset.
    pub fn seek(&mut self, to: impl Into<NextOffset>) -> Result<()> {
        let to = to.into();
        if to < self.position().next() {
            if let Some(acks) = &mut self.acks {
                acks.rewind(to)?;
            }
            return self.assigned.rewind(to);
        }
        self.assigned.seek(to)?;
        match &mut self.acks {
            Some(acks) => acks.skip_to(to)?,
            None => drop(self.assigned.done(to)?),
        }
        Ok(())
    }

    /// Reads nothing of it for now.
    pub fn pause(&mut self) {
        self.assigned.pause();
    }

    /// Ends a [`pause`](ConsumerPartition::pause).
    pub fn resume(&mut self) {
        self.assigned.resume();
    }

    /// Sets the text that goes with its commits from now on.
    pub fn set_metadata(&mut self, metadata: &str) {
        self.assigned.set_metadata(metadata);
    }
}
