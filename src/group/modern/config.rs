//! How a group is set up, and which assignors it has.

use std::str::FromStr;

use crate::group::GroupError;
use crate::group::assign::{Assignor, RangeAssignor, StickyAssignor};

/// How a group is set up. The defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    pub(super) session_timeout_ms: u32,
    pub(super) heartbeat_interval_ms: u32,
    pub(super) max_size: usize,
    pub(super) assignor: ServerAssignor,
}

impl Default for ConsumerGroupConfig {
    fn default() -> ConsumerGroupConfig {
        ConsumerGroupConfig {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            max_size: usize::MAX,
            assignor: ServerAssignor::Uniform,
        }
    }
}

impl ConsumerGroupConfig {
    /// The defaults.
    pub fn new() -> ConsumerGroupConfig {
        ConsumerGroupConfig::default()
    }

    /// After how long without a heartbeat a member is removed. Default 45 s; Kafka's
    /// `group.consumer.session.timeout.ms`.
    pub fn session_timeout_ms(mut self, ms: u32) -> ConsumerGroupConfig {
        self.session_timeout_ms = ms;
        self
    }

    /// How often members are told to send heartbeats. Default 5 s; Kafka's
    /// `group.consumer.heartbeat.interval.ms`.
    pub fn heartbeat_interval_ms(mut self, ms: u32) -> ConsumerGroupConfig {
        self.heartbeat_interval_ms = ms;
        self
    }

    /// How many members the group may have. No limit by default; Kafka's `group.consumer.max.size`.
    pub fn max_size(mut self, members: usize) -> ConsumerGroupConfig {
        self.max_size = members;
        self
    }

    /// The assignor of a group whose members ask for none. Default
    /// [`Uniform`](ServerAssignor::Uniform).
    pub fn assignor(mut self, assignor: ServerAssignor) -> ConsumerGroupConfig {
        self.assignor = assignor;
        self
    }
}

/// An assignor that a member can ask for. Most votes win; of as many, the first in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ServerAssignor {
    /// As even as possible, and then as few moves as possible: [`StickyAssignor`].
    Uniform,
    /// Neighbouring partitions of each topic: [`RangeAssignor`].
    Range,
}

impl ServerAssignor {
    pub(super) const ALL: [ServerAssignor; 2] = [ServerAssignor::Uniform, ServerAssignor::Range];

    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            ServerAssignor::Uniform => "uniform",
            ServerAssignor::Range => "range",
        }
    }

    pub(super) fn rules(self) -> &'static dyn Assignor {
        match self {
            ServerAssignor::Uniform => &StickyAssignor,
            ServerAssignor::Range => &RangeAssignor,
        }
    }
}

impl FromStr for ServerAssignor {
    type Err = GroupError;

    /// Finds an assignor by its name: what a request of a wire protocol brings.
    fn from_str(name: &str) -> Result<ServerAssignor, GroupError> {
        let mut all = ServerAssignor::ALL.into_iter();
        all.find(|assignor| assignor.name() == name).ok_or(GroupError::UnsupportedAssignor)
    }
}
