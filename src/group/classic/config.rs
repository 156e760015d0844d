//! What the owner of a group decides for it.

use crate::group::GroupError;

/// The limits of a group, with Kafka's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicConfig {
    pub(super) min_session_timeout_ms: i32,
    pub(super) max_session_timeout_ms: i32,
    pub(super) initial_rebalance_delay_ms: i32,
    pub(super) max_size: usize,
}

impl ClassicConfig {
    /// Session timeouts from 6 seconds to 30 minutes, an initial delay of 3 seconds, and as many
    /// members as come.
    pub const fn new() -> ClassicConfig {
        ClassicConfig {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: usize::MAX,
        }
    }

    /// The session timeouts that members may ask for: Kafka's `group.min.session.timeout.ms` and
    /// `group.max.session.timeout.ms`.
    pub const fn session_timeouts_ms(mut self, min: i32, max: i32) -> ClassicConfig {
        self.min_session_timeout_ms = min;
        self.max_session_timeout_ms = max;
        self
    }

    /// How long an empty group waits for more members after the first, and after each that comes
    /// while it waits: `group.initial.rebalance.delay.ms`. With 0 the first member gets everything at
    /// once, and gives up parts of it as others come.
    pub const fn initial_rebalance_delay_ms(mut self, delay: i32) -> ClassicConfig {
        self.initial_rebalance_delay_ms = delay;
        self
    }

    /// How many members the group may have: `group.max.size`. A group that comes back from its records
    /// with more begins with a rebalance, in which those who come last are turned away. As in Kafka
    /// (`acceptJoiningMember`), a member with a group instance id that has not joined a rebalance yet stays
    /// in the group and is not counted meanwhile, so that there may be more members by as many as these.
    pub const fn max_size(mut self, max_size: usize) -> ClassicConfig {
        self.max_size = max_size;
        self
    }

    pub(super) fn check_session_timeout(&self, timeout_ms: i32) -> Result<(), GroupError> {
        let bounds = self.min_session_timeout_ms..=self.max_session_timeout_ms;
        // A timeout of nothing would expire before anyone could send a heartbeat.
        if bounds.contains(&timeout_ms) && timeout_ms > 0 {
            return Ok(());
        }
        Err(GroupError::InvalidSessionTimeout)
    }
}

impl Default for ClassicConfig {
    fn default() -> ClassicConfig {
        ClassicConfig::new()
    }
}
