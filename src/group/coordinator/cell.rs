//! One group of a coordinator: what is held of it in memory, and its way into the store.

use std::cmp::Ordering::{self, Equal};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::Waker;

use super::deadlines::Deadlines;
use super::stored::States;
use super::{CoordinatorConfig, Inner};
use crate::batch::CommitBatch;
use crate::error::{Error, Result};
use crate::group::GroupError;
use crate::group::claims::{Claims, decode_claim, decode_mode};
use crate::group::classic::{self, ClassicGroup, ClassicState};
use crate::group::modern::{self, ConsumerGroup};
use crate::key::{Durability, Seq};
use crate::state::StateOwner;
use crate::store::OffsetStore;
use crate::sync::atomic;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The name of the state that says which commits a group takes.
pub(super) const MODE: &str = "commits";

/// What the names of the records of classic groups begin with, and those of consumer groups.
const CLASSIC: &str = "classic";
const CONSUMER: &str = "consumer";

/// A group and the lock that all its requests go through.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) name: String,
    held: Mutex<Held>,
}

/// What is held of a group.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) membership: Membership,
    pub(super) claims: Claims,
    /// Rises whenever the membership may have changed: what was checked at one number need not be
    /// checked again at the same one.
    pub(super) version: u64,
    /// The newest record of what was decided here, on which everything relies that is told.
    pub(super) newest: Option<Seq>,
    /// The deadline that it has among those of all groups.
    deadline: Option<i64>,
}

/// The lock of a group. When it goes, the deadline of the group is put right.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    held: MutexGuard<'a, Held>,
    cell: &'a Arc<Cell>,
    deadlines: &'a Deadlines,
    /// Whether somebody may have changed what is held.
    is_changed: bool,
    /// Behind the lock, so that it goes when the lock is gone.
    earlier: Earlier,
}

/// Wakes whoever waits for the next deadline, at its end.
#[derive(Debug, Default)]
struct Earlier(Option<Waker>);

impl Drop for Earlier {
    fn drop(&mut self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}

/// Who takes part in a group.
#[derive(Debug)]
pub(super) enum Membership {
    /// It has to be read from the store.
    Unloaded,
    /// Nobody: there is no group, or one that offsets are stored for and no more.
    Nobody,
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
}

/// A state of the store: its name, and its bytes if it is there.
pub(super) type StateBytes = (String, Option<Vec<u8>>);

impl Cell {
    pub(super) fn new(name: &str) -> Arc<Cell> {
        let held = Held {
            membership: Membership::Unloaded,
            claims: Claims::default(),
            version: 1,
            newest: None,
            deadline: None,
        };
        Arc::new(Cell { name: name.to_owned(), held: Mutex::new(held) })
    }

