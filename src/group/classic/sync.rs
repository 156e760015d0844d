//! Syncing: how assignments get from the leader to the members.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::ClassicGroup;
use super::clock::Timer;
use super::member::metadata_for;
use super::reply::{Reply, Step, Synced};
use super::request::{MAX_MEMBER_BYTES, SyncRequest};
use super::state::ClassicState;
use crate::group::GroupError;
use crate::group::consumer_protocol::{AssignmentError, check_assignments};

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

    /// Whether the assignments that a sync brings can be, of a group of consumers and from its leader: each
    /// partition is given out once, exists, and is of a topic that a member reads. Kafka does not ask.
    ///
    /// Where `partitions_per_topic` is `None`, all partitions exist. If a subscription cannot be read, its
    /// member reads all topics.
    ///
    /// # Errors
    ///
    /// What is wrong with them. Such a sync is refused and not passed on. The group has not changed then:
    /// its leader may bring other assignments, and is removed if it brings none in time, as every member
    /// that does not sync; the others begin anew without it.
    pub fn check_assignments(
        &self,
        sync: &SyncRequest,
        partitions_per_topic: Option<&BTreeMap<String, i32>>,
    ) -> Result<(), AssignmentError> {
        let is_leader = self.leader.as_ref() == Some(&sync.member.member_id);
        let is_assigning = is_leader && self.state == ClassicState::CompletingRebalance;
        if !is_assigning || !self.is_for_consumers() || self.check_sync(sync).is_err() {
            return Ok(());
        }
        let protocol = self.protocol.as_deref().unwrap_or("");
        let assigned: BTreeMap<&str, &[u8]> =
            sync.assignments.iter().map(|(id, bytes)| (&id[..], &bytes[..])).collect();
        let mut shares = Vec::with_capacity(self.members.len());
        for (id, member) in &self.members {
            let subscription =
                metadata_for(protocol, &member.protocols).map_or(&[][..], |said| said);
            shares.push((
                &id[..],
                subscription,
                assigned.get(&id[..]).copied().unwrap_or_default(),
            ));
        }
        check_assignments(&shares, partitions_per_topic)
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
