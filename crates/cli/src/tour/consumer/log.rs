//! The log of a partition: as many records as the tour says, fetched a few at a time.

use std::cell::Cell;
use std::rc::Rc;

use pagemark::consumer::{LogBounds, Read, RecordLog};
use pagemark::{Error, NextOffset};

/// Records of a fetch. So the partitions of a consumer take turns.
const FETCH: u32 = 10;

/// A log whose records have nothing in them.
pub(super) struct Log {
    end: Rc<Cell<i64>>,
    /// Records that are left of the last fetch.
    left: u32,
}

impl Log {
    /// A log that ends where `end` says.
    pub(super) fn new(end: &Rc<Cell<i64>>) -> Log {
        Log { end: Rc::clone(end), left: FETCH }
    }
}

impl LogBounds for Log {
    type Error = Error;

    fn earliest(&self) -> Result<NextOffset, Error> {
        Ok(NextOffset(0))
    }

    fn latest(&self) -> Result<NextOffset, Error> {
        Ok(NextOffset(self.end.get()))
    }

    fn at_or_after(&self, _timestamp_ms: i64) -> Result<Option<NextOffset>, Error> {
        Ok(None)
    }
}

impl RecordLog for Log {
    type Record = ();

    fn read(&mut self, from: NextOffset) -> Result<Read<()>, Error> {
        if !(0..=self.end.get()).contains(&from.0) {
            return Ok(Read::OutOfRange);
        }
        if self.left == 0 || from.0 == self.end.get() {
            self.left = FETCH;
            return Ok(Read::End);
        }
        self.left -= 1;
        Ok(Read::Record { offset: from.0, leader_epoch: None, record: () })
    }
}
