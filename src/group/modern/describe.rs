//! What a group says about itself and decides without changing.

use super::config::ServerAssignor;
use super::group::ConsumerGroup;
use super::member::MemberState;
use super::partitions::Partitions;
use crate::group::GroupError;

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsumerGroupState {
    /// It has no members.
    Empty,
    /// Something has changed, and who shall have what is not decided yet. The next heartbeat does.
    Assigning,
    /// Members are on their way to what they shall have.
    Reconciling,
    /// Everybody has what they shall have.
    Stable,
    /// It was deleted.
    Dead,
}

impl ConsumerGroupState {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            ConsumerGroupState::Empty => "Empty",
            ConsumerGroupState::Assigning => "Assigning",
            ConsumerGroupState::Reconciling => "Reconciling",
            ConsumerGroupState::Stable => "Stable",
            ConsumerGroupState::Dead => "Dead",
        }
    }
}

/// A group at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerGroupDescription {
    /// What it is doing.
    pub state: ConsumerGroupState,
    /// How often members, subscriptions or topics have changed.
    pub group_epoch: i32,
    /// The group epoch that the target assignment is made for.
    pub assignment_epoch: i32,
    /// The assignor that makes the next one.
    pub assignor: ServerAssignor,
    /// Its members, sorted by member id.
    pub members: Vec<DescribedMember>,
}

/// A member of a group at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescribedMember {
    /// Who it is.
    pub member_id: String,
    /// Which static member it is.
    pub group_instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// Its epoch; [`STATIC_LEAVE_EPOCH`](super::STATIC_LEAVE_EPOCH) if it is away.
    pub member_epoch: i32,
    /// How far it is on its way.
    pub state: MemberState,
    /// The topics that it subscribes to, sorted.
    pub topics: Vec<String>,
    /// What it may own.
    pub assigned: Partitions,
    /// What it has to give up, and has not said that it did.
    pub revoking: Partitions,
    /// What it shall have.
    pub target: Partitions,
}

impl ConsumerGroup {
    /// What the group is doing.
    pub fn state(&self) -> ConsumerGroupState {
        let durable = &self.durable;
        let is_reconciled = || {
            durable.current.values().all(|current| {
                current.state == MemberState::Stable && current.epoch == durable.epochs.assignment
            })
        };
        if self.is_dead {
            ConsumerGroupState::Dead
        } else if durable.members.is_empty() {
            ConsumerGroupState::Empty
        } else if durable.epochs.group > durable.epochs.assignment {
            ConsumerGroupState::Assigning
        } else if is_reconciled() {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// The group and its members, for people to look at.
    pub fn describe(&self) -> ConsumerGroupDescription {
        let durable = &self.durable;
        let states = durable.targets.iter().zip(durable.current.values());
        let members = durable.members.iter().zip(states);
        let members = members.map(|((id, member), ((_, target), current))| DescribedMember {
            member_id: id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_epoch: current.epoch,
            state: current.state,
            topics: member.topics.iter().cloned().collect(),
            assigned: current.assigned.clone(),
            revoking: current.revoking.clone(),
            target: target.clone(),
        });
        ConsumerGroupDescription {
            state: self.state(),
            group_epoch: durable.epochs.group,
            assignment_epoch: durable.epochs.assignment,
            assignor: durable.preferred_assignor().unwrap_or(self.config.assignor),
            members: members.collect(),
        }
    }

    /// Whether a commit of a member in its epoch may pass. One from outside has an epoch below 0 and
    /// passes while there are no members.
    ///
    /// It looks at the member and not at the partition, as Kafka does: see
    /// [`owner`](ConsumerGroup::owner).
    ///
    /// # Errors
    ///
    /// [`UnknownMemberId`](GroupError::UnknownMemberId),
    /// [`StaleMemberEpoch`](GroupError::StaleMemberEpoch), or of a deleted group
    /// [`CoordinatorNotAvailable`](GroupError::CoordinatorNotAvailable).
    pub fn check_commit(&self, member_id: &str, member_epoch: i32) -> Result<(), GroupError> {
        self.check_alive()?;
        if member_epoch < 0 && self.durable.members.is_empty() {
            return Ok(());
        }
        self.check_member(member_id, member_epoch)
    }

    /// Whether a member may fetch offsets. Without a member id and with an epoch below 0, everybody
    /// may.
    ///
    /// # Errors
    ///
    /// Those of [`check_commit`](ConsumerGroup::check_commit).
    pub fn check_fetch(
        &self,
        member_id: Option<&str>,
        member_epoch: i32,
    ) -> Result<(), GroupError> {
        self.check_alive()?;
        match member_id {
            None if member_epoch < 0 => Ok(()),
            None => Err(GroupError::UnknownMemberId),
            Some(member_id) => self.check_member(member_id, member_epoch),
        }
    }

    fn check_member(&self, member_id: &str, member_epoch: i32) -> Result<(), GroupError> {
        let current = self.durable.current.get(member_id).ok_or(GroupError::UnknownMemberId)?;
        // A member that is away has a negative epoch, too, and commits nothing.
        if member_epoch >= 0 && member_epoch == current.epoch {
            Ok(())
        } else {
            Err(GroupError::StaleMemberEpoch)
        }
    }

    /// The member that may own a partition: it was told so, and has not said that it gave it up.
    ///
    /// A commit of a member for a partition that is not its own comes too late, although its epoch
    /// may be the current one. Kafka lets it pass; a host that asks here, too, need not.
    pub fn owner(&self, topic: &str, partition: i32) -> Option<&str> {
        self.durable.holder(topic, partition)
    }

    /// Whether a member subscribes to a topic, so that offsets of it should neither be deleted nor
    /// expire.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.durable.is_subscribed_to(topic)
    }
}
