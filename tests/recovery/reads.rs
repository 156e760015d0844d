//! What an open reads and flushes, and how it counts that.

use super::*;

#[test]
fn the_blank_rest_of_a_log_is_read_unless_it_was_closed_right_there() {
    let options = options(1).segment_size(4 << 20).auto_compact(false);
    let disk = SimDisk::new();
    let store = open(&disk, &options).unwrap();
    // Segments double: these are full, and there is little in one of a megabyte behind them.
    while disk.files().len() < 6 {
        store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    }
    let last = segments(&disk).pop().unwrap();
    let state = observe(&store);
    let died = disk.process_crash();
    store.close().unwrap();
    let closed = disk.process_crash();
    assert_eq!(closed.contents(&last).unwrap().len(), 1 << 20);
    let reads = |disk: &SimDisk, is_clean| {
        let disk = disk.deep_clone();
        let store = open(&disk, &options).unwrap();
        assert_eq!(observe(&store), state);
        assert_eq!(store.recovery_report().clean, is_clean);
        disk.operations_of(Op::Read)
    };
    // Four pieces of a quarter of a megabyte, or the first of them.
    assert_eq!(reads(&closed, true) + 3, reads(&died, false));
    // Of the two marks, one says that it was closed.
    let is_read = [512, 1024].map(|mark| {
        let mut bytes = closed.contents(&last).unwrap();
        bytes[mark + 20] ^= 1;
        let disk = with(&closed, &last, bytes);
        let is_clean = open(&disk.deep_clone(), &options).unwrap().recovery_report().clean;
        let more = reads(&disk, is_clean) - reads(&closed, true);
        assert_eq!(more, if is_clean { 0 } else { 3 }, "without the mark at {mark}");
        !is_clean
    });
    assert_ne!(is_read[0], is_read[1]);
    // What is far behind the end of a closed log is no record and does no harm; near it, it is cut.
    for (place, is_clean) in [((1 << 20) - 1, true), (100_000, false)] {
        let mut bytes = closed.contents(&last).unwrap();
        bytes[place] = 1;
        reads(&with(&closed, &last, bytes), is_clean);
    }
    let mut bytes = died.contents(&last).unwrap();
    bytes[(1 << 20) - 1] = 1;
    let store = open(&with(&died, &last, bytes), &options).unwrap();
    assert_eq!(store.recovery_report().cut.as_ref().unwrap().path.file_name().unwrap(), &*last);
}

#[test]
fn the_report_counts_what_was_read() {
    let (mut disk, options) = (SimDisk::new(), options(1));
    let store = options.open_in(disk.dir()).unwrap();
    assert!(store.recovery_report().created && store.recovery_report().clean);
    let commit = |store: &OffsetStore, commits: i32| {
        for i in 0..commits {
            let commit = Commit::new(NextOffset(1)).metadata("some text to fill the segments");
            store.commit(Key::new("g", "t", i), commit).unwrap();
        }
    };
    commit(&store, 40);
    store.compact().unwrap();
    commit(&store, 700);
    drop(store);
    for session in 0..9 {
        let (mut bytes, mut records, mut segments) = (0, 0, 0);
        for name in disk.files() {
            let contents = disk.contents(&name).unwrap();
            if name.ends_with(".log") {
                let bounds = record_bounds(&contents);
                bytes += bounds.last().unwrap() - RECORDS_START;
                (records, segments) = (records + bounds.len() as u64 - 1, segments + 1);
            } else if name.ends_with(".snapshot") {
                bytes += contents.len() - RECORDS_START;
            }
        }
        let store = options.open_in(disk.dir()).unwrap();
        let report = store.recovery_report();
        assert_eq!(
            (report.bytes, report.records, report.segments),
            (bytes as u64, records, segments)
        );
        assert_eq!((report.snapshot_keys, report.changes), (40, 700));
        assert_eq!(
            (report.created, report.clean),
            (false, session % 3 > 0 || session == 0),
            "{session}"
        );
        assert!(segments > 2 && report.skipped == 0);
        // Every third session is killed.
        match session % 3 {
            2 => disk = disk.process_crash(),
            _ => store.close().unwrap(),
        }
    }
}

#[test]
fn a_closed_store_is_flushed_no_more_than_an_empty_one_when_it_is_opened() {
    let flushes = |commits: i32, sealed: bool| {
        let disk = SimDisk::new();
        let store = options(1).open_in(disk.dir()).unwrap();
        for i in 0..commits {
            store.commit(Key::new("g", "t", i), NextOffset(1)).unwrap();
        }
        if sealed {
            store.backup_in(&SimDisk::new()).unwrap();
        }
        store.close().unwrap();
        let before = disk.operations_of(Op::SyncFile);
        options(1).open_in(disk.dir()).unwrap();
        disk.operations_of(Op::SyncFile) - before
    };
    let least = flushes(0, false);
    for (commits, sealed) in [(1, false), (1, true), (2000, false), (2000, true)] {
        assert_eq!(flushes(commits, sealed), least, "{commits} commits, {sealed}");
    }
}

#[test]
fn segments_that_are_known_to_be_durable_are_not_flushed_again_by_an_open() {
    // So many segments are sealed while a snapshot is written, which states how far the log is durable.
    let flushes = |commits: i32| {
        let disk = SimDisk::new();
        let store = options(1).open_in(disk.dir()).unwrap();
        store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
        let mut is_first = true;
        let progress = |_| {
            let commits = if std::mem::take(&mut is_first) { commits } else { 0 };
            for partition in 0..commits {
                store.commit(Key::new("g", "t", partition), NextOffset(2)).unwrap();
            }
        };
        store.compact_with(progress).unwrap();
        store.close().unwrap();
        let before = disk.operations_of(Op::SyncFile);
        options(1).open_in(disk.dir()).unwrap();
        (segments(&disk).len(), disk.operations_of(Op::SyncFile) - before)
    };
    let ((few, least), (many, found)) = (flushes(0), flushes(2000));
    assert!(many > few + 2, "{few} segments, {many} segments");
    assert_eq!(found, least);
}
