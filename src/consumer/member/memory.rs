//! A log in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use super::log::{Read, RecordLog};
use crate::consumer::position::LogBounds;
use crate::error::{Error, Result};
use crate::key::NextOffset;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// A log in memory, for examples and for tests of what is done with records. All clones of it are the
/// same log.
///
/// ```
/// use pagemark::NextOffset;
/// use pagemark::consumer::{LogBounds, MemoryLog, Read, RecordLog};
///
/// let mut log = MemoryLog::new();
/// assert_eq!(log.append(1_000, "created"), 0);
/// assert_eq!(log.append(2_000, "paid"), 1);
/// assert_eq!(log.at_or_after(1_500)?, Some(NextOffset(1)));
///
/// log.drop_before(NextOffset(1)); // as retention does
/// assert_eq!(log.read(NextOffset(0))?, Read::OutOfRange);
/// assert_eq!(log.read(NextOffset(1))?, Read::Record { offset: 1, leader_epoch: None, record: "paid" });
/// assert_eq!(log.read(NextOffset(2))?, Read::End);
/// # Ok::<(), pagemark::Error>(())
/// ```
#[derive(Debug)]
pub struct MemoryLog<R> {
    inner: Arc<Mutex<Inner<R>>>,
}

#[derive(Debug)]
struct Inner<R> {
    start: i64,
    /// Each record with its timestamp.
    records: VecDeque<(i64, R)>,
}

impl<R> Inner<R> {
    fn end(&self) -> i64 {
        self.start + self.records.len() as i64
    }
}

impl<R> MemoryLog<R> {
    /// An empty log.
    pub fn new() -> MemoryLog<R> {
        let inner = Inner { start: 0, records: VecDeque::new() };
        MemoryLog { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Adds a record with a timestamp, and returns its offset.
    pub fn append(&self, timestamp_ms: i64, record: R) -> i64 {
        let mut inner = self.lock();
        inner.records.push_back((timestamp_ms, record));
        inner.end() - 1
    }

    /// Drops the records below an offset.
    pub fn drop_before(&self, to: NextOffset) {
        let mut inner = self.lock();
        while inner.start < to.0 && inner.records.pop_front().is_some() {
            inner.start += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Default for MemoryLog<R> {
    fn default() -> MemoryLog<R> {
        MemoryLog::new()
    }
}

impl<R> Clone for MemoryLog<R> {
    fn clone(&self) -> MemoryLog<R> {
        MemoryLog { inner: Arc::clone(&self.inner) }
    }
}

impl<R> LogBounds for MemoryLog<R> {
    type Error = Error;

    fn earliest(&self) -> Result<NextOffset> {
        Ok(NextOffset(self.lock().start))
    }

    fn latest(&self) -> Result<NextOffset> {
        Ok(NextOffset(self.lock().end()))
    }

    fn at_or_after(&self, timestamp_ms: i64) -> Result<Option<NextOffset>> {
        let inner = self.lock();
        let found = inner.records.iter().position(|(at_ms, _)| *at_ms >= timestamp_ms);
        Ok(found.map(|at| NextOffset(inner.start + at as i64)))
    }
}

impl<R: Clone> RecordLog for MemoryLog<R> {
    type Record = R;

    fn read(&mut self, from: NextOffset) -> Result<Read<R>> {
        let inner = self.lock();
        if !(inner.start..=inner.end()).contains(&from.0) {
            return Ok(Read::OutOfRange);
        }
        let found = inner.records.get((from.0 - inner.start) as usize);
        Ok(found.map_or(Read::End, |(_, record)| Read::Record {
            offset: from.0,
            leader_epoch: None,
            record: record.clone(),
        }))
    }
}
