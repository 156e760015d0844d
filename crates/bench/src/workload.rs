//! The workload: which keys, which values, in which order. The same for every engine.

/// Bytes of a group's name.
pub const GROUP_LEN: usize = 22;
/// Bytes of a topic's name.
pub const TOPIC_LEN: usize = 20;
/// Topics of a group.
pub const TOPICS: usize = 10;
/// Partitions of a topic.
pub const PARTITIONS: usize = 10;
/// Keys of a group, which is also the size of a batch.
pub const KEYS_PER_GROUP: usize = TOPICS * PARTITIONS;
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
    groups: usize,
    picks: Vec<u32>,
}

impl Workload {
    /// A workload over this many groups of [`KEYS_PER_GROUP`] keys.
    pub fn new(groups: usize) -> Workload {
        let group_names: String = (0..groups).map(|g| format!("billing-service-{g:06}")).collect();
        let topic_names: String =
            (0..TOPIC_NAMES).map(|t| format!("orders-events-{t:06}")).collect();
        assert_eq!(group_names.len(), groups * GROUP_LEN);
        assert_eq!(topic_names.len(), TOPIC_NAMES * TOPIC_LEN);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let keys = (groups * KEYS_PER_GROUP) as u64;
        let pick = |random: &mut Random| {
            let key = (random.next() % keys) as u32;
            if random.next().is_multiple_of(10) { key | WITH_METADATA } else { key }
        };
        let picks = (0..PICKS).map(|_| pick(&mut random)).collect();
        Workload { group_names, topic_names, groups, picks }
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.groups * KEYS_PER_GROUP
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// A group's name.
    pub fn group(&self, group: usize) -> &str {
        &self.group_names[group * GROUP_LEN..][..GROUP_LEN]
    }

    /// A key by its number.
    pub fn key(&self, id: usize) -> Key<'_> {
        let group = id / KEYS_PER_GROUP;
        let topic = id / PARTITIONS % TOPICS;
        // Rising with the topic within a group.
        let name = (group * TOPICS + topic) % TOPIC_NAMES;
        Key {
            id,
            group: self.group(group),
            topic: &self.topic_names[name * TOPIC_LEN..][..TOPIC_LEN],
            partition: (id % PARTITIONS) as i32,
        }
    }

    /// The keys of one group, set to what belongs to `offset`.
    pub fn fill_batch<'a>(&'a self, group: usize, offset: i64, into: &mut Vec<Change<'a>>) {
        into.clear();
        let first = group * KEYS_PER_GROUP;
        into.extend((first..first + KEYS_PER_GROUP).map(|id| {
            (self.key(id), value(offset, id % 10 == 0, offset as usize / KEYS_PER_GROUP))
        }));
    }

    /// The commits of one of several threads.
    pub fn stream(&self, thread: usize, threads: usize) -> Stream<'_> {
        Stream { workload: self, thread, threads, done: 0 }
    }
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

    /// The next group and the offset for all of its keys.
    #[inline]
    pub fn next_batch(&mut self) -> (usize, i64) {
        let batch = self.batch_at(self.done);
        self.done += 1;
        batch
    }

    /// What the `i`th commit was.
    pub fn commit_at(&self, i: usize) -> Change<'a> {
        let pick = self.pick(i);
        let key = self.workload.key((pick & !WITH_METADATA) as usize);
        (key, value(self.offset(i), pick & WITH_METADATA != 0, i))
    }

    /// What the `i`th batch was.
    pub fn batch_at(&self, i: usize) -> (usize, i64) {
        let pick = (self.pick(i) & !WITH_METADATA) as usize;
        (pick / KEYS_PER_GROUP, self.offset(i))
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

fn value(offset: i64, with_metadata: bool, i: usize) -> Value<'static> {
    Value {
        offset,
        leader_epoch: (offset & 7) as i32,
        timestamp_ms: START_MS + (i / COMMITS_PER_MS) as i64,
        metadata: if with_metadata { METADATA } else { "" },
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
