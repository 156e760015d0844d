//! Pagemark, by names and by slots.

use std::path::Path;
use std::sync::Arc;

use pagemark::{
    Commit, CommitBatch, CommittedOffset, Durability, NextOffset, OffsetStore, Options,
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
    reads: true,
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
            Some(slots) => Box::new(BySlot { store: &self.store, slots }),
            None => Box::new(ByName { store: &self.store }),
        }
    }

    fn flushes(&self) -> Option<u64> {
        Some(self.store.stats().flushes)
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(self.store.stats().memory_bytes)
    }
}

/// A session that names its keys.
pub struct ByName<'a> {
    /// The store.
    pub store: &'a OffsetStore,
}

impl Session for ByName<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        self.store.commit(named(key), commit(value)).expect("commit");
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        commit_batch(self.store, changes);
    }

    fn fetch(&mut self, key: Key<'_>) -> Option<Fetched> {
        self.store.fetch(named(key)).map(fetched)
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        scan_group(self.store, group)
    }
}

struct BySlot<'a> {
    store: &'a OffsetStore,
    slots: &'a [Slot],
}

impl Session for BySlot<'_> {
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>) {
        self.slots[key.id].commit(commit(value)).expect("commit");
    }

    fn commit_batch(&mut self, changes: &[Change<'_>]) {
        commit_batch(self.store, changes);
    }

    fn fetch(&mut self, key: Key<'_>) -> Option<Fetched> {
        self.slots[key.id].fetch().map(fetched)
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        scan_group(self.store, group)
    }
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
pub fn commit_batch(store: &OffsetStore, changes: &[Change<'_>]) {
    let mut batch = CommitBatch::new(changes[0].0.group);
    for (key, value) in changes {
        batch.commit(key.topic, key.partition, commit(value));
    }
    store.commit_batch(&batch).expect("commit a batch");
}

fn scan_group(store: &OffsetStore, group: &str) -> (usize, i64) {
    let mut found = (0, 0);
    store.visit_group(group, |_, _, value| {
        found.0 += 1;
        found.1 += value.offset().0;
    });
    found
}

fn fetched(value: CommittedOffset) -> Fetched {
    Fetched {
        offset: value.offset().0,
        leader_epoch: value.leader_epoch().unwrap_or(-1),
        timestamp_ms: value.commit_timestamp_ms(),
        metadata: value.metadata().to_owned(),
    }
}
