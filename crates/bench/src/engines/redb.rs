//! redb.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::{Engine, Fetched, Kind, Mode, Role, Session, bytes};
use crate::workload::{Change, Key, Value, Workload};

/// One table of bytes.
pub(super) const KIND: Kind = Kind {
    name: "redb",
    role: Role::Peer,
    buffered: true,
    durable: true,
    pipelined: true,
    reads: true,
    survives_kill: false,
    open,
    note: "Durability::None when buffered: loses all up to the last synced commit at SIGKILL",
};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("offsets");

struct Store {
    db: Database,
    durability: Durability,
}

fn open(dir: &Path, mode: Mode, _: &Workload) -> Box<dyn Engine> {
    let durability = match mode {
        Mode::Buffered => Durability::None,
        Mode::Durable => Durability::Immediate,
    };
    let db = Database::create(dir.join("offsets.redb")).expect("open redb");
    Box::new(Store { db, durability })
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(Handle { store: self })
    }

    fn compact(&mut self) {
        self.db.compact().expect("compact");
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
        let mut txn = self.store.db.begin_write().expect("begin");
        txn.set_durability(self.store.durability).expect("set the durability");
        let mut table = txn.open_table(TABLE).expect("open the table");
        for (key, value) in changes {
            let key = bytes::key(*key);
            table.insert(key.as_slice(), bytes::value(value).as_ref()).expect("insert");
        }
        drop(table);
        txn.commit().expect("commit");
    }

    fn wait_durable(&mut self) {
        let mut txn = self.store.db.begin_write().expect("begin");
        txn.set_durability(Durability::Immediate).expect("set the durability");
        txn.commit().expect("commit");
    }

    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool {
        let txn = self.store.db.begin_read().expect("begin");
        let table = txn.open_table(TABLE).expect("open the table");
        let found = table.get(bytes::key(key).as_slice()).expect("get");
        found.inspect(|found| bytes::read(found.value(), into)).is_some()
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        let txn = self.store.db.begin_read().expect("begin");
        let table = txn.open_table(TABLE).expect("open the table");
        let prefix = bytes::prefix(group);
        let mut end = prefix;
        end[prefix.len() - 1] = 1;
        let mut found = (0, 0);
        for row in table.range(prefix.as_slice()..end.as_slice()).expect("iterate") {
            let (_, value) = row.expect("row");
            found = (found.0 + 1, found.1 + bytes::offset(value.value()));
        }
        found
    }
}
