//! What is compared: one adapter a file, behind one trait.

mod bytes;
mod fjall;
mod lmdb;
pub mod pagemark;
mod queue;
mod raw_copy;
mod raw_file;
mod raw_flush;
mod raw_group;
mod raw_record;
mod redb;
mod rocksdb;
mod sled;
mod sqlite;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::workload::{Change, Key, Value, Workload};

/// What a commit promises when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing for power loss. Most engines survive SIGKILL; see [`Kind::note`] for those that lose
    /// something then.
    Buffered,
    /// Survives power loss.
    Durable,
}

/// What role an engine has in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The one that this is about.
    Pagemark,
    /// Another engine.
    Peer,
    /// The same bytes without an engine: what the machine allows.
    Raw,
}

/// A value as it was read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The next offset.
    pub offset: i64,
    /// The leader epoch.
    pub leader_epoch: i32,
    /// The commit timestamp.
    pub timestamp_ms: i64,
    /// The metadata.
    pub metadata: String,
}

impl Fetched {
    fn value(&self) -> Value<'_> {
        let Fetched { offset, leader_epoch, timestamp_ms, ref metadata } = *self;
        Value { offset, leader_epoch, timestamp_ms, metadata }
    }

    /// Takes over a value.
    fn set(&mut self, value: &Value<'_>) {
        self.offset = value.offset;
        self.leader_epoch = value.leader_epoch;
        self.timestamp_ms = value.timestamp_ms;
        self.metadata.clear();
        self.metadata.push_str(value.metadata);
    }
}

impl PartialEq<Value<'_>> for Fetched {
    fn eq(&self, value: &Value<'_>) -> bool {
        self.offset == value.offset
            && self.leader_epoch == value.leader_epoch
            && self.timestamp_ms == value.timestamp_ms
            && self.metadata == value.metadata
    }
}

/// An open store.
pub trait Engine: Sync {
    /// What one thread works with.
    fn session(&self) -> Box<dyn Session + '_>;

    /// Flushes to the device so far, where that is known.
    fn flushes(&self) -> Option<u64> {
        None
    }

    /// Gives back the space of old values, as far as the engine has a call for that.
    fn compact(&mut self) {}

    /// Closes it in order.
    fn close(self: Box<Self>) {}
}

/// One thread's access to a store. A failure is a panic: a benchmark has nobody to tell it.
pub trait Session {
    /// Sets one key.
    fn commit(&mut self, key: Key<'_>, value: &Value<'_>);

    /// Sets several keys, all or none. They are of one group unless a queue joined them.
    fn commit_batch(&mut self, changes: &[Change<'_>]);

    /// Returns when all that this session has committed survives power loss.
    fn wait_durable(&mut self) {
        unreachable!("only what is pipelined is asked for this");
    }

    /// Reads the newest value of a key, if it has one. What `into` has allocated is used again, so
    /// that nobody is charged for the allocator.
    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool;

    /// Reads all keys of a group, in order: how many, and the sum of their offsets.
    fn scan_group(&mut self, group: &str) -> (usize, i64);
}

/// How an engine is opened: in a directory of its own, which is empty or has what it left there.
pub type Open = fn(&Path, Mode, &Workload) -> Box<dyn Engine>;

/// One line of a table.
#[derive(Clone, Copy)]
pub struct Kind {
    /// What it is called in tables and on the command line.
    pub name: &'static str,
    /// Its role.
    pub role: Role,
    /// Whether it can commit without a flush.
    pub buffered: bool,
    /// Whether it can flush before a commit returns.
    pub durable: bool,
    /// Whether one thread can commit without a flush, and wait for one that covers many commits.
    pub pipelined: bool,
    /// Whether it keeps values that can be read.
    pub reads: bool,
    /// Whether commits without a flush survive SIGKILL.
    pub survives_kill: bool,
    /// How it is opened.
    pub open: Open,
    /// How it is set up, and what a buffered commit loses when the process is killed.
    pub note: &'static str,
}

/// Everything that is compared.
pub const ALL: &[Kind] = &[
    raw_copy::KIND,
    raw_group::KIND,
    raw_flush::PWRITE,
    raw_flush::MAPPED,
    pagemark::NAMES,
    pagemark::SLOT,
    pagemark::PWRITE,
    rocksdb::KIND,
    lmdb::PLAIN,
    lmdb::WRITEMAP,
    redb::KIND,
    fjall::KIND,
    sled::KIND,
    sqlite::KIND,
    queue::FJALL,
    queue::LMDB,
];

/// The name of Pagemark as most use it.
pub const PAGEMARK: &str = pagemark::NAMES.name;

/// An engine by its name.
pub fn named(name: &str) -> &'static Kind {
    ALL.iter().find(|kind| kind.name == name).expect("an engine")
}
