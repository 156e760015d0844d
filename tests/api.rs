//! The public face: every documented sentence that a small example can show.

use std::sync::Arc;
use std::time::Duration;

use pagemark::testkit::FixedEnvironment;
use pagemark::{
    Commit, CommitBatch, Durability, ErrorKind, Key, LastProcessed, NextOffset, OffsetStore,
    Options, TopicPartition,
};

fn open(dir: &tempfile::TempDir) -> OffsetStore {
    OffsetStore::open(dir.path()).unwrap()
}

#[test]
fn what_is_committed_is_fetched_and_survives_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    assert!(store.recovery_report().created);
    let key = Key::new("billing", "orders", 3);
    assert_eq!(store.fetch(key), None);
    let commit = Commit::new(NextOffset(42))
        .leader_epoch(5)
        .metadata("größe")
        .timestamp_ms(1_700_000_000_000);
    let receipt = store.commit(key, commit).unwrap();
    let check = |store: &OffsetStore| {
        let found = store.fetch(key).unwrap();
        assert_eq!(found.offset(), NextOffset(42));
        assert_eq!(found.leader_epoch(), Some(5));
        assert_eq!(found.metadata(), "größe");
        assert_eq!(found.commit_timestamp_ms(), 1_700_000_000_000);
        assert_eq!(found.seq(), receipt.seq());
        assert!(found.is_durable());
    };
    check(&store);
    assert_eq!(store.durable_seq(), receipt.seq());
    store.close().unwrap();
    let store = open(&dir);
    check(&store);
    let report = store.recovery_report();
    assert!(report.clean && !report.created && report.cut.is_none(), "{report:?}");
    assert_eq!(report.changes, 1);
    assert!(store.commit(key, NextOffset(43)).unwrap().seq() > receipt.seq());
}

#[test]
fn the_latest_commit_counts_also_when_it_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let key = Key::new("g", "t", 0);
    store.commit(key, NextOffset(10)).unwrap();
    store.commit(key, NextOffset(3)).unwrap();
    assert_eq!(store.fetch(key).unwrap().offset(), NextOffset(3));
    store.commit(key, LastProcessed(7)).unwrap();
    assert_eq!(store.fetch(key).unwrap().offset(), NextOffset(8));
    store.commit(key, LastProcessed(-1)).unwrap();
    assert_eq!(store.fetch(key).unwrap().offset(), NextOffset(0));
}

#[test]
fn buffered_commits_become_durable_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new()
        .durability(Durability::Buffered)
        .flush_interval(Duration::from_secs(3600))
        .open(dir.path())
        .unwrap();
    let key = Key::new("g", "t", 0);
    let first = store.commit(key, NextOffset(1)).unwrap();
    assert!(!store.fetch(key).unwrap().is_durable());
    assert!(store.durable_seq() < first.seq());
    store.wait_durable(first.seq(), Some(Duration::from_secs(60))).unwrap();
    assert!(store.fetch(key).unwrap().is_durable());
    let second = store.commit(key, NextOffset(2)).unwrap();
    assert_eq!(store.sync().unwrap(), second.seq());
    let third = store.commit_with(key, NextOffset(3), Durability::Synced).unwrap();
    assert_eq!(store.durable_seq(), third.seq());
    let dir = tempfile::tempdir().unwrap();
    let other = open(&dir);
    let error = other.wait_durable(third.seq(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "a seq of another store");
}

#[test]
fn the_background_flusher_makes_buffered_commits_durable() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new()
        .durability(Durability::Buffered)
        .flush_interval(Duration::from_millis(1))
        .open(dir.path())
        .unwrap();
    let key = Key::new("g", "t", 0);
    store.commit(key, NextOffset(1)).unwrap();
    let started = std::time::Instant::now();
    while !store.fetch(key).unwrap().is_durable() {
        assert!(started.elapsed() < Duration::from_secs(60), "nobody flushes");
        std::thread::yield_now();
    }
}

