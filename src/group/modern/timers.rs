//! When members are due. None of it is stored: a restart gives everybody their full time again.

use std::collections::BTreeMap;

/// How far apart the times of two calls may be the wrong way around without the clock having been set:
/// callers read it before they get hold of the group.
const JITTER_MS: i128 = 1_000;

/// The deadlines of all members, by a clock that only goes forward.
///
/// When the time that is passed in goes back, no time has passed. What a member had left it still has.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    /// The last time that was passed in.
    now_ms: i64,
    /// How far it has gone forward, all in all.
    elapsed_ms: u128,
    deadlines: BTreeMap<String, Deadlines>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Deadlines {
    session: u128,
    revocation: Option<u128>,
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
        if !(-JITTER_MS..=0).contains(&ahead) {
            self.now_ms = now_ms;
        }
    }

    /// Gives a member its full session time from now on.
    pub(super) fn start_session(&mut self, id: &str, timeout_ms: u32) {
        let session = self.elapsed_ms + u128::from(timeout_ms);
        match self.deadlines.get_mut(id) {
            Some(deadlines) => deadlines.session = session,
            None => {
                let deadlines = Deadlines { session, revocation: None };
                self.deadlines.insert(id.to_owned(), deadlines);
            }
        }
    }

    /// Sets until when a member has to give up partitions, or takes that back.
    pub(super) fn set_revocation(&mut self, id: &str, timeout_ms: Option<u32>) {
        if let Some(deadlines) = self.deadlines.get_mut(id) {
            deadlines.revocation = timeout_ms.map(|ms| self.elapsed_ms + u128::from(ms));
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.deadlines.remove(id);
    }

    /// The next deadline, by the clock that is passed in.
    pub(super) fn next(&self) -> Option<i64> {
        let all = self.deadlines.values();
        let next = all.flat_map(|d| [Some(d.session), d.revocation]).flatten().min()?;
        let left = next.saturating_sub(self.elapsed_ms);
        Some(self.now_ms.saturating_add(i64::try_from(left).unwrap_or(i64::MAX)))
    }

    /// The members whose time has run out.
    pub(super) fn due(&self) -> Vec<(String, Expiry)> {
        let is_due = |deadline: u128| deadline <= self.elapsed_ms;
        let expiry = |deadlines: &Deadlines| match deadlines.revocation {
            _ if is_due(deadlines.session) => Some(Expiry::Session),
            Some(revocation) if is_due(revocation) => Some(Expiry::Revocation),
            _ => None,
        };
        let all = self.deadlines.iter();
        all.filter_map(|(id, deadlines)| Some((id.clone(), expiry(deadlines)?))).collect()
    }
}
