use std::collections::BTreeSet;
use std::io::ErrorKind::{NotFound, StorageFull, TimedOut};

use super::*;
use crate::error::ErrorKind;
use crate::io::{Access, SegmentFile, contract};

/// A disk with one durable file of zeros.
fn with_file(size: u64) -> (SimDisk, Arc<dyn SegmentFile>) {
    let disk = SimDisk::new();
    let file = disk.create("a", size).unwrap();
    disk.sync().unwrap();
    (disk, file)
}

/// Every state that a power cut may leave behind, as `look` sees it.
fn outcomes<T: Ord>(disk: &SimDisk, look: impl Fn(&SimDisk) -> T) -> BTreeSet<T> {
    let unsynced = disk.unsynced();
    let cut = |n: usize| {
        let bits: Vec<bool> = (0..unsynced).map(|bit| n >> bit & 1 == 1).collect();
        look(&disk.power_cut_bits(&bits))
    };
    (0..1 << unsynced).map(cut).collect()
}

fn is_stop(error: &io::Error) -> bool {
    error.to_string().contains("machine stopped")
}

#[test]
fn the_contract_holds() {
    contract::check_all(|test| test(&SimDisk::new()));
}

#[test]
fn what_was_not_synced_survives_sector_by_sector() {
    let (disk, file) = with_file(2048);
    file.write_at(0, &[1; 2048]).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.unsynced(), 0);
    file.write_at(510, &[2; 4]).unwrap();
    file.write_at(1536, &[2; 512]).unwrap();
    assert_eq!(disk.unsynced(), 3);

    let states = outcomes(&disk, |cut| cut.contents("a").unwrap());
    assert_eq!(states.len(), 8);
    for state in &states {
        assert_eq!(state[..510], [1; 510]);
        assert_eq!(state[514..1536], [1; 1022]);
        assert!(state[510] == state[511] && state[512] == state[513]);
        assert_eq!(state[1536..], [state[1536]; 512]);
    }
    assert_eq!(disk.power_cut(0).contents("a").unwrap(), [1; 2048]);
    assert_eq!(disk.power_cut(1).contents("a"), disk.contents("a"));
    let drawn: BTreeSet<_> = (2..200).map(|seed| disk.power_cut(seed).contents("a")).collect();
    assert_eq!(drawn.len(), 8);
    for seed in 0..20 {
        let twice = [disk.power_cut(seed), disk.power_cut(seed)].map(|cut| cut.contents("a"));
        assert_eq!(twice[0], twice[1]);
    }

    file.sync().unwrap();
    assert_eq!(disk.power_cut(0).contents("a"), disk.contents("a"));
}

#[test]
fn any_recent_version_of_a_sector_may_survive() {
    let (disk, file) = with_file(700);
    for version in 1..=10 {
        file.write_at(600, &[version]).unwrap();
    }
    assert_eq!(disk.unsynced(), 1);
    let version = |seed| disk.power_cut(seed).contents("a").unwrap()[600];
    let drawn: BTreeSet<u8> = (0..500).map(version).collect();
    assert_eq!(drawn, [0, 3, 4, 5, 6, 7, 8, 9, 10].into());
    let mut asked = Vec::new();
    let cut = disk.power_cut_with(|alternatives| {
        asked.push(alternatives);
        2
    });
    assert_eq!(cut.contents("a").unwrap()[600], 4);
    assert_eq!(asked, [9]);
    assert_eq!(disk.power_cut_bits(&[true]).contents("a").unwrap()[600], 10);
    assert_eq!(disk.power_cut_bits(&[]).contents("a").unwrap()[600], 0);
}

#[test]
fn names_survive_each_on_its_own() {
    let disk = SimDisk::new();
    disk.put("old", *b"old");
    disk.put("gone", *b"gone");
    disk.create("tmp", 3).unwrap().write_at(0, b"new").unwrap();
    disk.rename("tmp", "old").unwrap();
    disk.remove("gone").unwrap();
    assert_eq!(disk.files(), ["old"]);
    let look = |cut: &SimDisk| {
        let old = cut.contents("old").unwrap();
        format!("{} {}", cut.files().join(" "), if old == *b"old" { "old" } else { "new" })
    };
    // The sector of the new file is unsynced too.
    assert_eq!(disk.unsynced(), 4);
    let states = outcomes(&disk, look);
    let expected = ["gone old old", "gone old tmp old", "gone old new", "old old", "old tmp old"];
    assert_eq!(states, expected.iter().chain(&["old new"]).map(|s| (*s).into()).collect());

    // The source of the rename never came to be.
    assert_eq!(look(&disk.power_cut_bits(&[false, true, false, true])), "gone old old");
    assert_eq!(look(&disk.power_cut(0)), "gone old old");
    assert_eq!(look(&disk.power_cut(1)), "old new");
    disk.sync().unwrap();
    assert_eq!(look(&disk.power_cut(0)), "old new");
    assert_eq!(disk.power_cut(0).contents("old").unwrap(), [0; 3]);
}

