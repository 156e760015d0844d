//! Numbers that look random and come from a seed.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use pagemark::testkit::{Lots, mix};

pub struct Random(Lots);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(Lots(mix(seed)))
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0.below(limit as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}
