//! Pagemark, by names and by slots.

use std::path::Path;
use std::sync::Arc;

use pagemark::{
    Commit, CommitBatch, CommittedOffset, Durability, NextOffset, OffsetStore, Options, Receipt,
};
use pagemark::{Slot, WritePath};

use super::{Engine, Fetched, Kind, Mode, Role, Session};
use crate::workload::{Change, Key, Value, Workload};

/// Every call names its key.
pub(super) const NAMES: Kind = Kind {
    name: "pagemark",
    role: Role::Pagemark,
    buffered: true,
    durable: true,
    pipelined: true,
    reads: true,
    survives_kill: true,
    open: |dir, mode, _| open(dir, mode, WritePath::Auto, None),
    note: "default options; buffered commits survive SIGKILL",
};

/// Every key was resolved beforehand.
pub(super) const SLOT: Kind = Kind {
    name: "pagemark-slot",
    durable: false,
    open: |dir, mode, workload| open(dir, mode, WritePath::Auto, Some(workload)),
    note: "by slots that were resolved beforehand",
    ..NAMES
};

/// By names, with a system call instead of the mapping.
pub(super) const PWRITE: Kind = Kind {
    name: "pagemark-pwrite",
    open: |dir, mode, _| open(dir, mode, WritePath::Pwrite, None),
    note: "WritePath::Pwrite, as on file systems that copy on write",
    ..NAMES
};

struct Store {
    store: OffsetStore,
    slots: Option<Arc<[Slot]>>,
}

fn open(
    dir: &Path,
    mode: Mode,
    write_path: WritePath,
    resolve: Option<&Workload>,
) -> Box<dyn Engine> {
    let durability = match mode {
        Mode::Buffered => Durability::Buffered,
        Mode::Durable => Durability::Synced,
    };
    let options = Options::new().durability(durability).write_path(write_path);
    let store = options.open(dir).expect("open pagemark");
    let slots = resolve.map(|workload| {
        (0..workload.keys())
            .map(|id| store.slot(named(workload.key(id))).expect("resolve"))
            .collect()
    });
    Box::new(Store { store, slots })
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        match &self.slots {
            Some(slots) => Box::new(BySlot { store: &self.store, slots, last: None }),
            None => session(&self.store),
        }
    }

    fn flushes(&self) -> Option<u64> {
        Some(self.store.stats().flushes)
    }

    fn compact(&mut self) {
        self.store.compact().expect("compact");
    }

    fn close(self: Box<Self>) {
        let Store { store, slots } = *self;
        drop(slots);
        store.close().expect("close");
    }
}

/// A session that names its keys.
struct ByName<'a> {
    store: &'a OffsetStore,
    last: Option<Receipt>,
}

impl Session for ByName<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        self.last = Some(self.store.commit(named(key), commit(value)).expect("commit"));
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        self.last = Some(commit_batch(self.store, changes));
    }

    fn wait_durable(&mut self) {
        wait_durable(self.store, self.last);
    }

    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool {
        self.store.fetch(named(key)).inspect(|found| read(found, into)).is_some()
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        scan_group(self.store, group)
    }
}

struct BySlot<'a> {
    store: &'a OffsetStore,
    slots: &'a [Slot],
    last: Option<Receipt>,
}

impl Session for BySlot<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        self.last = Some(self.slots[key.id].commit(commit(value)).expect("commit"));
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        self.last = Some(commit_batch(self.store, changes));
    }

    fn wait_durable(&mut self) {
        wait_durable(self.store, self.last);
    }

    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool {
        self.slots[key.id].fetch().inspect(|found| read(found, into)).is_some()
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        scan_group(self.store, group)
    }
}

/// A session on a store that was opened otherwise.
pub fn session(store: &OffsetStore) -> Box<dyn Session + '_> {
    Box::new(ByName { store, last: None })
}

/// The key as the store names it.
pub fn named(key: Key<'_>) -> pagemark::Key<'_> {
    pagemark::Key::new(key.group, key.topic, key.partition)
}

/// The value as the store takes it.
pub fn commit<'a>(value: &Value<'a>) -> Commit<'a> {
    Commit::new(NextOffset(value.offset))
        .leader_epoch(value.leader_epoch)
        .timestamp_ms(value.timestamp_ms)
        .metadata(value.metadata)
}

/// Commits changes of one group.
pub fn commit_batch(store: &OffsetStore, changes: &[Change<'_>]) -> Receipt {
    let mut batch = CommitBatch::new(changes[0].0.group);
    for (key, value) in changes {
        batch.commit(key.topic, key.partition, commit(value));
    }
    store.commit_batch(&batch).expect("commit a batch")
}

fn wait_durable(store: &OffsetStore, last: Option<Receipt>) {
    if let Some(last) = last {
        store.wait_durable(last.seq(), None).expect("flush");
    }
}

fn scan_group(store: &OffsetStore, group: &str) -> (usize, i64) {
    let mut found = (0, 0);
    store.visit_group(group, |_, _, value| {
        found.0 += 1;
        found.1 += value.offset().0;
    });
    found
}

fn read(found: &CommittedOffset, into: &mut Fetched) {
    into.set(&Value {
        offset: found.offset().0,
        leader_epoch: found.leader_epoch().unwrap_or(-1),
        timestamp_ms: found.commit_timestamp_ms(),
        metadata: found.metadata(),
    });
}
