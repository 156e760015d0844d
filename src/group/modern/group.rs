//! A group: what is stored of it, and what is not.

use std::collections::BTreeMap;

use super::changes::Changes;
use super::config::ConsumerGroupConfig;
use super::member::{CurrentAssignment, MemberState};
use super::record::Record;
use super::request::{
    HeartbeatRequest, HeartbeatResponse, JOIN_EPOCH, LEAVE_EPOCH, STATIC_LEAVE_EPOCH,
};
use super::state::Durable;
use super::timers::{Expiry, Timers};
use crate::error::Error;
use crate::group::GroupError;

/// A group whose members speak the newer protocol, with Kafka's name for it. The
/// [module](super) says how it is used.
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    pub(super) config: ConsumerGroupConfig,
    pub(super) durable: Durable,
    pub(super) is_dead: bool,
    timers: Timers,
}

/// What [`tick`](ConsumerGroup::tick) did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the records have to be stored"]
pub struct Expired {
    /// What is to be stored, as one batch.
    pub records: Vec<Record>,
    /// The members that were removed, and why.
    pub members: Vec<(String, Expiry)>,
}

/// What a heartbeat came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the records have to be stored before the answer is given"]
pub struct Step {
    /// What is to be stored, as one batch, before the answer is given. Often nothing.
    pub records: Vec<Record>,
    /// The answer.
    pub response: HeartbeatResponse,
}

/// Who it is that sends a heartbeat.
enum Sender {
    /// A member that the group has.
    Known(CurrentAssignment),
    /// One that it does not have yet.
    New,
    /// One that takes the place of this static member, which is away.
    Back(String),
}

impl ConsumerGroup {
    /// Opens a group from what is stored of it: nothing for a new one, otherwise the newest record of
    /// each name, in any order.
    ///
    /// All its members have their full session time from now on, and those that have to give up
    /// partitions their full rebalance timeout.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the records are not all those of a group.
    pub fn open(
        config: ConsumerGroupConfig,
        records: impl IntoIterator<Item = Record>,
        now_ms: i64,
    ) -> Result<ConsumerGroup, Error> {
        let mut durable = Durable::default();
        for record in records {
            durable.apply(&record);
        }
        durable.check()?;
        let mut timers = Timers::new(now_ms);
        for (id, member) in &durable.members {
            timers.start_session(id, config.session_timeout_ms);
            let state = durable.current.get(id).map(|current| current.state);
            if state == Some(MemberState::UnrevokedPartitions) {
                timers.set_revocation(id, Some(member.rebalance_timeout_ms));
            }
        }
        Ok(ConsumerGroup { config, durable, is_dead: false, timers })
    }

    /// Answers a heartbeat. `partitions_per_topic` has the number of partitions of each topic that
    /// exists; topics that no member subscribes to may be among them.
    ///
    /// The group has taken the step when this returns. The records are to be stored before the answer
    /// is given; if they cannot be, drop the group, [`open`](ConsumerGroup::open) it anew, and
    /// answer with [`CoordinatorNotAvailable`](GroupError::CoordinatorNotAvailable).
    ///
    /// # Errors
    ///
    /// A refusal changes nothing, and does not count as a sign of life:
    ///
    /// - [`InvalidRequest`](GroupError::InvalidRequest): a field that has to be there is not, or has a
    ///   value that it cannot have; or a member that joins has the id of another.
    /// - [`UnknownMemberId`](GroupError::UnknownMemberId): the group does not have the member, or does
    ///   not have it any more.
    /// - [`FencedMemberEpoch`](GroupError::FencedMemberEpoch): the epoch is not that of the member. Its
    ///   previous one is accepted if the member says what it owns and that is still its own, as the
    ///   answer that told it of the current one may have been lost.
    /// - [`UnreleasedInstanceId`](GroupError::UnreleasedInstanceId): it joins with the group instance
    ///   id of a member that has not left; [`FencedInstanceId`](GroupError::FencedInstanceId): another
    ///   member has taken that id over since.
    /// - [`GroupMaxSizeReached`](GroupError::GroupMaxSizeReached): there is no room for a new member.
    /// - [`CoordinatorNotAvailable`](GroupError::CoordinatorNotAvailable): the group was deleted.
    pub fn heartbeat(
        &mut self,
        now_ms: i64,
        request: &HeartbeatRequest,
        partitions_per_topic: &BTreeMap<String, i32>,
    ) -> Result<Step, GroupError> {
        self.check_alive()?;
        self.timers.advance(now_ms);
        request.check()?;
        match request.member_epoch {
            LEAVE_EPOCH | STATIC_LEAVE_EPOCH => self.leave(request),
            _ => self.take_part(request, partitions_per_topic),
        }
    }

    fn take_part(
        &mut self,
        request: &HeartbeatRequest,
        partitions_per_topic: &BTreeMap<String, i32>,
    ) -> Result<Step, GroupError> {
        let sender = self.sender(request)?;
        // Nothing is refused from here on.
        let id = &request.member_id;
        let mut changes = Changes::of(&mut self.durable);
        let before = match sender {
            Sender::Known(current) => current,
            Sender::New => CurrentAssignment::joining(Default::default()),
            Sender::Back(away) => {
                self.timers.remove(&away);
                changes.replace(&away, id)
            }
        };
        let has_other_topics = changes.update_member(request);
        if changes.update_topics(partitions_per_topic) || has_other_topics {
            changes.raise_epoch();
        }
        changes.update_targets(self.config.assignor);
        let after = changes.reconcile(&before, request);
        let records = changes.into_records();

        self.timers.start_session(id, self.config.session_timeout_ms);
        if after.state != MemberState::UnrevokedPartitions {
            self.timers.set_revocation(id, None);
        } else if after != before {
            let timeout = self.durable.members.get(id).map(|member| member.rebalance_timeout_ms);
            self.timers.set_revocation(id, timeout);
        }
        let is_news = request.owned.is_some() || after.assigned != before.assigned;
        let assignment = is_news.then_some(after.assigned);
        Ok(Step { records, response: self.response(request, after.epoch, assignment) })
    }

