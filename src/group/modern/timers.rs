//! When members are due. None of it is stored: a restart gives everybody their full time again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::group::CLOCK_JITTER_MS;

/// The deadlines of all members, by a clock that only goes forward.
///
/// When the time that is passed in goes back, no time has passed. What a member had left it still has.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    /// The last time that was passed in.
    now_ms: i64,
    /// How far it has gone forward, all in all.
    elapsed_ms: u128,
    deadlines: BTreeMap<Arc<str>, Deadlines>,
    /// The next deadline of each member, the soonest first.
    due: BTreeSet<(u128, Arc<str>)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Deadlines {
    session: u128,
    revocation: Option<u128>,
}

impl Deadlines {
    fn soonest(self) -> u128 {
        self.revocation.map_or(self.session, |revocation| revocation.min(self.session))
    }
}

/// Why a member was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It was silent for the session timeout.
    Session,
    /// It did not give up partitions within its rebalance timeout.
    Revocation,
}

impl Timers {
    pub(super) fn new(now_ms: i64) -> Timers {
        Timers { now_ms, ..Timers::default() }
    }

    pub(super) fn advance(&mut self, now_ms: i64) {
        let ahead = i128::from(now_ms) - i128::from(self.now_ms);
        self.elapsed_ms += u128::try_from(ahead).unwrap_or(0);
        if !(-i128::from(CLOCK_JITTER_MS)..=0).contains(&ahead) {
            self.now_ms = now_ms;
        }
    }

    /// Gives a member its full session time from now on.
    pub(super) fn start_session(&mut self, id: &str, timeout_ms: u32) {
        let (id, before) = self.take(id).unwrap_or_else(|| (id.into(), Deadlines::default()));
        let session = self.elapsed_ms + u128::from(timeout_ms);
        self.put(id, Deadlines { session, ..before });
    }

    /// Sets until when a member has to give up partitions, or takes that back.
    pub(super) fn set_revocation(&mut self, id: &str, timeout_ms: Option<u32>) {
        if let Some((id, before)) = self.take(id) {
            let revocation = timeout_ms.map(|ms| self.elapsed_ms + u128::from(ms));
            self.put(id, Deadlines { revocation, ..before });
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.take(id);
    }

    fn take(&mut self, id: &str) -> Option<(Arc<str>, Deadlines)> {
        let (id, deadlines) = self.deadlines.remove_entry(id)?;
        let (_, id) = self.due.take(&(deadlines.soonest(), id))?;
        Some((id, deadlines))
    }

    fn put(&mut self, id: Arc<str>, deadlines: Deadlines) {
        self.due.insert((deadlines.soonest(), Arc::clone(&id)));
        self.deadlines.insert(id, deadlines);
    }

    /// The next deadline, by the clock that is passed in.
    pub(super) fn next(&self) -> Option<i64> {
        let (next, _) = self.due.first()?;
        let left = next.saturating_sub(self.elapsed_ms);
        Some(self.now_ms.saturating_add(i64::try_from(left).unwrap_or(i64::MAX)))
    }

    /// The members whose time has run out, sorted.
    pub(super) fn due(&self) -> Vec<(String, Expiry)> {
        let is_due = |(deadline, _): &&(u128, Arc<str>)| *deadline <= self.elapsed_ms;
        let expiry = |(_, id): &(u128, Arc<str>)| {
            let session_is_over = self.deadlines.get(id)?.session <= self.elapsed_ms;
            let why = if session_is_over { Expiry::Session } else { Expiry::Revocation };
            Some((id.to_string(), why))
        };
        let mut due: Vec<_> = self.due.iter().take_while(is_due).filter_map(expiry).collect();
        due.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        due
    }
}