#[test]
fn a_batch_sets_and_deletes_keys_of_one_group() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.commit(Key::new("g", "old", 0), NextOffset(1)).unwrap();
    let mut batch = CommitBatch::new("g");
    batch.commit("b", 1, NextOffset(11)).commit("b", 0, NextOffset(10)).delete("old", 0);
    batch.commit("a", 0, Commit::new(NextOffset(5)).metadata("m")).commit("b", 1, NextOffset(12));
    let receipt = store.commit_batch(&batch).unwrap();
    let check = |store: &OffsetStore| {
        let all = store.fetch_group("g");
        let offsets: Vec<_> =
            all.iter().map(|(key, value)| (key.clone(), value.offset())).collect();
        let expected = [("a", 0, 5), ("b", 0, 10), ("b", 1, 12)];
        let expected: Vec<_> = expected
            .iter()
            .map(|(topic, p, offset)| (TopicPartition::new(*topic, *p), NextOffset(*offset)))
            .collect();
        assert_eq!(offsets, expected);
        assert!(all.iter().all(|(_, value)| value.seq() == receipt.seq()));
    };
    check(&store);
    let mut visited = Vec::new();
    store.visit_group("g", |topic, partition, value| {
        visited.push((TopicPartition::new(topic, partition), value.clone()));
    });
    assert_eq!(visited, store.fetch_group("g"));
    assert_eq!(store.commit_batch(&CommitBatch::new("g")).unwrap().seq(), receipt.seq());
    drop(store);
    check(&open(&dir));
}

#[test]
fn groups_are_sorted_and_only_those_with_a_value() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    assert!(store.groups().is_empty());
    for group in ["b", "a", "größe"] {
        store.commit(Key::new(group, "t", 0), NextOffset(1)).unwrap();
    }
    let slot = store.slot(Key::new("never", "t", 0)).unwrap();
    assert_eq!(store.groups(), ["a", "b", "größe"]);
    assert_eq!(slot.fetch(), None);
    store.delete_group("a").unwrap();
    assert_eq!(store.groups(), ["b", "größe"]);
    assert!(store.fetch_group("a").is_empty());
    assert_eq!((store.stats().groups, store.stats().keys), (2, 2));
}

#[test]
fn deletes_reach_what_they_name_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for topic in ["t", "u"] {
        for partition in [0, 1, i32::MAX] {
            store.commit(Key::new("g", topic, partition), NextOffset(1)).unwrap();
        }
    }
    let before = store.delete(Key::new("g", "t", 1)).unwrap();
    let nothing = store.delete(Key::new("g", "t", 1)).unwrap();
    assert_eq!(before, nothing, "deleting nothing writes nothing");
    store.delete_topic("g", "u").unwrap();
    store.delete_topic("no such group", "u").unwrap();
    let check = |store: &OffsetStore| {
        let keys: Vec<_> = store.fetch_group("g").into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [TopicPartition::new("t", 0), TopicPartition::new("t", i32::MAX)]);
    };
    check(&store);
    drop(store);
    let store = open(&dir);
    check(&store);
    store.delete_group("g").unwrap();
    drop(store);
    assert!(open(&dir).groups().is_empty());
}

#[test]
fn a_slot_stays_good_when_its_key_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let key = Key::new("g", "t", 0);
    let slot = store.slot(key).unwrap();
    slot.commit(NextOffset(1)).unwrap();
    assert_eq!(slot.offset(), Some(NextOffset(1)));
    assert_eq!(slot.fetch(), store.fetch(key));
    store.delete(key).unwrap();
    assert_eq!((slot.offset(), slot.fetch()), (None, None));
    store.commit(key, NextOffset(2)).unwrap();
    assert_eq!(slot.offset(), Some(NextOffset(2)));
    slot.commit_with(NextOffset(3), Durability::Buffered).unwrap();
    assert_eq!(store.fetch(key).unwrap().offset(), NextOffset(3));
    assert_eq!(slot.fetch().unwrap().offset(), NextOffset(3));
}

