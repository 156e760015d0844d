//! The limit of synced commits: the same bytes, a flush, and nothing else.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::raw_file::{self, Mapped};
use super::raw_record::RecordBuffer;
use super::{Engine, Fetched, Kind, Mode, Role, Session};
use crate::group_commit::GroupCommit;
use crate::workload::{Change, Key, Value, Workload};

/// The record goes to the file by a system call.
pub(super) const PWRITE: Kind = Kind {
    name: "raw-pwrite",
    role: Role::Raw,
    buffered: false,
    durable: true,
    pipelined: true,
    reads: false,
    survives_kill: false,
    open: |dir, mode, _| Box::new(open(dir, mode, false)),
    note: "the same bytes by pwrite into a prewritten file, then fdatasync; no index",
};

/// The record goes to the file through a mapping.
pub(super) const MAPPED: Kind = Kind {
    name: "raw-mapped",
    open: |dir, mode, _: &Workload| Box::new(open(dir, mode, true)),
    note: "the same bytes through a mapping of a prewritten file, then fdatasync; no index",
    ..PWRITE
};

const FILE_LEN: usize = 64 << 20;

struct Store {
    mode: Mode,
    file: File,
    map: Option<Mapped>,
    tail: Mutex<Tail>,
    appended: AtomicU64,
    commits: GroupCommit,
}

#[derive(Default)]
struct Tail {
    position: usize,
    records: u64,
}

fn open(dir: &Path, mode: Mode, mapped: bool) -> Store {
    let file = raw_file::create(dir, FILE_LEN);
    let map = mapped.then(|| Mapped::new(&file));
    Store {
        mode,
        file,
        map,
        tail: Mutex::default(),
        appended: AtomicU64::new(0),
        commits: GroupCommit::default(),
    }
}

impl Store {
    fn append(&self, record: &[u8]) -> u64 {
        let mut tail = self.tail.lock().expect("no panic");
        if tail.position + record.len() > FILE_LEN {
            // It starts again at the beginning, since it is never read.
            tail.position = 0;
        }
        match &self.map {
            Some(map) => map.write(tail.position, record),
            None => self.file.write_all_at(record, tail.position as u64).expect("write"),
        }
        tail.position += record.len();
        tail.records += 1;
        self.appended.store(tail.records, Ordering::Release);
        tail.records
    }

    fn wait(&self, record: u64) {
        let begin = || (self.appended.load(Ordering::Acquire), ());
        self.commits.wait(record, begin, |()| self.file.sync_data().expect("flush"));
    }
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(Handle { store: self, last: 0, record: RecordBuffer::default() })
    }

    fn flushes(&self) -> Option<u64> {
        Some(self.commits.flushes())
    }
}

struct Handle<'a> {
    store: &'a Store,
    last: u64,
    record: RecordBuffer,
}

impl Session for Handle<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        self.commit_batch(&[(key, *value)]);
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        self.last = self.store.append(self.record.encode(changes));
        if self.store.mode == Mode::Durable {
            self.wait_durable();
        }
    }

    fn wait_durable(&mut self) {
        self.store.wait(self.last);
    }

    fn fetch(&mut self, _: Key<'_>, _: &mut Fetched) -> bool {
        false
    }

    fn scan_group(&mut self, _: &str) -> (usize, i64) {
        (0, 0)
    }
}
