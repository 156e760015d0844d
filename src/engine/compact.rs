//! Compact: write what the index holds beside the log, and give up the log that it stands for.
//!
//! Only whole, sealed segments are given up, and only when a snapshot that was read back and
//! compared is there for good: its name is durable, and the log that goes on behind it, too. The
//! rename is the moment that counts. Before it nothing has changed but for a file that the next open
//! removes; behind it, the old segments are what the next open removes.

use std::time::Duration;

use crate::care::Progress;
use crate::error::{Error, Result};
use crate::format::RECORDS_START;
use crate::format::header::{FileHeader, FileKind};
use crate::format::mark::MarkState;
use crate::format::names;
use crate::format::snapshot::Base;
use crate::index::Index;
use crate::io::Access;
use crate::key::{CommittedOffset, Seq};
use crate::observe;
use crate::report::{CompactionReport, CompactionStats};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::Engine;
use super::load::Records;
use super::signal::Signal;
use super::snapshot::{SnapshotWriter, Written};

/// Bytes a second that a compaction in the background writes as long as the log grows slowly enough.
const RATE: u64 = 32 << 20;
/// After so many bytes a snapshot is flushed, so that its end does not hold up the log's flushes.
const SYNC_EVERY: u64 = 4 << 20;
/// About what a snapshot without a key has.
const EMPTY_BYTES: u64 = RECORDS_START as u64 + 100;
/// What a state takes in a snapshot beside its names and bytes: its record's header, lengths, padding.
const STATE_FRAME_BYTES: u64 = 36;
/// What a key takes in a snapshot until one was written: names shared by some keys, a leader epoch.
const ASSUMED_KEY_BYTES: u64 = 48;

/// What is known about compactions.
#[derive(Debug)]
pub(super) struct Compaction {
    /// Held by the one that runs.
    running: Mutex<Running>,
    signal: Signal,
    /// The bytes and keys of the newest snapshot.
    snapshot_bytes: AtomicU64,
    snapshot_keys: AtomicU64,
    /// How many of its bytes are those of states.
    snapshot_state_bytes: AtomicU64,
    stats: Mutex<CompactionStats>,
}

/// What belongs to the one that compacts.
#[derive(Debug)]
struct Running {
    /// The directory is not ours any more.
    closed: bool,
    /// The newest snapshot, by the seq up to which it covers the history.
    snapshot: Option<u64>,
    /// Files that are covered by a snapshot and could not be removed.
    leftover: Vec<String>,
}

impl Compaction {
    /// Goes on from the snapshot that the store was opened from, if any.
    pub(super) fn new(snapshot: Option<u64>, written: Written) -> Compaction {
        Compaction {
            running: Mutex::new(Running { closed: false, snapshot, leftover: Vec::new() }),
            signal: Signal::default(),
            snapshot_bytes: AtomicU64::new(written.bytes),
            snapshot_keys: AtomicU64::new(written.keys),
            snapshot_state_bytes: AtomicU64::new(written.state_bytes),
            stats: Mutex::default(),
        }
    }

    /// About how many bytes a snapshot of an index would have now.
    pub(super) fn live_bytes(&self, index: &Index) -> u64 {
        let written = self.snapshot_keys.load(Ordering::Relaxed);
        let states = self.snapshot_state_bytes.load(Ordering::Relaxed);
        let values = self.snapshot_bytes().saturating_sub(EMPTY_BYTES + states);
        let each = values.checked_div(written).unwrap_or(ASSUMED_KEY_BYTES);
        EMPTY_BYTES + index.keys().saturating_mul(each) + state_bytes(index)
    }

    /// The size of the newest snapshot.
    pub(super) fn snapshot_bytes(&self) -> u64 {
        self.snapshot_bytes.load(Ordering::Relaxed)
    }

    /// Asks for a compaction if the sealed log has grown to half the size of what lives in it. The
    /// other half is for what is committed until the snapshot is written.
    pub(super) fn consider(&self, sealed_bytes: u64, index: &Index) {
        if sealed_bytes.saturating_mul(2) >= self.live_bytes(index) {
            self.signal.want();
        }
    }

    /// Ends the thread, and a compaction that runs, at its next step.
    pub(super) fn stop(&self) {
        self.signal.stop();
    }

    /// Ends a compaction that runs, waits for that, and lets none begin.
    pub(super) fn close(&self) {
        self.stop();
        self.running().closed = true;
    }

    /// Whether it is time to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.signal.is_stopped()
    }

    /// What the compactions so far came to.
    pub(super) fn stats(&self) -> CompactionStats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets why the last one failed: what it left undone is done.
    fn clear_failure(&self) {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).failure = None;
    }

    /// A panic while it was held leaves an unfinished file at most, which the next one replaces.
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, result: &Result<CompactionReport>) {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(report) if report.snapshot_bytes == 0 => {}
            Ok(report) => {
                stats.completed += 1;
                stats.bytes_written += report.snapshot_bytes;
                stats.last = Some(report.clone());
                stats.failure = None;
            }
            Err(error) => {
                stats.failed += 1;
                stats.failure = Some(error.to_string());
            }
        }
    }
}

