//! What others see in a view while a refresh reads the store anew.

use std::sync::{Arc, Mutex, OnceLock};

use pagemark::testkit::SimDisk;
use pagemark::{Commit, CommitBatch, Key, NextOffset, OffsetReader, OffsetStore};

use crate::hooked::Hooked;
use crate::mount::Mount;
use crate::support::options;

/// Enough that a snapshot is read in many pieces.
const PARTITIONS: i32 = 900;

/// Sets all values to a number, in one record.
fn commit_round(store: &OffsetStore, round: i64) {
    let metadata = "m".repeat(1000);
    let mut batch = CommitBatch::new("g");
    for partition in 0..PARTITIONS {
        let commit = Commit::new(NextOffset(round)).metadata(&metadata);
        batch.commit(["t", "u", "v"][partition as usize % 3], partition, commit);
    }
    store.commit_batch(&batch).unwrap();
}

/// The number that all values have.
fn round_of(reader: &OffsetReader) -> i64 {
    assert_eq!(reader.groups(), ["g"]);
    let found = reader.fetch_group("g");
    let round = found[0].1.offset().0;
    assert_eq!(found.len(), PARTITIONS as usize, "round {round}");
    for (key, value) in found {
        assert_eq!(value.offset().0, round, "{key}");
        assert_eq!(reader.fetch(Key::new("g", key.topic(), key.partition())), Some(value));
    }
    round
}

/// A reader that a compaction has overtaken: what it shows is of round 1, the snapshot is of round 2,
/// and the log behind it of round 3.
fn overtaken(disk: &SimDisk, rounds: &Arc<Mutex<Vec<i64>>>) -> OffsetReader {
    let store = options(1).segment_size(4 << 20).open_in(disk.dir()).unwrap();
    commit_round(&store, 1);
    let looking = Arc::new(OnceLock::<OffsetReader>::new());
    let (watched, rounds) = (Arc::clone(&looking), Arc::clone(rounds));
    let dir = Hooked::new(Mount::new(disk), move |_| {
        if let Some(reader) = watched.get() {
            rounds.lock().unwrap().push(round_of(reader));
        }
    });
    let reader = OffsetReader::open_in(dir).unwrap();
    looking.set(reader.clone()).unwrap();
    store.compact().unwrap();
    commit_round(&store, 2);
    store.compact().unwrap();
    commit_round(&store, 3);
    reader
}

#[test]
fn at_no_operation_of_a_refresh_the_view_is_a_part_of_the_new_one() {
    let rounds = Arc::default();
    let reader = overtaken(&SimDisk::new(), &rounds);
    let refreshed = reader.refresh_with(|_, _| assert_eq!(round_of(&reader), 1)).unwrap();
    assert!(refreshed.restarted && refreshed.changes == PARTITIONS as u64, "{refreshed:?}");
    assert_eq!(round_of(&reader), 3);
    let rounds = rounds.lock().unwrap();
    assert!(rounds.len() > 12 && rounds.iter().all(|round| *round == 1), "{rounds:?}");
}

#[test]
fn a_visit_ends_in_the_view_that_it_began_in() {
    let reader = overtaken(&SimDisk::new(), &Arc::default());
    let mut visited = 0;
    reader.visit_group("g", |_, _, value| {
        if visited == 0 {
            assert!(reader.refresh().unwrap().restarted);
            assert_eq!(round_of(&reader), 3);
        }
        assert_eq!(value.offset(), NextOffset(1));
        visited += 1;
    });
    assert_eq!(visited, PARTITIONS);
}
