//! How a consumer is set up.

use std::time::Duration;

use crate::consumer::acks::AckLimits;
use crate::consumer::commits::CommitPolicy;
use crate::consumer::position::StartPolicy;

/// How a [`Consumer`](super::Consumer) is set up. The defaults are those of Kafka's consumer: it starts
/// at the end of a log, commits every five seconds, and is done with each record in its turn.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    pub(super) member_id: String,
    pub(super) start: StartPolicy,
    pub(super) commit: CommitPolicy,
    pub(super) acks: Option<AckLimits>,
    pub(super) rebalance_timeout: Duration,
    pub(super) commit_timeout: Duration,
}

impl ConsumerOptions {
    /// The defaults, for a member with this id. It must be a new one for each life of a process: a
    /// UUID, say.
    pub fn new(member_id: impl Into<String>) -> ConsumerOptions {
        ConsumerOptions {
            member_id: member_id.into(),
            start: StartPolicy::default(),
            commit: CommitPolicy::automatic(),
            acks: None,
            rebalance_timeout: Duration::from_secs(300),
            commit_timeout: Duration::from_secs(10),
        }
    }

    /// Where to start where nothing was committed, or nothing that is in the log: `auto.offset.reset`.
    pub fn start(mut self, policy: StartPolicy) -> ConsumerOptions {
        self.start = policy;
        self
    }

    /// When to commit without being asked to.
    pub fn commit(mut self, policy: CommitPolicy) -> ConsumerOptions {
        self.commit = policy;
        self
    }

    /// Takes records as processed one by one, in any order. What is complete out of order is stored
    /// with the commits and not delivered again.
    ///
    /// Without it, a record that is processed stands for all before it.
    pub fn out_of_order(mut self, limits: AckLimits) -> ConsumerOptions {
        self.acks = Some(limits);
        self
    }

    /// How long the group waits for this member to give partitions away before it removes it. Default
    /// five minutes; Kafka's `max.poll.interval.ms`.
    pub fn rebalance_timeout(mut self, timeout: Duration) -> ConsumerOptions {
        self.rebalance_timeout = timeout;
        self
    }

    /// How long a poll waits at most for the commit of partitions that are given away. Default ten
    /// seconds.
    pub fn commit_timeout(mut self, timeout: Duration) -> ConsumerOptions {
        self.commit_timeout = timeout;
        self
    }
}
