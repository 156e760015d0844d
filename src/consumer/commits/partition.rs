//! One partition of a committer.

use super::track::{StateEdit, Track, Value};
use crate::consumer::acks::AckTracker;
use crate::consumer::position::{LogBounds, Position, Reset};
use crate::error::Result;
use crate::key::{Commit, NextOffset};

/// What a committer keeps of a partition.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) position: Position,
    metadata: String,
    /// What no commit has taken along yet.
    state: StateEdit,
}

impl Assigned {
    pub(super) fn new(position: Position) -> Assigned {
        Assigned { position, metadata: String::new(), state: StateEdit::default() }
    }

    /// What is done, and so to be committed, if it is not already.
    pub(super) fn commit(&self) -> Commit<'_> {
        self.position.marked().metadata(&self.metadata)
    }

    /// How far its commits have come at first.
    pub(super) fn track(&mut self) -> Track {
        let is_stored = self.position.to_commit().is_none();
        Track::new(is_stored.then(|| self.take()))
    }

    /// Whether there is a change of the state that no commit has taken along yet.
    pub(super) fn has_state(&self) -> bool {
        self.state.change().is_some()
    }

    /// What is to be committed. From now on it is the line that keeps the change of the state.
    pub(super) fn take(&mut self) -> Value {
        let state = std::mem::take(&mut self.state);
        let Commit { offset, leader_epoch, .. } = self.position.marked();
        Value { offset, leader_epoch, metadata: self.metadata.clone(), state }
    }
}

/// An assigned partition, as [`Committer::partition`](super::Committer::partition) finds it.
///
/// Look it up once for all records that were read from it together.
#[derive(Debug)]
pub struct AssignedPartition<'a> {
    assigned: &'a mut Assigned,
    /// The committer's count.
    count: &'a mut u64,
}

impl<'a> AssignedPartition<'a> {
    pub(super) fn new(assigned: &'a mut Assigned, count: &'a mut u64) -> AssignedPartition<'a> {
        AssignedPartition { assigned, count }
    }

    /// How far it is read, done, and committed.
    pub fn position(&self) -> &Position {
        &self.assigned.position
    }

    /// [`Position::advance`]: all records below `to` were read.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn advance(&mut self, to: impl Into<NextOffset>, leader_epoch: Option<i32>) -> Result<()> {
        self.assigned.position.advance(to, leader_epoch)
    }

    /// [`Position::mark`]: all records below `to` are done, and the next commit says so. Says whether
    /// that is more than before.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a negative offset,
    /// [`AheadOfPosition`](crate::ErrorKind::AheadOfPosition) for records that were not read.
    pub fn done(&mut self, to: impl Into<NextOffset>) -> Result<bool> {
        let position = &mut self.assigned.position;
        let before = position.marked().offset.0;
        let is_more = position.mark(to)?;
        // Offsets are not negative, so the difference of two is not either, nor too large.
        *self.count += (position.marked().offset.0 - before) as u64;
        Ok(is_more)
    }

    /// [`Position::seek`]: reads elsewhere, and commits nothing else than before.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn seek(&mut self, to: impl Into<NextOffset>) -> Result<()> {
        self.assigned.position.seek(to)
    }

    /// [`Position::rewind`]: goes back, and so does the next commit.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn rewind(&mut self, to: impl Into<NextOffset>) -> Result<()> {
        self.assigned.position.rewind(to)
    }

    /// [`Position::pause`]: nothing is to be read for now.
    pub fn pause(&mut self) {
        self.assigned.position.pause();
    }

    /// [`Position::resume`]: reads on.
    pub fn resume(&mut self) {
        self.assigned.position.resume();
    }

    /// [`Position::check_range`]: looks whether the position is in the log.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn check_range<L: LogBounds>(
        &mut self,
        log: &L,
        now_ms: i64,
    ) -> std::result::Result<Option<Reset>, L::Error> {
        self.assigned.position.check_range(log, now_ms)
    }

    /// Sets the text that goes with this and all later commits of the partition, until it is set
    /// again. It is empty at first, whatever an earlier owner committed.
    pub fn set_metadata(&mut self, metadata: &str) {
        metadata.clone_into(&mut self.assigned.metadata);
    }

    /// [`done`](AssignedPartition::done) up to the watermark of a tracker. What it has complete beyond
    /// that is kept, too: the next commit stores it beside the offset, with the offset or not at all,
    /// and [`StoreTarget::acks`](super::StoreTarget::acks) reads it after a restart.
    ///
    /// Where an earlier life of the program has completed what this one has not read yet, the position
    /// moves past that.
    ///
    /// A tracker that was [rewound](AckTracker::rewind) needs a [`rewind`](AssignedPartition::rewind)
    /// of the partition, too.
    ///
    /// # Errors
    ///
    /// As [`done`](AssignedPartition::done).
    pub fn acknowledge(&mut self, acks: &mut AckTracker) -> Result<bool> {
        let watermark = acks.watermark();
        if watermark > self.position().next() {
            // The epoch of records that were not read is not known.
            self.advance(watermark, None)?;
        }
        let is_more = self.done(watermark)?;
        if acks.is_changed() {
            let mut bytes = Vec::new();
            if acks.needs_state() {
                acks.encode_state(&mut bytes);
                self.put_state(&bytes);
            } else {
                acks.encode_delta(&mut bytes)?;
                self.append_state(&bytes);
            }
        }
        Ok(is_more)
    }

    /// Counts offsets as done for the policy, before a tracker is acknowledged.
    pub(in crate::consumer) fn count(&mut self, offsets: u64) {
        *self.count += offsets;
    }

    /// Sets the bytes that the target keeps beside the offset. The next commit takes them along, also
    /// if the offset is the same; if that fails, the one behind it.
    pub fn put_state(&mut self, bytes: &[u8]) {
        self.assigned.state.then(StateEdit::put(bytes));
    }

    /// Adds bytes behind those that the target keeps beside the offset, as
    /// [`put_state`](AssignedPartition::put_state) sets them.
    pub fn append_state(&mut self, bytes: &[u8]) {
        self.assigned.state.then(StateEdit::append(bytes));
    }
}
