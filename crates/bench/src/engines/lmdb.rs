//! LMDB through heed.

use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, WithTls};

use super::queue::{PutMany, Row};
use super::{Engine, Fetched, Kind, Mode, Role, Session, bytes};
use crate::workload::{Change, Key, Value};

/// Pages are written by `pwrite`.
pub(super) const PLAIN: Kind = Kind {
    name: "lmdb",
    role: Role::Peer,
    buffered: true,
    durable: true,
    pipelined: true,
    reads: true,
    survives_kill: true,
    open: |dir, mode, _| Box::new(open(dir, mode, EnvFlags::empty())),
    note: "NOSYNC when buffered; loses nothing at SIGKILL, may lose everything at power loss",
};

/// Pages are changed in a writable map.
pub(super) const WRITEMAP: Kind = Kind {
    name: "lmdb-writemap",
    durable: false,
    open: |dir, mode, _| Box::new(open(dir, mode, EnvFlags::WRITE_MAP)),
    note: "NOSYNC and WRITEMAP; a stray pointer of the program can damage it",
    ..PLAIN
};

/// Address space: the file takes what its pages take.
const MAP_SIZE: usize = 8 << 30;
/// Sessions of a run, and some more.
const MAX_READERS: u32 = 512;

type Rows<'a> = Database<'a, Bytes, Bytes>;

pub(super) struct Store {
    env: Env<WithTls>,
    rows: Rows<'static>,
}

pub(super) fn open(dir: &Path, mode: Mode, flags: EnvFlags) -> Store {
    let sync = match mode {
        Mode::Buffered => EnvFlags::NO_SYNC,
        Mode::Durable => EnvFlags::empty(),
    };
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_SIZE).max_readers(MAX_READERS);
    // SAFETY: the flags only change how pages reach the file. The directory is new and nobody else
    // knows of it, so it is opened once and its file is changed by this environment alone.
    let env = unsafe { options.flags(flags | sync).open(dir) }.expect("open LMDB");
    let txn = env.write_txn().expect("begin");
    let created = env.create_databases_and_commit(txn, |opener, txn| {
        opener.create_database(txn, None).map(CommitOrAbort::<Rows<'_>, ()>::Commit)
    });
    let rows = created.expect("create the database").commit().expect("it was committed");
    Store { env, rows }
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(Handle { store: self })
    }
}

impl PutMany for Store {
    fn put_many(&self, rows: &[Row]) {
        let mut txn = self.env.write_txn().expect("begin");
        for (key, value) in rows {
            self.rows.put(&mut txn, key, value.as_ref()).expect("put");
        }
        txn.commit().expect("commit");
    }
}

struct Handle<'a> {
    store: &'a Store,
}

impl Session for Handle<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        self.commit_batch(&[(key, *value)]);
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        let Store { env, rows } = self.store;
        let mut txn = env.write_txn().expect("begin");
        for (key, value) in changes {
            rows.put(&mut txn, &bytes::key(*key), bytes::value(value).as_ref()).expect("put");
        }
        txn.commit().expect("commit");
    }

    fn wait_durable(&mut self) {
        self.store.env.force_sync().expect("sync");
    }

    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool {
        let Store { env, rows } = self.store;
        let txn = env.read_txn().expect("begin");
        let found = rows.get(&txn, &bytes::key(key)).expect("get");
        found.inspect(|found| bytes::read(found, into)).is_some()
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        let Store { env, rows } = self.store;
        let txn = env.read_txn().expect("begin");
        let mut found = (0, 0);
        for row in rows.prefix_iter(&txn, &bytes::prefix(group)).expect("iterate") {
            let (_, value) = row.expect("row");
            found = (found.0 + 1, found.1 + bytes::offset(value));
        }
        found
    }
}
