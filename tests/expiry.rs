//! Values that go at a time of their own: random histories on a simulated disk against a model, with
//! crashes, reopening and compaction in between.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use pagemark::testkit::SimDisk;
use pagemark::{
    Commit, CommitBatch, Durability, Environment, ErrorKind, Key, NextOffset, OffsetStore, Options,
};
use support::{Lots, mix, options};

const START_MS: i64 = 1_700_000_000_000;
const GROUPS: [&str; 3] = ["a", "billing", "größe"];

/// A clock that a test sets.
#[derive(Debug)]
struct Clock {
    now_ms: AtomicI64,
    random: AtomicU64,
}

impl Clock {
    fn new(seed: u64) -> Arc<Clock> {
        Arc::new(Clock { now_ms: AtomicI64::new(START_MS), random: AtomicU64::new(seed) })
    }

    fn set(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Environment for Clock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        mix(self.random.fetch_add(1, Ordering::Relaxed))
    }
}

type Name = (String, String, i32);

/// Offset, leader epoch, metadata, timestamp and expiry.
type Value = (i64, Option<i32>, String, i64, Option<i64>);

type Model = BTreeMap<Name, Value>;

fn observe(store: &OffsetStore) -> Model {
    let mut model = Model::new();
    for group in store.groups() {
        store.visit_group(&group, |topic, partition, value| {
            let metadata = value.metadata().to_owned();
            let (epoch, time) = (value.leader_epoch(), value.commit_timestamp_ms());
            let value = (value.offset().0, epoch, metadata, time, value.expire_at_ms());
            model.insert((group.clone(), topic.to_owned(), partition), value);
        });
    }
    model
}

