//! sled. Its flush is `sync_file_range` alone and not durable, so it takes part without one only.

use std::path::Path;

use sled::{Batch, Db};

use super::{Engine, Fetched, Kind, Mode, Role, Session, bytes};
use crate::workload::{Change, Key, Value, Workload};

/// The default tree.
pub(super) const KIND: Kind = Kind {
    name: "sled",
    role: Role::Peer,
    buffered: true,
    durable: false,
    pipelined: false,
    reads: true,
    survives_kill: false,
    open,
    note: "loses thousands of commits at SIGKILL; its flush is not durable",
};

struct Store {
    db: Db,
}

fn open(dir: &Path, mode: Mode, _: &Workload) -> Box<dyn Engine> {
    assert_eq!(mode, Mode::Buffered, "sled cannot make anything durable");
    Box::new(Store { db: sled::open(dir).expect("open sled") })
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(Handle { db: &self.db })
    }
}

struct Handle<'a> {
    db: &'a Db,
}

impl Session for Handle<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        self.db.insert(bytes::key(key), bytes::value(value).as_ref()).expect("insert");
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        let mut batch = Batch::default();
        for (key, value) in changes {
            batch.insert(bytes::key(*key).as_slice(), bytes::value(value).as_ref());
        }
        self.db.apply_batch(batch).expect("apply");
    }

    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool {
        let found = self.db.get(bytes::key(key)).expect("get");
        found.inspect(|found| bytes::read(found, into)).is_some()
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        let mut found = (0, 0);
        for row in self.db.scan_prefix(bytes::prefix(group)) {
            let (_, value) = row.expect("row");
            found = (found.0 + 1, found.1 + bytes::offset(&value));
        }
        found
    }
}
