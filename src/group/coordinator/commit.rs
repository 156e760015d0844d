//! Commits and fetches of offsets, fenced by membership, claims and the mode of the group.

use super::cell::{Cell, Held, Membership};
use super::{Coordinator, CoordinatorError, PartitionRefusal};
use crate::batch::CommitBatch;
use crate::group::GroupError;
use crate::group::claims::{ClaimEpoch, Replaces};
use crate::group::classic::CommitRequest;
use crate::key::{Commit, CommittedOffset, Durability, Key, NextOffset, Receipt};
use crate::state::{StateChange, StateOwner};

/// The commit of one partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionCommit<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) commit: Commit<'a>,
    pub(super) claim: Option<ClaimEpoch>,
    pub(super) replaces: Replaces,
    pub(super) state: Option<StateChange<'a>>,
}

impl<'a> PartitionCommit<'a> {
    /// A commit of a partition that nobody claims, whatever it takes the place of.
    pub fn new(
        topic: &'a str,
        partition: i32,
        commit: impl Into<Commit<'a>>,
    ) -> PartitionCommit<'a> {
        let commit = commit.into();
        let replaces = Replaces::Anything;
        PartitionCommit { topic, partition, commit, claim: None, replaces, state: None }
    }

    /// The claim that entitles to the commit.
    pub fn claim(mut self, epoch: ClaimEpoch) -> PartitionCommit<'a> {
        self.claim = Some(epoch);
        self
    }

    /// What the commit expects to find.
    pub fn replaces(mut self, replaces: Replaces) -> PartitionCommit<'a> {
        self.replaces = replaces;
        self
    }

    /// What happens to the state that is kept beside the offset: that of the owner
    /// [`Acks`](StateOwner::Acks) with the names of the partition. It happens with the commit or not
    /// at all.
    pub fn state(mut self, change: StateChange<'a>) -> PartitionCommit<'a> {
        self.state = Some(change);
        self
    }

    fn add_to(&self, batch: &mut CommitBatch, now_ms: i64) {
        let mut commit = self.commit;
        commit.timestamp_ms.get_or_insert(now_ms);
        batch.commit(self.topic, self.partition, commit);
        let (owner, topic, partition) = (StateOwner::Acks, self.topic, self.partition);
        match self.state {
            Some(StateChange::Put(bytes)) => batch.put_state(owner, topic, partition, bytes),
            Some(StateChange::Append(bytes)) => batch.append_state(owner, topic, partition, bytes),
            Some(StateChange::Delete) => batch.delete_state(owner, topic, partition),
            None => batch,
        };
    }
}

/// What became of a commit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Committed {
    /// Of each partition, in the order of the request.
    pub partitions: Vec<Result<(), PartitionRefusal>>,
    /// That of the store, for what was not refused, or `None` if all of it was.
    pub receipt: Option<Receipt>,
}

/// What became of each partition, in the order of the request.
pub(super) type ByPartition = Vec<Result<(), PartitionRefusal>>;

