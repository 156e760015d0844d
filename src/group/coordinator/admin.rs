//! What an administrator asks: which groups there are, how they are, and to delete them.

use std::collections::BTreeSet;

use super::cell::{Cell, Held, Membership};
use super::commit::ByPartition;
use super::{Coordinator, CoordinatorError, PartitionRefusal};
use crate::batch::CommitBatch;
use crate::error::Error;
use crate::group::GroupError;
use crate::group::classic::{ClassicConfig, ClassicDescription, ClassicGroup};
use crate::group::modern::ConsumerGroupDescription;
use crate::key::{Durability, Receipt, Seq, TopicPartition};

/// The protocol of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupType {
    /// The classic one, or none: offsets are stored for the group, and that is all.
    Classic,
    /// The newer one (KIP-848).
    Consumer,
}

impl GroupType {
    /// Kafka's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            GroupType::Classic => "classic",
            GroupType::Consumer => "consumer",
        }
    }
}

/// Which groups are listed. An empty list lets all pass, and a name that there is not lets none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// The states, by Kafka's names, in any case.
    pub states: Vec<String>,
    /// The types, by Kafka's names, in any case.
    pub types: Vec<String>,
}

impl ListFilter {
    fn admits(&self, group: &ListedGroup) -> bool {
        let has = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|one| one.eq_ignore_ascii_case(name))
        };
        has(&self.states, group.state) && has(&self.types, group.group_type.name())
    }
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub group: String,
    /// The protocol type of its members, or of those who were its last members; empty if there were
    /// none.
    pub protocol_type: String,
    /// Kafka's name of its state.
    pub state: &'static str,
    /// Its type.
    pub group_type: GroupType,
}

/// A group and its members at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupDescription {
    /// One of the classic protocol, or of none.
    Classic(ClassicDescription),
    /// One of the newer protocol.
    Consumer(ConsumerGroupDescription),
}

impl GroupDescription {
    /// A group that nobody has ever been a member of.
    pub(super) fn of_nobody(config: ClassicConfig, now_ms: i64) -> Result<GroupDescription, Error> {
        let nobody = ClassicGroup::open(config, [], now_ms)?;
        Ok(GroupDescription::Classic(nobody.describe()))
    }

    /// Its type.
    pub fn group_type(&self) -> GroupType {
        match self {
            GroupDescription::Classic(_) => GroupType::Classic,
            GroupDescription::Consumer(_) => GroupType::Consumer,
        }
    }

    /// Kafka's name of its state.
    pub fn state(&self) -> &'static str {
        match self {
            GroupDescription::Classic(group) => group.state.name(),
            GroupDescription::Consumer(group) => group.state.name(),
        }
    }

    /// The protocol type of its members, or of those who were its last members; empty if there were
    /// none.
    pub fn protocol_type(&self) -> &str {
        match self {
            GroupDescription::Classic(group) => group.protocol_type.as_deref().unwrap_or_default(),
            GroupDescription::Consumer(_) => "consumer",
        }
    }
}

impl Coordinator {
    /// The groups, sorted by name: those that have members or had some, and those that offsets or
    /// claims are stored for.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Coordinator::open).
    pub fn list(
        &self,
        now_ms: i64,
        filter: &ListFilter,
    ) -> Result<Vec<ListedGroup>, CoordinatorError> {
        let names: BTreeSet<String> =
            self.store().groups().into_iter().chain(self.groups().names().cloned()).collect();
        let (mut listed, mut newest) = (Vec::new(), None);
        for name in names {
            let described = match self.look(now_ms, &name, &mut newest) {
                Ok(described) => described,
                Err(CoordinatorError::Group(_)) => continue,
                Err(error) => return Err(error),
            };
            let group = listed_group(name, &described);
            if filter.admits(&group) {
                listed.push(group);
            }
        }
        self.settled(newest, Ok(listed))
    }

    /// A group and its members: as they are now, told when that is durable.
    ///
    /// # Errors
    ///
    /// [`GroupIdNotFound`](GroupError::GroupIdNotFound), and those of [`open`](Coordinator::open).
    pub fn describe(&self, now_ms: i64, group: &str) -> Result<GroupDescription, CoordinatorError> {
        let mut newest = None;
        let described = self.look(now_ms, group, &mut newest);
        self.settled(newest, described)
    }

    /// A group as it is in memory. `newest` rises to what that relies on.
    fn look(
        &self,
        now_ms: i64,
        group: &str,
        newest: &mut Option<Seq>,
    ) -> Result<GroupDescription, CoordinatorError> {
        if let Some(cell) = self.known(group) {
            let held = self.lock(&cell, now_ms)?;
            *newest = held.newest.max(*newest);
            if let Some(described) = held.membership.describe() {
                return Ok(described);
            }
            if !self.exists(group, &held) {
                return Err(GroupError::GroupIdNotFound.into());
            }
        } else if !self.has_offsets(group) {
            return Err(GroupError::GroupIdNotFound.into());
        }
        Ok(GroupDescription::of_nobody(self.inner.config.classic, now_ms)?)
    }

