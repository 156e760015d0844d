//! What decides when to compact, and what is told of it.

use super::super::open::open;
use super::*;
use crate::batch::CommitBatch;
use crate::format::names::FileName;
use crate::index::Value;
use crate::key::{Commit, Durability, Key, NextOffset};
use crate::options::Options;
use crate::state::StateOwner;
use crate::testkit::{FixedEnvironment, Op, SimDisk};

/// An index with so many keys.
fn index_of(keys: i32) -> Index {
    let (index, mut writer) = Index::new(1);
    for partition in 0..keys {
        let topic = index.resolve("g", "t");
        let value = Value {
            offset: 1,
            leader_epoch: None,
            timestamp_ms: 0,
            expire_at_ms: None,
            metadata: "",
            seq: 1,
        };
        assert!(index.set(&mut writer, &topic, topic.spot(partition), value));
    }
    index
}

fn wants(compaction: &Compaction) -> bool {
    format!("{:?}", compaction.signal).contains("wanted: true")
}

#[test]
fn what_lives_is_estimated_by_the_newest_snapshot() {
    let none = Compaction::new(None, Written::default());
    assert_eq!((none.snapshot_bytes(), none.live_bytes(&index_of(0))), (0, EMPTY_BYTES));
    assert_eq!(none.live_bytes(&index_of(10)), EMPTY_BYTES + 10 * ASSUMED_KEY_BYTES);
    let written = Written { bytes: EMPTY_BYTES + 700, keys: 7, state_bytes: 0 };
    let compaction = Compaction::new(Some(5), written);
    assert_eq!(compaction.snapshot_bytes(), EMPTY_BYTES + 700);
    assert_eq!(compaction.live_bytes(&index_of(3)), EMPTY_BYTES + 300);
}

#[test]
fn a_compaction_is_wanted_when_half_of_what_lives_is_sealed() {
    let compaction = Compaction::new(None, Written::default());
    let index = index_of(1000);
    let half = compaction.live_bytes(&index).div_ceil(2);
    for (sealed, wanted) in [(0, false), (half - 1, false), (half, true)] {
        compaction.consider(sealed, &index);
        assert_eq!(wants(&compaction), wanted, "{sealed} bytes");
    }
    assert!(!compaction.is_stopped());
    compaction.close();
    assert!(compaction.is_stopped());
}

#[test]
fn a_second_is_enough_for_as_many_bytes_as_the_rate_says() {
    assert_eq!(time_of(0), Duration::ZERO);
    assert_eq!(time_of(RATE), Duration::from_secs(1));
    assert_eq!(time_of(RATE / 4), Duration::from_millis(250));
    // What does not fit is cut off, as no piece is as long.
    assert!(time_of(u64::MAX) <= Duration::from_secs(u64::MAX / RATE));
}

#[test]
fn the_stats_add_up_and_a_success_ends_a_failure() {
    let compaction = Compaction::new(None, Written::default());
    let report = |snapshot_bytes| CompactionReport { snapshot_bytes, ..Default::default() };
    compaction.note(&Ok(report(0)));
    assert_eq!(compaction.stats(), CompactionStats::default(), "there was nothing to do");
    for (completed, bytes) in [(1, 100), (2, 300)] {
        compaction.note(&Err(Error::closed()));
        let stats = compaction.stats();
        assert_eq!(stats.failed, completed);
        assert_eq!(stats.failure, Some(Error::closed().to_string()));
        compaction.note(&Ok(report(completed * 100)));
        let stats = compaction.stats();
        assert_eq!((stats.completed, stats.bytes_written), (completed, bytes));
        assert_eq!((stats.failure, stats.last), (None, Some(report(completed * 100))));
    }
}

