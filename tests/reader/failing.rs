//! A reader whose disk fails, and one under which the files are changed: by a writer that goes on, or
//! for those of another history.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pagemark::testkit::{FixedEnvironment, Op, SimDisk};
use pagemark::{Commit, ErrorKind, Key, NextOffset, OffsetReader, OffsetStore, Refreshed};

use crate::hooked::{Call, Hooked};
use crate::mount::Mount;
use crate::support::{observe, observe_reader, options, record_bounds};
use crate::{FIRST, both};

/// Sets so much that segments of 16 KiB fill up.
fn fill(store: &OffsetStore, offset: i64) {
    let long = "x".repeat(1000);
    for partition in 0..40 {
        let commit = Commit::new(NextOffset(offset)).metadata(&long);
        store.commit(Key::new("g", "t", partition), commit).unwrap();
    }
}

#[test]
fn an_error_of_the_disk_is_told_and_not_taken_for_files_that_are_gone() {
    for (compacted, op) in
        [(false, Op::Open), (false, Op::Read), (true, Op::Open), (true, Op::Read), (true, Op::List)]
    {
        for n in 0.. {
            let disk = SimDisk::new();
            let store = options(1).open_in(disk.dir()).unwrap();
            fill(&store, 1);
            let reader = OffsetReader::open_in(Mount::new(&disk)).unwrap();
            fill(&store, 2);
            if compacted {
                store.compact().unwrap();
            }
            fill(&store, 3);
            disk.fail_nth(op, n, io::ErrorKind::Other);
            let refreshed = reader.refresh();
            if disk.failures() == 0 {
                assert_eq!(refreshed.unwrap().restarted, compacted);
                assert!(n > 0, "{op:?}");
                break;
            }
            assert_eq!(refreshed.unwrap_err().kind(), ErrorKind::Io, "{op:?} {n}");
            reader.refresh().unwrap();
            assert_eq!(observe_reader(&reader), observe(&store), "{op:?} {n}");
        }
    }
}

#[test]
fn a_store_that_is_compacted_while_it_is_read_is_read_once_more() {
    let mut started_over = 0;
    for n in 0.. {
        let disk = SimDisk::new();
        let store = options(1).open_in(disk.dir()).unwrap();
        fill(&store, 1);
        let (writer, operations) = (store.clone(), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&operations);
        let dir = Hooked::new(Mount::new(&disk), move |call| {
            let counts = !matches!(call, Call::Size(..));
            if counts && count.fetch_add(1, Ordering::Relaxed) == n {
                for round in 2..4 {
                    fill(&writer, round);
                    writer.compact().unwrap();
                }
            }
        });
        let reader = OffsetReader::open_in(dir).unwrap();
        let opened_in = operations.load(Ordering::Relaxed);
        started_over += u64::from(observe_reader(&reader) == observe(&store));
        reader.refresh().unwrap();
        if n < opened_in {
            assert_eq!(observe_reader(&reader), observe(&store), "{n}");
        } else {
            break;
        }
    }
    assert!(started_over > 3, "{started_over}");
}

#[test]
fn sessions_that_go_on_in_the_same_log_are_followed_and_not_read_anew() {
    let mut disk = SimDisk::new();
    let mount = Mount::new(&disk);
    let mut store = options(1).open_in(disk.dir()).unwrap();
    let reader = OffsetReader::open_in(mount.clone()).unwrap();
    for offset in 1..8 {
        store.commit(Key::new("g", "t", 0), NextOffset(offset)).unwrap();
        let refreshed = reader.refresh().unwrap();
        assert_eq!((refreshed.changes, refreshed.restarted), (1, false), "session {offset}");
        assert_eq!(reader.refresh().unwrap(), Refreshed::default());
        assert_eq!(observe_reader(&reader), observe(&store));
        // Every other session is killed.
        match offset % 2 {
            0 => store.close().unwrap(),
            _ => disk = disk.process_crash(),
        }
        mount.replace(&disk);
        assert_eq!(reader.refresh().unwrap(), Refreshed::default());
        store = options(1).open_in(disk.dir()).unwrap();
    }
}

#[test]
fn what_the_log_states_to_be_durable_is_said() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    let reader = OffsetReader::open_in(Mount::new(&disk)).unwrap();
    let key = Key::new("g", "t", 0);
    let is_durable = || reader.fetch(key).unwrap().is_durable();
    for offset in 1..4 {
        let seq = store.commit(key, NextOffset(offset)).unwrap().seq();
        reader.refresh().unwrap();
        assert!(!is_durable() && reader.durable_seq() < seq, "{offset}");
        store.compact().unwrap();
        reader.refresh().unwrap();
        assert!(is_durable() && reader.durable_seq() == seq, "{offset}");
    }
}

