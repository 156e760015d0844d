//! Values of whole topics, packed as a snapshot has them: what the index begins with.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::FixedState;

use super::columns::{Columns, ColumnsWriter};
use super::slot::Value;
use crate::key::{CommittedOffset, NextOffset, Seq};
use crate::sync::OnceLock;
use crate::sync::atomic::{self, AtomicU64};

/// Topics in the order of their names, each with its values in the order of their partitions. Nothing
/// that is read of it ever changes.
pub(super) struct Pack {
    topics: Box<[Head]>,
    /// The names of the topics, one behind the other.
    names: Box<str>,
    /// The values, each a row as [`Packer::value`] makes it.
    values: Columns,
    long: Box<[Long]>,
    metadata: Box<str>,
    /// What took the place of values before anybody read them.
    patches: OnceLock<Patches>,
}

/// Newer values by the rows that they replace.
pub(super) type Patches = HashMap<u32, Patch, FixedState>;

/// A value that replaces one of a pack.
pub(super) struct Patch {
    offset: i64,
    leader_epoch: Option<i32>,
    timestamp_ms: i64,
    expire_at_ms: Option<i64>,
    metadata: Box<str>,
    pub(super) seq: u64,
}

impl Patch {
    /// A copy of a value.
    pub(super) fn new(value: &Value<'_>) -> Patch {
        let Value { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata, seq } = *value;
        Patch { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata: metadata.into(), seq }
    }

    fn value(&self) -> Value<'_> {
        let Patch { offset, leader_epoch, timestamp_ms, expire_at_ms, ref metadata, seq } = *self;
        Value { offset, leader_epoch, timestamp_ms, expire_at_ms, metadata, seq }
    }
}

/// One topic. It begins where the one before ends.
struct Head {
    group: u32,
    name_end: u32,
    end: u32,
    /// What the topic has for a tag once it is unpacked.
    tag: AtomicU64,
}

/// What few values have. Its metadata begins where that of the one before ends.
struct Long {
    expire_at_ms: Option<i64>,
    metadata_end: usize,
}

/// A topic of a pack.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pack: &'a Pack,
    at: usize,
}

impl Pack {
    /// Its topics, in order.
    pub(super) fn topics(&self) -> impl Iterator<Item = Packed<'_>> {
        (0..self.topics.len()).map(|at| Packed { pack: self, at })
    }

    /// The topic with this number.
    pub(super) fn numbered(&self, at: u32) -> Packed<'_> {
        Packed { pack: self, at: at as usize }
    }

    /// The topic of this name in the group of this number.
    pub(super) fn topic(&self, group: u32, name: &str) -> Option<Packed<'_>> {
        let (mut low, mut high) = (0, self.topics.len());
        while low < high {
            let at = low + (high - low) / 2;
            let topic = Packed { pack: self, at };
            match (topic.group(), topic.name()).cmp(&(group, name)) {
                Ordering::Less => low = at + 1,
                Ordering::Equal => return Some(topic),
                Ordering::Greater => high = at,
            }
        }
        None
    }

    /// How many values it has.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// About how many bytes of memory it takes, the names not counted.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Pack>()
            + size_of_val(&*self.topics)
            + self.values.memory_bytes()
            + size_of_val(&*self.long)
            + self.metadata.len()
            + self.patches.get().map_or(0, |patches| patches.capacity() * size_of::<(u32, Patch)>())
    }

    /// Takes newer values. Nobody has read any before.
    pub(super) fn patch(&self, patches: Patches) {
        let is_first = self.patches.set(patches).is_ok();
        debug_assert!(is_first, "a pack is patched once");
    }

    /// The seq of a row, without its patch.
    pub(super) fn seq(&self, row: usize) -> u64 {
        let [_, seq, ..] = self.values.row(row);
        seq
    }

    fn partition(&self, at: usize) -> i32 {
        self.values.first(at) as i32
    }

    fn value(&self, at: usize) -> (i32, Value<'_>) {
        let patches = self.patches.get();
        // A pack has fewer rows than this type can count: see `Packer::end_values`.
        if let Some(patch) = patches.and_then(|patches| patches.get(&(at as u32))) {
            return (self.partition(at), patch.value());
        }
        let [partition, seq, offset, timestamp, epoch, long] = self.values.row(at);
        let mut value = Value {
            offset: offset as i64,
            leader_epoch: epoch.checked_sub(1).map(|epoch| epoch as i32),
            timestamp_ms: timestamp as i64,
            expire_at_ms: None,
            metadata: "",
            seq,
        };
        if let Some(long) = long.checked_sub(1) {
            let ends = |long: u64| self.long[long as usize].metadata_end;
            let start = long.checked_sub(1).map_or(0, ends);
            value.metadata = &self.metadata[start..ends(long)];
            value.expire_at_ms = self.long[long as usize].expire_at_ms;
        }
        (partition as i32, value)
    }
}