/// Closes a store that has one key and a log of so many bytes, and returns the lengths of the segments and
/// of the snapshots that it leaves. No thread prepares a segment or compacts meanwhile.
fn closed_with(log_bytes: u64) -> [Vec<usize>; 2] {
    let disk = SimDisk::new();
    let options = Options::new().environment(FixedEnvironment::new(1));
    let engine = open(disk.dir(), &options).unwrap();
    let left = || log_bytes - engine.log().unwrap().tail_bytes();
    let commit = |metadata: u64| {
        let (before, metadata) = (left(), "x".repeat(metadata as usize));
        let commit = Commit::new(NextOffset(1)).metadata(&metadata);
        engine.commit(Key::new("g", "t", 0), commit, Durability::Buffered).unwrap();
        before - left()
    };
    for segments in 1..3 {
        engine.spare.make_ready(2 << 20).unwrap();
        while engine.log().unwrap().segments().0 == segments && segments == 1 {
            commit(1000);
        }
    }
    let len = commit(1000);
    while left() > 2 * len {
        commit(1000);
    }
    commit(1000 + left() - len);
    assert_eq!(left(), 0);
    engine.close().unwrap();
    let lens = |kind: fn(&FileName) -> bool| {
        let files = disk.files().into_iter();
        let files =
            files.filter(|name| crate::format::names::parse(name).is_some_and(|n| kind(&n)));
        files.map(|name| disk.contents(&name).unwrap().len()).collect()
    };
    [
        lens(|name| matches!(name, FileName::Segment(_))),
        lens(|name| matches!(name, FileName::Snapshot(_))),
    ]
}

#[test]
fn a_close_compacts_what_takes_longer_to_read_and_leaves_a_short_segment() {
    let [segments, snapshots] = closed_with(1 << 20);
    assert_eq!((segments, snapshots.len()), (vec![64 << 10, 2 << 20], 0), "read in no time");
    let [segments, snapshots] = closed_with((1 << 20) + 4);
    // The next session does not go on in the large one that was ready.
    assert_eq!((segments, snapshots.len()), (vec![64 << 10], 1));
}

#[test]
fn a_close_compacts_a_short_log_only_if_little_lives() {
    let snapshots = |keys: i32, commits: i32| {
        let disk = SimDisk::new();
        let options = Options::new().environment(FixedEnvironment::new(1));
        let options = options.max_metadata_bytes(60 << 10);
        let engine = open(disk.dir(), &options).unwrap();
        let metadata = "x".repeat(60 << 10);
        let commit = |partition| {
            let commit = Commit::new(NextOffset(1)).metadata(&metadata);
            engine.commit(Key::new("g", "t", partition), commit, Durability::Buffered).unwrap();
        };
        (0..keys).for_each(commit);
        engine.compact(&mut |_| {}).unwrap();
        let first = disk.files();
        (0..commits).for_each(|_| commit(0));
        engine.close().unwrap();
        disk.files()
            .iter()
            .filter(|name| name.ends_with(".snapshot") && !first.contains(name))
            .count()
    };
    // Each has 60 KiB.
    assert_eq!([snapshots(32, 8), snapshots(32, 18), snapshots(260, 18)], [0, 1, 1]);
    assert_eq!([snapshots(280, 18), snapshots(280, 250), snapshots(280, 300)], [0, 0, 1]);
}

#[test]
fn a_long_snapshot_is_flushed_now_and_then() {
    const STATE: usize = 1 << 20;
    let flushes = |states: i32| {
        let disk = SimDisk::new();
        let options = Options::new().environment(FixedEnvironment::new(1));
        let engine = open(disk.dir(), &options).unwrap();
        let mut batch = CommitBatch::new("g");
        for part in 0..states {
            batch.clear();
            batch.put_state(StateOwner::Acks, "state", part, &[7; STATE]);
            engine.commit_batch(&batch, Durability::Synced).unwrap();
        }
        let before = disk.operations_of(Op::SyncFile);
        engine.compact(&mut |_| {}).unwrap();
        disk.operations_of(Op::SyncFile) - before
    };
    let short = flushes(1);
    let every = SYNC_EVERY as i32 / STATE as i32;
    assert_eq!(flushes(every - 1), short);
    assert_eq!(flushes(2 * every), short + 2);
}
