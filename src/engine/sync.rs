//! Sync: making what was appended durable, once for everyone who waits.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::mark::MarkState;
use crate::sync::Instant;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::Engine;
use super::flusher::{Flusher, FlusherRole, Turn};
use super::log::{FlushTarget, Sealed};
use super::signal::Signal;
use super::watch::Watchers;

/// Who flushes, and what came of it so far.
#[derive(Debug, Default)]
pub(super) struct Flushing {
    flusher: Flusher,
    /// Asks the background flusher for a flush, and ends it.
    pub(super) requests: Signal,
    /// The futures that it is asked for.
    pub(super) watchers: Watchers,
    count: AtomicU64,
    /// The durable seq that a mark states, so that an idle store writes one and then rests.
    marked: AtomicU64,
}

impl Flushing {
    /// The number of flushes so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Returns when everything up to `seq` survives power loss.
    pub(crate) fn make_durable(&self, seq: u64, deadline: Option<Instant>) -> Result<()> {
        let is_durable = || self.durable() >= seq;
        // Already durable.
        while !is_durable() {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            match self.flushing.flusher.take_or_wait(seq, left, is_durable) {
                // Someone was flushing, perhaps since before our record: look again.
                Turn::LookAgain => {}
                Turn::TimedOut => {
                    return Err(Error::timeout("the record was not durable when the time ran out"));
                }
                // Become the flusher.
                Turn::Flush(role) => self.flush(role)?,
            }
        }
        Ok(())
    }

    /// Makes durable what is in the log now. What is appended meanwhile is the next flush's.
    fn flush(&self, role: FlusherRole<'_>) -> Result<()> {
        // Asked by the one who has the role, so that everyone is woken if it must not be used.
        self.latch.check()?;
        // The target is taken before the flush: a record that is appended while it runs may or may
        // not be covered, so it must not count as covered.
        let target = self.log()?.flush_target();
        role.set_target(target.last_seq);
        self.write_out(&target).map_err(|error| self.latch.trip(error))?;
        self.durable.store(target.last_seq, Ordering::Release);
        self.flushing.count.fetch_add(1, Ordering::Relaxed);
        let confirmed = self.confirm_seals(target.sealed);
        drop(role);
        confirmed
    }

    /// Marks sealed segments as such. From then on a missing successor is damage, which is why this
    /// comes after the flush that covers the successor and its name.
    fn confirm_seals(&self, sealed: Vec<Sealed>) -> Result<()> {
        for sealed in sealed {
            let written = sealed.segment.write_mark(MarkState::Sealed, &sealed.end);
            match written.and_then(|()| sealed.segment.sync()) {
                Ok(()) => {}
                // The mark can wait until there is room.
                Err(error) if error.kind() == ErrorKind::Full => self.log()?.put_back(sealed),
                Err(error) => return Err(self.latch.trip(error)),
            }
        }
        Ok(())
    }

    fn write_out(&self, target: &FlushTarget) -> Result<()> {
        let started_ns = self.now_ns();
        for sealed in &target.sealed {
            sealed.segment.sync()?;
        }
        if target.new_name {
            self.sync_dir()?;
        }
        target.active.sync_tail(&target.end)?;
        self.note_flush(started_ns);
        Ok(())
    }

    pub(super) fn sync_dir(&self) -> Result<()> {
        self.dir.sync().map_err(|error| Error::flush("flush the directory", self.dir.path(), error))
    }

    /// Makes everything durable and returns up to where.
    pub(crate) fn sync(&self) -> Result<u64> {
        self.latch.check()?;
        let last_seq = self.log()?.last_seq();
        self.make_durable(last_seq, None)?;
        Ok(self.durable())
    }

    /// Waits for a record that was handed out.
    pub(crate) fn wait_durable(&self, seq: u64, timeout: Option<Duration>) -> Result<()> {
        self.check_handed_out(seq)?;
        // A timeout beyond the range of the clock is no timeout.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.make_durable(seq, deadline)
    }

