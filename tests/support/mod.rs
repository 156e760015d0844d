//! What the tests share: a model of a store, histories, and what may be found after a crash.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pagemark::testkit::SimDisk;
use pagemark::{
    Commit, CommitBatch, Durability, Environment, Error, Key, NextOffset, OffsetStore, Options,
};

/// A clock that stands still and numbers from a seed: the same calls give the same bytes.
#[derive(Debug)]
pub struct Fixed(AtomicU64);

impl Fixed {
    pub fn new(seed: u64) -> Arc<Fixed> {
        Arc::new(Fixed(AtomicU64::new(seed)))
    }
}

impl Environment for Fixed {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn random(&self) -> u64 {
        mix(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// SplitMix64: a number that looks random for each number.
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A source of lots for a test.
#[derive(Clone, Debug)]
pub struct Lots(pub u64);

impl Lots {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }
}

/// The options under which a test is the same every time.
pub fn options(seed: u64) -> Options {
    Options::new()
        .segment_size(16 << 10)
        .background(false)
        .durability(Durability::Buffered)
        .environment(Fixed::new(seed))
}

/// The state of a store: group, topic, partition to offset and metadata.
pub type State = BTreeMap<(String, String, i32), (i64, String)>;

/// Topic, partition, and the offset and metadata that they get; none deletes.
pub type Change = (&'static str, i32, Option<(i64, String)>);

/// One step of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Changes of one group that take effect all or none.
    Batch {
        group: &'static str,
        changes: Vec<Change>,
    },
    DeleteGroup(&'static str),
    DeleteTopic(&'static str, &'static str),
    Sync,
    Compact,
    /// Close in order and open again.
    Reopen,
}

const GROUPS: [&str; 3] = ["a", "billing", "größe"];
const TOPICS: [&str; 3] = ["t", "orders", "audit-log-of-everything"];

/// A history of `len` steps. Every commit has an offset of its own, so that an invented or swapped
/// value is noticed.
pub fn history(seed: u64, len: usize) -> Vec<Step> {
    let mut lots = Lots(mix(seed));
    let mut offset = 0;
    (0..len)
        .map(|_| {
            let group = GROUPS[lots.below(3) as usize];
            let topic = TOPICS[lots.below(3) as usize];
            match lots.below(20) {
                0 => Step::DeleteGroup(group),
                1 => Step::DeleteTopic(group, topic),
                2 | 3 => Step::Sync,
                4 => Step::Reopen,
                5 => Step::Compact,
                _ => {
                    let count = 1 + lots.below(4) * lots.below(3);
                    let changes = (0..count)
                        .map(|_| {
                            let topic = TOPICS[lots.below(3) as usize];
                            let partition = [0, 1, 70, i32::MAX][lots.below(4) as usize];
                            offset += 1;
                            // Long ones fill a segment of 16 KiB within a few commits.
                            let metadata = [0, 0, 1, 30, 1_000, 1_600][lots.below(6) as usize];
                            let metadata = "m".repeat(metadata);
                            let delete = lots.below(6) == 0;
                            (topic, partition, (!delete).then_some((offset, metadata)))
                        })
                        .collect();
                    Step::Batch { group, changes }
                }
            }
        })
        .collect()
}

/// The commit that a history makes of an offset and metadata.
pub fn commit_of(offset: i64, metadata: &str) -> Commit<'_> {
    let commit = Commit::new(NextOffset(offset)).metadata(metadata);
    match expiry_of(offset, metadata) {
        Some(expire_at_ms) => commit.expire_at_ms(expire_at_ms),
        None => commit,
    }
}

/// When such a commit expires: those with long metadata do, each at a time of its own.
fn expiry_of(offset: i64, metadata: &str) -> Option<i64> {
    let expires = metadata.starts_with('m') && metadata.len() >= 30;
    expires.then_some(offset.wrapping_mul(0x0123_4567_89ab_cdef))
}

/// What a step makes of a state.
pub fn apply(state: &mut State, step: &Step) {
    match step {
        Step::Batch { group, changes } => {
            for (topic, partition, value) in changes {
                let key = (group.to_string(), topic.to_string(), *partition);
                match value {
                    Some(value) => {
                        state.insert(key, value.clone());
                    }
                    None => {
                        state.remove(&key);
                    }
                }
            }
        }
        Step::DeleteGroup(group) => state.retain(|key, _| key.0 != *group),
        Step::DeleteTopic(group, topic) => {
            state.retain(|key, _| key.0 != *group || key.1 != *topic);
        }
        Step::Sync | Step::Compact | Step::Reopen => {}
    }
}

/// The states after each step of a history, the empty one first.
pub fn states(history: &[Step]) -> Vec<State> {
    let mut states = vec![State::new()];
    for step in history {
        let mut next = states.last().unwrap().clone();
        apply(&mut next, step);
        states.push(next);
    }
    states
}

/// Everything that a store shows.
pub fn observe(store: &OffsetStore) -> State {
    let mut state = State::new();
    for group in store.groups() {
        for (key, value) in store.fetch_group(&group) {
            let by_key = store.fetch(Key::new(&group, key.topic(), key.partition())).unwrap();
            assert_eq!(by_key, value, "the two ways to fetch agree");
            let expected = expiry_of(value.offset().0, value.metadata());
            assert_eq!(value.expire_at_ms(), expected, "{group:?} {key}");
            let value = (value.offset().0, value.metadata().to_owned());
            state.insert((group.clone(), key.topic().to_owned(), key.partition()), value);
        }
    }
    state
}

/// A store on a simulated disk that a history is played on.
#[derive(Debug)]
pub struct Player {
    pub disk: SimDisk,
    pub options: Options,
    pub store: Option<OffsetStore>,
    /// The number of steps that succeeded.
    pub done: usize,
    /// The number of leading steps that are durable for certain.
    pub durable: usize,
}

impl Player {
    pub fn new(disk: SimDisk, options: Options) -> Player {
        Player { disk, options, store: None, done: 0, durable: 0 }
    }