    /// Deletes a group with its offsets, its claims and all that is stored for it.
    ///
    /// # Errors
    ///
    /// [`NonEmptyGroup`](GroupError::NonEmptyGroup) while it has members,
    /// [`GroupIdNotFound`](GroupError::GroupIdNotFound), and those of
    /// [`OffsetStore::delete_group`](crate::OffsetStore::delete_group).
    pub fn delete_group(&self, now_ms: i64, group: &str) -> Result<(), CoordinatorError> {
        let cell = self.cell(group)?;
        let mut held = self.lock(&cell, now_ms)?;
        if !self.exists(group, &held) {
            return self.unlocked(held, Err(GroupError::GroupIdNotFound.into()));
        }
        if held.membership.has_members() {
            return self.unlocked(held, Err(GroupError::NonEmptyGroup.into()));
        }
        // Flushed under the lock: the epoch of the next claim is higher than that of one that is deleted
        // here because that one is durable by then.
        let deleted = self.store().delete_group(group).and_then(|_| self.store().sync());
        // Nobody waits in a group without members, and what is left of it is what is stored.
        drop(self.give_up(&cell, &mut held, now_ms, Vec::new()));
        deleted?;
        Ok(())
    }

    /// Deletes offsets of a group, all that are not refused in one step. One that is not there is
    /// deleted, too.
    ///
    /// # Errors
    ///
    /// [`GroupIdNotFound`](GroupError::GroupIdNotFound); [`NonEmptyGroup`](GroupError::NonEmptyGroup)
    /// if the group has members and is not one of consumers; those of
    /// [`OffsetStore::commit_batch`](crate::OffsetStore::commit_batch). Of each partition the result
    /// says [`GroupSubscribedToTopic`](GroupError::GroupSubscribedToTopic) if a member reads the
    /// topic, and [`PartitionRefusal::Fenced`] if somebody has claimed the partition.
    pub fn delete_offsets(
        &self,
        now_ms: i64,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<ByPartition, CoordinatorError> {
        let cell = self.cell(group)?;
        let held = self.lock(&cell, now_ms)?;
        let deleted = self.delete_held(&cell, &held, partitions);
        let newest = held.newest;
        let (results, receipt) = match deleted {
            Ok(deleted) => deleted,
            Err(error) => return self.unlocked(held, Err(error)),
        };
        drop(held);
        self.acknowledge(receipt)?;
        let is_all = results.iter().all(Result::is_ok);
        if is_all { Ok(results) } else { self.settled(newest, Ok(results)) }
    }

    fn delete_held(
        &self,
        cell: &Cell,
        held: &Held,
        partitions: &[TopicPartition],
    ) -> Result<(ByPartition, Receipt), CoordinatorError> {
        if !self.exists(&cell.name, held) {
            return Err(GroupError::GroupIdNotFound.into());
        }
        let mut batch = CommitBatch::new(&cell.name);
        let mut results = Vec::with_capacity(partitions.len());
        for of in partitions {
            let result = match held.check_offset_delete(of.topic()) {
                Err(GroupError::GroupSubscribedToTopic) => {
                    Err(PartitionRefusal::Group(GroupError::GroupSubscribedToTopic))
                }
                Err(error) => return Err(error.into()),
                Ok(()) => self.check_owned(&cell.name, held, of.topic(), of.partition(), None),
            };
            if result.is_ok() {
                batch.delete(of.topic(), of.partition());
            }
            results.push(result);
        }
        let receipt = self.store().commit_batch_with(&batch, Durability::Buffered)?;
        Ok((results, receipt))
    }
}

impl Membership {
    pub(super) fn describe(&self) -> Option<GroupDescription> {
        match self {
            Membership::Unloaded | Membership::Nobody => None,
            Membership::Classic(group) => Some(GroupDescription::Classic(group.describe())),
            Membership::Consumer(group) => Some(GroupDescription::Consumer(group.describe())),
        }
    }
}

impl Held {
    fn check_offset_delete(&self, topic: &str) -> Result<(), GroupError> {
        match &self.membership {
            Membership::Classic(group) => group.check_offset_delete(topic),
            Membership::Consumer(group) if group.is_subscribed_to(topic) => {
                Err(GroupError::GroupSubscribedToTopic)
            }
            Membership::Consumer(_) | Membership::Nobody | Membership::Unloaded => Ok(()),
        }
    }
}

fn listed_group(group: String, described: &GroupDescription) -> ListedGroup {
    ListedGroup {
        group,
        protocol_type: described.protocol_type().to_owned(),
        state: described.state(),
        group_type: described.group_type(),
    }
}
