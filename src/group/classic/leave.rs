//! Leaving, one at a time or many at once, and the end of the group itself.

use super::ClassicGroup;
use super::reply::{Effect, Left, Reply, Step};
use super::request::{LeaveRequest, MemberIdentity};
use super::state::ClassicState;
use crate::group::GroupError;

impl ClassicGroup {
    /// Members give up their places. The answer comes at once, and says of each whether it has left.
    pub fn leave(&mut self, now_ms: i64, leave: LeaveRequest) -> Step {
        self.clock.advance(now_ms);
        let mut step = Step::default();
        if self.state == ClassicState::Dead {
            let refusal = Reply::Leave(Err(GroupError::CoordinatorNotAvailable));
            step.answer(leave.request, refusal);
            return step;
        }
        let members_before = self.members.len();
        let mut left = Vec::new();
        for member in leave.members {
            let result = self.remove_leaving(&member, &mut step);
            left.push(Left { member, result });
        }
        step.answer(leave.request, Reply::Leave(Ok(left)));
        if self.members.len() < members_before {
            self.rebalance(&mut step);
        } else {
            // Those who have joined may have waited for somebody who never did.
            self.complete_join_if_all_are_there(&mut step);
        }
        self.save(&mut step);
        step
    }

    fn remove_leaving(&mut self, who: &MemberIdentity, step: &mut Step) -> Result<(), GroupError> {
        let instance_id = who.group_instance_id.as_ref();
        let member_id = if who.member_id.is_empty() {
            let found = instance_id.and_then(|id| self.instances.get(id));
            found.cloned().ok_or(GroupError::UnknownMemberId)?
        } else if self.pending_joins.contains(&who.member_id) {
            who.member_id.clone()
        } else {
            self.check_member(who)?;
            who.member_id.clone()
        };
        self.remove(&member_id, step);
        Ok(())
    }

    /// Deletes the group. Its offsets are the caller's to delete.
    ///
    /// # Errors
    ///
    /// [`NonEmptyGroup`](GroupError::NonEmptyGroup) while it has members, and
    /// [`GroupIdNotFound`](GroupError::GroupIdNotFound) if it was deleted before.
    pub fn delete(&mut self, now_ms: i64) -> Result<Step, GroupError> {
        match self.state {
            ClassicState::Empty => {}
            ClassicState::PreparingRebalance
            | ClassicState::CompletingRebalance
            | ClassicState::Stable => return Err(GroupError::NonEmptyGroup),
            ClassicState::Dead => return Err(GroupError::GroupIdNotFound),
        }
        self.clock.advance(now_ms);
        self.clock.cancel_all();
        self.pending_joins.clear();
        self.enter(ClassicState::Dead);
        let mut step = Step::default();
        self.save(&mut step);
        Ok(step)
    }

    /// Gives the group up, because its coordinator stops or because the records of a step could not
    /// be stored. `unsent` are the effects that were not let out. Returns the answers to all requests
    /// that still wait: whoever asked may ask the next coordinator.
    pub fn abandon(self, unsent: Vec<Effect>) -> Vec<Effect> {
        let mut step = Step::default();
        let error = GroupError::CoordinatorNotAvailable;
        for (member_id, request) in &self.joining {
            step.refuse_join(*request, member_id, error);
        }
        for request in self.syncing.values() {
            step.answer(*request, Reply::Sync(Err(error)));
        }
        unsent.into_iter().map(|effect| effect.refused(error)).chain(step.effects).collect()
    }
}