fn due(model: &Model, now_ms: i64) -> Model {
    let is_due = |value: &Value| value.4.is_some_and(|expire_at_ms| expire_at_ms <= now_ms);
    model.iter().filter(|(_, v)| is_due(v)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn without(model: &Model, gone: &Model) -> Model {
    let stays = model.iter().filter(|(key, _)| !gone.contains_key(*key));
    stays.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn listed(store: &OffsetStore) -> Vec<Name> {
    let due = store.expired().into_iter();
    due.map(|(group, key, _)| (group, key.topic().to_owned(), key.partition())).collect()
}

/// A batch of commits and deletes of one group, some of which expire around `now_ms`.
fn draw_batch(lots: &mut Lots, model: &mut Model, now_ms: i64) -> CommitBatch {
    let group = GROUPS[lots.below(3) as usize];
    let mut batch = CommitBatch::new(group);
    for _ in 0..1 + lots.below(4) * lots.below(4) {
        let topic = ["t", "orders", "audit"][lots.below(3) as usize];
        let partition = [0, 1, 2, 70, 200, i32::MAX][lots.below(6) as usize];
        let key = (group.to_owned(), topic.to_owned(), partition);
        if lots.below(8) == 0 {
            batch.delete(topic, partition);
            model.remove(&key);
            continue;
        }
        let metadata = "m".repeat([0, 0, 0, 1, 8, 9, 1_000][lots.below(7) as usize]);
        let epoch = (lots.below(2) == 0).then(|| lots.below(1 << 31) as i32);
        let time = [now_ms, now_ms + 7, i64::MIN, 0][lots.below(4) as usize];
        let expiry = match lots.below(8) {
            0..3 => None,
            3 => Some([i64::MIN, -1, 0, i64::MAX][lots.below(4) as usize]),
            _ => Some(now_ms - 5 + lots.below(40) as i64),
        };
        let offset = lots.below(1 << 62) as i64;
        let mut commit = Commit::new(NextOffset(offset)).metadata(&metadata).timestamp_ms(time);
        commit = epoch.map_or(commit, |epoch| commit.leader_epoch(epoch));
        commit = expiry.map_or(commit, |expiry| commit.expire_at_ms(expiry));
        batch.commit(topic, partition, commit);
        model.insert(key, (offset, epoch, metadata, time, expiry));
    }
    batch
}

#[test]
fn exactly_what_is_due_goes_and_nothing_comes_back() {
    let (mut gone, mut crashes) = (0, 0);
    for seed in 0..60 {
        let mut lots = Lots(mix(seed));
        let clock = Clock::new(seed);
        let options = options(seed).environment(clock.clone());
        let mut disk = SimDisk::new();
        let mut store = options.open_in(disk.dir()).unwrap();
        // What may be there after a power cut: what was durable, and each step since.
        let mut models = vec![Model::new()];
        let mut now_ms = START_MS;
        let mut expirations = 0;
        for step in 0..200 {
            let context = format!("seed {seed}, step {step}");
            let mut model = models.last().unwrap().clone();
            match lots.below(16) {
                0 => {
                    now_ms += lots.below(30) as i64 - 3;
                    clock.set(now_ms);
                }
                1 | 2 => {
                    let due = due(&model, now_ms);
                    assert_eq!(listed(&store), due.keys().cloned().collect::<Vec<_>>());
                    let report = store.expire().unwrap();
                    assert_eq!(report.expired, due.len() as u64, "{context}");
                    assert_eq!((report.visited, report.now_ms), (model.len() as u64, now_ms));
                    model = without(&model, &due);
                    assert!(store.expired().is_empty(), "{context}");
                    // A sweep takes several steps of one group each, and power may be lost between.
                    if models.len() > 1 || !due.is_empty() {
                        store.sync().unwrap();
                        models.clear();
                    }
                    (gone, expirations) = (gone + due.len(), expirations + report.expired);
                }
                3 => {
                    store.compact().unwrap();
                    models.clear();
                }
                4 => {
                    store.sync().unwrap();
                    models.clear();
                }
                5 => {
                    assert_eq!(store.stats().expirations, expirations, "{context}");
                    expirations = 0;
                    store.close().unwrap();
                    store = options.open_in(disk.dir()).unwrap();
                    models.clear();
                }
                6 => {
                    let died = lots.below(2) == 0;
                    disk = if died { disk.process_crash() } else { disk.power_cut(lots.draw()) };
                    drop(store);
                    store = options.open_in(disk.dir()).unwrap();
                    let found = observe(&store);
                    let possible = if died { models.len() - 1 } else { 0 };
                    assert!(models[possible..].contains(&found), "{context}: {found:?}");
                    (model, models, expirations) = (found, Vec::new(), 0);
                    crashes += 1;
                }
                7 => {
                    let group = GROUPS[lots.below(3) as usize];
                    store.delete_group(group).unwrap();
                    model.retain(|key, _| key.0 != group);
                }
                _ => {
                    let batch = draw_batch(&mut lots, &mut model, now_ms);
                    store.commit_batch(&batch).unwrap();
                }
            }
            assert_eq!(observe(&store), model, "{context}");
            models.push(model);
        }
    }
    assert!(gone > 1000 && crashes > 300, "{gone} expired, {crashes} crashes");
}

/// The machine stops at every operation of a sweep that takes many steps: what is not due is there,
/// what is due is there or not, and the next sweep ends the work for good.
#[test]
fn a_sweep_that_is_interrupted_takes_nothing_else_with_it() {
    let clock = Clock::new(9);
    let options = options(9).environment(clock.clone()).durability(Durability::Synced);
    let disk = SimDisk::new();
    let store = options.open_in(disk.dir()).unwrap();
    for group in GROUPS {
        // Topics with long names, so that a step holds few of them.
        for topic in [1, 900, 1800, 2700].map(|len| "t".repeat(len)) {
            let mut batch = CommitBatch::new(group);
            for partition in 0..100 {
                let expire_at_ms = START_MS + i64::from(partition % 3);
                let commit = Commit::new(NextOffset(1)).expire_at_ms(expire_at_ms);
                batch.commit(&topic, partition, commit);
            }
            store.commit_batch(&batch).unwrap();
        }
    }
    clock.set(START_MS + 1);
    let before = observe(&store);
    let due = due(&before, START_MS + 1);
    let after = without(&before, &due);
    drop(store);
    let (mut points, mut partial) = (0, 0);
    loop {
        let disk = disk.process_crash();
        let store = options.open_in(disk.dir()).unwrap();
        disk.freeze_at(disk.operations() + points);
        let swept = store.expire();
        if !disk.is_frozen() {
            assert_eq!(swept.unwrap().expired, due.len() as u64);
            break;
        }
        drop(store);
        for seed in 0..4 {
            let disk = disk.power_cut(seed);
            let store = options.open_in(disk.dir()).unwrap();
            let found = observe(&store);
            assert!(without(&before, &found).keys().all(|key| due.contains_key(key)));
            assert!(found.iter().all(|(key, value)| before.get(key) == Some(value)));
            partial += u32::from(found != before && found != after);
            let left = (found.len() - after.len()) as u64;
            assert_eq!(store.expire().unwrap().expired, left);
            let store = options.open_in(disk.power_cut(seed).dir()).unwrap();
            assert_eq!(observe(&store), after, "synced, so it stays");
        }
        points += 1;
    }
    assert!(points > 5 && partial > 5, "{points} points, {partial} of them in the middle");
}

/// Raises a flag when it goes out of scope.
struct Raises<'a>(&'a AtomicBool);

impl Drop for Raises<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A commit that comes between the look and the delete keeps its value.
#[test]
fn what_is_committed_anew_is_not_deleted() {
    let disk = SimDisk::new();
    let options = Options::new().background(false).durability(Durability::Buffered);
    let options = options.environment(Clock::new(1));
    let store = options.open_in(disk.dir()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    store.expire().unwrap();
                }
            });
        }
        // Also if an assertion fails: the sweeps would never end.
        let _end = Raises(&done);
        // Two values in turn: one that is due at once, and one that is not.
        for offset in 0..300 {
            for partition in 0..60 {
                let key = Key::new("g", "t", partition);
                let due = Commit::new(NextOffset(offset)).expire_at_ms(0);
                store.commit(key, due).unwrap();
            }
            for partition in 0..60 {
                let key = Key::new("g", "t", partition);
                store.commit(key, NextOffset(offset)).unwrap();
            }
            for partition in 0..60 {
                let found = store.fetch(Key::new("g", "t", partition));
                let found = found.unwrap_or_else(|| panic!("offset {offset} of {partition}"));
                assert_eq!((found.offset(), found.expire_at_ms()), (NextOffset(offset), None));
            }
        }
    });
    assert_eq!(store.stats().keys, 60);
}

