//! Joining: who may be a member of the next generation.

use super::ClassicGroup;
use super::clock::Timer;
use super::member::{Member, agree_on_one_of, metadata_for, vote};
use super::reply::{Joined, JoinedMember, Reply, Step};
use super::request::{JoinRequest, MemberIdentity, RequestId};
use super::state::ClassicState;
use super::subscription::topics;

use crate::group::GroupError;

/// How long a new member may wait for its first generation. Its session does not count before, since
/// it sends no heartbeats while it waits, and whether its client is still there cannot be seen.
const NEW_MEMBER_TIMEOUT_MS: i32 = 300_000;

impl ClassicGroup {
    /// A member wants to be in the next generation. The answer comes when that generation begins, or
    /// at once if nothing changes by the member or if it is refused.
    ///
    /// `random` becomes the id of a new member. Nobody but the member should be able to guess it:
    /// whoever knows the id of a member can speak for it.
    pub fn join(&mut self, now_ms: i64, join: JoinRequest, random: u128) -> Step {
        self.clock.advance(now_ms);
        let mut step = Step::default();
        let joined = self.admit(&join, &mut step).and_then(|()| {
            if join.member_id.is_empty() {
                self.join_new(&join, random, &mut step)
            } else {
                self.join_known(&join, &mut step)
            }
        });
        if let Err(error) = joined {
            step.refuse_join(join.request, &join.member_id, error);
        }
        self.save(&mut step);
        step
    }

    fn admit(&mut self, join: &JoinRequest, step: &mut Step) -> Result<(), GroupError> {
        self.config.check_session_timeout(join.session_timeout_ms)?;
        join.check()?;
        if !self.has_room_for(join) {
            // It will not join, so nobody should wait for it.
            if self.pending_joins.contains(&join.member_id) || self.check_join(join).is_ok() {
                self.remove(&join.member_id, step);
                self.complete_join_if_all_are_there(step);
            }
            return Err(GroupError::GroupMaxSizeReached);
        }
        if self.state == ClassicState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if self.supports(join) { Ok(()) } else { Err(GroupError::InconsistentGroupProtocol) }
    }

    /// While members join, the places go to those who come first, members or not: so a group that
    /// has become too large gets smaller.
    fn has_room_for(&self, join: &JoinRequest) -> bool {
        let instance_id = join.group_instance_id.as_ref();
        let replaced = instance_id.and_then(|id| self.instances.get(id));
        let member_id = replaced.unwrap_or(&join.member_id);
        match self.state {
            ClassicState::Empty | ClassicState::Dead => true,
            ClassicState::PreparingRebalance => {
                self.joining.contains_key(member_id) || self.joining.len() < self.config.max_size
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.members.contains_key(member_id) || self.members.len() < self.config.max_size
            }
        }
    }

    fn supports(&self, join: &JoinRequest) -> bool {
        if self.state == ClassicState::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(&join.protocol_type)
            && agree_on_one_of(&self.members, &join.protocols)
    }

    fn check_join(&self, join: &JoinRequest) -> Result<(), GroupError> {
        let group_instance_id = join.group_instance_id.clone();
        self.check_member(&MemberIdentity { member_id: join.member_id.clone(), group_instance_id })
    }

    fn join_new(
        &mut self,
        join: &JoinRequest,
        random: u128,
        step: &mut Step,
    ) -> Result<(), GroupError> {
        let prefix = join.group_instance_id.as_ref().unwrap_or(&join.client_id);
        let member_id = self.new_member_id(prefix, random);
        let replaced = join.group_instance_id.as_ref().and_then(|id| self.instances.get(id));
        if let Some(replaced) = replaced.cloned() {
            self.replace(&replaced, member_id, join, step);
        } else if join.group_instance_id.is_none() && join.requires_member_id {
            self.clock.start(Timer::Session(member_id.clone()), join.session_timeout_ms);
            step.refuse_join(join.request, &member_id, GroupError::MemberIdRequired);
            self.pending_joins.insert(member_id);
        } else {
            self.add(member_id, join, step);
        }
        Ok(())
    }

    /// The id is formed as Kafka's. Numbers that came before are passed over, so that two members
    /// never have the same one, however bad the random numbers are.
    fn new_member_id(&self, prefix: &str, random: u128) -> String {
        let mut number = random;
        loop {
            let hex = format!("{number:032x}");
            let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
            let member_id = format!("{prefix}-{uuid}");
            if !self.members.contains_key(&member_id) && !self.pending_joins.contains(&member_id) {
                return member_id;
            }
            number = number.wrapping_add(1);
        }
    }

