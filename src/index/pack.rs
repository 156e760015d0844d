//! Values of whole topics, packed as a snapshot has them: what the index begins with.

use std::cmp::Ordering;
use std::ops::Range;

use super::arena::CHUNK_WORDS;
use super::slot::{Value, compact, expand};
use crate::key::{CommittedOffset, NextOffset, Seq};

/// Topics in the order of their names, each with its values in the order of their partitions. Nothing
/// of it ever changes.
pub(super) struct Pack {
    topics: Box<[Head]>,
    /// The names of the topics, one behind the other.
    names: Box<str>,
    /// Seq, offset and the rest of each value, then the partitions, two to a word. The rest is the
    /// compact form of a slot or, with [`LONG`], a place among the long ones.
    ///
    /// As large as a chunk of the arena if it is full, so that the memory of a pack that was given up
    /// is just what its slots need.
    words: Vec<u64>,
    len: usize,
    long: Box<[Long]>,
    metadata: Box<str>,
}

/// The words of a value.
const VALUE_WORDS: usize = 3;
/// The bit of the third word that says that the value is a long one. The compact form has it clear.
const LONG: u64 = 1 << 63;

/// One topic. It begins where the one before ends.
struct Head {
    group: u32,
    name_end: u32,
    end: usize,
}

/// What does not fit into the compact form.
struct Long {
    timestamp_ms: i64,
    leader_epoch: Option<i32>,
    expire_at_ms: Option<i64>,
    metadata: Range<usize>,
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
        self.len
    }

    /// About how many bytes of memory it takes, the names not counted.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Pack>()
            + size_of_val(&*self.topics)
            + size_of_val(&*self.words)
            + size_of_val(&*self.long)
            + self.metadata.len()
    }

    fn partition(&self, at: usize) -> i32 {
        let pair = self.words[VALUE_WORDS * self.len + at / 2];
        (pair >> (32 * (at % 2))) as i32
    }

    fn value(&self, at: usize) -> Value<'_> {
        let words = &self.words[VALUE_WORDS * at..][..VALUE_WORDS];
        let (seq, offset, rest) = (words[0], words[1] as i64, words[2]);
        if rest & LONG == 0 {
            let (leader_epoch, timestamp_ms) = expand(rest);
            return Value {
                offset,
                leader_epoch,
                timestamp_ms,
                expire_at_ms: None,
                metadata: "",
                seq,
            };
        }
        let Long { timestamp_ms, leader_epoch, expire_at_ms, metadata } =
            &self.long[(rest & !LONG) as usize];
        Value {
            offset,
            leader_epoch: *leader_epoch,
            timestamp_ms: *timestamp_ms,
            expire_at_ms: *expire_at_ms,
            metadata: &self.metadata[metadata.clone()],
            seq,
        }
    }
}

impl<'a> Packed<'a> {
    /// The number of its group.
    pub(super) fn group(self) -> u32 {
        self.pack.topics[self.at].group
    }

    /// Its name.
    pub(super) fn name(self) -> &'a str {
        let start = self.at.checked_sub(1).map_or(0, |at| self.pack.topics[at].name_end);
        &self.pack.names[start as usize..self.pack.topics[self.at].name_end as usize]
    }

    /// Its partitions and their values, in order.
    pub(super) fn values(self) -> impl Iterator<Item = (i32, Value<'a>)> {
        self.range().map(move |at| (self.pack.partition(at), self.pack.value(at)))
    }

    /// Reads the value of a partition into `out`, as [`Topic::read`](super::Topic::read) does.
    pub(super) fn read(self, partition: i32, out: &mut CommittedOffset) -> bool {
        let Range { mut start, mut end } = self.range();
        while start < end {
            let at = start + (end - start) / 2;
            match self.pack.partition(at).cmp(&partition) {
                Ordering::Less => start = at + 1,
                Ordering::Equal => {
                    self.pack.value(at).read(out);
                    return true;
                }
                Ordering::Greater => end = at,
            }
        }
        false
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
        start..self.pack.topics[self.at].end
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
    partitions: Vec<i32>,
    words: Vec<u64>,
    long: Vec<Long>,
    metadata: String,
}

impl Packer {
    /// Begins a topic. It has to be behind the one before, and has to get a value.
    pub(super) fn topic(&mut self, group: u32, name: &str) {
        if self.words.capacity() == 0 {
            self.words.reserve_exact(CHUNK_WORDS);
        }
        self.names.push_str(name);
        // Each topic has a value, a pack has few of them, and a name is short.
        self.topics.push(Head { group, name_end: self.names.len() as u32, end: self.len() });
    }

    /// Adds a value to the topic that was begun last. Its partition has to be behind the one before.
    #[inline(always)]
    pub(super) fn value(&mut self, partition: i32, value: &Value<'_>) {
        let rest = compact(value).unwrap_or_else(|| self.long(value));
        self.partitions.push(partition);
        self.words.extend([value.seq, value.offset as u64, rest]);
        if let Some(topic) = self.topics.last_mut() {
            topic.end = self.partitions.len();
        }
    }

    #[inline(never)]
    fn long(&mut self, value: &Value<'_>) -> u64 {
        let start = self.metadata.len();
        self.metadata.push_str(value.metadata);
        self.long.push(Long {
            timestamp_ms: value.timestamp_ms,
            leader_epoch: value.leader_epoch,
            expire_at_ms: value.expire_at_ms,
            metadata: start..self.metadata.len(),
        });
        LONG | (self.long.len() - 1) as u64
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.partitions.len()
    }

    /// What was gathered. Goes on with nothing.
    pub(super) fn finish(&mut self) -> Pack {
        let mut words = std::mem::take(&mut self.words);
        words.extend(self.partitions.chunks(2).map(|pair| {
            let [low, high] = [pair[0], pair.get(1).copied().unwrap_or(0)].map(|half| half as u32);
            u64::from(high) << 32 | u64::from(low)
        }));
        if words.len() < CHUNK_WORDS / 2 {
            words.shrink_to_fit();
        }
        let pack = Pack {
            topics: self.topics.drain(..).collect(),
            names: self.names.as_str().into(),
            words,
            len: self.partitions.len(),
            long: self.long.drain(..).collect(),
            metadata: self.metadata.as_str().into(),
        };
        self.names.clear();
        self.partitions.clear();
        self.metadata.clear();
        pack
    }
}
