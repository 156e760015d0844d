//! fjall.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::queue::{PutMany, Row};
use super::{Engine, Fetched, Kind, Mode, Role, Session, bytes};
use crate::workload::{Change, Key, Value};

/// One keyspace. It has no group commit of its own.
pub(super) const KIND: Kind = Kind {
    name: "fjall",
    role: Role::Peer,
    buffered: true,
    durable: true,
    pipelined: true,
    reads: true,
    survives_kill: true,
    open: |dir, mode, _| Box::new(open(dir, mode)),
    note: "PersistMode::SyncData when durable; loses nothing at SIGKILL",
};

pub(super) struct Store {
    db: Database,
    rows: Keyspace,
    mode: Mode,
}

pub(super) fn open(dir: &Path, mode: Mode) -> Store {
    let db = Database::builder(dir).open().expect("open fjall");
    let rows = db.keyspace("offsets", KeyspaceCreateOptions::default).expect("open a keyspace");
    Store { db, rows, mode }
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(Handle { store: self })
    }

    fn compact(&mut self) {
        self.rows.rotate_memtable_and_wait().expect("flush the table in memory");
        self.rows.major_compact().expect("compact");
    }
}

impl PutMany for Store {
    fn put_many(&self, rows: &[Row]) {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in rows {
            batch.insert(&self.rows, *key, value.as_ref());
        }
        batch.commit().expect("commit");
    }
}

struct Handle<'a> {
    store: &'a Store,
}

impl Session for Handle<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        let Store { db, rows, mode } = self.store;
        rows.insert(bytes::key(key), bytes::value(value).as_ref()).expect("insert");
        if *mode == Mode::Durable {
            db.persist(PersistMode::SyncData).expect("persist");
        }
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        let Store { db, rows, mode } = self.store;
        let persist = match mode {
            // What a single insert does by itself.
            Mode::Buffered => PersistMode::Buffer,
            Mode::Durable => PersistMode::SyncData,
        };
        let mut batch = db.batch().durability(Some(persist));
        for (key, value) in changes {
            batch.insert(rows, bytes::key(*key), bytes::value(value).as_ref());
        }
        batch.commit().expect("commit");
    }

    fn wait_durable(&mut self) {
        self.store.db.persist(PersistMode::SyncData).expect("persist");
    }

    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool {
        let found = self.store.rows.get(bytes::key(key)).expect("get");
        found.inspect(|found| bytes::read(found, into)).is_some()
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        let mut found = (0, 0);
        for row in self.store.rows.prefix(bytes::prefix(group)) {
            found = (found.0 + 1, found.1 + bytes::offset(&row.value().expect("row")));
        }
        found
    }
}
