//! Whatever interrupts a backup: the machine stops, the process dies, an operation fails.

use pagemark::testkit::{Op, SimDisk, verify_in};

use crate::support::{Player, State, Step, history, observe, options, states};
use crate::{read, shown};

#[test]
fn whatever_interrupts_a_backup_an_old_or_a_new_one_is_there_or_it_is_refused() {
    let (mut old, mut new, mut refused) = (0, 0, 0);
    for seed in 0..12 {
        let compacts = seed % 2 == 0;
        let mut player = Player::new(SimDisk::new(), options(seed));
        player.play(&history(seed, 20)).unwrap();
        let dest = SimDisk::new();
        let before = observe(player.store.as_ref().unwrap());
        player.store.as_ref().unwrap().backup_in(&dest).unwrap();
        let mut steps = history(seed + 500, 30);
        steps.retain(|step| *step != Step::Compact);
        if compacts {
            steps.insert(20, Step::Compact);
        }
        player.play(&steps).unwrap();
        let store = player.store.as_ref().unwrap();
        let after = observe(store);
        assert_ne!(before, after);
        for stop in 0.. {
            let interrupted = dest.deep_clone();
            interrupted.freeze_at(stop);
            let result = store.backup_in(&interrupted);
            assert!(result.is_ok() || interrupted.is_frozen());
            for lot in 0..6 {
                let cut = interrupted.power_cut(lot);
                let context = format!("{seed} {stop} {lot}: {:?}", cut.files());
                let kind = |error: pagemark::Error| error.kind();
                let (by_store, by_reader) = (shown(&cut), read(&cut).map_err(kind));
                assert_eq!(by_reader, by_store.clone().map_err(kind), "{context}");
                match by_store {
                    Ok(state) if state == before => old += 1,
                    Ok(state) if state == after => new += 1,
                    // Between two copies that got their names: a moment in between.
                    Ok(state) => {
                        assert!(!compacts, "{context}: {state:?}");
                        old += 1;
                    }
                    Err(error) => {
                        assert!(compacts, "{context}: {error}");
                        assert!(error.is_corruption(), "{context}: {error}");
                        refused += 1;
                    }
                }
                // The next backup makes it whole.
                store.backup_in(&cut).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(shown(&cut).unwrap(), after, "{context}");
                assert!(verify_in(&cut).unwrap().findings.is_empty(), "{context}");
            }
            if result.is_ok() {
                break;
            }
        }
    }
    assert!(old > 500 && new > 50 && refused > 0, "{old} old, {new} new, {refused} refused");
}

#[test]
fn an_interrupted_first_backup_is_empty_or_an_earlier_moment_or_refused() {
    let (mut empty, mut earlier, mut refused) = (0, 0, 0);
    for seed in 0..8 {
        let compacts = seed % 2 == 0;
        let mut player = Player::new(SimDisk::new(), options(seed));
        let mut steps = history(seed, 40);
        steps.retain(|step| *step != Step::Compact);
        if compacts {
            steps.insert(20, Step::Compact);
        }
        player.play(&steps).unwrap();
        let store = player.store.as_ref().unwrap();
        let moments = states(&steps);
        for stop in 0.. {
            let dest = SimDisk::new();
            dest.freeze_at(stop);
            let is_done = store.backup_in(&dest).is_ok();
            for lot in 0..6 {
                let cut = dest.power_cut(lot);
                let context = format!("{seed} {stop} {lot}: {:?}", cut.files());
                match shown(&cut) {
                    Ok(_) if cut.files().iter().all(|name| !name.ends_with(".log")) => empty += 1,
                    Ok(state) => {
                        assert!(moments.contains(&state), "{context}: {state:?}");
                        assert!(!compacts || state == observe(store), "{context}");
                        earlier += 1;
                    }
                    Err(error) => {
                        assert!(error.is_corruption() && !is_done, "{context}: {error}");
                        let is_log = |name: &String| name.ends_with(".log");
                        assert!(compacts || !cut.files().iter().any(is_log), "{context}: {error}");
                        refused += 1;
                    }
                }
                store.backup_in(&cut).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(shown(&cut).unwrap(), observe(store), "{context}");
            }
            if is_done {
                break;
            }
        }
    }
    assert!(empty > 10 && earlier > 50 && refused > 50, "{empty} {earlier} {refused}");
}