#[test]
fn a_replaced_file_is_there_before_after_or_not_at_all() {
    let (disk, file) = with_file(1);
    file.write_at(0, b"x").unwrap();
    file.sync().unwrap();
    disk.create("a", 2).unwrap();
    let sizes = outcomes(&disk, |cut| cut.contents("a").map(|bytes| bytes.len()));
    assert_eq!(sizes, [Some(1), None, Some(2)].into());
}

#[test]
fn a_sync_makes_content_durable_but_no_name_and_the_other_way_round() {
    let disk = SimDisk::new();
    let file = disk.create("a", 10).unwrap();
    assert_eq!(outcomes(&disk, |cut| cut.contents("a")), [None, Some(vec![0; 10])].into());
    file.write_at(0, &[1; 10]).unwrap();
    file.sync().unwrap();
    assert_eq!(outcomes(&disk, |cut| cut.contents("a")), [None, Some(vec![1; 10])].into());
    file.write_at(0, &[2; 10]).unwrap();
    disk.sync().unwrap();
    let states = outcomes(&disk, |cut| cut.contents("a"));
    assert_eq!(states, [Some(vec![1; 10]), Some(vec![2; 10])].into());
}

#[test]
fn a_process_crash_keeps_all_but_makes_nothing_durable() {
    let (disk, file) = with_file(1000);
    let lock = disk.lock().unwrap();
    lock.record_store(5).unwrap();
    disk.create("b", 1).unwrap();
    file.write_at(0, b"new").unwrap();
    let unsynced = disk.unsynced();

    let next = disk.process_crash();
    assert_eq!(next.files(), ["LOCK", "a", "b"]);
    assert_eq!(next.unsynced(), unsynced);
    assert_eq!(next.operations(), 0);
    assert_eq!(next.lock().unwrap().store_id(), Some(5));
    file.write_at(0, b"NEW").unwrap();
    file.sync().unwrap();
    disk.remove("b").unwrap();
    drop((file, lock));
    assert_eq!(next.contents("a").unwrap()[..3], *b"new");
    assert_eq!(next.power_cut(0).contents("a").unwrap()[..3], [0; 3]);
    assert_eq!(next.power_cut(0).files(), ["LOCK", "a"]);
    assert_eq!(next.power_cut(1).files(), ["LOCK", "a", "b"]);

    let file = next.open("a", Access::Read).unwrap();
    file.sync().unwrap();
    assert_eq!(next.power_cut(0).contents("a").unwrap()[..3], *b"new");
}

#[test]
fn the_record_of_the_store_is_durable_at_once_and_other_names_are_not() {
    let disk = SimDisk::new();
    let lock = disk.lock().unwrap();
    disk.create("a", 1).unwrap();
    assert!(disk.power_cut(0).files().is_empty());
    assert_eq!(disk.power_cut(0).lock().unwrap().store_id(), None);
    lock.record_store(9).unwrap();
    let cut = disk.power_cut(0);
    assert_eq!(cut.files(), ["LOCK"]);
    assert_eq!(cut.lock().unwrap().store_id(), Some(9));
    drop(lock);
    disk.put("LOCK", *b"scribble");
    assert_eq!(disk.lock().unwrap().store_id(), None);
}

