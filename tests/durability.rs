//! Power loss, process death, failing operations and full disks, on the simulated disk: the store as a
//! subject of the driver, drawn histories and all short ones.

mod support;

#[path = "durability/backed_up.rs"]
mod backed_up;
#[path = "durability/beside.rs"]
mod beside;

use std::thread::available_parallelism;

use pagemark::StateOwner::Acks;
use pagemark::testkit::{Driver, Edit, Op, SimDisk, Step, StoreSubject, Tally, rough_history};
use pagemark::{Commit, Durability, ErrorKind, Key, NextOffset, Options};
use support::options;

/// A store of small segments.
fn store(durability: Durability) -> StoreSubject {
    StoreSubject::new(Options::new().segment_size(16 << 10).durability(durability))
}

/// On all cores.
fn driver() -> Driver {
    Driver::new().threads(available_parallelism().map_or(1, Into::into))
}

/// A number that the environment may say otherwise, for longer runs.
fn unless_set(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |number| number.parse().unwrap())
}

#[test]
fn whatever_a_crash_leaves_of_any_history_keeps_what_was_promised() {
    const AT_ONCE: u64 = 50;
    let wanted = unless_set("PAGEMARK_TEST_IMAGES", 200_000);
    let (driver, mut seen) = (driver(), Tally::default());
    for first in (0..).step_by(AT_ONCE as usize) {
        let durability =
            if first / AT_ONCE % 4 == 3 { Durability::Synced } else { Durability::Buffered };
        let draw = |seed| rough_history(seed, 14);
        let run = driver.run(&store(durability), first..first + AT_ONCE, draw);
        seen.merge(run.unwrap());
        if seen.images() >= wanted {
            break;
        }
    }
    println!("{seen}");
    assert!(seen.images_in_recovery() * 10 > seen.images() * 3, "{seen}");
}

#[test]
fn every_history_of_a_few_steps_keeps_what_was_promised_at_every_crash() {
    let both = [("t", 0, Some((0, String::new()))), ("t", 1, Some((0, String::new())))];
    let alphabet = [
        Step::commit("a", "t", 0, 0),
        Step::commit("a", "t", 1, 0).with(Acks, "t", 0, Edit::Append(Vec::new())),
        Step::batch("a", both).with(Acks, "t", 0, Edit::Put(Vec::new())),
        Step::delete("a", "t", 0).with(Acks, "t", 0, Edit::Delete),
        Step::DeleteGroup("a".into()),
        Step::Sync,
        Step::Compact,
        Step::Reopen,
        Step::PowerCut(0),
        Step::Kill,
        // Some of them are due at once.
        Step::batch("b", [("t", 0, Some((0, "m".repeat(30))))]).with(
            Acks,
            "t",
            0,
            Edit::Append(Vec::new()),
        ),
        Step::Expire,
    ];
    let steps = unless_set("PAGEMARK_TEST_STEPS", 4);
    let driver = driver().exhaustive(64).second_crash(8, 2);
    let seen = driver.explore(&store(Durability::Buffered), &alphabet, steps as usize).unwrap();
    println!("{seen}");
    assert!(seen.images() > 1_000, "{seen}");
}

#[test]
fn every_operation_that_fails_once_or_for_good_costs_nothing_that_was_promised() {
    let histories = unless_set("PAGEMARK_TEST_FAULTS", 40);
    let driver = driver().lots(3).faults(true);
    let mut seen = Tally::default();
    for durability in [Durability::Buffered, Durability::Synced] {
        let draw = |seed| rough_history(seed, 14);
        seen.merge(driver.run(&store(durability), 1_000..1_000 + histories, draw).unwrap());
    }
    println!("{seen}");
    assert!(seen.faults() > 100 * histories, "{seen}");
}

#[test]
fn without_a_crash_a_store_shows_what_the_model_does() {
    let histories = unless_set("PAGEMARK_TEST_SEQUENCES", 20_000);
    let draw = |seed| rough_history(seed, 30);
    let seen = driver().lots(0).run(&store(Durability::Buffered), 0..histories, draw).unwrap();
    assert_eq!(seen.histories(), histories);
}

