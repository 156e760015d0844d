//! States: what is kept for a group beside its offsets.

mod support;

use std::sync::Arc;

use pagemark::dump::{Body, Change, dump};
use pagemark::testkit::SimDisk;
use pagemark::{
    CommitBatch, ErrorKind, Key, MAX_STATE_BYTES, NextOffset, OffsetReader, OffsetStore, Options,
    StateChange, StateOwner,
};
use support::options;

use StateOwner::{Acks, Application, Claims, Membership};

fn batch(group: &str, fill: impl FnOnce(&mut CommitBatch) -> &mut CommitBatch) -> CommitBatch {
    let mut batch = CommitBatch::new(group);
    fill(&mut batch);
    batch
}

/// The states of a group that an owner has.
fn visited(store: &OffsetStore, group: &str, owner: StateOwner) -> Vec<(String, i32, Vec<u8>)> {
    let mut all = Vec::new();
    store.visit_states(group, owner, |name, part, bytes| {
        // The store may be used meanwhile.
        assert_eq!(store.state(group, owner, name, part).as_deref(), Some(bytes));
        all.push((name.to_owned(), part, bytes.to_vec()));
    });
    all
}

#[test]
fn a_state_is_put_appended_to_and_deleted_and_is_no_key() {
    let disk = SimDisk::new();
    let mut store = options(1).open_in(disk.dir()).unwrap();
    let commit = |store: &OffsetStore, fill: fn(&mut CommitBatch) -> &mut CommitBatch| {
        store.commit_batch(&batch("g", fill)).unwrap();
    };
    commit(&store, |batch| {
        batch.put_state(Claims, "orders", 1, b"a").append_state(Claims, "orders", 0, b"b");
        batch.put_state(Acks, "orders", 0, b"")
    });
    commit(&store, |batch| {
        batch.append_state(Claims, "orders", 1, b"b").delete_state(Claims, "nothing", 0)
    });
    for _ in 0..3 {
        assert_eq!(store.state("g", Claims, "orders", 1).as_deref(), Some(&b"ab"[..]));
        let claims = [("orders".into(), 0, b"b".to_vec()), ("orders".into(), 1, b"ab".to_vec())];
        assert_eq!(visited(&store, "g", Claims), claims);
        assert_eq!(store.state("g", Acks, "orders", 0), Some(Vec::new()), "empty, and there");
        assert_eq!(store.state("g", Membership, "orders", 0), None);
        assert_eq!(store.groups_with_state(Claims), ["g"]);
        assert!(store.groups_with_state(Membership).is_empty());
        // A group is one that has an offset.
        assert!(store.groups().is_empty());
        assert_eq!((store.stats().keys, store.stats().groups, store.stats().states), (0, 0, 3));
        store.close().unwrap();
        store = options(1).open_in(disk.dir()).unwrap();
        // The second time from the log, the third time from a snapshot.
        store.compact().unwrap();
    }
    commit(&store, |batch| batch.delete_state(Claims, "orders", 1));
    assert_eq!(store.state("g", Claims, "orders", 1), None);
}

#[test]
fn deletes_of_keys_leave_states_and_the_delete_of_a_group_does_not() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    for group in ["g", "h"] {
        let batch = batch(group, |batch| {
            batch.commit("orders", 0, NextOffset(1)).put_state(Acks, "orders", 0, b"a");
            batch.put_state(Application, "mine", 0, b"b")
        });
        store.commit_batch(&batch).unwrap();
    }
    store.delete(Key::new("g", "orders", 0)).unwrap();
    store.delete_topic("g", "orders").unwrap();
    assert_eq!((store.groups(), store.stats().states), (vec!["h".into()], 4));
    let before = store.stats().batches;
    store.delete_group("g").unwrap();
    assert_eq!(store.stats().batches, before + 1, "all in one record");
    assert_eq!(store.groups_with_state(Acks), ["h"]);
    assert_eq!(store.groups_with_state(Application), ["h"]);
    store.delete_group("g").unwrap();
    assert_eq!(store.stats().batches, before + 1, "there was nothing left");
    drop(store);
    let store = options(1).open_in(disk.dir()).unwrap();
    assert_eq!((store.stats().states, store.stats().keys), (2, 1));
}

