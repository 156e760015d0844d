//! Who is a member, and who is not any more.

use super::ClassicGroup;
use super::clock::Timer;
use super::reply::{Reply, Step};
use super::request::MemberIdentity;
use crate::group::GroupError;

impl ClassicGroup {
    /// Removes the member, whether it has joined or not, and answers what it waits for.
    pub(super) fn remove(&mut self, member_id: &str, step: &mut Step) {
        self.clock.cancel(&Timer::Session(member_id.into()));
        self.fresh.remove(member_id);
        self.pending_joins.remove(member_id);
        self.pending_syncs.remove(member_id);
        self.answer_waiting(member_id, GroupError::UnknownMemberId, step);
        let member = self.members.remove(member_id);
        if let Some(instance_id) = member.and_then(|member| member.group_instance_id) {
            self.instances.remove(&instance_id);
        }
        if self.leader.as_deref() == Some(member_id) {
            self.elect_first();
        }
    }

    pub(super) fn answer_waiting(&mut self, member_id: &str, error: GroupError, step: &mut Step) {
        if let Some(request) = self.joining.remove(member_id) {
            step.refuse_join(request, member_id, error);
        }
        if let Some(request) = self.syncing.remove(member_id) {
            step.answer(request, Reply::Sync(Err(error)));
        }
    }

    pub(super) fn elect_first(&mut self) {
        self.leader = self.members.keys().next().cloned();
    }

    /// Whether the request comes from who it says it does.
    pub(super) fn check_member(&self, of: &MemberIdentity) -> Result<(), GroupError> {
        if let Some(instance_id) = &of.group_instance_id {
            let member_id = self.instances.get(instance_id).ok_or(GroupError::UnknownMemberId)?;
            if *member_id != of.member_id {
                return Err(GroupError::FencedInstanceId);
            }
        }
        if self.members.contains_key(&of.member_id) {
            Ok(())
        } else {
            Err(GroupError::UnknownMemberId)
        }
    }

    /// Whether the request comes from a member of the newest generation.
    pub(super) fn check_current(
        &self,
        of: &MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.check_member(of)?;
        if generation == self.generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }
}
