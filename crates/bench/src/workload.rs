//! The workload: which keys, which values, in which order. The same for every engine.

use serde::{Deserialize, Serialize};

/// Bytes of a group's name.
pub const GROUP_LEN: usize = 22;
/// Bytes of a topic's name.
pub const TOPIC_LEN: usize = 20;
/// What one commit in ten carries.
pub const METADATA: &str = "consumer-4711@host-00042";

/// Different topic names: groups share them, as they do in a cluster.
const TOPIC_NAMES: usize = 1000;
/// The length of the sequence of picks, after which it repeats.
const PICKS: usize = 1 << 20;
/// The bit of a pick that says that the commit has metadata.
const WITH_METADATA: u32 = 1 << 31;
/// 2026-01-01, so that timestamps have the size of real ones.
const START_MS: i64 = 1_767_225_600_000;
/// Commits of one thread that share a timestamp. The clock is never read: all engines get the time
/// from the caller.
const COMMITS_PER_MS: usize = 1024;
/// The same for batches, by their offsets.
const BATCHES_PER_MS: usize = 100;

/// How many keys there are, and how they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Groups.
    pub groups: usize,
    /// Topics of each group.
    pub topics: usize,
    /// Partitions of each topic.
    pub partitions: usize,
}

impl Shape {
    /// 100,000 keys, which most is measured with: 1,000 groups of 10 topics of 10 partitions.
    pub const USUAL: Shape = Shape { groups: 1000, topics: 10, partitions: 10 };

    /// How many keys there are.
    pub fn keys(self) -> usize {
        self.groups * self.keys_per_group()
    }

    /// How many of them are of one group.
    pub fn keys_per_group(self) -> usize {
        self.topics * self.partitions
    }
}

/// A key by its names. `id` counts the keys from zero, for engines that resolve keys beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The number of the key.
    pub id: usize,
    /// The group.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
}

/// What a key is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// The next offset.
    pub offset: i64,
    /// The leader epoch.
    pub leader_epoch: i32,
    /// The commit timestamp.
    pub timestamp_ms: i64,
    /// The metadata, empty for most.
    pub metadata: &'a str,
}

/// One key with its new value.
pub type Change<'a> = (Key<'a>, Value<'a>);

/// All names, and the order in which keys are picked.
#[derive(Debug)]
pub struct Workload {
    group_names: String,
    topic_names: String,
    shape: Shape,
    picks: Vec<u32>,
    has_metadata: bool,
}

impl Workload {
    /// A workload over the keys of a shape.
    pub fn new(shape: Shape) -> Workload {
        let groups = shape.groups;
        let group_names: String = (0..groups).map(|g| format!("billing-service-{g:06}")).collect();
        let topic_names: String =
            (0..TOPIC_NAMES).map(|t| format!("orders-events-{t:06}")).collect();
        assert_eq!(group_names.len(), groups * GROUP_LEN);
        assert_eq!(topic_names.len(), TOPIC_NAMES * TOPIC_LEN);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let keys = shape.keys() as u64;
        let pick = |random: &mut Random| {
            let key = (random.next() % keys) as u32;
            if random.next().is_multiple_of(10) { key | WITH_METADATA } else { key }
        };
        let picks = (0..PICKS).map(|_| pick(&mut random)).collect();
        Workload { group_names, topic_names, shape, picks, has_metadata: true }
    }

    /// The same without metadata, which takes its own length in every engine.
    pub fn without_metadata(self) -> Workload {
        Workload { has_metadata: false, ..self }
    }

