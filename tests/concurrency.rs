//! Threads: many committers on the same and on different keys, with readers beside them. What memory
//! shows in the end is what replay shows.

mod support;

#[cfg(target_os = "linux")]
#[path = "concurrency/held.rs"]
mod held;
#[cfg(target_os = "linux")]
#[path = "support/hooked.rs"]
mod hooked;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use pagemark::{
    Commit, CommitBatch, Durability, Key, NextOffset, OffsetStore, Options, Seq, WritePath,
};
use support::{Lots, observe};

const GROUPS: [&str; 2] = ["g", "h"];
const TOPICS: [&str; 2] = ["t", "u"];

fn small_segments(path: WritePath) -> Options {
    Options::new().segment_size(16 << 10).write_path(path)
}

/// Commits a value that can be told to be whole: its parts are all made from its offset.
fn commit(store: &OffsetStore, key: Key<'_>, number: i64, durability: Durability) -> Seq {
    let metadata = "x".repeat((number % 50) as usize);
    let commit = Commit::new(NextOffset(number))
        .leader_epoch((number % 1_000) as i32)
        .timestamp_ms(number * 3)
        .metadata(&metadata);
    store.commit_with(key, commit, durability).unwrap().seq()
}

/// Fails if a value is made of parts of two commits.
fn check_whole(value: &pagemark::CommittedOffset) {
    let number = value.offset().0;
    assert_eq!(value.leader_epoch(), Some((number % 1_000) as i32));
    assert_eq!(value.commit_timestamp_ms(), number * 3);
    assert_eq!(value.metadata().len() as i64, number % 50);
}

#[test]
fn committers_and_readers_share_a_store() {
    for path in [WritePath::Mapped, WritePath::Pwrite] {
        let dir = tempfile::tempdir().unwrap();
        let store = small_segments(path).open(dir.path()).unwrap();
        let done = AtomicBool::new(false);
        scope(|threads| {
            let committers: Vec<_> = (0..4)
                .map(|thread| {
                    let store = store.clone();
                    threads.spawn(move || committer(&store, thread))
                })
                .collect();
            for reader in 0..2 {
                let (store, done) = (&store, &done);
                threads.spawn(move || read_until(store, done, reader));
            }
            let last = committers.into_iter().map(|thread| thread.join().unwrap()).max().unwrap();
            assert_eq!(store.sync().unwrap(), last, "the highest receipt is the last record");
            done.store(true, Ordering::Relaxed);
        });
        let shown = observe(&store);
        assert_eq!(store.stats().keys, shown.offsets.len() as u64);
        drop(store);
        let store = OffsetStore::open(dir.path()).unwrap();
        assert_eq!(observe(&store), shown);
    }
}

/// Commits to shared keys and to one of its own, by names, slots and batches, and deletes.
fn committer(store: &OffsetStore, thread: u64) -> Seq {
    let mut lots = Lots(thread << 32);
    let own = format!("own-{thread}");
    let slot = store.slot(Key::new("g", &own, 0)).unwrap();
    let mut last = Seq::default();
    for i in 0..600 {
        let number = (thread * 1_000_000 + i) as i64;
        let group = GROUPS[lots.below(2) as usize];
        let topic = TOPICS[lots.below(2) as usize];
        let key = Key::new(group, topic, lots.below(3) as i32);
        let durability =
            if lots.below(10) == 0 { Durability::Synced } else { Durability::Buffered };
        let seq = match lots.below(20) {
            0 => store.delete(key).unwrap().seq(),
            1 => store.delete_topic(group, topic).unwrap().seq(),
            2 if i % 50 == 0 => store.delete_group("h").unwrap().seq(),
            3..=5 => {
                let mut batch = CommitBatch::new(group);
                for partition in 0..3 {
                    let commit = Commit::new(NextOffset(0)).leader_epoch(0).timestamp_ms(0);
                    batch.commit(topic, partition, commit);
                }
                store.commit_batch_with(&batch, durability).unwrap().seq()
            }
            6..=8 => {
                let receipt = slot.commit_with(NextOffset(number), durability).unwrap();
                assert_eq!(slot.offset(), Some(NextOffset(number)), "nobody else commits here");
                receipt.seq()
            }
            _ => commit(store, key, number, durability),
        };
        assert!(seq >= last, "what one thread does is in order");
        last = last.max(seq);
    }
    last
}

