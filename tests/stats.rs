//! The numbers of a store, against a model that counts what was done to it.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pagemark::testkit::SimDisk;
use pagemark::{Environment, Key, NextOffset};
use support::{Player, State, Step, history, options, record_bounds};

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
