//! Whose offsets are accepted.

use super::ClassicGroup;
use super::request::CommitRequest;
use super::state::ClassicState;
use super::subscription::topics;
use crate::group::GroupError;

/// The protocol type of groups that read topics.
const CONSUMER: &str = "consumer";

impl ClassicGroup {
    /// Says whether offsets may be committed, and counts as a heartbeat of who commits them.
    ///
    /// Where there is no group, the caller accepts a commit of a negative generation, which takes no
    /// part in one, and refuses every other as [`IllegalGeneration`](GroupError::IllegalGeneration).
    ///
    /// # Errors
    ///
    /// | who commits | and | error |
    /// |---|---|---|
    /// | anyone | the group was deleted | `CoordinatorNotAvailable` |
    /// | of a negative generation | the group is empty | accepted |
    /// | a member | its group instance id or member id is not known | `UnknownMemberId` |
    /// | a member | another one has its group instance id | `FencedInstanceId` |
    /// | a member | of another generation than the newest | `IllegalGeneration` |
    /// | nobody, without a transaction | the group has members | `UnknownMemberId` |
    /// | anyone, without a transaction | the leader has not assigned yet | `RebalanceInProgress` |
    ///
    /// The first line that fits counts. While members are called to join, what they had is theirs to
    /// commit.
    pub fn check_commit(&mut self, now_ms: i64, commit: &CommitRequest) -> Result<(), GroupError> {
        self.clock.advance(now_ms);
        let member = &commit.member;
        if self.state == ClassicState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if commit.generation < 0 && self.state == ClassicState::Empty {
            return Ok(());
        }
        let is_of_member = commit.generation >= 0
            || !member.member_id.is_empty()
            || member.group_instance_id.is_some();
        if is_of_member {
            self.check_current(member, commit.generation)?;
        } else if !commit.is_transactional && self.state != ClassicState::Empty {
            return Err(GroupError::UnknownMemberId);
        }
        if commit.is_transactional {
            return Ok(());
        }
        if self.state == ClassicState::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        self.start_session(&member.member_id);
        Ok(())
    }

    /// Says whether the offsets of a topic may be deleted.
    ///
    /// # Errors
    ///
    /// [`GroupIdNotFound`](GroupError::GroupIdNotFound) if the group was deleted,
    /// [`NonEmptyGroup`](GroupError::NonEmptyGroup) if it has members and is not for consumers, and
    /// [`GroupSubscribedToTopic`](GroupError::GroupSubscribedToTopic) if a member reads the topic.
    pub fn check_offset_delete(&self, topic: &str) -> Result<(), GroupError> {
        match self.state {
            ClassicState::Dead => Err(GroupError::GroupIdNotFound),
            ClassicState::Empty => Ok(()),
            _ if !self.is_for_consumers() => Err(GroupError::NonEmptyGroup),
            _ if self.is_subscribed_to(topic) => Err(GroupError::GroupSubscribedToTopic),
            _ => Ok(()),
        }
    }

    pub(super) fn is_for_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether a member reads the topic, as far as that can be known: a consumer whose subscription
    /// is not known yet, or cannot be read, counts as one that does, since what it reads must not
    /// expire.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        let protocol = self.protocol.as_deref().unwrap_or("");
        self.is_for_consumers()
            && self.members.values().any(|member| {
                let metadata = member.metadata(protocol).unwrap_or_default();
                topics(&metadata).is_none_or(|topics| topics.contains(topic))
            })
    }
}
