//! How a coordinator is set up.

use crate::group::classic::ClassicConfig;
use crate::group::modern::ConsumerGroupConfig;

/// How the groups of a coordinator are set up. The defaults are Kafka's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoordinatorConfig {
    pub(super) classic: ClassicConfig,
    pub(super) consumer: ConsumerGroupConfig,
    pub(super) checks_assignments: bool,
}

impl CoordinatorConfig {
    /// The defaults.
    pub fn new() -> CoordinatorConfig {
        CoordinatorConfig::default()
    }

    /// The limits of groups of the classic protocol.
    pub fn classic(mut self, config: ClassicConfig) -> CoordinatorConfig {
        self.classic = config;
        self
    }

    /// How groups of the newer protocol are set up.
    pub fn consumer(mut self, config: ConsumerGroupConfig) -> CoordinatorConfig {
        self.consumer = config;
        self
    }

    /// Whether what the leaders of consumers assign is read and refused where it cannot be: see
    /// [`ClassicGroup::check_assignments`](crate::group::classic::ClassicGroup::check_assignments). Kafka
    /// does not ask, and neither does a coordinator that is not told to, as members may speak a protocol of
    /// their own under the name of consumers.
    pub fn check_assignments(mut self, check: bool) -> CoordinatorConfig {
        self.checks_assignments = check;
        self
    }
}
