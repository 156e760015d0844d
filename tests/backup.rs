//! Backup: a copy of one moment that opens, whatever interrupts it.

mod support;

#[path = "support/hooked.rs"]
mod hooked;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hooked::{Call, Hooked};
use pagemark::testkit::{Op, SimDisk, verify_in};
use pagemark::{CommitBatch, Durability, ErrorKind, Key, NextOffset, OffsetStore, Options, verify};
use support::{Player, State, Step, history, observe, options};

/// What a copy of a backup shows when it is opened.
fn shown(backup: &SimDisk) -> Result<State, pagemark::Error> {
    options(7).open_in(backup.deep_clone().dir()).map(|store| observe(&store))
}

#[test]
fn a_backup_shows_the_moment_and_the_next_one_copies_what_is_new() {
    let (mut kept, mut copied) = (0, 0);
    for seed in 0..20 {
        let mut player = Player::new(SimDisk::new(), options(seed));
        player.play(&[]).unwrap();
        let dest = SimDisk::new();
        for steps in history(seed, 60).chunks(6) {
            player.play(steps).unwrap();
            let store = player.store.as_ref().unwrap();
            let state = observe(store);
            let report = store.backup_in(&dest).unwrap();
            let verified = verify_in(&dest).unwrap();
            assert!(verified.is_clean() && verified.findings.is_empty(), "{seed}: {verified:#?}");
            assert_eq!(verified.last_seq, report.seq);
            assert_eq!(shown(&dest).unwrap(), state, "{seed}");
            // What was copied is durable.
            assert_eq!(shown(&dest.power_cut(0)).unwrap(), state, "{seed}");
            // If its end is lost, that is damage, and not an earlier moment.
            let lost = dest.deep_clone();
            let last = lost.files().into_iter().rfind(|name| name.ends_with(".log")).unwrap();
            lost.delete(&last);
            assert!(shown(&lost).unwrap_err().is_corruption(), "{seed}: {last}");
            kept += report.files_kept;
            copied += report.files_copied;
            let again = store.backup_in(&dest).unwrap();
            assert_eq!((again.files_copied, again.seq), (0, report.seq), "{again:?}");
            assert_eq!(again.bytes_kept, report.bytes_kept + report.bytes_copied);
            assert_eq!(observe(store), state, "the store goes on");
        }
    }
    assert!(kept > 100 && copied > 100, "{kept} kept, {copied} copied");
}

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
                match shown(&cut) {
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
fn damage_is_never_copied() {
    let mut player = Player::new(SimDisk::new(), options(3));
    let mut steps = history(3, 80);
    steps.push(Step::Compact);
    steps.extend(history(33, 60).into_iter().filter(|step| *step != Step::Compact));
    player.play(&steps).unwrap();
    let store = player.store.as_ref().unwrap();
    store.backup_in(&SimDisk::new()).unwrap();
    let files = player.disk.files().into_iter().filter(|name| name != "LOCK");
    let active = player.disk.files().into_iter().rfind(|name| name.ends_with(".log"));
    let state = observe(store);
    let (mut damaged, mut left_out) = (0, 0);
    for name in files.filter(|name| Some(name) != active.as_ref()) {
        let bytes = player.disk.contents(&name).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for byte in (0..1100).step_by(7).chain((4096..used).step_by(97)) {
            let mut changed = bytes.clone();
            changed[byte] ^= 4;
            player.disk.put(&name, changed);
            let dest = SimDisk::new();
            match store.backup_in(&dest) {
                Err(error) => {
                    assert!(error.is_corruption(), "{name} byte {byte}: {error}");
                    damaged += 1;
                }
                // A copy has a first page of its own, with the header and one mark.
                Ok(_) => {
                    assert!((64..4096).contains(&byte), "{name} byte {byte}");
                    let verified = verify_in(&dest).unwrap();
                    assert!(verified.findings.is_empty(), "{name} byte {byte}: {verified:#?}");
                    assert_eq!(shown(&dest).unwrap(), state, "{name} byte {byte}");
                    left_out += 1;
                }
            }
        }
        player.disk.put(&name, bytes);
    }
    assert!(damaged > 100 && left_out > 100, "{damaged} damaged, {left_out} left out");
    store.backup_in(&SimDisk::new()).unwrap();
}

/// Backs up onto a disk that changes a bit of the `nth` write: that of `byte`, counted from the start
/// of the bytes. Returns how many there were, if that write came.
fn backup_with_a_flip(
    store: &OffsetStore,
    dest: &SimDisk,
    nth: usize,
    byte: usize,
) -> (Result<pagemark::BackupReport, pagemark::Error>, Option<usize>) {
    let (writes, len) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let found = Arc::clone(&len);
    let dir = Hooked::new(dest.dir(), move |call| {
        if let Call::Write(_, bytes) = call
            && writes.fetch_add(1, Ordering::Relaxed) == nth
        {
            found.store(bytes.len(), Ordering::Relaxed);
            bytes[byte] ^= 1 << (byte % 8);
        }
    });
    let result = store.backup_in(&*dir);
    let len = len.load(Ordering::Relaxed);
    (result, (len > 0).then_some(len))
}

#[test]
fn a_bit_that_changes_on_its_way_into_a_copy_is_noticed() {
    let mut player = Player::new(SimDisk::new(), options(3));
    player.play(&history(3, 30)).unwrap();
    let old = SimDisk::new();
    player.store.as_ref().unwrap().backup_in(&old).unwrap();
    let before = shown(&old).unwrap();
    player.play(&history(33, 40)).unwrap();
    player.play(&[Step::Compact]).unwrap();
    let behind = history(333, 40).into_iter().filter(|step| *step != Step::Compact);
    player.play(&behind.collect::<Vec<_>>()).unwrap();
    let store = player.store.as_ref().unwrap();
    let after = observe(store);
    let (mut noticed, mut harmless, mut writes) = (0, 0, 0);
    'writes: for nth in 0.. {
        let mut byte = 0;
        loop {
            let dest = old.deep_clone();
            let (result, len) = backup_with_a_flip(store, &dest, nth, byte);
            let Some(len) = len else { break 'writes };
            let context = format!("write {nth} of {len} bytes, byte {byte}: {result:?}");
            match result {
                // Of two marks one is left.
                Ok(_) => {
                    assert!(verify_in(&dest).unwrap().is_clean(), "{context}");
                    assert_eq!(shown(&dest).unwrap(), after, "{context}");
                    harmless += 1;
                }
                Err(error) => {
                    assert!(error.is_corruption(), "{context}");
                    assert_eq!(shown(&dest).unwrap(), before, "{context}");
                    noticed += 1;
                }
            }
            store.backup_in(&dest).unwrap();
            assert_eq!(shown(&dest).unwrap(), after, "{context}");
            byte += if len <= 64 { 1 } else { 1 + len / 64 };
            if byte >= len {
                break;
            }
        }
        writes += 1;
    }
    println!("{writes} writes: {noticed} noticed, {harmless} harmless");
    assert!(writes > 5 && noticed > 300 && harmless < 100, "{writes} {noticed} {harmless}");
}

#[test]
fn directories_that_must_not_be_overwritten_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let store = OffsetStore::open(path("store")).unwrap();
    let key = Key::new("g", "t", 0);
    // A store without a single commit can be copied, too.
    store.backup(path("backup")).unwrap();
    assert!(verify(path("backup")).unwrap().is_clean());
    let seq = store.commit(key, NextOffset(1)).unwrap().seq();
    let mut told = 0;
    let report = store.backup_with(path("backup"), |progress| told = progress.done).unwrap();
    assert_eq!((report.seq, told), (seq, report.bytes_copied + report.bytes_kept));
    let kind = |dest: std::path::PathBuf| store.backup(dest).unwrap_err().kind();
    assert_eq!(kind(path("store")), ErrorKind::InvalidArgument);
    assert_eq!(kind(path("store/inside")), ErrorKind::InvalidArgument);
    assert!(!path("store/inside").exists());
    let other = OffsetStore::open(path("other")).unwrap();
    other.commit(key, NextOffset(5)).unwrap();
    assert_eq!(kind(path("other")), ErrorKind::Locked);
    other.close().unwrap();
    assert_eq!(kind(path("other")), ErrorKind::WrongStore);
    // Of this one nothing is left but its name.
    std::fs::create_dir(path("bare")).unwrap();
    std::fs::copy(path("other/LOCK"), path("bare/LOCK")).unwrap();
    assert_eq!(kind(path("bare")), ErrorKind::WrongStore);
    std::fs::remove_file(path("other/LOCK")).unwrap();
    assert_eq!(kind(path("other")), ErrorKind::WrongStore);
    assert_eq!(OffsetStore::open(path("other")).unwrap().fetch(key).unwrap().offset().0, 5);
    // A backup that went its own way.
    let restored = OffsetStore::open(path("backup")).unwrap();
    assert!(restored.commit(key, NextOffset(9)).unwrap().seq().get() > 1 << 32, "seqs are new");
    restored.close().unwrap();
    assert_eq!(kind(path("backup")), ErrorKind::WrongStore);
    assert_eq!(OffsetStore::open(path("backup")).unwrap().fetch(key).unwrap().offset().0, 9);
}

