//! The bodies of the fuzz targets: functions of bytes that panic when the engine is wrong.
//!
//! `fuzz_targets/` hands them to libFuzzer, `examples/smoke.rs` runs them without it.

mod input;
mod model;
mod recover;
#[path = "../../tests/support/mod.rs"]
mod support;

pub use model::model;
pub use pagemark::testkit::{fuzz_record as record, fuzz_scan as scan, fuzz_states as states};
pub use recover::recover;

/// A fuzz target.
pub struct Target {
    /// Its name, which is that of its corpus too.
    pub name: &'static str,
    /// What it does with an input.
    pub body: fn(&[u8]),
    /// How many inputs a check on every commit tries: what takes some ten seconds.
    pub check: u64,
}

/// All targets.
pub const TARGETS: [Target; 5] = [
    Target { name: "record", body: record, check: 5_000_000 },
    Target { name: "scan", body: scan, check: 50_000 },
    Target { name: "states", body: states, check: 80_000 },
    Target { name: "recover", body: recover, check: 40_000 },
    Target { name: "model", body: model, check: 15_000 },
];
