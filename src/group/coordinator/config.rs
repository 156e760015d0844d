//! How a coordinator is set up.

use crate::group::classic::ClassicConfig;
use crate::group::modern::ConsumerGroupConfig;

/// How the groups of a coordinator are set up. The defaults are Kafka's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoordinatorConfig {
    pub(super) classic: ClassicConfig,
    pub(super) consumer: ConsumerGroupConfig,
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
}