#[test]
fn a_failed_sync_is_believed_by_the_next_one() {
    let (disk, file) = with_file(1024);
    file.write_at(0, &[1; 1024]).unwrap();
    file.sync().unwrap();
    file.write_at(0, &[2; 100]).unwrap();
    disk.fail_nth(Op::SyncFile, 0, io::ErrorKind::Other);
    file.sync().unwrap_err();
    assert_eq!(disk.contents("a").unwrap()[..100], [2; 100]);
    file.sync().unwrap();
    assert_eq!(disk.unsynced(), 0);
    assert_eq!(disk.contents("a").unwrap()[..100], [2; 100]);
    assert_eq!(disk.power_cut(1).contents("a").unwrap(), [1; 1024]);

    // As long as somebody has the file open it is shown; a fresh start asks the device.
    let reader = disk.open("a", Access::Read).unwrap();
    let mut byte = [0];
    reader.read_at(0, &mut byte).unwrap();
    assert_eq!(byte, [2]);
    let next = disk.process_crash();
    let follower = next.open("a", Access::Follow).unwrap();
    next.open("a", Access::Settled).unwrap();
    assert_eq!(next.contents("a").unwrap()[0], 2);
    next.open("a", Access::Read).unwrap();
    follower.read_at(0, &mut byte).unwrap();
    assert_eq!(byte, [1]);
    assert_eq!(next.contents("a").unwrap(), [1; 1024]);

    // A sector that is written again is written whole.
    file.write_at(50, &[3]).unwrap();
    assert_eq!(disk.power_cut(0).contents("a").unwrap(), [1; 1024]);
    file.sync().unwrap();
    assert_eq!(disk.power_cut(0).contents("a"), disk.contents("a"));
    assert_eq!(disk.contents("a").unwrap()[49..52], [2, 3, 2]);
}

#[test]
fn a_frozen_disk_does_nothing_any_more() {
    let scenario = |disk: &SimDisk| -> io::Result<()> {
        let lock = disk.lock().map_err(io::Error::other)?;
        lock.record_store(1)?;
        let file = disk.create("a", 10)?;
        file.write_at(0, b"abcdef")?;
        file.read_at(0, &mut [0])?;
        file.sync()?;
        disk.rename("a", "b")?;
        disk.create("c", 1)?;
        disk.remove("c")?;
        disk.sync()?;
        disk.list()?;
        disk.open("b", Access::Read)?;
        Ok(())
    };
    let disk = SimDisk::new();
    scenario(&disk).unwrap();
    assert_eq!(disk.operations(), 11);
    assert!(!disk.is_frozen());
    for n in 0..11 {
        let disk = SimDisk::new();
        disk.freeze_at(n);
        scenario(&disk).unwrap_err();
        assert!(disk.is_frozen());
        assert_eq!(disk.operations(), n);
        let before = (disk.files(), disk.contents("a"), disk.unsynced());
        for error in [
            disk.create("d", 1).unwrap_err(),
            disk.open("a", Access::Read).unwrap_err(),
            disk.rename("a", "d").unwrap_err(),
            disk.remove("a").unwrap_err(),
            disk.list().unwrap_err(),
            Dir::sync(&disk).unwrap_err(),
        ] {
            assert!(is_stop(&error), "{error}");
        }
        assert_eq!(disk.lock().unwrap_err().kind(), ErrorKind::Io);
        assert_eq!((disk.files(), disk.contents("a"), disk.unsynced()), before);
        scenario(&disk.process_crash()).unwrap();
        scenario(&disk.power_cut(n)).unwrap();
    }
}

#[test]
fn a_frozen_disk_stops_its_open_files_too() {
    let (disk, file) = with_file(10);
    let lock = disk.lock().unwrap();
    file.write_at(0, b"a").unwrap();
    disk.freeze_at(disk.operations());
    assert!(is_stop(&file.write_at(0, b"b").unwrap_err()));
    assert!(is_stop(&file.read_at(0, &mut [0]).unwrap_err()));
    assert!(is_stop(&file.sync().unwrap_err()));
    assert!(is_stop(&lock.record_store(1).unwrap_err()));
    assert_eq!(lock.store_id(), None);
    assert_eq!(disk.contents("a").unwrap()[0], b'a');
    assert_eq!(disk.power_cut(0).contents("a").unwrap()[0], 0);
}

#[test]
fn a_write_can_stop_half_way() {
    for (bytes, expected) in [(0, b"....\0"), (2, b"ab..\0"), (4, b"abcd\0"), (9, b"abcd\0")] {
        let (disk, file) = with_file(5);
        file.write_at(0, b"....").unwrap();
        disk.freeze_in_write(disk.operations(), bytes);
        assert!(is_stop(&file.write_at(0, b"abcd").unwrap_err()));
        assert!(is_stop(&file.write_at(4, b"e").unwrap_err()));
        assert_eq!(disk.process_crash().contents("a").unwrap(), expected);
    }
    let (disk, file) = with_file(5);
    disk.freeze_in_write(disk.operations(), 3);
    file.sync().unwrap_err();
    file.write_at(0, b"abcd").unwrap_err();
    assert_eq!(disk.contents("a").unwrap(), [0; 5]);
}