/// Reads single keys and whole groups. No value is torn, and no key goes back in history.
fn read_until(store: &OffsetStore, done: &AtomicBool, reader: u64) {
    let mut newest = std::collections::HashMap::new();
    let mut lots = Lots(reader << 40);
    while !done.load(Ordering::Relaxed) {
        let (group, topic) = (GROUPS[lots.below(2) as usize], TOPICS[lots.below(2) as usize]);
        let partition = lots.below(3) as i32;
        let durable = store.durable_seq();
        if let Some(value) = store.fetch(Key::new(group, topic, partition)) {
            check_whole(&value);
            assert!(value.is_durable() || value.seq() > durable);
            let before = newest.insert((group, topic, partition), value.seq());
            assert!(before.is_none_or(|before| before <= value.seq()), "went back");
        }
        store.visit_group(group, |topic, _, value| {
            if !topic.starts_with("own") {
                check_whole(value);
            }
        });
    }
}

#[test]
fn a_synced_commit_is_durable_when_it_returns_whoever_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let store = small_segments(WritePath::Auto).background(false).open(dir.path()).unwrap();
    scope(|threads| {
        for thread in 0..8 {
            let store = &store;
            threads.spawn(move || {
                let slot = store.slot(Key::new("g", "t", thread)).unwrap();
                for i in 0..200 {
                    let seq = slot.commit(NextOffset(i)).unwrap().seq();
                    assert!(store.durable_seq() >= seq);
                    assert!(slot.fetch().unwrap().is_durable());
                }
            });
        }
    });
    let stats = store.stats();
    assert!(stats.flushes <= 8 * 200, "flushes are shared: {}", stats.flushes);
}

#[test]
fn waiting_threads_are_not_stranded_by_a_failed_flush() {
    use pagemark::testkit::{Op, SimDisk};
    let disk = SimDisk::new();
    let store = support::options(1).open_in(disk.dir()).unwrap();
    disk.fail_nth(Op::SyncFile, 5, std::io::ErrorKind::Other);
    let errors: usize = scope(|threads| {
        let committers: Vec<_> = (0..6)
            .map(|thread| {
                let store = &store;
                threads.spawn(move || {
                    (0..50)
                        .filter(|i| {
                            let key = Key::new("g", "t", thread);
                            store.commit_with(key, NextOffset(*i), Durability::Synced).is_err()
                        })
                        .count()
                })
            })
            .collect();
        committers.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(errors > 6 * 40, "all commits after the failure fail: {errors}");
}

#[test]
fn closing_waits_for_nobody_and_every_commit_is_either_refused_or_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = small_segments(WritePath::Auto).open(dir.path()).unwrap();
    let kept = scope(|threads| {
        let committers: Vec<_> = (0..4)
            .map(|thread| {
                let store = store.clone();
                threads.spawn(move || {
                    let key = Key::new("g", "t", thread);
                    (1..)
                        .take_while(|i| {
                            let commit = NextOffset(*i);
                            store.commit_with(key, commit, Durability::Buffered).is_ok()
                        })
                        .last()
                        .unwrap_or(0)
                })
            })
            .collect();
        while store.stats().keys < 4 {
            std::hint::spin_loop();
        }
        store.clone().close().unwrap();
        committers.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let store = OffsetStore::open(dir.path()).unwrap();
    assert!(store.recovery_report().clean);
    for (thread, offset) in (0..).zip(kept) {
        let found = store.fetch(Key::new("g", "t", thread)).unwrap();
        assert_eq!(found.offset(), NextOffset(offset));
    }
}
