//! When a committer commits by itself.

use std::time::Duration;

/// When a [`Committer`](super::Committer) commits without being asked to.
///
/// The defaults of [`automatic`](CommitPolicy::automatic) are those of Kafka's consumer:
/// `auto.commit.interval.ms` is 5 s, `retry.backoff.ms` 100 ms, and a partition that is given away is
/// committed first.
#[derive(Clone, Debug)]
pub struct CommitPolicy {
    pub(super) interval: Option<Duration>,
    pub(super) every: Option<u64>,
    pub(super) on_revoke: bool,
    pub(super) on_close: bool,
    pub(in crate::consumer) retry_backoff: Duration,
}

impl CommitPolicy {
    /// Every five seconds, when partitions are revoked, and at the close.
    pub fn automatic() -> CommitPolicy {
        CommitPolicy {
            interval: Some(Duration::from_secs(5)),
            on_revoke: true,
            on_close: true,
            ..CommitPolicy::manual()
        }
    }

    /// Never. What was asked for is still waited for when partitions are revoked, and at the close.
    pub fn manual() -> CommitPolicy {
        CommitPolicy {
            interval: None,
            every: None,
            on_revoke: false,
            on_close: false,
            retry_backoff: Duration::from_millis(100),
        }
    }

    /// Commits when so much time has passed since the last automatic commit.
    pub fn interval(mut self, interval: Duration) -> CommitPolicy {
        self.interval = Some(interval);
        self
    }

    /// Commits when so many records are done since the last commit of any kind. Offsets without a
    /// record count.
    pub fn every(mut self, records: u64) -> CommitPolicy {
        self.every = Some(records);
        self
    }

    /// Whether [`revoke`](super::Committer::revoke) commits what is done.
    pub fn on_revoke(mut self, commit: bool) -> CommitPolicy {
        self.on_revoke = commit;
        self
    }

    /// Whether [`close`](super::Committer::close) commits what is done.
    pub fn on_close(mut self, commit: bool) -> CommitPolicy {
        self.on_close = commit;
        self
    }

    /// How long to wait before a commit that may succeed later is tried again.
    pub fn retry_backoff(mut self, backoff: Duration) -> CommitPolicy {
        self.retry_backoff = backoff;
        self
    }
}

/// When the next automatic commit is due, in the caller's time.
#[derive(Debug)]
pub(super) struct Schedule {
    due: Option<Due>,
    /// Whether it is due once more, after a failure.
    is_retry: bool,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at_ms: i64,
    /// How long before it was set to be due.
    wait: Duration,
}

impl Schedule {
    pub(super) fn new(policy: &CommitPolicy, now_ms: i64) -> Schedule {
        Schedule { due: policy.interval.map(|wait| due(now_ms, wait)), is_retry: false }
    }

    /// Is due once more when the backoff is over, and not before.
    pub(super) fn back_off(&mut self, policy: &CommitPolicy, now_ms: i64) {
        *self = Schedule { due: Some(due(now_ms, policy.retry_backoff)), is_retry: true };
    }

    /// Whether a commit is due, after so many records.
    pub(super) fn is_due(&mut self, policy: &CommitPolicy, now_ms: i64, done: u64) -> bool {
        if let Some(Due { at_ms, wait }) = &mut self.due {
            // A clock that was set back must not put the commit off.
            *at_ms = due(now_ms, *wait).at_ms.min(*at_ms);
        }
        let is_enough = policy.every.is_some_and(|every| done >= every) && !self.is_retry;
        is_enough || self.due.is_some_and(|due| now_ms >= due.at_ms)
    }
}

fn due(now_ms: i64, wait: Duration) -> Due {
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    Due { at_ms: now_ms.saturating_add(wait_ms), wait }
}