#[test]
fn the_nth_operation_of_a_kind_fails_once() {
    let (disk, file) = with_file(1000);
    disk.fail_nth(Op::Write, 1, TimedOut);
    disk.fail_nth(Op::Create, 0, StorageFull);
    disk.fail_nth(Op::SyncDir, 0, TimedOut);
    file.write_at(0, &[1; 4]).unwrap();
    assert_eq!(file.write_at(0, &[2; 4]).unwrap_err().kind(), TimedOut);
    assert_eq!(disk.contents("a").unwrap()[..5], [2, 2, 1, 1, 0]);
    file.write_at(0, &[3; 4]).unwrap();

    assert_eq!(disk.create("a", 5).unwrap_err().kind(), StorageFull);
    assert!(disk.files().is_empty());
    disk.create("a", 5).unwrap();
    assert_eq!(Dir::sync(&disk).unwrap_err().kind(), TimedOut);
    assert_eq!(disk.power_cut(0).contents("a").unwrap().len(), 1000);
    disk.sync().unwrap();
    assert_eq!(disk.power_cut(0).contents("a").unwrap().len(), 5);
}

#[test]
fn a_fault_that_lasts_fails_all_later_operations_of_its_kind() {
    let (disk, file) = with_file(1000);
    disk.fail_from(Op::SyncFile, 1, TimedOut);
    let write_and_sync = || {
        file.write_at(0, &[1; 4]).unwrap();
        file.sync().map_err(|error| error.kind())
    };
    assert_eq!((write_and_sync(), disk.failures()), (Ok(()), 0));
    for failures in 1..4 {
        assert_eq!((write_and_sync(), disk.failures()), (Err(TimedOut), failures));
    }
    disk.sync().unwrap();
    assert_eq!((disk.operations_of(Op::SyncFile), disk.operations_of(Op::SyncDir)), (4, 2));
    let next = disk.power_cut(1);
    next.open("a", Access::Write).unwrap().sync().unwrap();
}

#[test]
fn one_run_shows_every_place_where_the_machine_can_stop() {
    let scenario = |disk: &SimDisk| -> io::Result<()> {
        let file = disk.create("a", 600)?;
        file.write_at(500, &[1; 50])?;
        file.read_at(0, &mut [0])?;
        file.sync()?;
        disk.rename("a", "b")?;
        disk.create_growing("c")?.append(&[2; 700])?;
        disk.sync()?;
        disk.remove("b")
    };
    let recorded = SimDisk::new();
    recorded.record();
    scenario(&recorded).unwrap();
    let moments = recorded.recorded();
    let expected = [(0, false), (1, false), (1, true), (3, false), (4, false), (5, false)];
    let expected = [&expected[..], &[(6, false), (6, true), (7, false), (8, false)]].concat();
    let found: Vec<_> = moments.iter().map(|m| (m.operation, m.in_write)).collect();
    assert_eq!(found, expected);
    for moment in moments {
        let disk = SimDisk::new();
        disk.freeze_at(moment.operation);
        scenario(&disk).unwrap_err();
        if moment.in_write {
            let (name, first, last) =
                if moment.operation == 1 { ("a", 500, 549) } else { ("c", 0, 699) };
            let bytes = moment.disk.contents(name).unwrap();
            assert!(bytes[first] != 0 && bytes[last] == 0, "a part of it is written");
        } else {
            assert_eq!(moment.disk.fingerprint(), disk.process_crash().fingerprint());
        }
    }
    assert!(recorded.recorded().is_empty());
}

#[test]
fn the_numbered_power_cuts_are_all_that_there_are() {
    let disk = SimDisk::new();
    let file = disk.create("a", 1024).unwrap();
    file.write_at(0, &[1]).unwrap();
    file.write_at(0, &[2]).unwrap();
    file.write_at(600, &[3]).unwrap();
    // The name, three versions of the first sector, two of the second.
    assert_eq!(disk.power_cuts(), 2 * 3 * 2);
    let cuts: Vec<SimDisk> = (0..12).map(|number| disk.power_cut_number(number)).collect();
    assert_eq!(cuts[0].fingerprint(), disk.power_cut(0).fingerprint());
    assert_eq!(cuts[11].fingerprint(), disk.power_cut(1).fingerprint());
    let different: BTreeSet<u64> = cuts.iter().map(SimDisk::fingerprint).collect();
    assert_eq!(different.len(), 1 + 3 * 2, "without its name nothing of the file is left");
    for lot in 0..100 {
        assert!(different.contains(&disk.power_cut(lot).fingerprint()));
    }
}