    /// Plays the history until a call fails. A call that failed may or may not have happened.
    pub fn play(&mut self, history: &[Step]) -> Result<(), Error> {
        if self.store.is_none() {
            self.store = Some(self.options.open_in(self.disk.dir())?);
            self.durable = self.done;
        }
        for step in history {
            self.step(step)?;
            self.done += 1;
            if matches!(step, Step::Sync | Step::Compact | Step::Reopen) {
                self.durable = self.done;
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Error> {
        let store = self.store.as_ref().unwrap();
        match step {
            Step::Batch { group, changes } => {
                let mut batch = CommitBatch::new(group);
                for (topic, partition, value) in changes {
                    match value {
                        Some((offset, metadata)) => {
                            batch.commit(topic, *partition, commit_of(*offset, metadata))
                        }
                        None => batch.delete(topic, *partition),
                    };
                }
                store.commit_batch(&batch)?;
            }
            Step::DeleteGroup(group) => {
                store.delete_group(group)?;
            }
            Step::DeleteTopic(group, topic) => {
                store.delete_topic(group, topic)?;
            }
            Step::Sync => {
                store.sync()?;
            }
            Step::Compact => {
                store.compact()?;
            }
            Step::Reopen => {
                self.store.take().unwrap().close()?;
                self.store = Some(self.options.open_in(self.disk.dir())?);
            }
        }
        Ok(())
    }
}

/// Opens what a crash left, and checks that it shows the state after at least the durable and at
/// most the attempted steps. Returns the store and the number of steps that it shows.
pub fn check_survivor(
    disk: &SimDisk,
    options: &Options,
    states: &[State],
    durable: usize,
    attempted: usize,
    context: &dyn std::fmt::Debug,
) -> (OffsetStore, usize) {
    let store = options
        .open_in(disk.dir())
        .unwrap_or_else(|error| panic!("{context:?}: cannot be opened: {error}"));
    check_files(disk, context);
    let found = observe(&store);
    let shown = (durable..=attempted).find(|steps| states[*steps] == found);
    let Some(shown) = shown else {
        panic!(
            "{context:?}: shows none of the states after {durable} to {attempted} steps\n\
             found: {}\nstates: {:#?}",
            brief(&found),
            states[durable..=attempted].iter().map(brief).collect::<Vec<_>>()
        );
    };
    (store, shown)
}

/// Checks that an open store has no file that nobody will ever delete: no unfinished one, one
/// snapshot at most, and no segment that it covers.
pub fn check_files(disk: &SimDisk, context: &dyn std::fmt::Debug) {
    let files = disk.files();
    let seq = |name: &String, end| name.strip_suffix(end).map(|seq| seq.parse::<u64>().unwrap());
    let snapshots: Vec<u64> = files.iter().filter_map(|name| seq(name, ".snapshot")).collect();
    let segments: Vec<u64> = files.iter().filter_map(|name| seq(name, ".log")).collect();
    assert!(snapshots.len() <= 1, "{context:?}: {files:?}");
    assert!(segments.iter().all(|seq| snapshots.iter().all(|s| s < seq)), "{context:?}: {files:?}");
    let known = 1 + snapshots.len() + segments.len();
    assert_eq!(files.len(), known, "{context:?}: {files:?}");
}

/// A state without its long texts.
fn brief(state: &State) -> String {
    let value = |((group, topic, partition), (offset, metadata)): (
        &(String, String, i32),
        &(i64, String),
    )| { format!("{group}/{topic}/{partition}={offset}+{}", metadata.len()) };
    state.iter().map(value).collect::<Vec<_>>().join(" ")
}

/// Where the records of a segment begin and end, read as `docs/format.md` says.
pub fn record_bounds(bytes: &[u8]) -> Vec<usize> {
    let mut bounds = vec![4096];
    let mut at = 4096;
    while bytes[at + 4] != 0 {
        let words = u32::from_le_bytes([bytes[at + 5], bytes[at + 6], bytes[at + 7], 0]);
        at += words as usize * 4;
        bounds.push(at);
    }
    bounds
}
