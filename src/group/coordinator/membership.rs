//! Joining, being heard of, and leaving, by either protocol.

use std::sync::Arc;
use std::task::Waker;

use super::cell::{Cell, Held, Membership, StateBytes, classic_states, consumer_states, persist};
use super::{Coordinator, CoordinatorError};
use crate::error::Error;
use crate::group::GroupError;
use crate::group::classic::{
    self, ClassicGroup, Effect, JoinRefusal, JoinRequest, LeaveRequest, MemberIdentity, Reply,
    RequestId, SyncRequest,
};
use crate::group::modern::{ConsumerGroup, HeartbeatRequest, HeartbeatResponse};
use crate::sync::atomic::Ordering;

/// The answers that are due, to this request and to earlier ones.
#[derive(Debug, Default)]
#[must_use = "whoever asked waits for the answers"]
pub struct Answers {
    /// What to answer. All that it relies on is stored.
    pub effects: Vec<Effect>,
    /// The groups whose changes could not be stored. Whoever waited there has been answered with
    /// [`GroupError::CoordinatorNotAvailable`].
    pub failures: Vec<Failure>,
}

/// A group that was given up, because what it had decided could not be stored.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The group.
    pub group: String,
    /// What the store said.
    pub error: Error,
}

impl Answers {
    fn one(request: RequestId, reply: Reply) -> Answers {
        Answers { effects: vec![Effect { request, reply }], failures: Vec::new() }
    }

    fn refused(group: &str, request: RequestId, why: CoordinatorError, kind: Kind) -> Answers {
        let mut answers = Answers::one(request, kind.refusal(why.group_error(), ""));
        if let CoordinatorError::Store(error) = why {
            answers.failures.push(Failure { group: group.to_owned(), error });
        }
        answers
    }
}

/// The kind of a request that is answered by an effect.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Join,
    Sync,
    Leave,
}

impl Kind {
    fn refusal(self, error: GroupError, member_id: &str) -> Reply {
        match self {
            Kind::Join => Reply::Join(Err(JoinRefusal { error, member_id: member_id.into() })),
            Kind::Sync => Reply::Sync(Err(error)),
            Kind::Leave => Reply::Leave(Err(error)),
        }
    }
}

impl Coordinator {
    /// A member of the classic protocol joins: see [`ClassicGroup::join`]. A group that has members
    /// of the newer protocol refuses it as
    /// [`InconsistentGroupProtocol`](GroupError::InconsistentGroupProtocol).
    pub fn join(&self, now_ms: i64, group: &str, join: JoinRequest, random: u128) -> Answers {
        let request = join.request;
        let joined = self.cell(group).map_err(CoordinatorError::from);
        let joined = joined.and_then(|cell| {
            let mut held = self.lock(&cell, now_ms)?;
            self.join_held(now_ms, &cell, &mut held, join, random)
        });
        joined.unwrap_or_else(|why| Answers::refused(group, request, why, Kind::Join))
    }

    fn join_held(
        &self,
        now_ms: i64,
        cell: &Cell,
        held: &mut Held,
        join: JoinRequest,
        random: u128,
    ) -> Result<Answers, CoordinatorError> {
        let mut removed = Vec::new();
        if !matches!(held.membership, Membership::Classic(_)) {
            if held.membership.has_members() {
                return Err(GroupError::InconsistentGroupProtocol.into());
            }
            if !join.member_id.is_empty() {
                return Err(GroupError::UnknownMemberId.into());
            }
            removed = self.begin_classic(held, now_ms)?;
        }
        let Some(classic) = held.classic() else { return Ok(Answers::default()) };
        let step = classic.join(now_ms, join, random);
        let answers = self.take(cell, held, now_ms, removed, step);
        held.membership.forget_if_unused();
        Ok(answers)
    }

    /// Makes a group without members one of the classic protocol, and returns what is to be removed.
    fn begin_classic(
        &self,
        held: &mut Held,
        now_ms: i64,
    ) -> Result<Vec<StateBytes>, CoordinatorError> {
        let removed = match &mut held.membership {
            Membership::Consumer(group) => consumer_states(&group.delete()?),
            _ => Vec::new(),
        };
        let classic = ClassicGroup::open(self.inner.config.classic, [], now_ms)?;
        held.membership = Membership::Classic(Box::new(classic));
        Ok(removed)
    }

