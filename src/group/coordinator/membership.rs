//! Joining, being heard of, and leaving, by either protocol.

use std::sync::Arc;
use std::task::Waker;

use super::cell::{Cell, Held, Membership, StateBytes, batch_of, classic_states, consumer_states};
use super::settle::Decided;
use super::{Coordinator, CoordinatorError};
use crate::error::Error;
use crate::group::GroupError;
use crate::group::classic::{
    self, ClassicGroup, Effect, JoinRefusal, JoinRequest, LeaveRequest, MemberIdentity, Reply,
    RequestId, SyncRequest,
};
use crate::group::consumer_protocol::AssignmentError;
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
    /// What was wrong with the assignments of a leader whose sync was
    /// [refused](super::CoordinatorConfig::check_assignments).
    pub refused_assignment: Option<AssignmentError>,
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
        Answers { effects: vec![Effect { request, reply }], ..Answers::default() }
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
        let cell = match self.cell(group) {
            Ok(cell) => cell,
            Err(why) => return Answers::refused(group, request, why.into(), Kind::Join),
        };
        self.step(now_ms, &cell, request, Kind::Join, |held| {
            self.join_held(now_ms, &cell, held, join, random)
        })
    }

    /// A request that is answered by an effect: decided under the lock, told when it may be.
    fn step(
        &self,
        now_ms: i64,
        cell: &Arc<Cell>,
        request: RequestId,
        kind: Kind,
        act: impl FnOnce(&mut Held) -> Result<Decided, CoordinatorError>,
    ) -> Answers {
        let mut held = match self.lock(cell, now_ms) {
            Ok(held) => held,
            Err(error) => return Answers::refused(&cell.name, request, error.into(), kind),
        };
        let decided = act(&mut held);
        held.membership.forget_if_unused();
        let told = match decided {
            Ok(decided) => {
                drop(held);
                Ok(self.tell(now_ms, vec![decided]))
            }
            Err(why) => self.unlocked(held, Err(why)),
        };
        told.unwrap_or_else(|why| Answers::refused(&cell.name, request, why, kind))
    }

    fn join_held(
        &self,
        now_ms: i64,
        cell: &Arc<Cell>,
        held: &mut Held,
        join: JoinRequest,
        random: u128,
    ) -> Result<Decided, CoordinatorError> {
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
        let classic = held.classic().ok_or(GroupError::UnknownMemberId)?;
        let step = classic.join(now_ms, join, random);
        Ok(self.take(cell, held, now_ms, removed, step))
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
        let mut refused_assignment = None;
        let answers = self.with_classic(now_ms, group, sync.request, Kind::Sync, |group| {
            let Err(error) = self.check_assignments(group, &sync) else {
                return group.sync(now_ms, sync);
            };
            let reply = Reply::Sync(Err(error.group_error()));
            refused_assignment = Some(error);
            let effects = vec![Effect { request: sync.request, reply }];
            classic::Step { effects, ..Default::default() }
        });
        Answers { refused_assignment, ..answers }
    }

    fn check_assignments(
        &self,
        group: &ClassicGroup,
        sync: &SyncRequest,
    ) -> Result<(), AssignmentError> {
        if !self.inner.config.checks_assignments {
            return Ok(());
        }
        group.check_assignments(sync, self.topics().as_deref())
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
        let Some(cell) = self.known(group) else {
            let why = GroupError::UnknownMemberId.into();
            return Answers::refused(group, request, why, kind);
        };
        self.step(now_ms, &cell, request, kind, |held| {
            let step = act(held.classic().ok_or(GroupError::UnknownMemberId)?);
            Ok(self.take(&cell, held, now_ms, Vec::new(), step))
        })
    }

    /// Appends what a step has decided, and gives the group up if that fails.
    fn take(
        &self,
        cell: &Arc<Cell>,
        held: &mut Held,
        now_ms: i64,
        mut states: Vec<StateBytes>,
        step: classic::Step,
    ) -> Decided {
        states.extend(classic_states(&step.records));
        match held.append(&self.inner.store, &batch_of(&cell.name, &states)) {
            Ok(()) => Decided::new(cell, held, step.effects),
            Err(error) => {
                let effects = self.give_up(cell, held, now_ms, step.effects);
                Decided::given_up(cell, effects, Failure { group: cell.name.clone(), error })
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
        let heard = match held.classic() {
            Some(classic) => classic.heartbeat(now_ms, member, generation),
            None => Err(GroupError::UnknownMemberId),
        };
        match heard {
            // It is what it says it is.
            Ok(()) => Ok(()),
            Err(error) => self.unlocked(held, Err(error.into())),
        }
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
        let mut held = self.lock(&cell, now_ms)?;
        let response = self.heartbeat_held(now_ms, &cell, &mut held, request);
        match response {
            Ok((response, false)) => Ok(response),
            Ok((response, true)) => self.unlocked(held, Ok(response)).inspect_err(|_| {
                // Nobody waits in a group of this protocol.
                let mut held = self.lock_as_it_is(&cell);
                drop(self.give_up(&cell, &mut held, now_ms, Vec::new()));
            }),
            Err(error) => self.unlocked(held, Err(error)),
        }
    }

    /// The answer to a heartbeat, and whether it brings news: more than that the member is what it says.
    fn heartbeat_held(
        &self,
        now_ms: i64,
        cell: &Cell,
        held: &mut Held,
        request: &HeartbeatRequest,
    ) -> Result<(HeartbeatResponse, bool), CoordinatorError> {
        held.version += 1;
        let topics = self.topics().unwrap_or_default();
        if let Membership::Consumer(consumer) = &mut held.membership {
            let step = consumer.heartbeat(now_ms, request, &topics)?;
            let is_news = !step.records.is_empty() || step.response.is_news_to(request);
            self.append_consumer(cell, held, now_ms, consumer_states(&step.records))?;
            return Ok((step.response, is_news));
        }
        if !request.joins() || held.membership.has_members() {
            return Err(GroupError::GroupIdNotFound.into());
        }
        let config = self.inner.config.consumer.clone();
        let mut consumer = Box::new(ConsumerGroup::open(config, [], now_ms)?);
        let step = consumer.heartbeat(now_ms, request, &topics)?;
        self.end_classic(now_ms, cell, held, consumer, consumer_states(&step.records))?;
        Ok((step.response, true))
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
        self.append_consumer(cell, held, now_ms, states)
    }

    fn append_consumer(
        &self,
        cell: &Cell,
        held: &mut Held,
        now_ms: i64,
        states: Vec<StateBytes>,
    ) -> Result<(), CoordinatorError> {
        let appended = held.append(&self.inner.store, &batch_of(&cell.name, &states));
        appended.map_err(|error| {
            drop(self.give_up(cell, held, now_ms, Vec::new()));
            error.into()
        })
    }

    /// Does what is due in all groups: members whose time is over are removed, and those who waited
    /// for them go on. What all of them decide is stored with one flush. To be called at [`next_deadline`](Coordinator::next_deadline), and after the
    /// clock was set; earlier it does nothing. Only groups in which something is due are looked at; but
    /// all of them after the clock was set back, once.
    pub fn tick(&self, now_ms: i64) -> Answers {
        let deadlines = &self.inner.deadlines;
        let is_set_back = deadlines.is_set_back(now_ms);
        let cells = if is_set_back { self.groups().all() } else { deadlines.until(now_ms) };
        let mut failures = Vec::new();
        let mut steps = Vec::with_capacity(cells.len());
        for cell in cells {
            match self.tick_one(now_ms, &cell) {
                Ok(decided) => steps.push(decided),
                Err(error) => failures.push(Failure { group: cell.name.clone(), error }),
            }
        }
        let mut answers = self.tell(now_ms, steps);
        answers.failures.extend(failures);
        answers
    }

    fn tick_one(&self, now_ms: i64, cell: &Arc<Cell>) -> Result<Decided, Error> {
        let mut held = self.lock(cell, now_ms)?;
        held.version += 1;
        let (states, step) = match &mut held.membership {
            Membership::Classic(group) => (Vec::new(), group.tick(now_ms)),
            Membership::Consumer(group) => {
                (consumer_states(&group.tick(now_ms).records), classic::Step::default())
            }
            Membership::Unloaded | Membership::Nobody => Default::default(),
        };
        let decided = self.take(cell, &mut held, now_ms, states, step);
        held.membership.forget_if_unused();
        Ok(decided)
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
