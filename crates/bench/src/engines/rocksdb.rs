//! RocksDB.

use std::path::Path;

use rocksdb::{DB, Options, ReadOptions, WriteBatch, WriteOptions};

use super::{Engine, Fetched, Kind, Mode, Role, Session, bytes};
use crate::workload::{Change, Key, Value, Workload};

/// With the write-ahead log on, and synced in durable mode; its writers form groups by themselves.
pub(super) const KIND: Kind = Kind {
    name: "rocksdb",
    role: Role::Peer,
    buffered: true,
    durable: true,
    pipelined: true,
    reads: true,
    survives_kill: true,
    open,
    note: "write-ahead log on, sync = true when durable; loses nothing at SIGKILL",
};

struct Store {
    db: DB,
    mode: Mode,
}

fn open(dir: &Path, mode: Mode, _: &Workload) -> Box<dyn Engine> {
    let mut options = Options::default();
    options.create_if_missing(true);
    Box::new(Store { db: DB::open(&options, dir).expect("open RocksDB"), mode })
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        let mut options = WriteOptions::default();
        options.set_sync(self.mode == Mode::Durable);
        Box::new(Handle { db: &self.db, options })
    }

    fn compact(&mut self) {
        self.db.flush().expect("flush the table in memory");
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    }
}

struct Handle<'a> {
    db: &'a DB,
    options: WriteOptions,
}

impl Session for Handle<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        self.db.put_opt(bytes::key(key), bytes::value(value), &self.options).expect("put");
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        let mut batch = WriteBatch::default();
        for (key, value) in changes {
            batch.put(bytes::key(*key), bytes::value(value));
        }
        self.db.write_opt(batch, &self.options).expect("write");
    }

    fn wait_durable(&mut self) {
        self.db.flush_wal(true).expect("flush the write-ahead log");
    }

    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool {
        let found = self.db.get_pinned(bytes::key(key)).expect("get");
        found.inspect(|found| bytes::read(found, into)).is_some()
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        let prefix = bytes::prefix(group);
        let mut end = prefix;
        end[prefix.len() - 1] = 1;
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek(prefix);
        let mut found = (0, 0);
        while let Some(value) = rows.value() {
            found = (found.0 + 1, found.1 + bytes::offset(value));
            rows.next();
        }
        rows.status().expect("iterate");
        found
    }
}