    /// A member of the classic protocol syncs: see [`ClassicGroup::sync`].
    pub fn sync(&self, now_ms: i64, group: &str, sync: SyncRequest) -> Answers {
        self.with_classic(now_ms, group, sync.request, Kind::Sync, |group| group.sync(now_ms, sync))
    }

    /// Members of the classic protocol leave: see [`ClassicGroup::leave`].
    pub fn leave(&self, now_ms: i64, group: &str, leave: LeaveRequest) -> Answers {
        self.with_classic(now_ms, group, leave.request, Kind::Leave, |group| {
            group.leave(now_ms, leave)
        })
    }

    fn with_classic(
        &self,
        now_ms: i64,
        group: &str,
        request: RequestId,
        kind: Kind,
        act: impl FnOnce(&mut ClassicGroup) -> classic::Step,
    ) -> Answers {
        let nobody = || Answers::one(request, kind.refusal(GroupError::UnknownMemberId, ""));
        let Some(cell) = self.known(group) else { return nobody() };
        let mut held = match self.lock(&cell, now_ms) {
            Ok(held) => held,
            Err(error) => return Answers::refused(group, request, error.into(), kind),
        };
        let Some(classic) = held.classic() else { return nobody() };
        let step = act(classic);
        let answers = self.take(&cell, &mut held, now_ms, Vec::new(), step);
        held.membership.forget_if_unused();
        answers
    }

    /// Stores what a step has decided, and gives the group up if that fails.
    fn take(
        &self,
        cell: &Cell,
        held: &mut Held,
        now_ms: i64,
        mut states: Vec<StateBytes>,
        step: classic::Step,
    ) -> Answers {
        states.extend(classic_states(&step.records));
        match persist(&self.inner.store, &cell.name, &states) {
            Ok(()) => Answers { effects: step.effects, failures: Vec::new() },
            Err(error) => {
                let effects = self.give_up(cell, held, now_ms, step.effects);
                Answers { effects, failures: vec![Failure { group: cell.name.clone(), error }] }
            }
        }
    }

    /// Goes back to what is stored. If that cannot be told either, nothing is until it can.
    pub(super) fn give_up(
        &self,
        cell: &Cell,
        held: &mut Held,
        now_ms: i64,
        unsent: Vec<Effect>,
    ) -> Vec<Effect> {
        let effects = held.abandon(unsent);
        // The sessions of the members go on, without waiting for one of them to ask.
        let _ = held.load_from(&self.inner, &cell.name, now_ms);
        effects
    }

    /// A member of the classic protocol says that it is there: see [`ClassicGroup::heartbeat`].
    ///
    /// # Errors
    ///
    /// As there; [`UnknownMemberId`](GroupError::UnknownMemberId) where there is no such group.
    pub fn heartbeat(
        &self,
        now_ms: i64,
        group: &str,
        member: &MemberIdentity,
        generation: i32,
    ) -> Result<(), CoordinatorError> {
        let cell = self.known(group).ok_or(GroupError::UnknownMemberId)?;
        let mut held = self.lock(&cell, now_ms)?;
        let classic = held.classic().ok_or(GroupError::UnknownMemberId)?;
        Ok(classic.heartbeat(now_ms, member, generation)?)
    }

