//! The limit of synced commits: a record of 32 bytes, a flush, and nothing else.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::raw_file::{self, Mapped};
use super::{Engine, Fetched, Kind, Mode, Role, Session};
use crate::group_commit::GroupCommit;
use crate::workload::{Change, Key, Value, Workload};

/// The record goes to the file by a system call.
pub(super) const PWRITE: Kind = Kind {
    name: "raw-pwrite",
    role: Role::Raw,
    buffered: false,
    durable: true,
    reads: false,
    open: |dir, _, _| Box::new(open(dir, false)),
    note: "32 bytes by pwrite into a prewritten file, then fdatasync; keeps nothing in memory",
};

/// The record goes to the file through a mapping.
pub(super) const MAPPED: Kind = Kind {
    name: "raw-mapped",
    open: |dir, _: Mode, _: &Workload| Box::new(open(dir, true)),
    note: "32 bytes through a mapping of a prewritten file, then fdatasync",
    ..PWRITE
};

const FILE_LEN: usize = 64 << 20;
const RECORD_LEN: usize = 32;

struct Store {
    file: File,
    map: Option<Mapped>,
    tail: Mutex<u64>,
    appended: AtomicU64,
    commits: GroupCommit,
}

fn open(dir: &Path, mapped: bool) -> Store {
    let file = raw_file::create(dir, FILE_LEN);
    let map = mapped.then(|| Mapped::new(&file));
    Store {
        file,
        map,
        tail: Mutex::new(0),
        appended: AtomicU64::new(0),
        commits: GroupCommit::default(),
    }
}

impl Store {
    fn append(&self, record: &[u8; RECORD_LEN]) -> u64 {
        let mut tail = self.tail.lock().expect("no panic");
        // It starts again at the beginning, since it is never read.
        let position = *tail as usize * RECORD_LEN % FILE_LEN;
        match &self.map {
            Some(map) => map.write(position, record),
            None => self.file.write_all_at(record, position as u64).expect("write"),
        }
        *tail += 1;
        self.appended.store(*tail, Ordering::Release);
        *tail
    }
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(Handle { store: self })
    }

    fn flushes(&self) -> Option<u64> {
        Some(self.commits.flushes())
    }
}

struct Handle<'a> {
    store: &'a Store,
}

impl Session for Handle<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        let mut record = [0; RECORD_LEN];
        record[4..12].copy_from_slice(&(key.id as u64).to_le_bytes());
        record[12..20].copy_from_slice(&value.offset.to_le_bytes());
        record[20..28].copy_from_slice(&value.timestamp_ms.to_le_bytes());
        let checksum = crc32fast::hash(&record[4..]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
        let Store { file, appended, commits, .. } = self.store;
        let seq = self.store.append(&record);
        let begin = || (appended.load(Ordering::Acquire), ());
        commits.wait(seq, begin, |()| file.sync_data().expect("flush"));
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        self.commit(changes[0].0, &changes[0].1);
    }

    fn fetch(&mut self, _: Key<'_>) -> Option<Fetched> {
        None
    }

    fn scan_group(&mut self, _: &str) -> (usize, i64) {
        (0, 0)
    }
}
