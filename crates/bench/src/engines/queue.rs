//! What a user of an engine without group commit would put in front of it: a queue whose entries
//! one thread commits for all.

use std::sync::Mutex;

use heed::EnvFlags;

use super::{Engine, Fetched, Kind, Mode, Role, Session, bytes, fjall, lmdb};
use crate::group_commit::GroupCommit;
use crate::workload::{Change, Key, Value};

/// fjall behind a queue.
pub(super) const FJALL: Kind = Kind {
    name: "fjall-queue",
    role: Role::Peer,
    buffered: false,
    durable: true,
    pipelined: false,
    reads: true,
    survives_kill: true,
    open: |dir, mode, _| Box::new(Queue::new(fjall::open(dir, mode))),
    note: "fjall behind a group-commit queue of this benchmark",
};

/// LMDB behind a queue.
pub(super) const LMDB: Kind = Kind {
    name: "lmdb-queue",
    open: |dir, mode: Mode, _| Box::new(Queue::new(lmdb::open(dir, mode, EnvFlags::empty()))),
    note: "LMDB behind a group-commit queue of this benchmark",
    ..FJALL
};

/// A key and its value, encoded.
pub(super) type Row = ([u8; bytes::KEY_LEN], bytes::ValueBytes);

/// An engine that can take rows of many groups at once.
pub(super) trait PutMany: Engine {
    /// Makes all rows durable.
    fn put_many(&self, rows: &[Row]);
}

struct Queue<E> {
    engine: E,
    pending: Mutex<Pending>,
    commits: GroupCommit,
}

#[derive(Default)]
struct Pending {
    rows: Vec<Row>,
    tickets: u64,
}

impl<E: PutMany> Queue<E> {
    fn new(engine: E) -> Queue<E> {
        Queue { engine, pending: Mutex::default(), commits: GroupCommit::default() }
    }

    fn commit(&self, changes: &[Change<'_>]) {
        let rows = changes.iter().map(|(key, value)| (bytes::key(*key), bytes::value(value)));
        let mut pending = self.pending.lock().expect("no panic");
        pending.rows.extend(rows);
        pending.tickets += 1;
        let ticket = pending.tickets;
        drop(pending);
        let begin = || {
            let mut pending = self.pending.lock().expect("no panic");
            (pending.tickets, std::mem::take(&mut pending.rows))
        };
        self.commits.wait(ticket, begin, |rows| self.engine.put_many(&rows));
    }
}

impl<E: PutMany> Engine for Queue<E> {
    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(Handle { queue: self, inner: self.engine.session() })
    }

    fn flushes(&self) -> Option<u64> {
        Some(self.commits.flushes())
    }
}

struct Handle<'a, E> {
    queue: &'a Queue<E>,
    inner: Box<dyn Session + 'a>,
}

impl<E: PutMany> Session for Handle<'_, E> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        self.queue.commit(&[(key, *value)]);
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        self.queue.commit(changes);
    }

    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool {
        self.inner.fetch(key, into)
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        self.inner.scan_group(group)
    }
}