#[test]
fn what_is_outside_of_the_limits_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().background(false).durability(pagemark::Durability::Buffered);
    let store = options.open(dir.path()).unwrap();
    let long = "n".repeat(40_000);
    for (name, part, kind) in [
        ("", 0, ErrorKind::InvalidArgument),
        ("n", -1, ErrorKind::InvalidArgument),
        (&*long, 0, ErrorKind::KeyTooLong),
    ] {
        let batch = batch("g", |batch| {
            batch.commit("t", 0, NextOffset(1)).put_state(Application, name, part, b"a")
        });
        assert_eq!(store.commit_batch(&batch).unwrap_err().kind(), kind);
    }
    let most = vec![7; MAX_STATE_BYTES];
    store.commit_batch(&batch("g", |b| b.put_state(Application, "n", 0, &most))).unwrap();
    let seq = store.commit_batch(&CommitBatch::new("g")).unwrap();
    let one_more = batch("g", |batch| {
        batch.commit("t", 0, NextOffset(1)).append_state(Application, "n", 0, b"8")
    });
    assert_eq!(store.commit_batch(&one_more).unwrap_err().kind(), ErrorKind::StateTooLarge);
    let too_long = [&most[..], b"8"].concat();
    let put = batch("g", |b| b.put_state(Application, "m", 0, &too_long));
    assert_eq!(store.commit_batch(&put).unwrap_err().kind(), ErrorKind::StateTooLarge);
    assert_eq!(store.commit_batch(&CommitBatch::new("g")).unwrap(), seq, "nothing was written");
    assert!(store.groups().is_empty());
    store.compact().unwrap();
    store.close().unwrap();
    let store = options.open(dir.path()).unwrap();
    assert_eq!(store.state("g", Application, "n", 0).as_ref(), Some(&most));
    // What was refused before has room now.
    store.commit_batch(&batch("g", |b| b.put_state(Application, "n", 0, b""))).unwrap();
    store.commit_batch(&one_more).unwrap();
    assert_eq!(store.state("g", Application, "n", 0).as_deref(), Some(&b"8"[..]));
}

/// States count for what lives, so the log that they leave is compacted neither never nor all the time.
#[test]
fn a_log_of_states_stays_in_proportion_to_what_lives() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().durability(pagemark::Durability::Buffered);
    let store = options.segment_size(256 << 10).open(dir.path()).unwrap();
    let kept = vec![7; 300_000];
    for name in ["a", "b", "c"] {
        store
            .commit_batch(&batch("g", |b| b.put_state(Application, name, 0, &kept[..200_000])))
            .unwrap();
    }
    store.compact().unwrap();
    let live = store.stats().live_bytes;
    assert!((600_000..700_000).contains(&live), "{live} bytes live");
    assert!(store.stats().snapshot_bytes.abs_diff(live) < 1_000, "{:?}", store.stats());
    // About 16 MB of log, a thousand bytes at a time.
    for round in 0..16_000 {
        let change = batch("g", |b| match round % 50 {
            0 => b.put_state(Application, "log", 0, b""),
            _ => b.append_state(Application, "log", 0, &kept[..1_000]),
        });
        store.commit_batch(&change).unwrap();
    }
    store.compact().unwrap();
    let stats = store.stats();
    // Two snapshots at least, and not many more.
    let snapshots = stats.written_bytes() - stats.appended_bytes;
    assert!((1_200_000..4 * stats.appended_bytes).contains(&snapshots), "{snapshots}: {stats:?}");
    assert!(stats.disk_bytes() < 3 * live + (1 << 20), "{stats:?}");
}