/// How fast a snapshot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Somebody waits for it.
    Fast,
    /// The store is about to be closed: what is left should be small, and soon.
    Closing,
    /// As slowly as it can be without the log growing too much meanwhile.
    Background,
}

impl Engine {
    /// Compacts the log up to now.
    pub(crate) fn compact(&self, progress: &mut dyn FnMut(Progress)) -> Result<CompactionReport> {
        self.compact_at(Pace::Fast, progress)
    }

    /// Compacts before a close, if that takes next to no time, or less than reading the log at the next
    /// open will.
    pub(super) fn compact_before_close(&self) {
        /// A log up to this size is read in no time.
        const SHORT: u64 = 1 << 20;
        /// A snapshot up to this size is written in no time.
        const SMALL: u64 = 16 << 20;
        let by_itself = self.options.background && self.options.auto_compact;
        // A store that is only dropped is not kept waiting: its threads are stopped already.
        let by_itself = by_itself && !self.compaction.signal.is_stopped();
        let live = self.compaction.live_bytes(&self.index);
        let longest = if live <= SMALL { SHORT } else { live };
        if by_itself && self.log().map_or(0, |log| log.tail_bytes()) > longest {
            // Without a snapshot the log is as good as ever.
            let _ = self.compact_at(Pace::Closing, &mut |_| {});
        }
    }

    /// The body of the background thread.
    pub(super) fn compact_when_wanted(&self) {
        while self.compaction.signal.wait() {
            // A failure is in the stats, and the next segment that is sealed asks again.
            let _ = self.compact_at(Pace::Background, &mut |_| {});
        }
    }

    /// Runs while no compaction does, so that no file is removed; is told the newest snapshot.
    pub(super) fn without_compaction<T>(
        &self,
        run: impl FnOnce(Option<u64>) -> Result<T>,
    ) -> Result<T> {
        let running = self.compaction.running();
        if running.closed {
            return Err(Error::closed());
        }
        run(running.snapshot)
    }