    /// How many keys there are, and how they lie.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.shape.keys()
    }

    /// A group's name.
    pub fn group(&self, group: usize) -> &str {
        &self.group_names[group * GROUP_LEN..][..GROUP_LEN]
    }

    /// A key by its number.
    pub fn key(&self, id: usize) -> Key<'_> {
        let Shape { topics, partitions, .. } = self.shape;
        let group = id / (topics * partitions);
        let topic = id / partitions % topics;
        // Rising with the topic within a group.
        let name = (group * topics + topic) % TOPIC_NAMES;
        Key {
            id,
            group: self.group(group),
            topic: &self.topic_names[name * TOPIC_LEN..][..TOPIC_LEN],
            partition: (id % partitions) as i32,
        }
    }

    /// A batch of neighbouring keys of one group, set to what belongs to `offset`. The size divides
    /// the keys of a group.
    pub fn fill_batch<'a>(&'a self, batch: Batch, into: &mut Vec<Change<'a>>) {
        debug_assert!(self.shape.keys_per_group().is_multiple_of(batch.size));
        into.clear();
        into.extend((0..batch.size).map(|i| self.change_of(batch, i)));
    }

    /// One change of a batch.
    pub fn change_of(&self, batch: Batch, i: usize) -> Change<'_> {
        let Batch { number, size, offset } = batch;
        let id = number * size + i;
        let value = self.value(offset, id.is_multiple_of(10), offset as usize / BATCHES_PER_MS);
        (self.key(id), value)
    }

    fn value(&self, offset: i64, with_metadata: bool, i: usize) -> Value<'static> {
        Value {
            offset,
            leader_epoch: (offset & 7) as i32,
            timestamp_ms: START_MS + (i / COMMITS_PER_MS) as i64,
            metadata: if with_metadata && self.has_metadata { METADATA } else { "" },
        }
    }

    /// The commits of one of several threads.
    pub fn stream(&self, thread: usize, threads: usize) -> Stream<'_> {
        Stream { workload: self, thread, threads, done: 0 }
    }
}

/// Neighbouring keys that are committed together.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Counts batches of this size from the first key on.
    pub number: usize,
    /// How many keys.
    pub size: usize,
    /// What all of them are set to.
    pub offset: i64,
}

/// An endless sequence of picks, which can be walked through again to know what was picked.
#[derive(Clone, Debug)]
pub struct Stream<'a> {
    workload: &'a Workload,
    thread: usize,
    threads: usize,
    done: usize,
}

impl<'a> Stream<'a> {
    /// The next key and its value.
    #[inline]
    pub fn next_commit(&mut self) -> Change<'a> {
        let change = self.commit_at(self.done);
        self.done += 1;
        change
    }

    /// The next key alone.
    #[inline]
    pub fn next_key(&mut self) -> Key<'a> {
        let pick = self.pick(self.done);
        self.done += 1;
        self.workload.key((pick & !WITH_METADATA) as usize)
    }

    /// The next batch.
    #[inline]
    pub fn next_batch(&mut self, size: usize) -> Batch {
        let batch = self.batch_at(self.done, size);
        self.done += 1;
        batch
    }

    /// A group, to read it.
    #[inline]
    pub fn next_group(&mut self) -> &'a str {
        self.next_key().group
    }

    /// What the `i`th commit was.
    pub fn commit_at(&self, i: usize) -> Change<'a> {
        let pick = self.pick(i);
        let key = self.workload.key((pick & !WITH_METADATA) as usize);
        (key, self.workload.value(self.offset(i), pick & WITH_METADATA != 0, i))
    }

    /// What the `i`th batch was.
    pub fn batch_at(&self, i: usize, size: usize) -> Batch {
        let pick = (self.pick(i) & !WITH_METADATA) as usize;
        Batch { number: pick / size, size, offset: self.offset(i) }
    }

    /// Goes on as if this many had been taken.
    pub fn skip_to(&mut self, done: usize) {
        self.done = done;
    }

    /// How many were taken.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The first of those that were taken which was not picked again for sure: the sequence repeats.
    pub fn last_period(&self) -> usize {
        self.done.saturating_sub(PICKS)
    }

    /// Offsets of different threads differ. Zero is what the keys begin with.
    fn offset(&self, i: usize) -> i64 {
        (i * self.threads + self.thread + 1) as i64
    }

    fn pick(&self, i: usize) -> u32 {
        let start = self.thread * (PICKS / self.threads);
        self.workload.picks[(start + i) % PICKS]
    }
}

/// SplitMix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