#[test]
fn what_has_to_be_caught_up_with_is_read_in_large_pieces() {
    let disk = SimDisk::new();
    let store = options(1).segment_size(4 << 20).open_in(disk.dir()).unwrap();
    let pieces = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&pieces);
    let dir = Hooked::new(Mount::new(&disk), move |call| {
        if let Call::Read(_, bytes, _) = call {
            seen.lock().unwrap().push((bytes.end - bytes.start) as usize);
        }
    });
    let reader = OffsetReader::open_in(dir).unwrap();
    (1..60).for_each(|round| fill(&store, round));
    pieces.lock().unwrap().clear();
    reader.refresh().unwrap();
    let pieces = pieces.lock().unwrap();
    assert!(pieces.iter().sum::<usize>() > 59 * 40_000, "{pieces:?}");
    assert!(pieces.len() < 100, "{} pieces", pieces.len());
}

#[test]
fn what_a_power_cut_took_is_gone_when_the_next_session_begins_which_commits_nothing() {
    // The reader has seen more than the next session writes, just as much, or less.
    for words in 1..40 {
        let disk = SimDisk::new();
        let mount = Mount::new(&disk);
        let store = options(1).open_in(disk.dir()).unwrap();
        store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
        store.sync().unwrap();
        let text = "x".repeat(4 * words);
        let lost = Commit::new(NextOffset(2)).metadata(&text);
        store.commit(Key::new("g", "t", 0), lost).unwrap();
        let reader = OffsetReader::open_in(mount.clone()).unwrap();
        assert_eq!(observe_reader(&reader), observe(&store));
        let disk = disk.power_cut(0);
        let store = options(1).open_in(disk.dir()).unwrap();
        mount.replace(&disk);
        assert!(reader.refresh().unwrap().restarted, "{words}");
        assert_eq!(observe_reader(&reader), observe(&store), "{words}");
    }
}

/// Two stores with the same beginning, of which one has gone on for so long in another way.
fn forked(rounds: i64) -> (SimDisk, SimDisk) {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    store.close().unwrap();
    let other = disk.deep_clone();
    let environment = FixedEnvironment::new(2);
    let store = options(1).environment(environment).open_in(other.dir()).unwrap();
    (1..=rounds).for_each(|round| fill(&store, round));
    (disk, other)
}

#[test]
fn a_reader_goes_over_to_another_history_that_took_the_place_of_its_own() {
    // Of the segment that it is in, the other history has nothing, or another one of that name.
    for (rounds, has_name) in [(0, false), (1, true)] {
        let (disk, other) = forked(rounds);
        let mount = Mount::new(&disk);
        let store = options(1).open_in(disk.dir()).unwrap();
        let is_log = |name: &String| name.ends_with(".log");
        let newest = |disk: &SimDisk| disk.files().into_iter().rfind(is_log).unwrap();
        fill(&store, 1);
        while has_name && newest(&disk) != newest(&other) {
            store.commit(Key::new("g", "t", 0), NextOffset(5)).unwrap();
        }
        let used =
            |disk: &SimDisk| *record_bounds(&disk.contents(&newest(disk)).unwrap()).last().unwrap();
        while has_name && used(&disk) <= used(&other) {
            store.commit(Key::new("g", "t", 0), NextOffset(6)).unwrap();
        }
        assert_eq!(other.contents(&newest(&disk)).is_some(), has_name);
        let reader = OffsetReader::open_in(mount.clone()).unwrap();
        assert_eq!(observe_reader(&reader), observe(&store));
        mount.replace(&other);
        assert!(reader.refresh().unwrap().restarted, "{has_name}");
        let store = options(1).open_in(other.dir()).unwrap();
        assert_eq!(observe_reader(&reader), observe(&store), "{has_name}");
    }
}

#[test]
fn bytes_that_look_like_very_many_records_are_refused_as_open_refuses_them() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    for partition in 0..100 {
        store.commit(Key::new("g", "t", partition), NextOffset(1)).unwrap();
    }
    let disk = disk.process_crash();
    let mut bytes = disk.contents(FIRST).unwrap();
    let end = *record_bounds(&bytes).last().unwrap();
    // Each word claims to be the head of a record of 1,025 words, with the seq 257.
    for word in bytes[end..].chunks_exact_mut(4) {
        word.copy_from_slice(&[1, 1, 4, 0]);
    }
    disk.put(FIRST, bytes);
    assert_eq!(both(&disk, 1), [Err(ErrorKind::Corrupt), Err(ErrorKind::Corrupt)]);
}

#[test]
fn a_refresh_that_finds_nothing_looks_at_the_segment_once() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    let reader = OffsetReader::open_in(Mount::new(&disk)).unwrap();
    let looks = || (disk.operations_of(Op::Open), disk.operations_of(Op::Read));
    let before = looks();
    reader.refresh().unwrap();
    // Its first page, and what is behind its last record.
    assert_eq!(looks(), (before.0 + 1, before.1 + 2));
}
