//! Power loss and process death on the simulated disk, at every operation of short histories:
//! creation, a second crash inside of recovery, failed flushes and full disks included.

mod support;

use pagemark::testkit::{Op, SimDisk};
use pagemark::{ErrorKind, Key, NextOffset};
use support::{Player, check_survivor, history, options, states};

/// Plays a history on a machine that stops at operation `stop`, and returns what it had done.
fn play_until(seed: u64, len: usize, stop: u64) -> Player {
    let mut player = Player::new(SimDisk::new(), options(seed));
    player.disk.freeze_at(stop);
    let _ = player.play(&history(seed, len));
    player
}

fn operations_of(seed: u64, len: usize) -> u64 {
    let mut player = Player::new(SimDisk::new(), options(seed));
    player.play(&history(seed, len)).unwrap();
    drop(player.store.take());
    player.disk.operations()
}

#[test]
fn power_loss_at_every_operation_keeps_what_was_synced_and_the_order_of_the_rest() {
    let mut images = 0;
    for seed in 0..6 {
        let len = 14;
        let states = states(&history(seed, len));
        for stop in 0..=operations_of(seed, len) {
            let player = play_until(seed, len, stop);
            let attempted = (player.done + 1).min(len);
            for lot in 0..8 {
                let disk = player.disk.power_cut(lot);
                let context = (seed, stop, lot);
                let (durable, options) = (player.durable, &player.options);
                let (store, shown) =
                    check_survivor(&disk, options, &states, durable, attempted, &context);
                images += 1;
                // What open showed is still there after the next cut, whatever that cut takes.
                drop(store);
                for lot in [0, lot + 2] {
                    let again = disk.power_cut(lot);
                    check_survivor(&again, options, &states, shown, shown, &(context, lot));
                }
            }
        }
    }
    println!("{images} crash images");
}

#[test]
fn process_death_at_every_operation_keeps_everything_that_returned() {
    for seed in 10..60 {
        let len = 24;
        let states = states(&history(seed, len));
        for stop in 0..=operations_of(seed, len) {
            for written in [0, 1, 9, 40] {
                let mut player = Player::new(SimDisk::new(), options(seed));
                player.disk.freeze_in_write(stop, written);
                let _ = player.play(&history(seed, len));
                let attempted = (player.done + 1).min(len);
                let context = (seed, stop, written);
                let disk = player.disk.process_crash();
                let (store, shown) = check_survivor(
                    &disk,
                    &player.options,
                    &states,
                    player.done,
                    attempted,
                    &context,
                );
                // The page cache is lost right after: what was shown must not have lived there only.
                let cut = disk.power_cut(0);
                drop(store);
                check_survivor(&cut, &player.options, &states, shown, shown, &context);
            }
        }
    }
}

#[test]
fn a_second_crash_inside_of_recovery_loses_nothing_more() {
    for seed in 20..24 {
        let len = 12;
        let states = states(&history(seed, len));
        for stop in (0..=operations_of(seed, len)).step_by(3) {
            let player = play_until(seed, len, stop);
            let attempted = (player.done + 1).min(len);
            for lot in 1..4 {
                let first = player.disk.power_cut(lot);
                for second_stop in 0.. {
                    let recovering = first.deep_clone();
                    recovering.freeze_at(second_stop);
                    let opened = player.options.open_in(recovering.dir());
                    let finished = !recovering.is_frozen();
                    drop(opened);
                    for second_lot in 0..4 {
                        let disk = recovering.power_cut(second_lot);
                        let context = (seed, stop, lot, second_stop, second_lot);
                        let (durable, options) = (player.durable, &player.options);
                        check_survivor(&disk, options, &states, durable, attempted, &context);
                    }
                    if finished {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn every_subset_of_what_a_power_cut_may_take_is_recovered_from() {
    let mut images = 0;
    for seed in 30..50 {
        let len = 6;
        let states = states(&history(seed, len));
        for stop in 0..=operations_of(seed, len) {
            let player = play_until(seed, len, stop);
            let attempted = (player.done + 1).min(len);
            let unsynced = player.disk.unsynced();
            if unsynced > 9 {
                continue;
            }
            for subset in 0..1_u32 << unsynced {
                let bits: Vec<bool> = (0..unsynced).map(|bit| subset >> bit & 1 == 1).collect();
                let disk = player.disk.power_cut_bits(&bits);
                let context = (seed, stop, subset);
                let (durable, options) = (player.durable, &player.options);
                check_survivor(&disk, options, &states, durable, attempted, &context);
                images += 1;
            }
        }
    }
    assert!(images > 1_000, "{images} images");
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
fn an_error_of_any_operation_is_reported_and_costs_nothing_that_was_durable() {
    let kinds = [Op::Create, Op::Rename, Op::SyncDir, Op::SyncFile, Op::Write, Op::Open, Op::Read];
    for seed in 50..54 {
        let len = 30;
        let history = history(seed, len);
        let states = states(&history);
        for kind in kinds {
            for n in 0..200 {
                let mut player = Player::new(SimDisk::new(), options(seed));
                player.disk.fail_nth(kind, n, std::io::ErrorKind::Other);
                if player.play(&history).is_ok() {
                    break;
                }
                let attempted = (player.done + 1).min(len);
                drop(player.store.take());
                let context = (seed, kind, n);
                for lot in 0..3 {
                    let disk = player.disk.power_cut(lot);
                    let (durable, options) = (player.durable, &player.options);
                    check_survivor(&disk, options, &states, durable, attempted, &context);
                }
            }
        }
    }
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
