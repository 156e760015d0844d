//! The numbers of a store, against a model that counts what was done to it.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use pagemark::testkit::SimDisk;
use pagemark::{Commit, Environment, Key, NextOffset};
use support::{Player, State, Step, history, options, record_bounds};

/// A clock that is set.
#[derive(Debug, Default)]
struct Set(AtomicI64);

impl Environment for Set {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000 + self.0.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }

    fn random(&self) -> u64 {
        7
    }
}

/// A clock of which every look takes a microsecond.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

impl Environment for Ticking {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.fetch_add(1000, Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        7
    }
}

/// Batches, commits and deletes.
type Counted = (u64, u64, u64);

/// Counts what a step does to a state.
fn count(counted: &mut Counted, before: &State, step: &Step) {
    let mut after = before.clone();
    step.apply(&mut after);
    match step {
        Step::Batch { group, changes, .. } => {
            let last: BTreeMap<_, _> = changes
                .iter()
                .map(|(topic, partition, value)| ((topic, partition), value))
                .collect();
            let commits = last.values().filter(|value| value.is_some()).count() as u64;
            let deleted = last.iter().filter(|((topic, partition), value)| {
                let key = (group.to_string(), topic.to_string(), **partition);
                value.is_none() && before.offsets.contains_key(&key)
            });
            *counted = (counted.0 + 1, counted.1 + commits, counted.2 + deleted.count() as u64);
        }
        Step::DeleteGroup(_) | Step::DeleteTopic(..) => {
            let deleted = (before.offsets.len() - after.offsets.len()) as u64;
            *counted = (counted.0 + u64::from(after != *before), counted.1, counted.2 + deleted);
        }
        Step::Reopen => *counted = (0, 0, 0),
        // The history has no others.
        _ => {}
    }
}

#[test]
fn what_is_done_is_counted() {
    for seed in 500..540 {
        let mut player = Player::new(SimDisk::new(), options(seed));
        let (mut counted, mut state) = ((0, 0, 0), State::new());
        for step in history(seed, 60) {
            player.play(std::slice::from_ref(&step)).unwrap();
            count(&mut counted, &state, &step);
            step.apply(&mut state);
            let stats = player.store.as_ref().unwrap().stats();
            assert_eq!((stats.batches, stats.commits, stats.deletes), counted, "{seed}: {step:?}");
            assert_eq!(stats.keys, state.offsets.len() as u64);
            let bytes = |((group, _, name, _), bytes): (&(String, _, String, i32), &Vec<u8>)| {
                (group.len() + name.len() + bytes.len()) as u64
            };
            let bytes: u64 = state.states.iter().map(bytes).sum();
            assert_eq!((stats.states, stats.state_bytes), (state.states.len() as u64, bytes));
        }
    }
}

#[test]
fn flushes_and_bytes_are_those_that_there_were() {
    let disk = SimDisk::new();
    let options = options(1).environment(Arc::<Ticking>::default());
    let end =
        |disk: &SimDisk| *record_bounds(&disk.contents(&disk.files()[0]).unwrap()).last().unwrap();
    let mut store = options.open_in(disk.dir()).unwrap();
    for round in 0..3 {
        let (found, stats) = (end(&disk), store.stats());
        assert_eq!((stats.appended_bytes, stats.flush_latency.count()), (0, 0), "round {round}");
        for offset in 0..10 {
            store.commit(Key::new("g", "t", 0), NextOffset(offset)).unwrap();
            assert_eq!(store.stats().appended_bytes, (end(&disk) - found) as u64);
            store.sync().unwrap();
        }
        let stats = store.stats();
        assert_eq!((stats.flushes, stats.flush_latency.count()), (10, 10));
        assert_eq!(stats.flush_latency.sum(), Duration::from_micros(10));
        assert!(stats.flush_latency.quantile(1.0) >= Duration::from_micros(1));
        store.close().unwrap();
        store = options.open_in(disk.dir()).unwrap();
    }
}

