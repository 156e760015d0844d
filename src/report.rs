//! What happened and how things stand, as data.

use std::path::PathBuf;

use crate::histogram::Histogram;
use crate::key::Seq;

/// What opening a store came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the store was created by this open.
    pub created: bool,
    /// Whether the store had been closed in order. Otherwise its process died or power was lost.
    pub clean: bool,
    /// Keys that were read from a snapshot.
    pub snapshot_keys: u64,
    /// Segments that were read.
    pub segments: u64,
    /// Records that were read, those without values included.
    pub records: u64,
    /// Commits and deletes of single keys, and changes of states, that were replayed.
    pub changes: u64,
    /// Bytes of records that were read.
    pub bytes: u64,
    /// Optional records of kinds that this version does not know, which were skipped.
    pub skipped: u64,
    /// The torn tail that was cut off, if there was one.
    pub cut: Option<Cut>,
    /// Milliseconds that it took, by the clock of the options.
    pub elapsed_ms: u64,
}

/// A torn tail: what a crash left behind the last record that counts. Nothing in it had been
/// promised to survive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// The segment that was cut.
    pub path: PathBuf,
    /// Where it was cut.
    pub position: u64,
    /// The bytes behind that position, up to the last one that was not zero.
    pub bytes: u64,
    /// Whole records among them, behind a gap.
    pub records: u64,
    /// Later segments that were removed as a whole.
    pub removed: Vec<PathBuf>,
}

/// The numbers of an open store at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys that have a value.
    pub keys: u64,
    /// Groups that have a value.
    pub groups: u64,
    /// States that are kept for groups beside their offsets.
    pub states: u64,
    /// Bytes of those states and of their names.
    pub state_bytes: u64,
    /// Bytes of memory that the index takes, as an estimate.
    pub memory_bytes: u64,
    /// The durable seq.
    pub durable_seq: u64,
    /// Flushes of the log since the store was opened.
    pub flushes: u64,
    /// How long each flush of the log took that succeeded, with those for marks among them, by the
    /// clock of the options.
    pub flush_latency: Histogram,
    /// Records of changes since the store was opened. A batch is one record.
    pub batches: u64,
    /// Keys that were committed since the store was opened: one for each in a batch.
    pub commits: u64,
    /// Keys that had a value and were deleted since the store was opened, with those of deleted
    /// topics and groups among them.
    pub deletes: u64,
    /// Keys that [`expire`](crate::OffsetStore::expire) deleted since the store was opened. They are
    /// not among `deletes`.
    pub expirations: u64,
    /// Bytes by which the log has grown since the store was opened: records, names and seals, and
    /// the first page of each new segment.
    pub appended_bytes: u64,
    /// Segments of the log, the active one included.
    pub segments: u64,
    /// The size of their files in bytes. The next segment, prepared in advance, is not counted.
    pub log_bytes: u64,
    /// The size of the newest snapshot in bytes; zero if there is none.
    pub snapshot_bytes: u64,
    /// About how many bytes a snapshot of the live keys would have now. The log is compacted when
    /// its sealed segments have half of that.
    pub live_bytes: u64,
    /// What compactions came to since the store was opened.
    pub compaction: CompactionStats,
    /// The first failure, if the store takes no more commits.
    pub poisoned: Option<String>,
}

impl Stats {
    /// The size in bytes of the files that hold the store: the log and the snapshot.
    pub fn disk_bytes(&self) -> u64 {
        self.log_bytes + self.snapshot_bytes
    }

    /// How many times larger those files are than what lives in them. Compactions keep it below two,
    /// the active segment not counted.
    pub fn amplification(&self) -> f64 {
        self.disk_bytes() as f64 / self.live_bytes.max(1) as f64
    }

    /// About how many bytes were written to the device since the store was opened: the log and the
    /// snapshots. At most three times [`appended_bytes`](Stats::appended_bytes) unless somebody calls for
    /// compactions. What is not counted is that a device takes pages: a flush writes 4 KiB at least, and
    /// where files are written by `write` and not mapped, each new segment is filled with zeros before.
    pub fn written_bytes(&self) -> u64 {
        self.appended_bytes + self.compaction.bytes_written
    }
}

/// What [`OffsetReader::refresh`](crate::OffsetReader::refresh) came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refreshed {
    /// Commits, deletes and changes of states in the log that no earlier refresh has read.
    pub changes: u64,
    /// Whether the log could not be followed from where the last refresh ended, and the store was
    /// read anew: a compaction has put a snapshot in the place of what was to be read next, an earlier
    /// refresh has failed, or the store has lost its end in a crash. The view is whole, but changes
    /// that only the snapshot knows of were not counted.
    pub restarted: bool,
}

/// What a compaction came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionReport {
    /// The snapshot stands for all commits and deletes up to this seq; 0 if there was nothing to
    /// compact and no snapshot was written.
    pub covered_seq: Seq,
    /// The keys in the snapshot.
    pub keys: u64,
    /// The size of the snapshot in bytes.
    pub snapshot_bytes: u64,
    /// The segments that the snapshot replaced.
    pub segments_retired: u64,
    /// The size of their files in bytes.
    pub bytes_retired: u64,
    /// Milliseconds that it took, by the clock of the options.
    pub elapsed_ms: u64,
}

/// What a sweep for values that are due came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiryReport {
    /// The time by the clock of the options at which values had to be due.
    pub now_ms: i64,
    /// Keys that were looked at.
    pub visited: u64,
    /// Keys that were deleted.
    pub expired: u64,
}

/// The compactions of an open store, those in the background included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionStats {
    /// Compactions that wrote a snapshot.
    pub completed: u64,
    /// Bytes of those snapshots.
    pub bytes_written: u64,
    /// Compactions that failed. Nothing is lost by that, but the log goes on growing.
    pub failed: u64,
    /// Why the last one failed; none once one has succeeded after it.
    pub failure: Option<String>,
    /// The last one that wrote a snapshot.
    pub last: Option<CompactionReport>,
}
