//! Being heard of, and what happens to those who are not.

use super::ClassicGroup;
use super::clock::Timer;
use super::reply::Step;
use super::request::MemberIdentity;
use super::state::ClassicState;
use crate::group::GroupError;

impl ClassicGroup {
    /// A member says that it is there.
    ///
    /// # Errors
    ///
    /// [`RebalanceInProgress`](GroupError::RebalanceInProgress) calls the member to join; it was heard
    /// all the same. Every other error means that it is no member of the newest generation.
    pub fn heartbeat(
        &mut self,
        now_ms: i64,
        member: &MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.clock.advance(now_ms);
        if self.state == ClassicState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_current(member, generation)?;
        self.start_session(&member.member_id);
        match self.state {
            ClassicState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            ClassicState::CompletingRebalance | ClassicState::Stable => Ok(()),
            ClassicState::Empty | ClassicState::Dead => Err(GroupError::UnknownMemberId),
        }
    }

    /// Does what is due: removes members whose session is over, and goes on without those who do not
    /// join or sync in time. To be called at [`next_deadline`](ClassicGroup::next_deadline); earlier
    /// it does nothing, and later it does the same things later.
    pub fn tick(&mut self, now_ms: i64) -> Step {
        self.clock.advance(now_ms);
        let mut step = Step::default();
        let mut is_early = true;
        while let Some(timer) = self.clock.take_due() {
            is_early = false;
            match timer {
                Timer::Join => self.join_timed_out(&mut step),
                Timer::Sync => self.sync_timed_out(&mut step),
                Timer::Session(member_id) => self.session_ended(&member_id, &mut step),
            }
        }
        if !is_early {
            self.save(&mut step);
        }
        step
    }

    fn session_ended(&mut self, member_id: &str, step: &mut Step) {
        let is_waiting =
            self.joining.contains_key(member_id) || self.syncing.contains_key(member_id);
        // Who waits for an answer sends no heartbeats. It gets a new session with the answer.
        if is_waiting && !self.fresh.contains(member_id) {
            return;
        }
        let is_member = self.members.contains_key(member_id);
        self.remove(member_id, step);
        if is_member {
            self.rebalance(step);
        } else {
            self.complete_join_if_all_are_there(step);
        }
    }

    fn sync_timed_out(&mut self, step: &mut Step) {
        for member_id in self.pending_syncs.clone() {
            self.remove(&member_id, step);
        }
        self.rebalance(step);
    }
}
