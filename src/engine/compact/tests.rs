//! What decides when to compact, and what is told of it.

use super::*;
use crate::index::Value;

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
