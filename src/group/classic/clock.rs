//! Time inside a group, and what is due when.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::CLOCK_JITTER_MS;

/// The most that counts as elapsed between two calls: longer than any timeout, and so short that the
/// time inside never comes to an end, whatever the caller's clock says.
const MAX_ELAPSED_MS: i64 = 1 << 32;

/// What a group waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The end of the wait for members to join.
    Join,
    /// The end of the wait for members to sync.
    Sync,
    /// The session of a member, joined or about to.
    Session(String),
}

/// A clock that only goes forward, made of one that may be set, and the timers that run on it.
///
/// When the caller's clock is set back, the time inside stands still and goes on from there.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// Milliseconds inside, since the group was opened.
    inside: i64,
    /// The caller's time to which `inside` belongs.
    outside: i64,
    due: BTreeSet<(i64, Timer)>,
    deadlines: BTreeMap<Timer, i64>,
}

impl Clock {
    pub(super) fn new(now_ms: i64) -> Clock {
        Clock { outside: now_ms, ..Clock::default() }
    }

    pub(super) fn advance(&mut self, now_ms: i64) {
        let elapsed = now_ms.saturating_sub(self.outside);
        if elapsed > 0 {
            self.inside = self.inside.saturating_add(elapsed.min(MAX_ELAPSED_MS));
        }
        let was_set_back = elapsed < -CLOCK_JITTER_MS;
        if elapsed > 0 || was_set_back {
            self.outside = now_ms;
        }
    }

    /// The newest time that the caller gave.
    pub(super) fn outside(&self) -> i64 {
        self.outside
    }

    /// Starts a timer, or starts it anew. It is never due at once, so that a timer that starts itself
    /// anew comes to an end within a tick.
    pub(super) fn start(&mut self, timer: Timer, delay_ms: i32) {
        self.cancel(&timer);
        let deadline = self.inside.saturating_add(i64::from(delay_ms.max(1)));
        self.due.insert((deadline, timer.clone()));
        self.deadlines.insert(timer, deadline);
    }

    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some(deadline) = self.deadlines.remove(timer) {
            self.due.remove(&(deadline, timer.clone()));
        }
    }

    pub(super) fn cancel_all(&mut self) {
        self.due.clear();
        self.deadlines.clear();
    }

    /// When the next timer is due, by the caller's clock.
    pub(super) fn next_deadline(&self) -> Option<i64> {
        let (deadline, _) = self.due.first()?;
        Some(self.outside.saturating_add(deadline.saturating_sub(self.inside)))
    }

    /// Takes the timer that is due for the longest time.
    pub(super) fn take_due(&mut self) -> Option<Timer> {
        let (deadline, _) = self.due.first()?;
        if *deadline > self.inside {
            return None;
        }
        let (_, timer) = self.due.pop_first()?;
        self.deadlines.remove(&timer);
        Some(timer)
    }
}