    fn compact_at(
        &self,
        pace: Pace,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<CompactionReport> {
        let mut running = self.compaction.running();
        if running.closed {
            return Err(Error::closed());
        }
        let started_ms = self.options.environment.now_ms();
        let started_ns = self.now_ns();
        let mut result = self.compact_log(&mut running, pace, progress);
        if let Ok(report) = &mut result {
            let elapsed_ms = self.options.environment.now_ms().saturating_sub(started_ms);
            report.elapsed_ms = u64::try_from(elapsed_ms).unwrap_or(0);
        }
        // One that was ended by a close did not fail.
        if result.is_ok() || !self.compaction.signal.is_stopped() {
            self.compaction.note(&result);
            let elapsed_ns = self.now_ns().saturating_sub(started_ns);
            observe::compaction_ended(self.dir.path(), &result, elapsed_ns);
        }
        result
    }

    fn compact_log(
        &self,
        running: &mut Running,
        pace: Pace,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<CompactionReport> {
        let size = {
            let log = self.log()?;
            log.check_open()?;
            let seals = pace != Pace::Background && log.has_unsealed_data();
            seals.then(|| log.least_size(&self.index))
        };
        if let Some(size) = size {
            // Not under the log's lock, where it would hold up commits.
            if pace == Pace::Closing {
                // The next open reads all of the segment that it goes on in.
                self.spare.discard();
            }
            self.spare.make_ready(size)?;
            self.log()?.seal(&self.index, self.durable())?;
        }
        let base = self.log()?.sealed_end(self.options.environment.now_ms());
        let covered = base.map(|base| base.covers());
        let Some(base) = base.filter(|_| covered > running.snapshot) else {
            if !running.leftover.is_empty() {
                self.remove_leftover(running)?;
                self.compaction.clear_failure();
            }
            return Ok(CompactionReport::default());
        };
        observe::compaction_begun(self.dir.path(), base.last_seq);
        let published = self.write_snapshot(base, pace, progress).and_then(|written| {
            self.publish(base)?;
            Ok(written)
        });
        let written = published.inspect_err(|_| {
            // On a full disk its room is wanted. One that stays is removed at the next open.
            let _ = self.dir.remove(&names::unfinished_snapshot(base.covers()));
        })?;
        self.compaction.snapshot_bytes.store(written.bytes, Ordering::Relaxed);
        self.compaction.snapshot_keys.store(written.keys, Ordering::Relaxed);
        self.compaction.snapshot_state_bytes.store(written.state_bytes, Ordering::Relaxed);
        let previous = running.snapshot.replace(base.covers());
        let retired = self.log()?.retire(base.next_seq);
        let (segments_retired, bytes_retired) =
            (retired.len() as u64, retired.iter().map(|segment| segment.size).sum());
        running.leftover.extend(previous.map(names::snapshot));
        running.leftover.extend(retired.iter().map(|segment| names::segment(segment.first_seq)));
        self.remove_leftover(running)?;
        Ok(CompactionReport {
            covered_seq: Seq(base.last_seq),
            keys: written.keys,
            snapshot_bytes: written.bytes,
            segments_retired,
            bytes_retired,
            elapsed_ms: 0,
        })
    }

    /// Writes the snapshot under its unfinished name, compares it with the index, and makes it and
    /// the log that it needs durable.
    fn write_snapshot(
        &self,
        base: Base,
        pace: Pace,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Written> {
        let header = FileHeader {
            kind: FileKind::Snapshot,
            epoch: self.spare.epoch(),
            store_id: self.spare.store_id(),
            salt: self.options.environment.random(),
            size: 0,
        };
        let topics = self.index.topics();
        let mut snapshot = SnapshotWriter::create(&*self.dir, header, base)?;
        let mut writing = Writing {
            engine: self,
            pace,
            progress: &mut *progress,
            appended: self.appended_bytes()?,
            live_bytes: self.compaction.live_bytes(&self.index),
            unsynced: 0,
        };
        let mut out = CommittedOffset::default();
        for topic in &topics {
            snapshot.topic(topic, &mut out);
            writing.go_on(&mut snapshot)?;
        }
        for group in self.index.states().all_groups() {
            for state in self.index.states().of_group(&group) {
                snapshot.state(&group, &state);
                writing.go_on(&mut snapshot)?;
            }
        }
        snapshot.seal()?;
        let name = names::unfinished_snapshot(base.covers());
        let path = self.dir.path().join(&name);
        let file = self
            .dir
            .open(&name, Access::Read)
            .map_err(|error| Error::io("read a snapshot", &path, error))?;
        let records = Records { file: &*file, path: &path, header: &header };
        records.compare(&self.index, &topics, base.last_seq, |position| {
            progress(Progress { done: file.size() + position, total: 2 * file.size() });
            match self.compaction.signal.is_stopped() {
                true => Err(Error::closed()),
                false => Ok(()),
            }
        })?;
        let durable = self.write_mark(MarkState::Open)?;
        snapshot.finish(&*self.dir, durable)
    }

    /// Gives a whole snapshot its name for good.
    fn publish(&self, base: Base) -> Result<()> {
        let (from, to) =
            (names::unfinished_snapshot(base.covers()), names::snapshot(base.covers()));
        self.dir
            .rename(&from, &to)
            .map_err(|error| Error::io("name a snapshot", &self.dir.path().join(to), error))?;
        self.sync_store_dir()
    }

    /// The log depends on the same directory, and an error is told once, so it ends the store.
    fn sync_store_dir(&self) -> Result<()> {
        self.sync_dir().map_err(|error| self.latch.trip(error))
    }

    /// Removes what a snapshot stands for.
    fn remove_leftover(&self, running: &mut Running) -> Result<()> {
        while let Some(name) = running.leftover.pop() {
            match self.dir.remove(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let path = self.dir.path().join(&name);
                    running.leftover.push(name);
                    return Err(Error::io("remove a file", &path, error));
                }
                _ => {}
            }
        }
        self.sync_store_dir()
    }

    /// Bytes that were appended to the log since the store was opened.
    fn appended_bytes(&self) -> Result<u64> {
        Ok(self.log()?.appended_bytes())
    }
}

/// A snapshot that is being written, and how fast that goes.
struct Writing<'a> {
    engine: &'a Engine,
    pace: Pace,
    progress: &'a mut dyn FnMut(Progress),
    /// What the log had appended when it was begun.
    appended: u64,
    live_bytes: u64,
    unsynced: u64,
}

impl Writing<'_> {
    /// Hands over what has gathered, if it is enough, and waits as the pace says.
    fn go_on(&mut self, snapshot: &mut SnapshotWriter) -> Result<()> {
        let bytes = snapshot.write_out(false)?;
        if bytes == 0 {
            return Ok(());
        }
        // All of it is written, and then read.
        let total = 2 * snapshot.bytes().max(self.live_bytes);
        (self.progress)(Progress { done: snapshot.bytes(), total });
        self.unsynced += bytes;
        if self.unsynced >= SYNC_EVERY {
            snapshot.sync()?;
            self.unsynced = 0;
        }
        let grown = self.engine.appended_bytes()? - self.appended;
        let time = match self.pace {
            Pace::Fast | Pace::Closing => Duration::ZERO,
            // The snapshot has to be whole when the log has grown by half its size.
            Pace::Background if grown * 2 >= snapshot.bytes() => Duration::ZERO,
            Pace::Background => time_of(bytes),
        };
        match self.engine.compaction.signal.pause(time) {
            true => Ok(()),
            false => Err(Error::closed()),
        }
    }
}

/// About how many bytes of a snapshot the states of an index take.
pub(super) fn state_bytes(index: &Index) -> u64 {
    let totals = index.states().totals();
    totals.bytes + totals.count.saturating_mul(STATE_FRAME_BYTES)
}

/// How long writing so many bytes may take.
fn time_of(bytes: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / RATE)
}

#[cfg(test)]
mod tests;