#[test]
fn an_open_counts_on_no_segment_whose_name_is_not_durable_yet() {
    let disk = SimDisk::new();
    let options = options(9);
    let store = options.open_in(disk.dir()).unwrap();
    let metadata = "m".repeat(1_600);
    for partition in 0..30 {
        let commit = Commit::new(NextOffset(1)).metadata(&metadata);
        store.commit(Key::new("g", "t", partition), commit).unwrap();
    }
    assert!(disk.files().len() > 3, "{:?}", disk.files());
    // The process dies, and the power fails while the next one opens what it left.
    let next = disk.process_crash();
    next.record();
    drop(options.open_in(next.dir()).unwrap());
    for moment in next.recorded() {
        for lot in 0..60 {
            let cut = moment.disk.power_cut(lot);
            let context = (moment.operation, lot, cut.files());
            options.open_in(cut.dir()).unwrap_or_else(|error| panic!("{context:?}: {error}"));
        }
    }
}

#[test]
fn a_failed_flush_ends_commits_and_reopening_starts_from_the_disk() {
    let disk = SimDisk::new();
    let options = options(1);
    let store = options.open_in(disk.dir()).unwrap();
    let key = Key::new("g", "t", 0);
    store.commit(key, NextOffset(1)).unwrap();
    store.sync().unwrap();
    store.commit(key, NextOffset(2)).unwrap();
    disk.fail_nth(Op::SyncFile, 0, std::io::ErrorKind::Other);
    assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Io);
    // The next flush would succeed, as it does on Linux. Nobody may try it.
    let error = store.commit(key, NextOffset(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert!(error.to_string().contains("could not flush a segment"), "{error}");
    assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(store.delete(key).unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(store.stats().poisoned.is_some());
    let found = store.fetch(key).unwrap();
    assert_eq!((found.offset(), found.is_durable()), (NextOffset(2), false), "reads go on");
    assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Poisoned);
    let disk = disk.power_cut(1);
    let store = options.open_in(disk.dir()).unwrap();
    assert_eq!(store.fetch(key).unwrap().offset(), NextOffset(1));
    store.commit(key, NextOffset(4)).unwrap();
    store.sync().unwrap();
}

#[test]
fn a_full_disk_refuses_commits_and_takes_them_again_when_there_is_room() {
    for copy_on_write in [false, true] {
        let disk = SimDisk::new();
        let options = options(7);
        let store = options.open_in(disk.dir()).unwrap();
        let key = |i: i64| ("g", format!("topic-{}", i % 7), (i % 11) as i32);
        let commit = |i: i64| {
            let (group, topic, partition) = key(i);
            store.commit(Key::new(group, &topic, partition), NextOffset(i))
        };
        let mut acknowledged = 0;
        for i in 0..200 {
            commit(i).unwrap();
            acknowledged = i;
        }
        disk.copy_on_write(copy_on_write);
        disk.capacity(Some(disk.used()));
        let mut refused = 0;
        for i in 200..2_000 {
            match commit(i) {
                Ok(_) => acknowledged = i,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 1_000, "{refused} refused");
        let check = |store: &pagemark::OffsetStore, acknowledged: i64| {
            for i in (0..77).map(|i| acknowledged - i) {
                let (group, topic, partition) = key(i);
                let found = store.fetch(Key::new(group, &topic, partition)).unwrap();
                assert!(found.offset().0 >= i);
            }
        };
        check(&store, acknowledged);
        disk.capacity(None);
        for i in 2_000..3_000 {
            commit(i).unwrap();
            acknowledged = i;
        }
        check(&store, acknowledged);
        store.sync().unwrap();
        let survivor = options.open_in(disk.power_cut(0).dir()).unwrap();
        check(&survivor, acknowledged);
    }
}

#[test]
fn a_commit_that_was_refused_for_want_of_room_does_not_come_true_later() {
    let disk = SimDisk::new();
    let options = options(8);
    let store = options.open_in(disk.dir()).unwrap();
    let key = Key::new("g", "t", 0);
    store.commit(key, NextOffset(5)).unwrap();
    disk.copy_on_write(true);
    disk.capacity(Some(disk.used()));
    // Half of the record is written, and the other half is the zeros that stand there anyway.
    let result = store.commit(key, NextOffset(0));
    let shown = store.fetch(key).unwrap().offset();
    assert_eq!(shown, NextOffset(if result.is_ok() { 0 } else { 5 }));
    let crashed = disk.process_crash();
    crashed.capacity(None);
    let store = options.open_in(crashed.dir()).unwrap();
    assert_eq!(store.fetch(key).unwrap().offset(), shown);
}
