//! From one generation to the next.

use std::mem;

use super::ClassicGroup;
use super::clock::Timer;
use super::member::vote;
use super::reply::{Reply, Step};
use super::state::ClassicState;
use crate::group::GroupError;

/// How an empty group waits for more members before it begins.
#[derive(Clone, Debug)]
pub(super) struct Initial {
    /// How long the present wait is.
    delay_ms: i32,
    /// How much longer it may become in all.
    remaining_ms: i32,
    /// Whether somebody has come during the present wait.
    pub(super) is_extended: bool,
}

impl ClassicGroup {
    /// How long members may need to join: as long as the slowest of them.
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Begins a rebalance, or ends the one that is under way if nobody is missing now.
    pub(super) fn rebalance(&mut self, step: &mut Step) {
        match self.state {
            ClassicState::Empty | ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.prepare_rebalance(step);
            }
            ClassicState::PreparingRebalance => self.complete_join_if_all_are_there(step),
            ClassicState::Dead => {}
        }
    }

    /// Calls the members to join.
    pub(super) fn prepare_rebalance(&mut self, step: &mut Step) {
        if self.state == ClassicState::CompletingRebalance {
            self.give_up_assignments(step);
        }
        self.clock.cancel(&Timer::Sync);
        let is_initial = self.state == ClassicState::Empty;
        self.enter(ClassicState::PreparingRebalance);
        if is_initial {
            let delay_ms = self.config.initial_rebalance_delay_ms.max(0);
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            self.initial = Some(Initial { delay_ms, remaining_ms, is_extended: false });
            if delay_ms == 0 {
                self.complete_join(step);
            } else {
                self.clock.start(Timer::Join, delay_ms);
            }
        } else if self.are_all_there() {
            self.complete_join(step);
        } else {
            self.clock.start(Timer::Join, self.rebalance_timeout_ms());
        }
    }

    /// What the leader would have assigned is not waited for any more.
    fn give_up_assignments(&mut self, step: &mut Step) {
        for (member_id, request) in mem::take(&mut self.syncing) {
            step.answer(request, Reply::Sync(Err(GroupError::RebalanceInProgress)));
            self.start_session(&member_id);
        }
    }

    fn are_all_there(&self) -> bool {
        self.joining.len() == self.members.len() && self.pending_joins.is_empty()
    }

    /// A group that was empty waits to the end all the same, because more members may come.
    pub(super) fn complete_join_if_all_are_there(&mut self, step: &mut Step) {
        let is_due = self.state == ClassicState::PreparingRebalance && self.initial.is_none();
        if is_due && self.are_all_there() {
            self.complete_join(step);
        }
    }

    /// The time to join is over.
    pub(super) fn join_timed_out(&mut self, step: &mut Step) {
        match &mut self.initial {
            Some(initial) if initial.is_extended && initial.remaining_ms > 0 => {
                let delay_ms = self.config.initial_rebalance_delay_ms.min(initial.remaining_ms);
                initial.remaining_ms = (initial.remaining_ms - initial.delay_ms).max(0);
                initial.delay_ms = delay_ms;
                initial.is_extended = false;
                self.clock.start(Timer::Join, delay_ms);
            }
            _ => self.complete_join(step),
        }
    }

    /// Begins the next generation with those who have joined. Static members may be away: they stay
    /// until their session ends.
    fn complete_join(&mut self, step: &mut Step) {
        self.initial = None;
        self.clock.cancel(&Timer::Join);
        let is_late = |id: &&String| !self.joining.contains_key(*id);
        let is_dynamic = |id: &&String| self.members[*id].group_instance_id.is_none();
        let late = self.members.keys().filter(is_late).filter(is_dynamic);
        for member_id in late.cloned().collect::<Vec<_>>() {
            self.remove(&member_id, step);
        }
        if self.members.is_empty() {
            self.next_generation(ClassicState::Empty);
        } else if self.joining.is_empty() {
            self.clock.start(Timer::Join, self.rebalance_timeout_ms());
        } else {
            self.elect_joined();
            self.next_generation(ClassicState::CompletingRebalance);
            self.begin_generation(step);
        }
    }

    fn elect_joined(&mut self) {
        if !self.leader.as_ref().is_some_and(|leader| self.joining.contains_key(leader)) {
            self.leader = self.joining.keys().next().cloned();
        }
    }

    fn next_generation(&mut self, state: ClassicState) {
        self.generation = self.generation.saturating_add(1);
        self.protocol = vote(&self.members);
        self.enter(state);
    }

    fn begin_generation(&mut self, step: &mut Step) {
        for (member_id, request) in mem::take(&mut self.joining) {
            self.answer_join(&member_id, request, step);
        }
        for member in self.members.values_mut() {
            member.assignment = [].into();
        }
        self.fresh.clear();
        self.pending_syncs = self.members.keys().cloned().collect();
        for member_id in self.pending_syncs.clone() {
            self.start_session(&member_id);
        }
        self.clock.start(Timer::Sync, self.rebalance_timeout_ms());
    }

    pub(super) fn start_session(&mut self, member_id: &str) {
        if let Some(member) = self.members.get(member_id) {
            self.clock.start(Timer::Session(member_id.into()), member.session_timeout_ms);
        }
    }
}