#[test]
fn a_backup_that_finds_no_room_leaves_the_earlier_one_and_a_store_that_failed_has_none() {
    let mut player = Player::new(SimDisk::new(), options(5));
    player.play(&history(5, 20)).unwrap();
    let dest = SimDisk::new();
    player.store.as_ref().unwrap().backup_in(&dest).unwrap();
    let before = shown(&dest).unwrap();
    player.play(&history(55, 20)).unwrap();
    let store = player.store.as_ref().unwrap();
    assert_ne!(observe(store), before);
    dest.capacity(Some(dest.used() + 100));
    assert_eq!(store.backup_in(&dest).unwrap_err().kind(), ErrorKind::Full);
    dest.capacity(None);
    assert_eq!(shown(&dest).unwrap(), before);
    store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    player.disk.fail_nth(Op::SyncFile, 0, std::io::ErrorKind::Other);
    assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(store.backup_in(&dest).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(shown(&dest).unwrap(), before);
}

#[test]
fn backups_beside_commits_and_compactions_are_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().segment_size(16 << 10).open(dir.path().join("store")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut batch = CommitBatch::new("g");
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                batch.clear();
                (0..20).for_each(|p| {
                    batch.commit("t", p, NextOffset(round));
                });
                store.commit_batch_with(&batch, Durability::Buffered).unwrap();
            }
        });
        // A few compactions for each backup. Without an end of them it might wait for long: the lock
        // between the two is not fair.
        let (compactions, wanted) = std::sync::mpsc::channel();
        scope.spawn(|| {
            for () in wanted {
                for _ in 0..3 {
                    store.compact().unwrap();
                }
            }
        });
        let mut last = 0;
        let dest = dir.path().join("backup");
        for round in 0..20 {
            compactions.send(()).unwrap();
            let report = store.backup(&dest).unwrap();
            let verified = verify(&dest).unwrap();
            assert!(verified.is_clean(), "{:#?}", verified.findings);
            assert_eq!(verified.last_seq, report.seq);
            let copy = dir.path().join(format!("copy{round}"));
            std::fs::create_dir(&copy).unwrap();
            for entry in std::fs::read_dir(&dest).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
            let restored = OffsetStore::open(&copy).unwrap();
            let values = restored.fetch_group("g");
            let offsets: Vec<i64> = values.iter().map(|(_, value)| value.offset().0).collect();
            assert!(offsets.windows(2).all(|o| o[0] == o[1]), "batches are whole: {offsets:?}");
            let offset = offsets.first().copied().unwrap_or(0);
            assert!(offset >= last, "{offset} after {last}");
            last = offset;
        }
        stop.store(true, Ordering::Relaxed);
        drop(compactions);
        assert!(last > 0);
    });
}
