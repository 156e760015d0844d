//! The engine: one file per verb, around the state that they share.
//!
//! This is the only room that sees both bytes and files. Two locks, never taken in the other order:
//! the flusher's role ([`sync`]), then the log's ([`log`]). Reads take neither.

mod background;
mod backup;
mod changes;
mod commit;
mod compact;
mod compare;
mod decide;
mod delete;
mod dump;
mod expire;
mod fetch;
mod flusher;
mod follow;
mod harvest;
mod live;
mod load;
mod log;
mod numbers;
mod open;
mod quota;
mod read_log;
mod recover;
mod salvage;
#[cfg(all(test, shuttle))]
pub(crate) mod shuttle;
mod signal;
mod snapshot;
mod spare;
mod states;
mod sync;
mod topics;
mod verify;
mod view;
mod watch;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::histogram::LiveHistogram;
use crate::index::Index;
use crate::io::latch::Latch;
use crate::io::{Dir, DirLock};
use crate::observe::Meter;
use crate::options::Options;
use crate::report::RecoveryReport;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

pub(crate) use background::Background;
pub(crate) use dump::dump;
pub(crate) use follow::Follower;
pub(crate) use open::open;
pub(crate) use salvage::salvage;
pub(crate) use verify::verify;
pub(crate) use watch::Watcher;

use compact::Compaction;
use log::Log;
use spare::Spare;
use sync::Flushing;

/// An open store.
#[derive(Debug)]
pub(crate) struct Engine {
    options: Options,
    dir: Arc<dyn Dir>,
    index: Index,
    log: Mutex<Log>,
    flushing: Flushing,
    flush_latency: LiveHistogram,
    meter: Meter,
    /// The last data record that survives power loss.
    durable: AtomicU64,
    latch: Arc<Latch>,
    spare: Arc<Spare>,
    compaction: Arc<Compaction>,
    report: RecoveryReport,
    /// Taken out by `close`, so that the directory is free although handles remain.
    lock: Mutex<Option<Box<dyn DirLock>>>,
    /// The process that opened the store.
    process: u32,
}

impl Engine {
    /// The durable seq.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// The options that the store was opened with.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// What opening the store came to.
    pub(crate) fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// The log, locked. A panic under this lock may have left a record half applied, so it ends the
    /// store like a failed write.
    fn log(&self) -> Result<MutexGuard<'_, Log>> {
        self.log.lock().map_err(|_| {
            self.latch.trip(Error::internal("a thread panicked while it appended to the log"))
        })
    }
}