    /// Fails for a record that is not there, and so could be waited for in vain.
    pub(super) fn check_handed_out(&self, seq: u64) -> Result<()> {
        let last_seq = self.log()?.last_seq();
        if seq > last_seq {
            return Err(Error::invalid(format!(
                "seq {seq} was not handed out by this store, its newest is {last_seq}"
            )));
        }
        Ok(())
    }

    /// What the background flusher does at each interval: flush, or, when there was nothing to flush
    /// for a whole interval, state in a mark what is durable.
    pub(super) fn flush_or_mark(&self) -> Result<()> {
        let last_seq = self.log()?.last_seq();
        if self.durable() < last_seq {
            return self.make_durable(last_seq, None);
        }
        if self.flushing.marked.load(Ordering::Relaxed) == last_seq {
            return Ok(());
        }
        self.write_mark(MarkState::Open).map(|_| ())
    }

    /// Makes everything durable, states that in a mark, makes the mark durable too, and returns the
    /// durable seq.
    pub(super) fn write_mark(&self, state: MarkState) -> Result<u64> {
        let role = self.flushing.flusher.take();
        self.latch.check()?;
        let target = {
            let mut log = self.log()?;
            // Nothing may follow the mark of a close, after which the directory is not ours any more.
            // Looked at by the one who has the role, so that the close comes later or was seen.
            if state == MarkState::Open {
                log.check_open()?;
            }
            log.flush_target()
        };
        role.set_target(target.last_seq);
        self.write_out(&target).map_err(|error| self.latch.trip(error))?;
        self.durable.store(target.last_seq, Ordering::Release);
        // The mark must not be on its way to the disk before what it states is true.
        self.confirm_seals(target.sealed)?;
        target
            .active
            .write_mark(state, &target.end)
            .map_err(|error| self.latch.failed_write(error))?;
        target.active.sync().map_err(|error| self.latch.trip(error))?;
        self.flushing.marked.store(target.last_seq, Ordering::Relaxed);
        drop(role);
        Ok(target.last_seq)
    }

    /// Notes that a mark states `seq` already.
    pub(super) fn set_marked(&self, seq: u64) {
        self.flushing.marked.store(seq, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::open::open;
    use super::*;
    use crate::key::{Commit, Durability, Key, NextOffset};
    use crate::options::Options;
    use crate::testkit::{Op, SimDisk};

    #[test]
    fn a_mark_is_written_when_there_was_nothing_to_flush_and_once() {
        let disk = SimDisk::new();
        let engine = open(disk.dir(), &Options::new()).unwrap();
        let (key, commit) = (Key::new("g", "t", 0), Commit::new(NextOffset(1)));
        let done = |engine: &Engine| {
            let before = (disk.operations_of(Op::Write), disk.operations_of(Op::SyncFile));
            engine.flush_or_mark().unwrap();
            let after = (disk.operations_of(Op::Write), disk.operations_of(Op::SyncFile));
            (after.0 - before.0, after.1 - before.1, engine.flushing.count.load(Ordering::Relaxed))
        };
        assert_eq!(done(&engine), (0, 0, 0), "a new store has nothing to state");
        engine.commit(key, commit, Durability::Buffered).unwrap();
        assert_eq!(done(&engine), (0, 1, 1), "a flush");
        assert_eq!(done(&engine), (1, 2, 1), "a mark behind a flush");
        assert_eq!(done(&engine), (0, 0, 1), "it states all there is");
        engine.close().unwrap();
        // An open states itself how far the log is durable.
        let engine = open(disk.dir(), &Options::new()).unwrap();
        assert_eq!(done(&engine), (0, 0, 0));
    }

    #[test]
    fn nothing_is_written_behind_the_mark_of_a_close() {
        let disk = SimDisk::new();
        let engine = open(disk.dir(), &Options::new()).unwrap();
        let (key, commit) = (Key::new("g", "t", 0), Commit::new(NextOffset(1)));
        engine.commit(key, commit, Durability::Buffered).unwrap();
        engine.close().unwrap();
        let operations = disk.operations();
        // What the background flusher comes to if it looked for work before the close.
        let error = engine.write_mark(MarkState::Open).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert_eq!(disk.operations(), operations);
    }
}
