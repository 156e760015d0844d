//! The member's side of the group protocol: what to say when, and what was heard.

use std::time::Duration;

use super::client::{Heartbeat, HeartbeatAnswer, MemberEpoch};
use crate::group::modern::{JOIN_EPOCH, LEAVE_EPOCH, Partitions};

/// What a member knows of itself.
#[derive(Debug)]
pub(super) struct Member {
    name: String,
    /// How often it had to join anew. The group still has what it was before, until that is over.
    lives: u32,
    pub(super) me: MemberEpoch,
    /// What it subscribes to, once somebody has said so.
    topics: Option<Vec<String>>,
    rebalance_timeout_ms: u32,
    pub(super) owned: Partitions,
    /// What the group does not know yet, or may not.
    says_topics: bool,
    says_owned: bool,
    /// When it was last heard, and how long after that it speaks again.
    last_ms: i64,
    wait_ms: i64,
}

impl Member {
    pub(super) fn new(name: String, rebalance_timeout: Duration, now_ms: i64) -> Member {
        Member {
            me: MemberEpoch { id: name.clone(), epoch: JOIN_EPOCH },
            name,
            lives: 0,
            topics: None,
            rebalance_timeout_ms: u32::try_from(rebalance_timeout.as_millis()).unwrap_or(u32::MAX),
            owned: Partitions::new(),
            says_topics: true,
            says_owned: true,
            last_ms: now_ms,
            wait_ms: 0,
        }
    }

    pub(super) fn is_member(&self) -> bool {
        self.me.epoch != JOIN_EPOCH
    }

    /// Whether the group may have taken it further than it knows.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_member() && self.says_owned
    }

    pub(super) fn subscribe(&mut self, topics: Vec<String>) {
        self.topics = Some(topics);
        self.says_topics = true;
        self.hurry();
    }

    /// Speaks as soon as possible.
    pub(super) fn hurry(&mut self) {
        self.wait_ms = 0;
    }

    /// Whether it is to speak now. A clock that was set back must not make it silent.
    pub(super) fn is_due(&self, now_ms: i64) -> bool {
        let is_over = now_ms.saturating_sub(self.last_ms) >= self.wait_ms;
        self.topics.is_some() && (is_over || now_ms < self.last_ms)
    }

    pub(super) fn heartbeat(&self) -> Heartbeat<'_> {
        Heartbeat {
            member: &self.me,
            topics: self.topics.as_deref().filter(|_| self.says_topics),
            rebalance_timeout_ms: self.says_topics.then_some(self.rebalance_timeout_ms),
            owned: Some(&self.owned).filter(|_| self.says_owned),
        }
    }

    /// Takes note of an answer, once what it takes away was given up.
    pub(super) fn hear(&mut self, now_ms: i64, answer: HeartbeatAnswer) {
        self.me.epoch = answer.member_epoch;
        (self.says_topics, self.says_owned) = (false, false);
        self.wait(now_ms, i64::from(answer.heartbeat_interval_ms));
        if let Some(assignment) = answer.assignment {
            let keeps_all = self.owned.iter().all(|(topic, of)| assignment.contains(topic, of));
            self.owned = assignment;
            if !keeps_all {
                // Others wait for it.
                self.says_owned = true;
                self.hurry();
            }
        }
    }

    /// Takes note of an answer that did not come. What the group has heard is not known.
    pub(super) fn fail(&mut self, now_ms: i64, backoff: Duration) {
        (self.says_topics, self.says_owned) = (true, true);
        self.wait(now_ms, i64::try_from(backoff.as_millis()).unwrap_or(i64::MAX));
    }

    /// Is none any more, and joins under another id: the group may still have the one that it had.
    pub(super) fn end_life(&mut self, now_ms: i64, backoff: Duration) {
        // At once the first time, and not faster and faster if the group refuses that, too.
        let backoff = if self.is_member() { Duration::ZERO } else { backoff };
        self.lives += 1;
        self.me = MemberEpoch { id: format!("{}-{}", self.name, self.lives), epoch: JOIN_EPOCH };
        self.owned = Partitions::new();
        self.fail(now_ms, backoff);
    }

    /// What it says last.
    pub(super) fn farewell(&self) -> MemberEpoch {
        MemberEpoch { id: self.me.id.clone(), epoch: LEAVE_EPOCH }
    }

    fn wait(&mut self, now_ms: i64, ms: i64) {
        (self.last_ms, self.wait_ms) = (now_ms, ms);
    }
}
