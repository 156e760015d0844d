//! A clock and random numbers that are the same every time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::mix;
use crate::options::Environment;

/// A clock that stands still, and numbers from a seed: the same calls give the same bytes.
#[derive(Debug)]
pub struct FixedEnvironment(AtomicU64);

impl FixedEnvironment {
    /// What its clock shows.
    pub const NOW_MS: i64 = 1_700_000_000_000;

    /// An environment of that seed.
    pub fn new(seed: u64) -> Arc<FixedEnvironment> {
        Arc::new(FixedEnvironment(AtomicU64::new(seed)))
    }
}

impl Environment for FixedEnvironment {
    fn now_ms(&self) -> i64 {
        FixedEnvironment::NOW_MS
    }

    fn random(&self) -> u64 {
        mix(self.0.fetch_add(1, Ordering::Relaxed))
    }
}
