//! What is left of a commit without an index: a checksum, and a copy into a mapped file.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::raw_file::{self, Mapped};
use super::raw_record::RecordBuffer;
use super::{Engine, Fetched, Kind, Mode, Role, Session};
use crate::workload::{Change, Key, Value, Workload};

/// It shows what checksum and copy take.
pub(super) const KIND: Kind = Kind {
    name: "raw-copy",
    role: Role::Raw,
    buffered: true,
    durable: false,
    pipelined: false,
    reads: false,
    survives_kill: false,
    open,
    note: "checksums and copies the same bytes into a mapped file; no index, no order, no lock",
};

const FILE_LEN: usize = 128 << 20;
/// A thread has a piece to itself until it is full, so that threads share nothing meanwhile.
const PIECE_LEN: usize = 256 << 10;
const PIECES: usize = FILE_LEN / PIECE_LEN;

struct Store {
    map: Mapped,
    next: AtomicUsize,
    /// Whose lock one holds, in that piece nobody else writes.
    pieces: Vec<Mutex<()>>,
}

fn open(dir: &Path, _: Mode, _: &Workload) -> Box<dyn Engine> {
    let map = Mapped::new(&raw_file::create(dir, FILE_LEN));
    let pieces = (0..PIECES).map(|_| Mutex::new(())).collect();
    Box::new(Store { map, next: AtomicUsize::new(0), pieces })
}

impl Store {
    /// The next piece that nobody has. There are more of them than threads.
    fn take(&self) -> (usize, MutexGuard<'_, ()>) {
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed) % PIECES;
            if let Ok(guard) = self.pieces[piece].try_lock() {
                return (piece * PIECE_LEN, guard);
            }
        }
    }
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        let (position, piece) = self.take();
        let record = RecordBuffer::default();
        Box::new(Handle { store: self, position, end: position + PIECE_LEN, piece, record })
    }
}

struct Handle<'a> {
    store: &'a Store,
    position: usize,
    end: usize,
    piece: MutexGuard<'a, ()>,
    record: RecordBuffer,
}

impl Session for Handle<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        self.commit_batch(&[(key, *value)]);
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        let record = self.record.encode(changes);
        if self.position + record.len() > self.end {
            (self.position, self.piece) = self.store.take();
            self.end = self.position + PIECE_LEN;
        }
        self.store.map.write(self.position, record);
        self.position += record.len();
    }

    fn fetch(&mut self, _: Key<'_>, _: &mut Fetched) -> bool {
        false
    }

    fn scan_group(&mut self, _: &str) -> (usize, i64) {
        (0, 0)
    }
}
