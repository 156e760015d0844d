//! The limit of buffered commits: a mapped log and an index group -> topic -> partition under one
//! lock. It recovers nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use foldhash::fast::RandomState;

use super::raw_file::{self, Mapped};
use super::{Engine, Fetched, Kind, Mode, Role, Session};
use crate::workload::{Change, Key, Value, Workload};

/// It shows what the machine allows.
pub(super) const KIND: Kind = Kind {
    name: "raw-group",
    role: Role::Raw,
    buffered: true,
    durable: false,
    pipelined: false,
    reads: true,
    survives_kill: false,
    open,
    note: "checksummed records in a mapped file and an index by group; it recovers nothing",
};

const FILE_LEN: usize = 128 << 20;
const WORD: usize = 8;

type Names<T> = HashMap<Box<str>, T, RandomState>;

struct Store {
    inner: Mutex<Inner>,
}

struct Inner {
    map: Mapped,
    position: usize,
    record: Vec<u8>,
    groups: Names<Group>,
}

#[derive(Default)]
struct Group {
    number: u32,
    topics: Names<usize>,
    /// By the number that `topics` leads to.
    slots: Vec<Vec<Fetched>>,
    /// The topics by name.
    sorted: Vec<(Box<str>, usize)>,
}

fn open(dir: &Path, _: Mode, _: &Workload) -> Box<dyn Engine> {
    let map = Mapped::new(&raw_file::create(dir, FILE_LEN));
    let inner = Inner { map, position: 0, record: Vec::new(), groups: HashMap::default() };
    Box::new(Store { inner: Mutex::new(inner) })
}

impl Inner {
    fn commit(&mut self, changes: &[Change<'_>]) {
        let Some((first, _)) = changes.first() else { return };
        if !self.groups.contains_key(first.group) {
            let group = Group { number: self.groups.len() as u32, ..Group::default() };
            self.groups.insert(first.group.into(), group);
        }
        let group = self.groups.get_mut(first.group).expect("it was just made");
        self.record.clear();
        self.record.extend_from_slice(&[0; 4]);
        self.record.extend_from_slice(&group.number.to_le_bytes());
        for (key, value) in changes {
            let topic = group.topic(key.topic);
            self.record.extend_from_slice(&(topic as u32).to_le_bytes());
            self.record.extend_from_slice(&key.partition.to_le_bytes());
            self.record.extend_from_slice(&value.offset.to_le_bytes());
            self.record.extend_from_slice(&value.leader_epoch.to_le_bytes());
            self.record.extend_from_slice(&value.timestamp_ms.to_le_bytes());
            self.record.extend_from_slice(value.metadata.as_bytes());
            group.set(topic, key.partition as usize, value);
        }
        self.record.resize(self.record.len().next_multiple_of(WORD), 0);
        let checksum = crc32fast::hash(&self.record[4..]);
        self.record[..4].copy_from_slice(&checksum.to_le_bytes());
        if self.position + self.record.len() > FILE_LEN {
            self.position = 0;
        }
        self.map.write(self.position, &self.record);
        self.position += self.record.len();
    }
}

impl Group {
    fn topic(&mut self, name: &str) -> usize {
        if let Some(topic) = self.topics.get(name) {
            return *topic;
        }
        let topic = self.slots.len();
        self.slots.push(Vec::new());
        self.topics.insert(name.into(), topic);
        self.sorted.push((name.into(), topic));
        self.sorted.sort();
        topic
    }

    fn set(&mut self, topic: usize, partition: usize, value: &Value<'_>) {
        let slots = &mut self.slots[topic];
        if slots.len() <= partition {
            slots.resize(partition + 1, Fetched::default());
        }
        slots[partition].set(value);
    }
}

impl Engine for Store {
    fn session(&self) -> Box<dyn Session + '_> {
        Box::new(Handle { store: self })
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
        self.store.inner.lock().expect("no panic").commit(changes);
    }

    fn fetch(&mut self, key: Key<'_>, into: &mut Fetched) -> bool {
        let inner = self.store.inner.lock().expect("no panic");
        let slot = inner.groups.get(key.group).and_then(|group| {
            let slots = &group.slots[*group.topics.get(key.topic)?];
            slots.get(key.partition as usize)
        });
        slot.inspect(|slot| into.set(&slot.value())).is_some()
    }

    fn scan_group(&mut self, group: &str) -> (usize, i64) {
        let inner = self.store.inner.lock().expect("no panic");
        let Some(group) = inner.groups.get(group) else { return (0, 0) };
        let slots = group.sorted.iter().flat_map(|(_, topic)| &group.slots[*topic]);
        slots.fold((0, 0), |found, slot| (found.0 + 1, found.1 + slot.offset))
    }
}