impl Coordinator {
    /// Commits offsets for a member, or from outside for a group that nobody takes part in: with an
    /// empty member id and a negative generation. What is not refused is committed in one step and
    /// as durable as the store commits.
    ///
    /// `by` has the generation of a member of the classic protocol, and the member epoch of one of
    /// the newer protocol. A commit of a classic member counts as a heartbeat, as in Kafka. Nothing
    /// happens to the membership between the check and the commit.
    ///
    /// # Errors
    ///
    /// Those of [`ClassicGroup::check_commit`](crate::group::classic::ClassicGroup::check_commit)
    /// and [`ConsumerGroup::check_commit`](crate::group::modern::ConsumerGroup::check_commit), in
    /// their order. [`GroupIdNotFound`](GroupError::GroupIdNotFound) for a member of a group that
    /// there is not; clients of Kafka from before version 9 of the request are told
    /// [`IllegalGeneration`](GroupError::IllegalGeneration) instead. Those of
    /// [`OffsetStore::commit_batch`](crate::OffsetStore::commit_batch).
    ///
    /// Of each partition the result says whether it was committed. One whose metadata is too long,
    /// that is not there, or that somebody else has, leaves its siblings alone.
    pub fn commit(
        &self,
        now_ms: i64,
        group: &str,
        by: &CommitRequest,
        offsets: &[PartitionCommit<'_>],
    ) -> Result<ByPartition, CoordinatorError> {
        let durability = self.store().options().durability;
        Ok(self.commit_with(now_ms, group, by, offsets, durability)?.partitions)
    }

    /// The same, with a durability of its own. A [`Buffered`](Durability::Buffered) one that passes
    /// waits for nothing, and its receipt is what to wait for before it is acknowledged. A refusal
    /// waits until what it tells of the group is durable.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn commit_with(
        &self,
        now_ms: i64,
        group: &str,
        by: &CommitRequest,
        offsets: &[PartitionCommit<'_>],
        durability: Durability,
    ) -> Result<Committed, CoordinatorError> {
        let cell = match self.known(group) {
            Some(cell) => cell,
            None => self.cell(group)?,
        };
        let mut held = self.lock(&cell, now_ms)?;
        let committed = self.commit_held(now_ms, &cell, &mut held, by, offsets);
        let newest = held.newest;
        let committed = match committed {
            Ok(committed) => committed,
            Err(error) => return self.unlocked(held, Err(error)),
        };
        drop(held);
        if let Some(receipt) = committed.receipt
            && durability == Durability::Synced
        {
            self.store().wait_durable(receipt.seq(), None)?;
        }
        let is_all = committed.partitions.iter().all(Result::is_ok);
        if is_all { Ok(committed) } else { self.settled(newest, Ok(committed)) }
    }

    fn commit_held(
        &self,
        now_ms: i64,
        cell: &Cell,
        held: &mut Held,
        by: &CommitRequest,
        offsets: &[PartitionCommit<'_>],
    ) -> Result<Committed, CoordinatorError> {
        self.check_commit(now_ms, cell, held, by)?;
        let mut batch = CommitBatch::new(&cell.name);
        let mut partitions = Vec::with_capacity(offsets.len());
        for offset in offsets {
            let admitted = self.admit(&cell.name, held, offset);
            if admitted.is_ok() {
                offset.add_to(&mut batch, now_ms);
            }
            partitions.push(admitted);
        }
        if batch.is_empty() {
            return Ok(Committed { partitions, receipt: None });
        }
        let receipt = self.store().commit_batch_with(&batch, Durability::Buffered)?;
        Ok(Committed { partitions, receipt: Some(receipt) })
    }

    /// Waits as the options of the store say. Nobody's request waits for this one's flush.
    pub(super) fn acknowledge(&self, receipt: Receipt) -> Result<Receipt, CoordinatorError> {
        if self.store().options().durability == Durability::Synced {
            self.store().wait_durable(receipt.seq(), None)?;
        }
        Ok(receipt)
    }

    /// Whether somebody may commit for the group.
    pub(super) fn check_commit(
        &self,
        now_ms: i64,
        cell: &Cell,
        held: &mut Held,
        by: &CommitRequest,
    ) -> Result<(), CoordinatorError> {
        let checked = match &mut held.membership {
            Membership::Classic(group) => group.check_commit(now_ms, by),
            Membership::Consumer(group) => group.check_commit(&by.member.member_id, by.generation),
            Membership::Nobody | Membership::Unloaded if by.generation < 0 => Ok(()),
            Membership::Nobody | Membership::Unloaded => {
                let exists = self.exists(&cell.name, held);
                let who = GroupError::UnknownMemberId;
                Err(if exists { who } else { GroupError::GroupIdNotFound })
            }
        };
        Ok(checked?)
    }

    /// Whether a commit of one partition may pass, once its group has let it.
    fn admit(
        &self,
        group: &str,
        held: &Held,
        offset: &PartitionCommit<'_>,
    ) -> Result<(), PartitionRefusal> {
        let &PartitionCommit { topic, partition, commit, .. } = offset;
        self.check_partition(Key::new(group, topic, partition))?;
        commit
            .check(self.store().options().max_metadata_bytes)
            .map_err(PartitionRefusal::Invalid)?;
        let committed = || self.committed(Key::new(group, topic, partition));
        held.admit(offset, committed)
    }

    pub(super) fn check_partition(&self, key: Key<'_>) -> Result<(), PartitionRefusal> {
        key.check().map_err(PartitionRefusal::Invalid)?;
        let Some(topics) = self.topics() else { return Ok(()) };
        let is_there = topics.get(key.topic()).is_some_and(|count| key.partition() < *count);
        if is_there { Ok(()) } else { Err(PartitionRefusal::UnknownPartition) }
    }

    pub(super) fn committed(&self, key: Key<'_>) -> Option<NextOffset> {
        self.store().fetch(key).map(|value| value.offset())
    }

    /// The committed offsets of partitions, `None` where there is none. Without a member id and with
    /// an epoch below 0, everybody may fetch; in groups of the newer protocol a member is asked for
    /// its epoch, as in Kafka.
    ///
    /// # Errors
    ///
    /// Those of [`ConsumerGroup::check_fetch`](crate::group::modern::ConsumerGroup::check_fetch).
    pub fn fetch(
        &self,
        now_ms: i64,
        group: &str,
        member_id: Option<&str>,
        member_epoch: i32,
        partitions: &[(&str, i32)],
    ) -> Result<Vec<Option<CommittedOffset>>, CoordinatorError> {
        let read = || {
            let fetch = |&(topic, partition): &(&str, i32)| {
                self.store().fetch(Key::new(group, topic, partition))
            };
            Ok(partitions.iter().map(fetch).collect())
        };
        let Some(cell) = self.known(group) else { return read() };
        // Kept until all is read, so that it is all of one moment of the group.
        let held = self.lock(&cell, now_ms)?;
        let checked = match &held.membership {
            Membership::Consumer(group) => group.check_fetch(member_id, member_epoch),
            Membership::Classic(_) | Membership::Nobody | Membership::Unloaded => Ok(()),
        };
        match checked {
            Ok(()) => read(),
            Err(error) => self.unlocked(held, Err(error.into())),
        }
    }
}

impl Held {
    /// Whether claims and mode let a commit pass.
    pub(super) fn admit(
        &self,
        offset: &PartitionCommit<'_>,
        committed: impl Fn() -> Option<NextOffset>,
    ) -> Result<(), PartitionRefusal> {
        let &PartitionCommit { topic, partition, commit, claim, replaces, .. } = offset;
        if !self.claims.is_owned_by(topic, partition, claim) {
            let fenced = self.claims.fenced(topic, partition, committed());
            return Err(PartitionRefusal::Fenced(Box::new(fenced)));
        }
        let mode = self.claims.mode;
        if mode.looks_at_committed(replaces) {
            let committed = committed();
            if !mode.admits(commit.offset, replaces, committed) {
                return Err(PartitionRefusal::Conflict { committed });
            }
        }
        Ok(())
    }
}