#[test]
fn a_dump_and_a_reader_tell_what_happened_to_a_state() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().background(false).open(dir.path()).unwrap();
    let reader = OffsetReader::open(dir.path()).unwrap();
    let changes = batch("g", |batch| {
        batch.put_state(Claims, "t", 3, b"a\0").append_state(Acks, "t", 0, b"b");
        batch.delete_state(Application, "n", 0)
    });
    store.commit_batch(&changes).unwrap();
    let state = |owner: StateOwner, name, part, change| {
        let owner = owner.number();
        Change::State { group: "g", owner, name, part, change }
    };
    let expected = [
        state(Claims, "t", 3, StateChange::Put(b"a\0")),
        state(Acks, "t", 0, StateChange::Append(b"b")),
        state(Application, "n", 0, StateChange::Delete),
    ];
    let mut seen = 0;
    let refreshed = reader.refresh_with(|_, change| {
        assert_eq!(*change, expected[seen]);
        seen += 1;
    });
    assert_eq!((refreshed.unwrap().changes, seen), (3, 3));
    assert_eq!(reader.state("g", Claims, "t", 3).as_deref(), Some(&b"a\0"[..]));
    let mut batches = 0;
    dump(&dir.path().join("00000000000000000001.log"), |record| {
        if let Body::Batch(changes) = &record.body {
            assert_eq!(changes[..], expected);
            batches += 1;
        }
    })
    .unwrap();
    assert_eq!(batches, 1);
    store.compact().unwrap();
    let mut states = Vec::new();
    dump(&dir.path().join("00000000000000000001.snapshot"), |record| {
        if let Body::State(seq, Change::State { owner, part, change, .. }) = record.body {
            let StateChange::Put(bytes) = change else { panic!("{change:?}") };
            states.push((seq, owner, part, bytes.to_vec()));
        }
    })
    .unwrap();
    assert_eq!(states, [(1, 2, 3, b"a\0".to_vec()), (1, 3, 0, b"b".to_vec())]);
}

/// Whoever reads a state, or a group's states, sees one that was, while it is appended to.
#[test]
fn readers_see_whole_states_while_they_change() {
    let disk = SimDisk::new();
    let store = Arc::new(options(1).open_in(disk.dir()).unwrap());
    let is_whole = |bytes: &[u8]| {
        bytes.len().is_multiple_of(16)
            && bytes.chunks(16).zip(0..).all(|(piece, i)| piece == [i; 16])
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..100 {
                for i in 0..20 {
                    let change = batch("g", |b| match i {
                        0 => b.put_state(Acks, "t", 0, &[0; 16]),
                        i => b.append_state(Acks, "t", 0, &[i; 16]),
                    });
                    store.commit_batch(&change).unwrap();
                }
                if round % 10 == 0 {
                    store.compact().unwrap();
                }
            }
        });
        while !writer.is_finished() {
            assert!(store.state("g", Acks, "t", 0).is_none_or(|bytes| is_whole(&bytes)));
            store.visit_states("g", Acks, |_, _, bytes| assert!(is_whole(bytes)));
        }
    });
    assert_eq!(store.state("g", Acks, "t", 0).unwrap().len(), 320);
}

/// A length field has 24 bits, however large a segment is.
#[test]
fn a_batch_that_is_longer_than_a_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().background(false).durability(pagemark::Durability::Buffered);
    let store = options.segment_size(256 << 20).open(dir.path()).unwrap();
    let most = vec![7; MAX_STATE_BYTES];
    let of = |count| {
        let mut batch = CommitBatch::new("g");
        for part in 0..count {
            batch.put_state(Application, "n", part, &most);
        }
        batch
    };
    // The second one stands in a segment that has room for much more than the longest record.
    store.commit_batch(&of(3)).unwrap();
    let seq = store.commit_batch(&of(3)).unwrap();
    let error = store.commit_batch(&of(4)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(store.commit_batch(&CommitBatch::new("g")).unwrap(), seq, "nothing was written");
}

/// The snapshot has the append already, and the log behind it says it again.
#[test]
fn what_is_appended_while_a_snapshot_is_written_counts_once() {
    let disk = SimDisk::new();
    let open = |disk: &SimDisk| options(1).segment_size(1 << 20).open_in(disk.dir()).unwrap();
    let store = open(&disk);
    // Enough in front of the other group for its bytes to be handed over first.
    let put = batch("g", |batch| batch.put_state(Acks, "a", 0, &[7; 300_000]));
    store.commit_batch(&put).unwrap();
    let put = batch("h", |batch| batch.put_state(Acks, "b", 0, b"x"));
    let receipt = store.commit_batch(&put).unwrap();
    let mut appended = 0;
    let report = store.compact_with(|_| {
        if appended == 0 {
            store.commit_batch(&batch("h", |b| b.append_state(Acks, "b", 0, b"y"))).unwrap();
        }
        appended += 1;
    });
    assert!(appended > 0);
    assert_eq!(report.unwrap().covered_seq, receipt.seq(), "the append is behind it");
    store.sync().unwrap();
    let store = open(&disk.process_crash());
    assert_eq!(store.state("h", Acks, "b", 0).as_deref(), Some(&b"xy"[..]));
}
