//! What an open states of a log, and whose log it is.

use super::*;

/// The counters of the two marks of a segment, where docs/format.md puts them, and the state of the newer.
fn marks(disk: &SimDisk, name: &str) -> ([u64; 2], u32) {
    let bytes = disk.contents(name).unwrap();
    let counter = |at: usize| u64::from_le_bytes(bytes[at + 40..at + 48].try_into().unwrap());
    let state = |at: usize| u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
    let counters = [512, 1024].map(counter);
    let newer = if counters[0] > counters[1] { 512 } else { 1024 };
    (counters, state(newer))
}

#[test]
fn every_mark_of_every_session_takes_the_place_of_the_older_one() {
    const CLOSED: u32 = 3;
    let disk = SimDisk::new();
    let mut newest = 0;
    for session in 0..6 {
        let store = open(&disk, &options(1)).unwrap();
        // A mark of the open, and one of the close.
        let ([even, odd], _) = marks(&disk, FIRST);
        assert_eq!(even.max(odd), newest + 1, "session {session}");
        store.commit(Key::new("g", "t", session), NextOffset(1)).unwrap();
        store.close().unwrap();
        let ([even, odd], state) = marks(&disk, FIRST);
        newest += 2;
        assert_eq!((even.max(odd), even.min(odd), state), (newest, newest - 1, CLOSED));
    }
}

#[test]
fn the_log_of_another_store_is_refused_by_its_name() {
    let store = |seed, compacts| {
        let disk = SimDisk::new();
        let store = open(&disk, &options(seed)).unwrap();
        store.commit(Key::new("g", "t", 0), NextOffset(seed as i64)).unwrap();
        if compacts {
            store.compact().unwrap();
        }
        store.close().unwrap();
        disk
    };
    for compacts in [false, true] {
        let (own, other) = (store(1, compacts), store(2, compacts));
        let files = own.files();
        assert_eq!(files, other.files(), "the names are the same");
        // All files but the lock, and one of the two.
        for taken in [&["log", "snapshot"][..], &["log"], &["snapshot"]] {
            let mixed = own.deep_clone();
            let is_taken = |name: &&String| taken.iter().any(|end| name.ends_with(end));
            let names: Vec<&String> = files.iter().filter(is_taken).collect();
            for name in &names {
                mixed.put(name, other.contents(name).unwrap());
            }
            match open(&mixed, &options(3)) {
                Ok(_) => assert!(names.is_empty(), "{taken:?}"),
                Err(error) => {
                    assert!(error.is_corruption(), "{taken:?}: {error}");
                    assert!(error.to_string().contains("belongs to store"), "{taken:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_power_cut_in_an_open_that_drops_a_segment_costs_nothing() {
    for is_full in [false, true] {
        let disk = SimDisk::new();
        let store = open(&disk, &options(1)).unwrap();
        while segments(&disk).len() == 1 {
            store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
        }
        let disk = disk.process_crash();
        // The second one never got its first record, and the seal of the first may be lost with it.
        let names = segments(&disk);
        let mut second = disk.contents(&names[1]).unwrap();
        second[RECORDS_START..].fill(0);
        disk.put(&names[1], second);
        let mut first = disk.contents(FIRST).unwrap();
        if !is_full {
            let bounds = record_bounds(&first);
            first[bounds[bounds.len() - 3]..].fill(0);
        }
        // All of this is durable.
        disk.put(FIRST, first);
        let expected = observe(&open(&disk.deep_clone(), &options(1)).unwrap());
        for stop in 0.. {
            let disk = disk.deep_clone();
            disk.freeze_at(disk.operations() + stop);
            let opened = open(&disk, &options(1));
            if !disk.is_frozen() {
                assert!(stop > 5 && opened.is_ok());
                break;
            }
            for lot in 0..16 {
                let store = open(&disk.power_cut(lot), &options(1));
                let store = store.unwrap_or_else(|error| panic!("{is_full} {stop} {lot}: {error}"));
                assert_eq!(observe(&store), expected, "{is_full} {stop} {lot}");
            }
        }
    }
}