#[test]
fn arguments_outside_of_their_limits_get_their_errors_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let long = "x".repeat(40_000);
    let longest = "x".repeat(32_767);
    let kind = |key, commit: Commit<'_>| store.commit(key, commit).unwrap_err().kind();
    let one = Commit::new(NextOffset(1));
    assert_eq!(kind(Key::new(&long, "t", 0), one), ErrorKind::KeyTooLong);
    assert_eq!(kind(Key::new("g", &long, 0), one), ErrorKind::KeyTooLong);
    assert_eq!(kind(Key::new("", "t", 0), one), ErrorKind::InvalidArgument);
    assert_eq!(kind(Key::new("g", "", 0), one), ErrorKind::InvalidArgument);
    assert_eq!(kind(Key::new("g", "t", -1), one), ErrorKind::InvalidArgument);
    let key = Key::new("g", "t", 0);
    assert_eq!(kind(key, NextOffset(-1).into()), ErrorKind::InvalidArgument);
    assert_eq!(kind(key, LastProcessed(i64::MAX).into()), ErrorKind::InvalidArgument);
    assert_eq!(kind(key, one.leader_epoch(-1)), ErrorKind::InvalidArgument);
    let text = "m".repeat(5_000);
    assert_eq!(kind(key, one.metadata(&text)), ErrorKind::MetadataTooLarge);
    assert_eq!(store.slot(Key::new("g", "t", -1)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        store.delete(Key::new("g", "t", -1)).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    let mut batch = CommitBatch::new("g");
    batch.commit("fine", 0, NextOffset(1)).commit("t", -1, NextOffset(1));
    assert_eq!(store.commit_batch(&batch).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut batch = CommitBatch::new(&long);
    batch.delete("t", 0);
    assert_eq!(store.commit_batch(&batch).unwrap_err().kind(), ErrorKind::KeyTooLong);
    assert!(store.groups().is_empty(), "nothing of a refused batch is there");
    assert_eq!(store.fetch(Key::new(&long, "t", 0)), None);
    assert_eq!(store.fetch(Key::new("g", "t", -1)), None);

    let extreme = Key::new(&longest, &longest, i32::MAX);
    store.commit(extreme, Commit::new(NextOffset(i64::MAX)).timestamp_ms(i64::MIN)).unwrap();
    drop(store);
    let found = open(&dir).fetch(extreme).unwrap();
    assert_eq!(found.offset(), NextOffset(i64::MAX));
    assert_eq!(found.commit_timestamp_ms(), i64::MIN);
}

#[test]
fn names_are_kept_apart_whatever_they_contain() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let keys = [("a/b", "c"), ("a", "b/c"), ("a\0b", "c"), ("a", "\0"), ("a", "b"), ("ab", "c")];
    for (offset, (group, topic)) in (0..).zip(keys) {
        store.commit(Key::new(group, topic, 0), NextOffset(offset)).unwrap();
    }
    drop(store);
    let store = open(&dir);
    for (offset, (group, topic)) in (0..).zip(keys) {
        let found = store.fetch(Key::new(group, topic, 0)).unwrap();
        assert_eq!(found.offset(), NextOffset(offset));
    }
}

#[test]
fn options_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |options: Options| options.open(dir.path()).unwrap_err().kind();
    assert_eq!(refused(Options::new().segment_size(1 << 13)), ErrorKind::InvalidArgument);
    assert_eq!(refused(Options::new().segment_size(1 << 31)), ErrorKind::InvalidArgument);
    assert_eq!(refused(Options::new().flush_interval(Duration::ZERO)), ErrorKind::InvalidArgument);
    assert_eq!(refused(Options::new().max_metadata_bytes(70_000)), ErrorKind::InvalidArgument);
    assert_eq!(refused(Options::new().create_if_missing(false)), ErrorKind::NotAStore);
    let missing = dir.path().join("no/such/parent");
    assert_eq!(OffsetStore::open(missing).unwrap_err().kind(), ErrorKind::Io);
    let file = dir.path().join("file");
    std::fs::write(&file, "text").unwrap();
    assert_eq!(OffsetStore::open(&file).unwrap_err().kind(), ErrorKind::NotAStore);
    let found: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(found.len() <= 2, "nothing was created: {found:?}");
}

#[test]
fn a_second_open_is_locked_and_names_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let error = OffsetStore::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    let clone = store.clone();
    store.close().unwrap();
    let again = open(&dir);
    let key = Key::new("g", "t", 0);
    assert_eq!(clone.commit(key, NextOffset(1)).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.delete(key).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.clone().close().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.fetch(key), None);
    again.commit(key, NextOffset(1)).unwrap();
}

#[test]
fn a_small_store_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let store = open(&dir);
        store.commit(Key::new("g", "t", 0), NextOffset(round)).unwrap();
    }
    let bytes: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 200 << 10, "{bytes} bytes for one key");
}

#[test]
fn a_batch_that_fits_into_no_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().segment_size(16 << 10).open(dir.path()).unwrap();
    let mut batch = CommitBatch::new("g");
    for partition in 0..1_000 {
        batch.commit("t", partition, NextOffset(1));
    }
    assert_eq!(store.commit_batch(&batch).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(store.groups().is_empty());
    batch.clear();
    for partition in 0..500 {
        batch.commit("t", partition, NextOffset(2));
    }
    store.commit_batch(&batch).unwrap();
    store.commit_batch(&batch).unwrap();
    drop(store);
    assert_eq!(open(&dir).fetch_group("g").len(), 500);
}

#[test]
fn nothing_of_a_store_lives_on_when_its_last_handle_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let environment = FixedEnvironment::new(1);
    for round in 1..=10 {
        let options = Options::new().environment(environment.clone());
        let store = options.background(true).open(dir.path()).unwrap();
        store.commit(Key::new("g", "t", 0), NextOffset(round)).unwrap();
        drop(store);
        // The threads in the background have it, too, as long as they are there.
        assert_eq!(Arc::strong_count(&environment), 1, "round {round}");
    }
}
