//! The numbers of an open store.

use crate::sync::PoisonError;

use crate::observe::{self, Meter};
use crate::report::Stats;

use super::Engine;

/// What the log counts under its lock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Data records.
    pub(crate) batches: u64,
    /// Keys that were set.
    pub(crate) commits: u64,
    /// Keys that had a value and were deleted.
    pub(crate) deletes: u64,
    /// Keys that were deleted because they were due.
    pub(crate) expirations: u64,
}

impl Engine {
    /// The numbers of this moment.
    pub(crate) fn stats(&self) -> Stats {
        let states = self.index.states().totals();
        // Numbers have to be had of a poisoned store, too.
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let (segments, log_bytes) = log.segments();
        let (counts, grown_bytes) = (log.counts(), log.grown_bytes());
        drop(log);
        let stats = Stats {
            keys: self.index.keys(),
            states: states.count,
            state_bytes: states.bytes,
            segments,
            log_bytes,
            batches: counts.batches,
            commits: counts.commits,
            deletes: counts.deletes,
            expirations: counts.expirations,
            appended_bytes: grown_bytes,
            flush_latency: self.flush_latency.read(),
            snapshot_bytes: self.compaction.snapshot_bytes(),
            live_bytes: self.compaction.live_bytes(&self.index),
            compaction: self.compaction.stats(),
            groups: self.index.group_count(),
            memory_bytes: self.index.memory_bytes(),
            durable_seq: self.durable(),
            flushes: self.flushing.count(),
            poisoned: self.latch.first().map(ToString::to_string),
        };
        self.meter.publish(&stats);
        stats
    }

    /// Hands the numbers on to whoever collects them.
    pub(super) fn hand_on_numbers(&self) {
        if Meter::IS_ON {
            self.stats();
        }
    }

    /// A number of nanoseconds to count a duration from.
    pub(super) fn now_ns(&self) -> u64 {
        self.options.environment.monotonic_ns()
    }

    /// Counts a flush that succeeded.
    pub(super) fn note_flush(&self, started_ns: u64) {
        let elapsed_ns = self.now_ns().saturating_sub(started_ns);
        self.flush_latency.add(elapsed_ns);
        observe::flushed(elapsed_ns);
    }
}
