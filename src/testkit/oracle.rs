//! What a store may show after a crash.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::step::{State, Step, brief};
use crate::key::Durability;

/// How a run of a store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process died: everything that was acknowledged is there.
    Process,
    /// The power failed: everything that was acknowledged as synced is there, and of the rest the
    /// older part, in order.
    Power,
}

/// Knows from what was called and what returned which states a store may show after a crash.
///
/// It keeps the states that the history has gone through since the last one that is durable. A crash
/// leaves one of them: never a mixture, never one that skips a step in the middle, and a batch of a
/// call that did not return whole or not at all.
///
/// ```
/// use pagemark::Durability;
/// use pagemark::testkit::{Crash, Oracle, State, Step};
///
/// let mut oracle = Oracle::new();
/// oracle.begin(&Step::commit("billing", "orders", 0, 42));
/// oracle.returned(Durability::Buffered);
/// // It survives the process. A power cut may take it.
/// assert!(!oracle.allows(Crash::Process, &State::new()));
/// assert!(oracle.allows(Crash::Power, &State::new()));
/// oracle.begin(&Step::Sync);
/// oracle.returned(Durability::Synced);
/// assert!(!oracle.allows(Crash::Power, &State::new()));
/// ```
#[derive(Clone, Debug)]
pub struct Oracle {
    /// The durable state, those after it that were acknowledged, and those of calls that did not
    /// return or failed.
    points: Vec<Arc<Point>>,
    /// The last one that was acknowledged.
    newest: usize,
    /// The oldest one that the death of the process may leave.
    kept: usize,
    /// Where the points of the call begin that is under way.
    begun: usize,
    /// How many points have gone in front of the first one.
    gone: u64,
}

/// A state, and a hash of it.
#[derive(Debug)]
struct Point {
    state: State,
    print: u64,
}

impl Default for Oracle {
    fn default() -> Oracle {
        Oracle::new()
    }
}

impl Oracle {
    /// A store that does not exist yet.
    pub fn new() -> Oracle {
        Oracle::at(State::new())
    }

    /// A store that shows a state, which is durable.
    pub fn at(state: State) -> Oracle {
        Oracle { points: vec![point(state)], newest: 0, kept: 0, begun: 1, gone: 0 }
    }

    /// A call is made. Until it returns it may or may not have happened.
    pub fn begin(&mut self, step: &Step) {
        self.begun = self.points.len();
        self.points.extend(step.stages(self.newest()).into_iter().map(point));
    }

    /// The call has returned without an error, and promises so much.
    pub fn returned(&mut self, level: Durability) {
        self.newest = self.points.len() - 1;
        self.kept = self.newest;
        if level == Durability::Synced {
            self.durable(self.number());
        }
    }

    /// The call has failed without an effect.
    pub fn refused(&mut self) {
        self.points.truncate(self.begun);
    }

    /// The call has failed, and may or may not have happened. What is not durable may be lost from
    /// now on even to the living: a failed flush drops it. The next call is an open.
    pub fn failed(&mut self) {
        self.kept = 0;
    }

    /// The store was opened, after a crash or not, and shows this: it is durable and all there is.
    pub fn opened(&mut self, shown: State) {
        *self = Oracle { gone: self.gone + self.points.len() as u64, ..Oracle::at(shown) };
    }

    /// The state after the last call that returned.
    pub fn newest(&self) -> &State {
        &self.points[self.newest].state
    }

    /// The number of that state in the order of all, for [`durable`](Oracle::durable).
    pub fn number(&self) -> u64 {
        self.gone + self.newest as u64
    }

    /// Everything up to the state of this number is durable, as a later call has told.
    pub fn durable(&mut self, number: u64) {
        let count = usize::try_from(number.saturating_sub(self.gone)).unwrap_or(usize::MAX);
        let count = count.min(self.newest);
        self.points.drain(..count);
        self.gone += count as u64;
        self.newest -= count;
        self.kept = self.kept.saturating_sub(count);
        self.begun = self.begun.saturating_sub(count);
    }

    /// Whether everything that was acknowledged is durable.
    pub fn is_durable(&self) -> bool {
        self.newest == 0
    }

    /// Whether a crash may leave this state.
    pub fn allows(&self, crash: Crash, state: &State) -> bool {
        self.possible(crash).iter().any(|point| point.state == *state)
    }

    /// Whether a crash may leave the state with this hash.
    pub(super) fn allows_print(&self, crash: Crash, print: u64) -> bool {
        self.possible(crash).iter().any(|point| point.print == print)
    }

    /// The states that a crash may leave, for people.
    pub(super) fn expectation(&self, crash: Crash) -> String {
        let states = self.possible(crash).iter().map(|point| brief(&point.state));
        states.collect::<Vec<_>>().join("\n    or  ")
    }

    fn possible(&self, crash: Crash) -> &[Arc<Point>] {
        match crash {
            Crash::Process => &self.points[self.kept..],
            Crash::Power => &self.points,
        }
    }
}

fn point(state: State) -> Arc<Point> {
    Arc::new(Point { print: print(&state), state })
}

/// A hash of a state.
pub(super) fn print(state: &State) -> u64 {
    foldhash::quality::FixedState::default().hash_one(state)
}