    /// Whether it is as if it had never been asked for.
    pub(super) fn is_unused(&self) -> bool {
        let held = self.held();
        match held.membership {
            Membership::Unloaded => true,
            Membership::Nobody => held.claims.is_plain(),
            Membership::Classic(_) | Membership::Consumer(_) => false,
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // No code of a caller runs under the lock, and nothing stops half way.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is one cell of a name.
impl PartialEq for Cell {
    fn eq(&self, other: &Cell) -> bool {
        self.cmp(other) == Equal
    }
}

impl Eq for Cell {}

impl PartialOrd for Cell {
    fn partial_cmp(&self, other: &Cell) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cell {
    fn cmp(&self, other: &Cell) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl<'a> Locked<'a> {
    /// The group as it is in memory, or as it is stored if it is not there.
    pub(super) fn load(of: &'a Inner, cell: &'a Arc<Cell>, now_ms: i64) -> Result<Locked<'a>> {
        let mut held = Locked::as_it_is(of, cell);
        if matches!(held.membership, Membership::Unloaded) {
            held.load_from(of, &cell.name, now_ms)?;
        }
        of.deadlines.saw(now_ms);
        Ok(held)
    }

    /// The group as it is in memory, loaded or not.
    pub(super) fn as_it_is(of: &'a Inner, cell: &'a Arc<Cell>) -> Locked<'a> {
        let (held, deadlines) = (cell.held(), &of.deadlines);
        Locked { held, cell, deadlines, is_changed: false, earlier: Earlier::default() }
    }
}

impl Deref for Locked<'_> {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.held
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Held {
        self.is_changed = true;
        &mut self.held
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if !self.is_changed {
            return;
        }
        let now = self.held.membership.next_deadline();
        let before = mem::replace(&mut self.held.deadline, now);
        if before != now {
            self.earlier = Earlier(self.deadlines.set(self.cell, before, now));
        }
    }
}

impl Held {
    pub(super) fn load_from(&mut self, of: &Inner, group: &str, now_ms: i64) -> Result<()> {
        if of.is_stopped.load(atomic::Ordering::Acquire) {
            return Err(Error::closed());
        }
        let store = &of.store;
        // After a failed flush, memory shows what may not be on the disk. Nothing of it may be told.
        store.sync()?;
        self.claims = load_claims(store, group)?;
        self.membership = Membership::load(store, group, &of.config, now_ms)?;
        self.version += 1;
        Ok(())
    }

    /// Gives the group up: the next request finds it as it is stored. Returns the answers to those
    /// who wait, and to those whose answers were not let out.
    pub(super) fn abandon(&mut self, unsent: Vec<classic::Effect>) -> Vec<classic::Effect> {
        self.version += 1;
        match mem::replace(&mut self.membership, Membership::Unloaded) {
            Membership::Classic(group) => group.abandon(unsent),
            _ => unsent.into_iter().map(refused).collect(),
        }
    }

    /// Puts what was decided into the log, so that everything that follows from it stands behind it. It
    /// may be told when it is durable: see [`settle`](super::Coordinator::settle).
    pub(super) fn append(&mut self, store: &OffsetStore, batch: &CommitBatch) -> Result<()> {
        if !batch.is_empty() {
            self.newest = Some(store.commit_batch_with(batch, Durability::Buffered)?.seq());
        }
        Ok(())
    }

    /// The group as one of the classic protocol, if it is one.
    pub(super) fn classic(&mut self) -> Option<&mut ClassicGroup> {
        self.version += 1;
        match &mut self.membership {
            Membership::Classic(group) => Some(group),
            _ => None,
        }
    }
}

/// The claims of a group and its mode, as they are stored.
pub(super) fn load_claims(states: &impl States, group: &str) -> Result<Claims> {
    let mut claims = Claims::default();
    if let Some(bytes) = states.state(group, StateOwner::Membership, MODE, 0) {
        claims.mode = decode_mode(&bytes)?;
    }
    let mut decoded = Ok(());
    states.visit_states(group, StateOwner::Claims, |topic, partition, bytes| {
        match decode_claim(bytes) {
            Ok(claim) => claims.put(topic, partition, claim),
            Err(error) => decoded = Err(error),
        }
    });
    decoded.map(|()| claims)
}

impl Membership {
    pub(super) fn load(
        states: &impl States,
        group: &str,
        config: &CoordinatorConfig,
        now_ms: i64,
    ) -> Result<Membership> {
        let (mut classic, mut consumer, mut unknown) = (Vec::new(), Vec::new(), None);
        states.visit_states(group, StateOwner::Membership, |name, _, bytes| {
            if name == MODE {
            } else if name.starts_with(CLASSIC) {
                classic.push(classic::Record::decode(name, bytes));
            } else if name.starts_with(CONSUMER) {
                consumer.push(modern::Record::decode(name, bytes));
            } else {
                unknown = Some(name.to_owned());
            }
        });
        if let Some(name) = unknown {
            let message = format!("group {group:?} has a record {name:?} of no protocol");
            return Err(Error::unsupported(message));
        }
        match (classic.is_empty(), consumer.is_empty()) {
            (true, true) => Ok(Membership::Nobody),
            (false, true) => {
                let records = classic.into_iter().collect::<Result<Vec<_>>>()?;
                let group = ClassicGroup::open(config.classic, records, now_ms)?;
                Ok(Membership::Classic(Box::new(group)))
            }
            (true, false) => {
                let records = consumer.into_iter().collect::<Result<Vec<_>>>()?;
                let group = ConsumerGroup::open(config.consumer.clone(), records, now_ms)?;
                Ok(Membership::Consumer(Box::new(group)))
            }
            (false, false) => {
                Err(Error::corrupt(format!("group {group:?} has records of two protocols")))
            }
        }
    }

    /// A group that nobody has ever been a member of is none.
    pub(super) fn forget_if_unused(&mut self) {
        let is_unused = match self {
            Membership::Classic(group) => is_unused(group),
            _ => false,
        };
        if is_unused {
            *self = Membership::Nobody;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<i64> {
        match self {
            Membership::Unloaded | Membership::Nobody => None,
            Membership::Classic(group) => group.next_deadline(),
            Membership::Consumer(group) => group.next_deadline(),
        }
    }

    /// Whether it has members.
    pub(super) fn has_members(&self) -> bool {
        match self {
            Membership::Unloaded | Membership::Nobody => false,
            Membership::Classic(group) => group.state() != ClassicState::Empty,
            Membership::Consumer(group) => group.state() != modern::ConsumerGroupState::Empty,
        }
    }
}

fn is_unused(group: &ClassicGroup) -> bool {
    group.state() == ClassicState::Empty
        && group.generation() == 0
        && group.next_deadline().is_none()
}

/// The states that the records of a step stand for.
pub(super) fn classic_states(records: &[classic::Record]) -> Vec<StateBytes> {
    records.iter().map(|record| (record.name(), record.value())).collect()
}

/// The same for the newer protocol.
pub(super) fn consumer_states(records: &[modern::Record]) -> Vec<StateBytes> {
    records.iter().map(|record| (record.name(), record.value())).collect()
}

/// What a step has changed, as one batch.
pub(super) fn batch_of(group: &str, states: &[StateBytes]) -> CommitBatch {
    let mut batch = CommitBatch::new(group);
    for (name, bytes) in states {
        match bytes {
            Some(bytes) => batch.put_state(StateOwner::Membership, name, 0, bytes),
            None => batch.delete_state(StateOwner::Membership, name, 0),
        };
    }
    batch
}

fn refused(effect: classic::Effect) -> classic::Effect {
    effect.refused(GroupError::CoordinatorNotAvailable)
}