#[test]
fn a_store_that_dies_while_it_is_copied_loses_nothing() {
    for seed in 0..4 {
        let make = || {
            let mut player = Player::new(SimDisk::new(), options(seed));
            player.play(&history(seed, 20)).unwrap();
            player.store.as_ref().unwrap().sync().unwrap();
            player
        };
        let state = observe(make().store.as_ref().unwrap());
        let first = make().disk.operations();
        for stop in 0.. {
            let player = make();
            player.disk.freeze_at(first + stop);
            let dest = SimDisk::new();
            let done = player.store.as_ref().unwrap().backup_in(&dest).is_ok();
            for lot in 0..4 {
                let store = player.options.open_in(player.disk.power_cut(lot).dir()).unwrap();
                assert_eq!(observe(&store), state, "{seed} {stop} {lot}");
            }
            if done {
                assert_eq!(shown(&dest).unwrap(), state);
                break;
            }
            // The first backup is not taken for an empty store.
            match shown(&dest) {
                Ok(shown) => assert!(shown == State::new() && dest.files().len() <= 1),
                Err(error) => assert!(error.is_corruption(), "{error}"),
            }
        }
    }
}

/// Where the disk fails while a backup is made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Store,
    Backup,
}

#[test]
fn an_operation_of_a_backup_that_fails_once_or_for_good_costs_neither_store_nor_backup() {
    let (mut met, mut refused) = (0, 0);
    for (seed, compacts) in [(0, false), (1, true)] {
        // A store with an older backup, and what both of them show.
        let make = || {
            let mut player = Player::new(SimDisk::new(), options(seed));
            let mut steps = history(seed, 24);
            steps.retain(|step| *step != Step::Compact);
            player.play(&steps[..12]).unwrap();
            let dest = SimDisk::new();
            player.store.as_ref().unwrap().backup_in(&dest).unwrap();
            player.play(&steps[12..]).unwrap();
            player.play(if compacts { &[Step::Compact] } else { &[Step::Sync] }).unwrap();
            let state = observe(player.store.as_ref().unwrap());
            (player, dest, state)
        };
        let faults = [Side::Store, Side::Backup].into_iter().flat_map(|side| {
            let ways = Op::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]);
            ways.map(move |(kind, lasts)| (side, kind, lasts))
        });
        for (side, kind, lasts) in faults {
            for n in 0.. {
                let (player, dest, state) = make();
                let disk = if side == Side::Store { &player.disk } else { &dest };
                match lasts {
                    true => disk.fail_from(kind, n, std::io::ErrorKind::Other),
                    false => disk.fail_nth(kind, n, std::io::ErrorKind::Other),
                }
                let result = player.store.as_ref().unwrap().backup_in(&dest);
                if disk.failures() == 0 {
                    break;
                }
                met += 1;
                for lot in 0..4 {
                    let context = format!("{seed} {side:?} {kind:?} {lasts} {n} {lot}");
                    let store = player.options.open_in(player.disk.power_cut(lot).dir()).unwrap();
                    assert_eq!(observe(&store), state, "{context}");
                    let cut = dest.power_cut(lot);
                    match shown(&cut) {
                        Ok(shown) => assert!(result.is_err() || shown == state, "{context}"),
                        Err(error) => {
                            assert!(result.is_err() && compacts, "{context}: {error}");
                            assert!(error.is_corruption(), "{context}: {error}");
                            refused += 1;
                        }
                    }
                    store.backup_in(&cut).unwrap_or_else(|error| panic!("{context}: {error}"));
                    assert_eq!(shown(&cut).unwrap(), state, "{context}");
                }
            }
        }
    }
    println!("{met} faults");
    assert!(met > 100 && refused > 0, "{met} faults, {refused} refused");
}

#[test]
fn an_error_at_an_older_copy_is_told_and_not_taken_for_a_copy_that_is_not_there() {
    for op in [Op::Open, Op::Read, Op::List] {
        for n in 0.. {
            let mut player = Player::new(SimDisk::new(), options(1));
            player.play(&history(1, 40)).unwrap();
            let (store, dest) = (player.store.unwrap(), SimDisk::new());
            store.backup_in(&dest).unwrap();
            dest.fail_nth(op, n, std::io::ErrorKind::Other);
            let result = store.backup_in(&dest);
            if dest.failures() == 0 {
                assert!(result.unwrap().files_copied == 0 && n > 0, "{op:?}");
                break;
            }
            assert_eq!(result.unwrap_err().kind(), pagemark::ErrorKind::Io, "{op:?} {n}");
        }
    }
}
