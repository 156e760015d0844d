//! Syncing: how assignments get from the leader to the members.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::ClassicGroup;
use super::clock::Timer;
use super::reply::{Reply, Step, Synced};
use super::request::{MAX_MEMBER_BYTES, SyncRequest};
use super::state::ClassicState;
use crate::group::GroupError;

impl ClassicGroup {
    /// A member asks for its assignment, and the leader brings those of all. The answer comes when
    /// the leader has brought them, or at once if it has or if the request is refused.
    pub fn sync(&mut self, now_ms: i64, sync: SyncRequest) -> Step {
        self.clock.advance(now_ms);
        let mut step = Step::default();
        let request = sync.request;
        if let Err(error) = self.check_sync(&sync).and_then(|()| self.synced(sync, &mut step)) {
            step.answer(request, Reply::Sync(Err(error)));
        }
        step
    }

    fn check_sync(&self, sync: &SyncRequest) -> Result<(), GroupError> {
        if self.state == ClassicState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.check_current(&sync.member, sync.generation)?;
        let differs = |said: &Option<String>, is: &Option<String>| {
            said.is_some() && is.is_some() && said != is
        };
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        if sync.assignments.iter().any(|(_, bytes)| bytes.len() > MAX_MEMBER_BYTES) {
            return Err(GroupError::InvalidRequest);
        }
        Ok(())
    }

    fn synced(&mut self, sync: SyncRequest, step: &mut Step) -> Result<(), GroupError> {
        let SyncRequest { request, member, assignments, .. } = sync;
        match self.state {
            ClassicState::Empty | ClassicState::Dead => return Err(GroupError::UnknownMemberId),
            ClassicState::PreparingRebalance => return Err(GroupError::RebalanceInProgress),
            ClassicState::CompletingRebalance => {
                self.has_synced(&member.member_id);
                let is_leader = self.leader.as_ref() == Some(&member.member_id);
                if let Some(earlier) = self.syncing.insert(member.member_id, request) {
                    step.answer(earlier, Reply::Sync(Err(GroupError::RebalanceInProgress)));
                }
                if is_leader {
                    self.assign(assignments, step);
                }
            }
            ClassicState::Stable => {
                self.has_synced(&member.member_id);
                self.answer_sync(&member.member_id, request, step);
            }
        }
        Ok(())
    }

    fn has_synced(&mut self, member_id: &str) {
        self.pending_syncs.remove(member_id);
        if self.pending_syncs.is_empty() {
            self.clock.cancel(&Timer::Sync);
        }
    }

    fn assign(&mut self, assignments: Vec<(String, Arc<[u8]>)>, step: &mut Step) {
        let mut assignments: BTreeMap<_, _> = assignments.into_iter().collect();
        for (member_id, member) in &mut self.members {
            member.assignment = assignments.remove(member_id).unwrap_or_default();
        }
        self.enter(ClassicState::Stable);
        for (member_id, request) in mem::take(&mut self.syncing) {
            self.answer_sync(&member_id, request, step);
            // Its session may have ended while it waited, which did not count.
            self.start_session(&member_id);
        }
        self.save(step);
    }

    fn answer_sync(&self, member_id: &str, request: super::RequestId, step: &mut Step) {
        let assignment = self.members.get(member_id).map(|member| Arc::clone(&member.assignment));
        let synced = Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: assignment.unwrap_or_default(),
        };
        step.answer(request, Reply::Sync(Ok(synced)));
    }
}