#[test]
fn a_fingerprint_covers_what_is_synced_and_what_is_not() {
    let (disk, file) = with_file(1024);
    let mut seen = BTreeSet::new();
    let mut is_new = || seen.insert(disk.fingerprint());
    assert!(is_new());
    file.write_at(0, &[0]).unwrap();
    assert!(is_new(), "a sector is dirty");
    file.write_at(0, &[0]).unwrap();
    assert!(is_new(), "it has another version");
    disk.fail_nth(Op::SyncFile, 0, TimedOut);
    file.sync().unwrap_err();
    assert!(is_new(), "it was given up");
    file.write_at(0, &[0]).unwrap();
    file.sync().unwrap();
    assert!(!is_new(), "all is as it was");
    disk.rename("a", "b").unwrap();
    assert!(is_new());
    disk.sync().unwrap();
    assert!(is_new(), "the name is durable");
    assert_eq!(disk.fingerprint(), disk.power_cut(0).fingerprint());
}

#[test]
fn some_lots_keep_the_order_of_the_changes_of_names() {
    let disk = SimDisk::new();
    let names: Vec<String> = (10..40).map(|n| n.to_string()).collect();
    names.iter().for_each(|name| drop(disk.create(name, 0).unwrap()));
    let in_order = (2..402).filter(|lot| names.starts_with(&disk.power_cut(*lot).files())).count();
    assert!((70..130).contains(&in_order), "{in_order} of 400");
}

#[test]
fn a_full_disk_refuses_new_files() {
    let disk = SimDisk::new();
    disk.capacity(Some(1000));
    let _lock = disk.lock().unwrap();
    let file = disk.create("a", 600).unwrap();
    assert_eq!(disk.create("b", 401).unwrap_err().kind(), StorageFull);
    assert_eq!(disk.create("b", u64::MAX).unwrap_err().kind(), StorageFull);
    assert_eq!(disk.files(), ["LOCK", "a"]);
    disk.create("b", 400).unwrap();
    assert_eq!(disk.used(), 1000);
    file.write_at(0, &[1; 600]).unwrap();

    disk.remove("a").unwrap();
    assert_eq!(disk.create("c", 1).unwrap_err().kind(), StorageFull);
    drop(file);
    disk.create("c", 600).unwrap();
    assert_eq!(disk.power_cut(1).create("d", 1).unwrap_err().kind(), StorageFull);
    disk.capacity(None);
    disk.create("d", 10_000).unwrap();
}

#[test]
fn where_blocks_are_copied_a_full_disk_refuses_writes() {
    let (disk, file) = with_file(1000);
    disk.copy_on_write(true);
    file.write_at(0, b"abcd").unwrap();
    disk.capacity(Some(1001));
    file.write_at(0, b"efgh").unwrap();
    disk.capacity(Some(1000));
    assert_eq!(file.write_at(0, b"ijkl").unwrap_err().kind(), StorageFull);
    assert_eq!(disk.contents("a").unwrap()[..4], *b"ijgh");
    disk.copy_on_write(false);
    file.write_at(0, b"mnop").unwrap();
}

#[test]
fn edits_from_outside_are_durable() {
    let (disk, file) = with_file(3);
    file.write_at(0, b"abc").unwrap();
    let operations = disk.operations();
    let copy = disk.deep_clone();
    disk.put("b", *b"durable");
    disk.put("a", *b"other");
    assert_eq!(disk.contents("a").unwrap(), b"other");
    assert!(disk.rename_file("b", "c"));
    assert!(!disk.rename_file("b", "c"));
    assert_eq!(disk.power_cut(0).files(), ["a", "c"]);
    assert!(disk.delete("a"));
    assert!(!disk.delete("a"));
    assert_eq!(disk.power_cut(0).files(), ["c"]);
    assert_eq!(disk.power_cut(0).contents("c").unwrap(), b"durable");
    assert_eq!(disk.operations(), operations);
    assert_eq!(disk.contents("a"), None);
    assert_eq!(disk.open("a", Access::Read).unwrap_err().kind(), NotFound);
    assert_eq!(copy.contents("a").unwrap(), b"abc");
    assert_eq!(copy.files(), ["a"]);
}

#[test]
fn files_that_nobody_can_reach_are_forgotten() {
    let disk = SimDisk::new();
    for _ in 0..100 {
        disk.create("a", 1000).unwrap().write_at(0, b"x").unwrap();
        disk.sync().unwrap();
    }
    assert_eq!(disk.state().inodes.len(), 1);
    disk.remove("a").unwrap();
    assert_eq!(disk.state().inodes.len(), 1);
    disk.sync().unwrap();
    assert_eq!(disk.state().inodes.len(), 0);
}