impl<'a> Packed<'a> {
    /// The pack.
    pub(super) fn pack(self) -> &'a Pack {
        self.pack
    }

    /// Its number in the pack.
    pub(super) fn number(self) -> u32 {
        self.at as u32
    }

    /// The number of its group.
    pub(super) fn group(self) -> u32 {
        self.pack.topics[self.at].group
    }

    /// Its name.
    pub(super) fn name(self) -> &'a str {
        let start = self.at.checked_sub(1).map_or(0, |at| self.pack.topics[at].name_end);
        &self.pack.names[start as usize..self.pack.topics[self.at].name_end as usize]
    }

    /// Its tag: see [`Topic::tag`](super::Topic::tag).
    pub(super) fn tag(self) -> u64 {
        self.pack.topics[self.at].tag.load(atomic::Ordering::Relaxed)
    }

    /// Sets its tag.
    pub(super) fn set_tag(self, tag: u64) {
        self.pack.topics[self.at].tag.store(tag, atomic::Ordering::Relaxed);
    }

    /// Its partitions and their values, in order.
    pub(super) fn values(self) -> impl Iterator<Item = (i32, Value<'a>)> {
        self.range().map(move |at| self.pack.value(at))
    }

    /// Reads the value of a partition into `out`, as [`Topic::read`](super::Topic::read) does.
    pub(super) fn read(self, partition: i32, out: &mut CommittedOffset) -> bool {
        self.row(partition).map(|row| self.pack.value(row).1.read(out)).is_some()
    }

    /// The row of a partition that has a value.
    pub(super) fn row(self, partition: i32) -> Option<usize> {
        let Range { mut start, mut end } = self.range();
        // Most topics have all partitions from zero on.
        let mut at = start.saturating_add(partition as usize);
        while start < end {
            if !(start..end).contains(&at) {
                at = start + (end - start) / 2;
            }
            match self.pack.partition(at).cmp(&partition) {
                Ordering::Less => start = at + 1,
                Ordering::Equal => return Some(at),
                Ordering::Greater => end = at,
            }
            at = end;
        }
        None
    }

    /// Calls `visit` with every partition, in order. `out` is the buffer.
    pub(super) fn visit(
        self,
        out: &mut CommittedOffset,
        mut visit: impl FnMut(i32, &mut CommittedOffset),
    ) {
        for (partition, value) in self.values() {
            value.read(out);
            visit(partition, out);
        }
    }

    fn range(self) -> Range<usize> {
        let start = self.at.checked_sub(1).map_or(0, |at| self.pack.topics[at].end);
        start as usize..self.pack.topics[self.at].end as usize
    }
}

impl Value<'_> {
    fn read(&self, out: &mut CommittedOffset) {
        out.offset = NextOffset(self.offset);
        out.leader_epoch = self.leader_epoch;
        out.metadata.clear();
        out.metadata.push_str(self.metadata);
        out.commit_timestamp_ms = self.timestamp_ms;
        out.expire_at_ms = self.expire_at_ms;
        out.seq = Seq(self.seq);
        out.durable = false;
    }
}

/// Gathers the next pack.
#[derive(Default)]
pub(super) struct Packer {
    topics: Vec<Head>,
    names: String,
    values: ColumnsWriter,
    long: Vec<Long>,
    metadata: String,
}

impl Packer {
    /// Begins a topic. It has to be behind the one before, and has to get a value.
    pub(super) fn topic(&mut self, group: u32, name: &str) {
        self.names.push_str(name);
        // Each topic has a value, a pack has few of them, and a name is short.
        let (name_end, end) = (self.names.len() as u32, self.len() as u32);
        self.topics.push(Head { group, name_end, end, tag: AtomicU64::new(0) });
    }

    /// Adds a value to the topic that was begun last. Its partition has to be behind the one before.
    #[inline(always)]
    pub(super) fn value(&mut self, partition: i32, value: &Value<'_>) {
        let is_long = !value.metadata.is_empty() || value.expire_at_ms.is_some();
        let long = if is_long { self.long(value) } else { 0 };
        let epoch = value.leader_epoch.map_or(0, |epoch| u64::from(epoch as u32) + 1);
        let (partition, offset) = (partition as u64, value.offset as u64);
        self.values.push([partition, value.seq, offset, value.timestamp_ms as u64, epoch, long]);
    }

    /// Ends the values of the topic that was begun last, for now.
    pub(super) fn end_values(&mut self) {
        // Partitions are fewer than this type can count, and a pack has few topics.
        let end = self.len() as u32;
        if let Some(topic) = self.topics.last_mut() {
            topic.end = end;
        }
    }

    #[inline(never)]
    fn long(&mut self, value: &Value<'_>) -> u64 {
        self.metadata.push_str(value.metadata);
        let metadata_end = self.metadata.len();
        self.long.push(Long { expire_at_ms: value.expire_at_ms, metadata_end });
        self.long.len() as u64
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// What was gathered. Goes on with nothing.
    pub(super) fn finish(&mut self) -> Pack {
        let pack = Pack {
            topics: self.topics.drain(..).collect(),
            names: self.names.as_str().into(),
            values: self.values.finish(),
            long: self.long.drain(..).collect(),
            metadata: self.metadata.as_str().into(),
            patches: OnceLock::new(),
        };
        self.names.clear();
        self.metadata.clear();
        pack
    }
}
