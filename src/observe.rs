//! What an open store tells the world: events through `tracing` and numbers through `metrics`, each
//! behind the cargo feature of that name. Without them everything here compiles to nothing.
//!
//! `docs/observability.md` lists what there is and what it means. No event and no metric carries a
//! group or a topic: there may be millions of them.
#![cfg_attr(
    not(all(feature = "tracing", feature = "metrics")),
    allow(unused_variables, reason = "what is told depends on the features")
)]

use std::path::Path;

use crate::error::{Error, Result};
use crate::report::{CompactionReport, ExpiryReport, RecoveryReport};

pub(crate) use meter::Meter;

#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $($what:tt)*) => { tracing::$level!(target: "pagemark", $($what)*) };
}
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($what:tt)*) => {{}};
}
#[cfg(feature = "metrics")]
macro_rules! seconds {
    ($name:literal, $nanoseconds:expr) => {
        metrics::histogram!($name).record($nanoseconds as f64 / 1e9)
    };
}
#[cfg(not(feature = "metrics"))]
macro_rules! seconds {
    ($($what:tt)*) => {{}};
}

/// A store is open.
pub(crate) fn opened(dir: &Path, report: &RecoveryReport, elapsed_ns: u64) {
    seconds!("pagemark_recovery_duration_seconds", elapsed_ns);
    event!(
        info,
        path = %dir.display(),
        created = report.created,
        clean = report.clean,
        snapshot_keys = report.snapshot_keys,
        segments = report.segments,
        records = report.records,
        changes = report.changes,
        bytes = report.bytes,
        skipped = report.skipped,
        elapsed_ms = report.elapsed_ms,
        "store opened"
    );
    if let Some(cut) = &report.cut {
        meter::cut(cut.bytes);
        event!(
            warn,
            path = %cut.path.display(),
            position = cut.position,
            bytes = cut.bytes,
            records = cut.records,
            removed_segments = cut.removed.len(),
            "torn tail cut off: what a crash left behind the last record that counts"
        );
    }
}

/// A store was closed by its user.
pub(crate) fn closed(dir: &Path, result: &Result<()>) {
    match result {
        Ok(()) => event!(info, path = %dir.display(), "store closed"),
        Err(error) => event!(
            error,
            path = %dir.display(),
            %error,
            "store closed, and not everything in it is durable"
        ),
    }
}

/// A write or a flush failed, for the first time.
pub(crate) fn poisoned(error: &Error) {
    event!(error, %error, "a write failed: the store takes no more commits until it is reopened");
}

/// The log was flushed.
pub(crate) fn flushed(elapsed_ns: u64) {
    seconds!("pagemark_fsync_duration_seconds", elapsed_ns);
}

/// The log goes on in a new segment.
pub(crate) fn rolled(dir: &Path, first_seq: u64, size: u64) {
    event!(debug, path = %dir.display(), first_seq, size, "segment begun");
}

/// A snapshot is about to be written.
pub(crate) fn compaction_begun(dir: &Path, covered_seq: u64) {
    event!(debug, path = %dir.display(), covered_seq, "compaction begun");
}

/// A compaction has ended.
pub(crate) fn compaction_ended(dir: &Path, result: &Result<CompactionReport>, elapsed_ns: u64) {
    match result {
        // There was nothing to compact.
        Ok(report) if report.snapshot_bytes == 0 => {}
        Ok(report) => {
            seconds!("pagemark_compaction_duration_seconds", elapsed_ns);
            event!(
                info,
                path = %dir.display(),
                covered_seq = report.covered_seq.get(),
                keys = report.keys,
                snapshot_bytes = report.snapshot_bytes,
                segments_retired = report.segments_retired,
                bytes_retired = report.bytes_retired,
                elapsed_ms = report.elapsed_ms,
                "compaction finished"
            );
        }
        Err(error) => event!(
            error,
            path = %dir.display(),
            %error,
            "compaction failed: nothing is lost, and the log goes on growing"
        ),
    }
}

/// A sweep for values that are due has ended.
pub(crate) fn expired(dir: &Path, report: &ExpiryReport) {
    event!(
        info,
        path = %dir.display(),
        now_ms = report.now_ms,
        visited = report.visited,
        expired = report.expired,
        "offsets expired"
    );
}

/// The numbers of stores, handed on as differences, so that those of several stores in a process add
/// up.
#[cfg(feature = "metrics")]
mod meter {
    use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

    use crate::report::Stats;
    use crate::sync::{Mutex, PoisonError};

    /// What a store has handed on so far.
    #[derive(Debug, Default)]
    pub(crate) struct Meter(Mutex<Handed>);

