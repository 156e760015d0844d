//! What is to go wrong on a simulated disk, and when.

use std::io;

/// The operations of a disk that are counted and that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// [`Dir::create`](crate::io::Dir::create).
    Create,
    /// [`Dir::open`](crate::io::Dir::open).
    Open,
    /// [`Dir::rename`](crate::io::Dir::rename).
    Rename,
    /// [`Dir::remove`](crate::io::Dir::remove).
    Remove,
    /// [`Dir::list`](crate::io::Dir::list).
    List,
    /// [`Dir::sync`](crate::io::Dir::sync).
    SyncDir,
    /// [`SegmentFile::sync`](crate::io::SegmentFile::sync).
    SyncFile,
    /// [`SegmentFile::write_at`](crate::io::SegmentFile::write_at).
    Write,
    /// [`SegmentFile::read_at`](crate::io::SegmentFile::read_at).
    Read,
    /// [`DirLock::record_store`](crate::io::DirLock::record_store).
    RecordStore,
}

/// What becomes of an operation.
pub(super) enum Verdict {
    Run,
    /// It fails once.
    Fail(io::Error),
    /// The machine stops in it; a write gets so far.
    Stop(usize),
}

/// The plan of faults, and the count of operations that it refers to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The operations that were started.
    pub(super) operations: u64,
    stop: Option<Stop>,
    stopped: bool,
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Stop {
    at: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Failure {
    op: Op,
    remaining: u64,
    error: io::ErrorKind,
}

impl Plan {
    pub(super) fn stop_at(&mut self, at: u64, bytes: usize) {
        self.stop = Some(Stop { at, bytes });
    }

    pub(super) fn fail_nth(&mut self, op: Op, n: u64, error: io::ErrorKind) {
        self.failures.push(Failure { op, remaining: n, error });
    }

    /// Whether the machine has stopped, or stops before anything else happens.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped || self.stop.as_ref().is_some_and(|stop| self.operations >= stop.at)
    }

    /// Counts an operation and says what becomes of it.
    pub(super) fn start(&mut self, op: Op) -> Verdict {
        if self.stopped {
            return Verdict::Stop(0);
        }
        let this = self.operations;
        if let Some(stop) = &self.stop
            && this >= stop.at
        {
            self.stopped = true;
            return Verdict::Stop(if this == stop.at { stop.bytes } else { 0 });
        }
        self.operations += 1;
        let mut fired = None;
        self.failures.retain_mut(|failure| {
            if failure.op != op {
                return true;
            }
            if failure.remaining == 0 {
                fired.get_or_insert(failure.error);
                return false;
            }
            failure.remaining -= 1;
            true
        });
        fired.map_or(Verdict::Run, |error| {
            Verdict::Fail(io::Error::new(error, "the simulated disk was told to fail here"))
        })
    }

    /// Counts a write of `len` bytes and says how many of them are written and what it returns.
    pub(super) fn write(&mut self, len: usize, room: bool) -> (usize, io::Result<()>) {
        match self.start(Op::Write) {
            Verdict::Run if room => (len, Ok(())),
            // Nobody promises how far a failed write got.
            Verdict::Run => (len / 2, Err(io::ErrorKind::StorageFull.into())),
            Verdict::Fail(error) => (len / 2, Err(error)),
            Verdict::Stop(written) => (written.min(len), Err(stopped())),
        }
    }
}

/// The error of everything that is asked of a machine that has stopped.
pub(super) fn stopped() -> io::Error {
    io::Error::other("the simulated machine stopped")
}
