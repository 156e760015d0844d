//! From what was decided to what may be told.
//!
//! A request is decided under the lock of its group, and what it changes is appended to the log there. The
//! flush is waited for outside of the lock, so that one flush serves all who wait for one, of this group
//! and of others, and nobody else waits.
//!
//! In between the group is ahead of the disk. So whoever is told something of it waits for the newest
//! record of the group: answers that bring news, refusals, descriptions. Two kinds of answers do not wait,
//! as they are the same if that record is lost: that a member is what it says it is, and that a commit was
//! accepted, which waits for its own record if commits are synced. If it is lost, the records before it
//! hold, and all those behind are lost, too.

use std::sync::Arc;

use super::cell::{Cell, Held, Locked};
use super::membership::{Answers, Failure};
use super::{Coordinator, CoordinatorError};
use crate::error::Error;
use crate::group::classic::Effect;
use crate::key::Seq;

/// What a step has decided, and cannot be told yet.
#[derive(Debug)]
pub(super) struct Decided {
    cell: Arc<Cell>,
    /// The record that the effects rely on.
    newest: Option<Seq>,
    effects: Vec<Effect>,
    failure: Option<Failure>,
}

impl Decided {
    pub(super) fn new(cell: &Arc<Cell>, held: &Held, effects: Vec<Effect>) -> Decided {
        Decided { cell: Arc::clone(cell), newest: held.newest, effects, failure: None }
    }

    /// A group was given up, and this is what is to be told because of that.
    pub(super) fn given_up(cell: &Arc<Cell>, effects: Vec<Effect>, failure: Failure) -> Decided {
        Decided { cell: Arc::clone(cell), newest: None, effects, failure: Some(failure) }
    }
}

impl Coordinator {
    /// Waits until everything up to a record is durable.
    pub(super) fn settle(&self, newest: Option<Seq>) -> Result<(), Error> {
        match newest {
            Some(newest) if self.store().durable_seq() < newest => {
                self.store().wait_durable(newest, None)
            }
            _ => Ok(()),
        }
    }

    /// What came of a request, when it may be told.
    pub(super) fn settled<T>(
        &self,
        newest: Option<Seq>,
        result: Result<T, CoordinatorError>,
    ) -> Result<T, CoordinatorError> {
        self.settle(newest)?;
        result
    }

    /// The same for a group whose lock goes here: nobody waits for this flush who does not have to.
    pub(super) fn unlocked<T>(
        &self,
        held: Locked<'_>,
        result: Result<T, CoordinatorError>,
    ) -> Result<T, CoordinatorError> {
        let newest = held.newest;
        drop(held);
        self.settled(newest, result)
    }

    /// Waits for what steps of some groups rely on, all of them with one flush, and gives those groups up
    /// where that fails.
    pub(super) fn tell(&self, now_ms: i64, steps: Vec<Decided>) -> Answers {
        let newest = steps.iter().filter_map(|decided| decided.newest).max();
        // Asked of each below. Once one flush has failed, there is no other.
        let _ = self.settle(newest);
        let mut answers = Answers::default();
        for Decided { cell, newest, effects, failure } in steps {
            answers.failures.extend(failure);
            match self.settle(newest) {
                Ok(()) => answers.effects.extend(effects),
                Err(error) => {
                    let mut held = self.lock_as_it_is(&cell);
                    answers.effects.extend(self.give_up(&cell, &mut held, now_ms, effects));
                    answers.failures.push(Failure { group: cell.name.clone(), error });
                }
            }
        }
        answers
    }
}