    #[derive(Debug, Default)]
    struct Handed {
        counters: [u64; COUNTERS.len()],
        gauges: [u64; GAUGES.len()],
        closed: bool,
    }

    type Number = (&'static str, Unit, fn(&Stats) -> u64, &'static str);

    const COUNTERS: [Number; 7] = [
        ("pagemark_offset_commits_total", Unit::Count, |s| s.commits, "Keys that were committed"),
        ("pagemark_offset_deletions_total", Unit::Count, |s| s.deletes, "Keys that were deleted"),
        (
            "pagemark_offset_expirations_total",
            Unit::Count,
            |s| s.expirations,
            "Keys that were deleted because they were due",
        ),
        ("pagemark_records_total", Unit::Count, |s| s.batches, "Records of commits and deletes"),
        ("pagemark_appended_bytes_total", Unit::Bytes, |s| s.appended_bytes, "Growth of the log"),
        (
            "pagemark_compactions_total",
            Unit::Count,
            |s| s.compaction.completed,
            "Compactions that wrote a snapshot",
        ),
        (
            "pagemark_compaction_failures_total",
            Unit::Count,
            |s| s.compaction.failed,
            "Compactions that failed",
        ),
    ];

    const GAUGES: [Number; 6] = [
        ("pagemark_offsets", Unit::Count, |s| s.keys, "Keys that have a value"),
        ("pagemark_groups", Unit::Count, |s| s.groups, "Groups that have a value"),
        ("pagemark_segments", Unit::Count, |s| s.segments, "Segments of the log"),
        ("pagemark_live_bytes", Unit::Bytes, |s| s.live_bytes, "What a snapshot would take"),
        (
            "pagemark_dead_bytes",
            Unit::Bytes,
            |s| (s.log_bytes + s.snapshot_bytes).saturating_sub(s.live_bytes),
            "Bytes of log and snapshot beyond what lives",
        ),
        (
            "pagemark_poisoned_stores",
            Unit::Count,
            |s| u64::from(s.poisoned.is_some()),
            "Stores that take no more commits since a write failed",
        ),
    ];

    impl Meter {
        /// Whether there is anybody to hand numbers to.
        pub(crate) const IS_ON: bool = true;

        /// Hands on what has changed.
        pub(crate) fn publish(&self, stats: &Stats) {
            let mut handed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if handed.closed {
                return;
            }
            for (last, (name, _, number, _)) in handed.counters.iter_mut().zip(&COUNTERS) {
                // Two threads may have looked in the other order.
                let now = number(stats).max(*last);
                counter!(*name).increment(now - std::mem::replace(last, now));
            }
            for (last, (name, _, number, _)) in handed.gauges.iter_mut().zip(&GAUGES) {
                let now = number(stats);
                gauge!(*name).increment(now as f64 - std::mem::replace(last, now) as f64);
            }
        }

        /// Says what the numbers mean.
        pub(crate) fn describe(&self) {
            for (name, unit, _, what) in COUNTERS {
                describe_counter!(name, unit, what);
            }
            for (name, unit, _, what) in GAUGES {
                describe_gauge!(name, unit, what);
            }
            for (name, what) in [
                ("pagemark_fsync_duration_seconds", "How long flushes of the log took"),
                ("pagemark_recovery_duration_seconds", "How long opening a store took"),
                ("pagemark_compaction_duration_seconds", "How long compactions took"),
            ] {
                describe_histogram!(name, Unit::Seconds, what);
            }
            describe_counter!(
                "pagemark_recovery_truncated_bytes_total",
                Unit::Bytes,
                "Bytes of torn tails that were cut off"
            );
            gauge!("pagemark_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        }

        /// Takes the gauges back: the store is not here any more.
        pub(crate) fn close(&self) {
            let mut handed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            handed.closed = true;
            for (last, (name, ..)) in handed.gauges.iter_mut().zip(&GAUGES) {
                gauge!(*name).decrement(std::mem::take(last) as f64);
            }
        }
    }

    /// A torn tail of so many bytes was cut off.
    pub(super) fn cut(bytes: u64) {
        counter!("pagemark_recovery_truncated_bytes_total").increment(bytes);
    }
}

#[cfg(not(feature = "metrics"))]
mod meter {
    use crate::report::Stats;

    /// Nobody to hand numbers to.
    #[derive(Debug, Default)]
    pub(crate) struct Meter(());

    impl Meter {
        pub(crate) const IS_ON: bool = false;

        pub(crate) fn publish(&self, _: &Stats) {}

        pub(crate) fn describe(&self) {}

        pub(crate) fn close(&self) {}
    }

    pub(super) fn cut(_: u64) {}
}
