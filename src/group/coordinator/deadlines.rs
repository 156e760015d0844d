//! Which groups have something to do, and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Waker;

use super::cell::Cell;
use crate::group::CLOCK_JITTER_MS;
use crate::sync::atomic::{AtomicI64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The next deadline of each group that has one, in the order of time.
///
/// A group's own changes under the lock of the group, at its end, so that whoever has that lock sees a
/// deadline that is right. The lock in here is taken last: nothing else is while it is held.
#[derive(Debug)]
pub(super) struct Deadlines {
    line: Mutex<Line>,
    /// No group was given a later time.
    newest_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct Line {
    due: BTreeSet<(i64, Arc<Cell>)>,
    waker: Option<Waker>,
}

impl Line {
    fn next(&self) -> Option<i64> {
        self.due.first().map(|(deadline, _)| *deadline)
    }
}

impl Deadlines {
    pub(super) fn new() -> Deadlines {
        Deadlines { line: Mutex::default(), newest_ms: AtomicI64::new(i64::MIN) }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a group, under its lock. Returns who is to be woken without it, as something is due
    /// earlier than anything before.
    pub(super) fn set(
        &self,
        cell: &Arc<Cell>,
        before: Option<i64>,
        now: Option<i64>,
    ) -> Option<Waker> {
        let mut line = self.line();
        let next = line.next();
        if let Some(before) = before {
            line.due.remove(&(before, Arc::clone(cell)));
        }
        let now = now?;
        line.due.insert((now, Arc::clone(cell)));
        let is_earlier = next.is_none_or(|next| now < next);
        if is_earlier { line.waker.clone() } else { None }
    }

    pub(super) fn set_waker(&self, waker: Waker) {
        self.line().waker = Some(waker);
    }

    pub(super) fn next(&self) -> Option<i64> {
        self.line().next()
    }

    /// The groups in which something is due, those that are due for the longest time first.
    pub(super) fn until(&self, now_ms: i64) -> Vec<Arc<Cell>> {
        let line = self.line();
        let is_due = |(deadline, _): &&(i64, Arc<Cell>)| *deadline <= now_ms;
        line.due.iter().take_while(is_due).map(|(_, cell)| Arc::clone(cell)).collect()
    }

    /// A group was given the time.
    pub(super) fn saw(&self, now_ms: i64) {
        if now_ms > self.newest_ms.load(Ordering::Relaxed) {
            self.newest_ms.fetch_max(now_ms, Ordering::Relaxed);
        }
    }

    /// Whether a group may have been given a time since which the clock was set back. What is left of
    /// its deadlines runs by the new one as soon as it is given that; until then they seem far away.
    ///
    /// Whoever is told so gives it to all groups. It is what they have then, but for what counts as no
    /// setting.
    pub(super) fn is_set_back(&self, now_ms: i64) -> bool {
        let is_set_back =
            now_ms < self.newest_ms.load(Ordering::Relaxed).saturating_sub(CLOCK_JITTER_MS);
        if is_set_back {
            self.newest_ms.store(now_ms.saturating_add(CLOCK_JITTER_MS), Ordering::Relaxed);
        }
        is_set_back
    }
}