#[test]
fn the_segments_and_their_size_are_those_of_the_files() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    for round in 0..30 {
        for partition in 0..100 {
            store.commit(Key::new("g", "t", partition), NextOffset(round)).unwrap();
        }
        let logs = disk.files().into_iter().filter(|name| name.ends_with(".log"));
        let sizes: Vec<u64> = logs.map(|name| disk.contents(&name).unwrap().len() as u64).collect();
        let stats = store.stats();
        assert_eq!((stats.segments, stats.log_bytes), (sizes.len() as u64, sizes.iter().sum()));
        if round == 20 {
            assert!(sizes.len() > 2, "{sizes:?}");
            store.compact().unwrap();
        }
    }
}

/// The size of the newest segment: of a log that begins again behind a snapshot of so many keys.
fn size_behind(keys: i32) -> u64 {
    let disk = SimDisk::new();
    let store = options(1).segment_size(64 << 20).open_in(disk.dir()).unwrap();
    for partition in 0..keys {
        store.commit(Key::new("g", "t", partition), NextOffset(1)).unwrap();
    }
    store.compact().unwrap();
    let stats = store.stats();
    assert_eq!(stats.segments, 1);
    stats.log_bytes
}

#[test]
fn a_log_that_begins_again_takes_an_eighth_of_what_lives_and_64_kib_at_least() {
    assert_eq!(size_behind(1), 64 << 10);
    assert_eq!(size_behind(8_000), 64 << 10);
    for keys in [40_000, 100_000] {
        let share = size_behind(keys) / keys as u64;
        // A value takes about 40 bytes, and the size is a power of two.
        assert!((4..=12).contains(&share), "{share} bytes for each of {keys} keys");
    }
}

#[test]
fn a_segment_that_fills_within_a_minute_is_followed_by_one_of_twice_its_size() {
    let next_size = |passed_ms: i64, metadata: [usize; 2]| {
        let clock = Arc::new(Set::default());
        let options = options(1).segment_size(64 << 20).max_metadata_bytes(60 << 10);
        let store = options.environment(clock.clone()).open_in(SimDisk::new().dir()).unwrap();
        let first = store.stats().log_bytes;
        clock.0.store(passed_ms, Ordering::Relaxed);
        for partition in 0.. {
            let text = "x".repeat(metadata[partition as usize % 2]);
            let commit = Commit::new(NextOffset(1)).metadata(&text);
            store.commit(Key::new("g", "t", partition), commit).unwrap();
            if store.stats().segments == 2 {
                break;
            }
        }
        (first, store.stats().log_bytes - first)
    };
    assert_eq!(next_size(59_999, [1_000; 2]), (64 << 10, 128 << 10));
    assert_eq!(next_size(60_000, [1_000; 2]), (64 << 10, 64 << 10));
    // One that is not even half full when the next one has to come did not fill.
    assert_eq!(next_size(0, [20_000, 50_000]), (64 << 10, 64 << 10));
}

#[test]
fn segments_grow_to_a_few_times_what_lives_if_something_replaces_them() {
    const MIB: u64 = 1 << 20;
    // The sizes of segments, up to the first that is not larger than the one before.
    let largest = |auto_compact: bool, keys: i32| {
        let options = options(1).segment_size(64 * MIB).max_metadata_bytes(60 << 10);
        let options = options.auto_compact(auto_compact);
        let store = options.open_in(SimDisk::new().dir()).unwrap();
        let text = "x".repeat(60 << 10);
        let commit = |partition| {
            let commit = Commit::new(NextOffset(1)).metadata(&text);
            store.commit(Key::new("g", "t", partition), commit).unwrap();
        };
        (0..keys).for_each(commit);
        store.compact().unwrap();
        let mut before = store.stats();
        let mut size = 0;
        loop {
            commit(0);
            let now = store.stats();
            if now.segments > before.segments {
                let grown = now.log_bytes - before.log_bytes;
                if grown <= size {
                    return size;
                }
                (size, before) = (grown, now);
            }
        }
    };
    assert_eq!(largest(true, 1), 8 * MIB);
    // 100 values of 60 KiB are 5.9 MiB, of which the double is rounded up.
    assert_eq!(largest(true, 100), 16 * MIB);
    assert_eq!(largest(true, 1_000), 64 * MIB, "the most that is asked for");
    assert_eq!(largest(false, 1), 64 * MIB);
}