    fn response(
        &self,
        request: &HeartbeatRequest,
        member_epoch: i32,
        assignment: Option<super::Partitions>,
    ) -> HeartbeatResponse {
        HeartbeatResponse {
            member_id: request.member_id.clone(),
            member_epoch,
            heartbeat_interval_ms: self.config.heartbeat_interval_ms,
            assignment,
        }
    }

    /// Finds out who it is, or why it is nobody.
    fn sender(&self, request: &HeartbeatRequest) -> Result<Sender, GroupError> {
        let id = &request.member_id;
        let joins = request.member_epoch == JOIN_EPOCH;
        let current = self.durable.current.get(id);
        if let Some(instance) = &request.group_instance_id {
            let owner = self.durable.static_member(instance);
            let is_away = owner.is_some_and(|owner| self.is_away(owner));
            match owner {
                Some(owner) if is_away && joins && (owner == id || current.is_none()) => {
                    return Ok(Sender::Back(owner.to_owned()));
                }
                Some(owner) if owner == id => {}
                Some(_) if is_away && joins => return Err(GroupError::InvalidRequest),
                Some(_) if joins => return Err(GroupError::UnreleasedInstanceId),
                Some(_) => return Err(GroupError::FencedInstanceId),
                None if current.is_some() && joins => return Err(GroupError::InvalidRequest),
                None if current.is_some() => return Err(GroupError::UnknownMemberId),
                None => {}
            }
        }
        match current {
            Some(current) => {
                check_epoch(current, request)?;
                Ok(Sender::Known(current.clone()))
            }
            None if !joins => Err(GroupError::UnknownMemberId),
            None if self.durable.members.len() >= self.config.max_size => {
                Err(GroupError::GroupMaxSizeReached)
            }
            None => Ok(Sender::New),
        }
    }

    fn is_away(&self, id: &str) -> bool {
        self.durable.current.get(id).is_some_and(CurrentAssignment::is_away)
    }

    fn leave(&mut self, request: &HeartbeatRequest) -> Result<Step, GroupError> {
        let id = &request.member_id;
        if let Some(instance) = &request.group_instance_id {
            match self.durable.static_member(instance) {
                Some(owner) if owner == id => {}
                Some(_) => return Err(GroupError::FencedInstanceId),
                None => return Err(GroupError::UnknownMemberId),
            }
        }
        let current = self.durable.current.get(id).ok_or(GroupError::UnknownMemberId)?;
        let away = current.left_for_a_while();
        let mut changes = Changes::of(&mut self.durable);
        if request.member_epoch == LEAVE_EPOCH {
            changes.remove_members([&id[..]]);
            self.timers.remove(id);
        } else {
            changes.put(Record::Current(id.clone(), Some(away)));
            self.timers.start_session(id, self.config.session_timeout_ms);
            self.timers.set_revocation(id, None);
        }
        let records = changes.into_records();
        Ok(Step { records, response: self.response(request, request.member_epoch, None) })
    }

    /// Removes the members whose time has run out.
    ///
    /// What is to be stored is to be stored before anything else is answered. If it cannot be, drop
    /// the group and [`open`](ConsumerGroup::open) it anew: its members get a little more time.
    pub fn tick(&mut self, now_ms: i64) -> Expired {
        self.timers.advance(now_ms);
        let members = self.timers.due();
        if members.is_empty() {
            return Expired::default();
        }
        let mut changes = Changes::of(&mut self.durable);
        changes.remove_members(members.iter().map(|(id, _)| &id[..]));
        for (id, _) in &members {
            self.timers.remove(id);
        }
        Expired { records: changes.into_records(), members }
    }

    /// When [`tick`](ConsumerGroup::tick) should be called next, by the clock of the last call.
    /// `None` if there is nobody to wait for.
    pub fn next_deadline(&self) -> Option<i64> {
        self.timers.next()
    }

    /// Removes a group that has no members, and returns what is to be stored. The group is dead from
    /// here on; a new one may be made under its name.
    ///
    /// # Errors
    ///
    /// [`NonEmptyGroup`](GroupError::NonEmptyGroup) if it has members, those that are away among them.
    pub fn delete(&mut self) -> Result<Vec<Record>, GroupError> {
        self.check_alive()?;
        if !self.durable.members.is_empty() {
            return Err(GroupError::NonEmptyGroup);
        }
        let mut changes = Changes::of(&mut self.durable);
        changes.put(Record::Epochs(None));
        changes.put(Record::Topics(None));
        self.is_dead = true;
        Ok(changes.into_records())
    }

    pub(super) fn check_alive(&self) -> Result<(), GroupError> {
        if self.is_dead { Err(GroupError::CoordinatorNotAvailable) } else { Ok(()) }
    }
}

/// Whether a member may speak in the epoch that it names.
fn check_epoch(current: &CurrentAssignment, request: &HeartbeatRequest) -> Result<(), GroupError> {
    let is_held = |(topic, partition)| {
        current.assigned.contains(topic, partition) || current.revoking.contains(topic, partition)
    };
    let missed_an_answer = request.member_epoch == current.previous_epoch
        && request.owned.as_ref().is_some_and(|owned| owned.iter().all(is_held));
    if request.member_epoch == current.epoch || missed_an_answer {
        Ok(())
    } else {
        Err(GroupError::FencedMemberEpoch)
    }
}