    /// A member of the newer protocol says what it knows, and hears what it shall do: see
    /// [`ConsumerGroup::heartbeat`]. The topics are those of [`set_topics`](Coordinator::set_topics).
    ///
    /// # Errors
    ///
    /// As there; [`GroupIdNotFound`](GroupError::GroupIdNotFound) where there is no group of this
    /// protocol and the member does not join, or cannot, as the group has members of the other one.
    pub fn consumer_heartbeat(
        &self,
        now_ms: i64,
        group: &str,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, CoordinatorError> {
        let joins = request.joins();
        let cell = match self.known(group) {
            Some(cell) => cell,
            None if joins => self.cell(group)?,
            None => return Err(GroupError::GroupIdNotFound.into()),
        };
        let topics = self.topics().unwrap_or_default();
        let mut held = self.lock(&cell, now_ms)?;
        held.version += 1;
        if let Membership::Consumer(consumer) = &mut held.membership {
            let step = consumer.heartbeat(now_ms, request, &topics)?;
            self.store_consumer(&cell, &mut held, now_ms, consumer_states(&step.records))?;
            return Ok(step.response);
        }
        if !joins || held.membership.has_members() {
            return Err(GroupError::GroupIdNotFound.into());
        }
        let config = self.inner.config.consumer.clone();
        let mut consumer = Box::new(ConsumerGroup::open(config, [], now_ms)?);
        let step = consumer.heartbeat(now_ms, request, &topics)?;
        self.end_classic(now_ms, &cell, &mut held, consumer, consumer_states(&step.records))?;
        Ok(step.response)
    }

    /// Makes a group without members one of the newer protocol.
    fn end_classic(
        &self,
        now_ms: i64,
        cell: &Cell,
        held: &mut Held,
        consumer: Box<ConsumerGroup>,
        records: Vec<StateBytes>,
    ) -> Result<(), CoordinatorError> {
        let mut states = match &mut held.membership {
            Membership::Classic(classic) => classic_states(&classic.delete(now_ms)?.records),
            _ => Vec::new(),
        };
        states.extend(records);
        held.membership = Membership::Consumer(consumer);
        self.store_consumer(cell, held, now_ms, states)
    }

    fn store_consumer(
        &self,
        cell: &Cell,
        held: &mut Held,
        now_ms: i64,
        states: Vec<StateBytes>,
    ) -> Result<(), CoordinatorError> {
        persist(&self.inner.store, &cell.name, &states).map_err(|error| {
            // Nobody waits in a group of this protocol.
            drop(self.give_up(cell, held, now_ms, Vec::new()));
            error.into()
        })
    }

    /// Does what is due in all groups: members whose time is over are removed, and those who waited
    /// for them go on. To be called at [`next_deadline`](Coordinator::next_deadline), and after the
    /// clock was set; earlier it does nothing. Only groups in which something is due are looked at; but
    /// all of them after the clock was set back, once.
    pub fn tick(&self, now_ms: i64) -> Answers {
        let deadlines = &self.inner.deadlines;
        let is_set_back = deadlines.is_set_back(now_ms);
        let cells = if is_set_back { self.groups().all() } else { deadlines.until(now_ms) };
        let mut answers = Answers::default();
        for cell in cells {
            if let Err(error) = self.tick_one(now_ms, &cell, &mut answers) {
                answers.failures.push(Failure { group: cell.name.clone(), error });
            }
        }
        answers
    }

    fn tick_one(&self, now_ms: i64, cell: &Arc<Cell>, answers: &mut Answers) -> Result<(), Error> {
        let mut held = self.lock(cell, now_ms)?;
        held.version += 1;
        let taken = match &mut held.membership {
            Membership::Classic(group) => {
                let step = group.tick(now_ms);
                self.take(cell, &mut held, now_ms, Vec::new(), step)
            }
            Membership::Consumer(group) => {
                let expired = group.tick(now_ms);
                let states = consumer_states(&expired.records);
                self.take(cell, &mut held, now_ms, states, classic::Step::default())
            }
            Membership::Unloaded | Membership::Nobody => Answers::default(),
        };
        held.membership.forget_if_unused();
        answers.effects.extend(taken.effects);
        answers.failures.extend(taken.failures);
        Ok(())
    }

    /// When [`tick`](Coordinator::tick) has something to do, by the clock of the last calls. It
    /// changes with every call.
    pub fn next_deadline(&self) -> Option<i64> {
        self.inner.deadlines.next()
    }

    /// Has a timer woken whenever [`next_deadline`](Coordinator::next_deadline) has become earlier: by
    /// whatever call has done that, in its thread and without a lock. It takes the place of the one
    /// before.
    pub fn wake_when_earlier(&self, timer: Waker) {
        self.inner.deadlines.set_waker(timer);
    }

    /// Stops: everybody who waits is told to ask the next coordinator, and nothing is done or told
    /// any more. What is stored stays. To be called before another coordinator takes over the store
    /// in the same process.
    pub fn stop(&self) -> Vec<Effect> {
        self.inner.is_stopped.store(true, Ordering::Release);
        let abandon = |cell: Arc<Cell>| self.lock_as_it_is(&cell).abandon(Vec::new());
        self.groups().all().into_iter().flat_map(abandon).collect()
    }
}