    fn join_known(&mut self, join: &JoinRequest, step: &mut Step) -> Result<(), GroupError> {
        if self.pending_joins.contains(&join.member_id) {
            // Only dynamic members get an id before they join.
            if join.group_instance_id.is_some() {
                return Err(GroupError::InvalidRequest);
            }
            self.add(join.member_id.clone(), join, step);
            return Ok(());
        }
        self.check_join(join)?;
        let is_leader = self.leader.as_ref() == Some(&join.member_id);
        let is_same = |member: &Member| member.protocols == join.protocols;
        let is_same = self.members.get(&join.member_id).is_some_and(is_same);
        match self.state {
            // The answer to its join did not arrive.
            ClassicState::CompletingRebalance if is_same => {
                self.answer_join(&join.member_id, join.request, step);
            }
            // A leader joins again when something has changed that others do not see, as the number
            // of partitions of a topic.
            ClassicState::Stable if is_same && !is_leader => {
                self.answer_join(&join.member_id, join.request, step);
            }
            ClassicState::PreparingRebalance
            | ClassicState::CompletingRebalance
            | ClassicState::Stable => self.rejoin(join, step),
            ClassicState::Empty | ClassicState::Dead => return Err(GroupError::UnknownMemberId),
        }
        Ok(())
    }

    fn rejoin(&mut self, join: &JoinRequest, step: &mut Step) {
        if let Some(member) = self.members.get_mut(&join.member_id) {
            member.update(join);
        }
        if let Some(earlier) = self.joining.insert(join.member_id.clone(), join.request) {
            step.refuse_join(earlier, &join.member_id, GroupError::RebalanceInProgress);
        }
        self.rebalance(step);
    }

    fn add(&mut self, member_id: String, join: &JoinRequest, step: &mut Step) {
        self.pending_joins.remove(&member_id);
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance_id) = &join.group_instance_id {
            self.instances.insert(instance_id.clone(), member_id.clone());
        }
        if let Some(initial) = &mut self.initial {
            initial.is_extended = true;
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        self.fresh.insert(member_id.clone());
        self.joining.insert(member_id.clone(), join.request);
        self.clock.start(Timer::Session(member_id.clone()), NEW_MEMBER_TIMEOUT_MS);
        self.members.insert(member_id, Member::new(join));
        self.rebalance(step);
    }

    /// A static member that was started anew takes the place of the process that it was. Its
    /// assignment stays, and so does the generation if nothing else changes.
    fn replace(&mut self, old: &str, new: String, join: &JoinRequest, step: &mut Step) {
        let leader_before = self.leader.clone();
        let is_same = self.reads_the_same(old, join);
        self.take_place(old, &new, join, step);
        match self.state {
            ClassicState::Stable if is_same && vote(&self.members) == self.protocol => {
                self.joining.remove(&new);
                self.answer_replaced(&new, leader_before, join, step);
            }
            // The leader may have seen the old id only, and would assign nothing to the new one.
            ClassicState::Stable | ClassicState::CompletingRebalance => {
                self.prepare_rebalance(step);
            }
            ClassicState::PreparingRebalance | ClassicState::Empty | ClassicState::Dead => {
                self.complete_join_if_all_are_there(step);
            }
        }
    }

    /// Whether a member reads the topics that it read before, as far as that can be known. The rest of
    /// what it says may differ, since a process that starts anew owns nothing.
    fn reads_the_same(&self, old: &str, join: &JoinRequest) -> bool {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let said = |protocols| metadata_for(protocol, protocols).and_then(|said| topics(said));
        let before = self.members.get(old).and_then(|member| said(&member.protocols));
        let now = said(&join.protocols);
        !self.is_for_consumers() || before.is_none() || now.is_none() || before == now
    }

    fn take_place(&mut self, old: &str, new: &str, join: &JoinRequest, step: &mut Step) {
        self.answer_waiting(old, GroupError::FencedInstanceId, step);
        self.clock.cancel(&Timer::Session(old.into()));
        self.clock.start(Timer::Session(new.into()), join.session_timeout_ms);
        if self.pending_syncs.remove(old) {
            self.pending_syncs.insert(new.into());
        }
        if self.leader.as_deref() == Some(old) {
            self.leader = Some(new.into());
        }
        if let Some(instance_id) = &join.group_instance_id {
            self.instances.insert(instance_id.clone(), new.into());
        }
        let mut member = Member::new(join);
        if let Some(before) = self.members.remove(old) {
            member.assignment = before.assignment;
        }
        self.members.insert(new.into(), member);
        self.joining.insert(new.into(), join.request);
    }

    /// A leader that does not understand that there is nothing to assign is told that another one
    /// leads: the one that it was.
    fn answer_replaced(
        &self,
        member_id: &str,
        leader_before: Option<String>,
        join: &JoinRequest,
        step: &mut Step,
    ) {
        let mut joined = self.joined(member_id);
        if join.can_skip_assignment {
            joined.skip_assignment = joined.leader == member_id;
        } else {
            joined.leader = leader_before.unwrap_or_default();
            joined.members.clear();
        }
        step.answer(join.request, Reply::Join(Ok(joined)));
    }

    pub(super) fn answer_join(&self, member_id: &str, request: RequestId, step: &mut Step) {
        step.answer(request, Reply::Join(Ok(self.joined(member_id))));
    }

    /// What a member is told of the generation that it is in.
    fn joined(&self, member_id: &str) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let members = if leader == member_id { self.joined_members() } else { Vec::new() };
        Joined {
            member_id: member_id.into(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            members,
            skip_assignment: false,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let joined = |(member_id, member): (&String, &Member)| JoinedMember {
            member: member.identity(member_id),
            metadata: member.metadata(protocol).unwrap_or_default(),
        };
        self.members.iter().map(joined).collect()
    }
}
