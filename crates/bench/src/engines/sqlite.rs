//! SQLite with a write-ahead log.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::{Connection, OpenFlags, params};

use super::{Engine, Fetched, Kind, Mode, Role, Session};
use crate::workload::{Change, Key, Value, Workload};

/// A table without row ids whose primary key is the key.
pub(super) const KIND: Kind = Kind {
    name: "sqlite",
    role: Role::Peer,
    buffered: true,
    durable: true,
    pipelined: false,
    reads: true,
    survives_kill: true,
    open,
    note: "WAL; synchronous = NORMAL when buffered, FULL when durable; loses nothing at SIGKILL",
};

const CREATE: &str = "CREATE TABLE IF NOT EXISTS offsets (
    consumer TEXT, topic TEXT, part INTEGER,
    offset INTEGER, epoch INTEGER, timestamp INTEGER, metadata TEXT,
    PRIMARY KEY (consumer, topic, part)) WITHOUT ROWID";
const PUT: &str = "INSERT INTO offsets VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (consumer, topic, part) DO UPDATE SET offset = excluded.offset,
    epoch = excluded.epoch, timestamp = excluded.timestamp, metadata = excluded.metadata";
const GET: &str = "SELECT offset, epoch, timestamp, metadata FROM offsets
    WHERE consumer = ? AND topic = ? AND part = ?";
const SCAN: &str = "SELECT topic, part, offset, epoch, timestamp, metadata FROM offsets
    WHERE consumer = ? ORDER BY topic, part";

struct Store {
    path: PathBuf,
    /// Threads that write take turns here: waiting at the database itself means to sleep and poll.
    writer: Mutex<Connection>,
}

fn open(dir: &Path, mode: Mode, _: &Workload) -> Box<dyn Engine> {
    let path = dir.join("offsets.sqlite");
    let writer = Connection::open(&path).expect("open SQLite");
    let synchronous = match mode {
        Mode::Buffered => "NORMAL",
        Mode::Durable => "FULL",
    };
    writer.pragma_update(None, "journal_mode", "WAL").expect("set the journal mode");
    writer.pragma_update(None, "synchronous", synchronous).expect("set the durability");
    writer.execute(CREATE, []).expect("create the table");
    Box::new(Store { path, writer: Mutex::new(writer) })
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(Handle { store: self, reader: None })
    }

    fn compact(&mut self) {
        let writer = self.writer.lock().expect("no panic");
        writer.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").expect("vacuum");
    }
}

struct Handle<'a> {
    store: &'a Store,
    reader: Option<Connection>,
}

impl Handle<'_> {
    fn reader(&mut self) -> &Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = &self.store.path;
        self.reader.get_or_insert_with(|| {
            Connection::open_with_flags(path, flags).expect("open SQLite for reading")
        })
    }
}

fn put(connection: &Connection, key: Key<'_>, value: &Value<'_>) {
    let mut put = connection.prepare_cached(PUT).expect("prepare");
    let Value { offset, leader_epoch, timestamp_ms, metadata } = value;
    let row =
        params![key.group, key.topic, key.partition, offset, leader_epoch, timestamp_ms, metadata];
    put.execute(row).expect("put");
}

impl Session for Handle<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        put(&self.store.writer.lock().expect("no panic"), key, value);
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        let mut connection = self.store.writer.lock().expect("no panic");
        let txn = connection.transaction().expect("begin");
        for (key, value) in changes {
            put(&txn, *key, value);
        }
        txn.commit().expect("commit");
    }

    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool {
        let mut get = self.reader().prepare_cached(GET).expect("prepare");
        let mut rows = get.query(params![key.group, key.topic, key.partition]).expect("get");
        let Some(row) = rows.next().expect("get") else { return false };
        into.set(&Value {
            offset: row.get(0).expect("offset"),
            leader_epoch: row.get(1).expect("epoch"),
            timestamp_ms: row.get(2).expect("timestamp"),
            metadata: row.get_ref(3).and_then(|cell| Ok(cell.as_str()?)).expect("metadata"),
        });
        true
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        let mut scan = self.reader().prepare_cached(SCAN).expect("prepare");
        let mut rows = scan.query(params![group]).expect("iterate");
        let mut found = (0, 0);
        while let Some(row) = rows.next().expect("row") {
            found = (found.0 + 1, found.1 + row.get::<_, i64>(2).expect("offset"));
        }
        found
    }
}