#[test]
fn the_boundary_the_clearing_and_the_closed_store() {
    let clock = Clock::new(2);
    let options = options(2).environment(clock.clone());
    let disk = SimDisk::new();
    let store = options.open_in(disk.dir()).unwrap();
    let key = Key::new("g", "t", 0);
    store.commit(key, Commit::new(NextOffset(1)).expire_at_ms(START_MS + 1)).unwrap();
    assert_eq!((store.expired(), store.expire().unwrap().expired), (Vec::new(), 0));
    clock.set(START_MS + 1);
    let listed = store.expired();
    assert_eq!((listed.len(), listed[0].0.as_str(), listed[0].1.partition()), (1, "g", 0));
    assert_eq!(listed[0].2, store.fetch(key).unwrap(), "a dry run changes nothing");
    // A later commit without an expiry clears it, in memory and behind a replay.
    let slot = store.slot(key).unwrap();
    slot.commit(NextOffset(2)).unwrap();
    assert_eq!((store.expire().unwrap().expired, slot.offset()), (0, Some(NextOffset(2))));
    drop((slot, store));
    let store = options.open_in(disk.dir()).unwrap();
    assert_eq!(store.fetch(key).unwrap().expire_at_ms(), None);
    let other = store.clone();
    store.close().unwrap();
    assert_eq!(other.expire().unwrap_err().kind(), ErrorKind::Closed);
}
