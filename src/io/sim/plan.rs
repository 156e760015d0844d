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

impl Op {
    /// All kinds.
    pub const ALL: [Op; 10] = [
        Op::Create,
        Op::Open,
        Op::Rename,
        Op::Remove,
        Op::List,
        Op::SyncDir,
        Op::SyncFile,
        Op::Write,
        Op::Read,
        Op::RecordStore,
    ];

    /// Whether it may change what a crash leaves behind.
    pub(super) fn changes(self) -> bool {
        !matches!(self, Op::Open | Op::List | Op::Read)
    }
}

/// What becomes of an operation.
pub(super) enum Verdict {
    Run,
    Fail(io::Error),
    /// The machine stops in it; a write gets so far.
    Stop(usize),
}

/// The plan of faults, and the count of operations that it refers to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The operations that were started.
    pub(super) operations: u64,
    /// Those of each kind.
    by_kind: [u64; Op::ALL.len()],
    /// Those that were made to fail.
    pub(super) failed: u64,
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
    /// The number of the operation of that kind, counted from the first one of the disk.
    at: u64,
    /// Whether all later ones fail as well.
    lasts: bool,
    error: io::ErrorKind,
}

impl Failure {
    fn hits(&self, op: Op, number: u64) -> bool {
        self.op == op && (self.at == number || self.lasts && self.at < number)
    }
}

impl Plan {
    pub(super) fn stop_at(&mut self, at: u64, bytes: usize) {
        self.stop = Some(Stop { at, bytes });
    }

    /// Plans that operation `n` of the kind fails, counted from the next one.
    pub(super) fn fail(&mut self, op: Op, n: u64, error: io::ErrorKind, lasts: bool) {
        let at = self.of_kind(op).saturating_add(n);
        self.failures.push(Failure { op, at, lasts, error });
    }

    /// The operations of a kind that were started.
    pub(super) fn of_kind(&self, op: Op) -> u64 {
        self.by_kind[op as usize]
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
        let number = self.of_kind(op);
        self.by_kind[op as usize] += 1;
        match self.failures.iter().find(|failure| failure.hits(op, number)) {
            None => Verdict::Run,
            Some(failure) => {
                self.failed += 1;
                let message = "the simulated disk was told to fail here";
                Verdict::Fail(io::Error::new(failure.error, message))
            }
        }
    }
}

/// The error of everything that is asked of a machine that has stopped.
pub(super) fn stopped() -> io::Error {
    io::Error::other("the simulated machine stopped")
}
