//! A topic in memory whose logs have holes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use pagemark::consumer::{LogBounds, Read, RecordLog};
use pagemark::{Error, NextOffset, Result};

pub(crate) const TOPIC: &str = "t";

/// One partition: the offsets that have a record. All clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    offsets: Rc<RefCell<BTreeSet<i64>>>,
}

impl Log {
    /// Adds a record behind so many offsets without one.
    pub(crate) fn append(&self, hole: i64) {
        let offset = self.end() + hole;
        self.offsets.borrow_mut().insert(offset);
    }

    /// The offset behind the last record.
    pub(crate) fn end(&self) -> i64 {
        self.offsets.borrow().last().map_or(0, |last| last + 1)
    }

    pub(crate) fn offsets(&self) -> Vec<i64> {
        self.offsets.borrow().iter().copied().collect()
    }
}

impl LogBounds for Log {
    type Error = Error;

    fn earliest(&self) -> Result<NextOffset> {
        Ok(NextOffset(0))
    }

    fn latest(&self) -> Result<NextOffset> {
        Ok(NextOffset(self.end()))
    }

    fn at_or_after(&self, _: i64) -> Result<Option<NextOffset>> {
        Ok(None)
    }
}

impl RecordLog for Log {
    type Record = ();

    fn read(&mut self, from: NextOffset) -> Result<Read<()>> {
        let offsets = self.offsets.borrow();
        let found = offsets.range(from.0..).next();
        Ok(found.map_or(Read::End, |offset| Read::Record {
            offset: *offset,
            leader_epoch: None,
            record: (),
        }))
    }
}
