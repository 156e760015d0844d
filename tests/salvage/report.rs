//! What a salvage says of one kind of damage each, to the byte and to the seq.

use std::io;
use std::ops::Range;

use pagemark::testkit::{SimDisk, salvage_in};
use pagemark::{
    Commit, CommitBatch, Key, NextOffset, OffsetStore, SalvageReport, SalvagedKey, StateOwner,
    Verdict,
};

use crate::hooked::{Call, Hooked};
use crate::support::{observe, options, record_bounds};

const FIRST: &str = "00000000000000000001.log";

fn commit(store: &OffsetStore, topic: &str, partition: i32, len: usize) {
    let text = "x".repeat(len);
    let commit = Commit::new(NextOffset(len as i64)).metadata(&text);
    store.commit(Key::new("g", topic, partition), commit).unwrap();
}

/// A store with so many partitions of the topic `t`, each committed to once: seqs from 1 on.
fn store(partitions: i32) -> (SimDisk, OffsetStore) {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    (0..partitions).for_each(|partition| commit(&store, "t", partition, 100));
    (disk, store)
}

fn closed(partitions: i32) -> SimDisk {
    let (disk, store) = store(partitions);
    store.close().unwrap();
    disk
}

/// What a salvage came to, and the keys of the new store.
fn salvaged(disk: &SimDisk) -> (SalvageReport, usize) {
    salvaged_from(&Hooked::new(disk.dir(), |_| {}))
}

fn salvaged_from(from: &Hooked) -> (SalvageReport, usize) {
    let to = SimDisk::new();
    let report = salvage_in(from, to.dir()).unwrap();
    let saved = observe(&options(1).open_in(to.dir()).unwrap()).offsets.len();
    assert_eq!(report.kept(), saved as u64);
    (report, saved)
}

/// The gaps, by the names of the files.
fn gaps(report: &SalvageReport) -> Vec<(&str, u64, u64)> {
    let gaps = report.gaps.iter().map(|gap| {
        let name = gap.path.file_name().unwrap().to_str().unwrap();
        (name, gap.from.get(), gap.to.get())
    });
    gaps.collect()
}

fn flip(disk: &SimDisk, name: &str, at: usize) {
    let mut bytes = disk.contents(name).unwrap();
    bytes[at] ^= 1;
    disk.put(name, bytes);
}

fn bounds(disk: &SimDisk, name: &str) -> Vec<usize> {
    record_bounds(&disk.contents(name).unwrap())
}

fn snapshot_of(disk: &SimDisk) -> String {
    disk.files().into_iter().find(|name| name.ends_with(".snapshot")).unwrap()
}

/// A disk that does not give these bytes of a file.
fn with_bad(disk: &SimDisk, name: &'static str, bad: Range<u64>) -> std::sync::Arc<Hooked> {
    Hooked::new(disk.dir(), move |call| match call {
        Call::Read(of, bytes, read)
            if of == name && bytes.start < bad.end && bad.start < bytes.end =>
        {
            *read = Err(io::ErrorKind::Other.into());
        }
        _ => {}
    })
}

#[test]
fn all_records_and_files_of_a_whole_store_are_counted() {
    let (disk, store) = store(300);
    let logs = disk.files().into_iter().filter(|name| name.ends_with(".log"));
    let logs: Vec<String> = logs.collect();
    assert!(logs.len() > 2);
    store.close().unwrap();
    let records: usize = logs.iter().map(|name| bounds(&disk, name).len() - 1).sum();
    let (report, _) = salvaged(&disk);
    assert_eq!((report.exact, report.records, report.bytes_skipped), (300, records as u64, 0));
    assert_eq!(report.files.len(), logs.len());
    assert!(report.gaps.is_empty() && report.timestamps_lost == 0, "{report:#?}");
}

#[test]
fn what_is_saved_is_written_in_long_batches() {
    let to = SimDisk::new();
    salvage_in(&closed(300), to.dir()).unwrap();
    let saved = options(1).open_in(to.dir()).unwrap();
    assert_eq!(saved.durable_seq().get(), 2);
}

#[test]
fn a_damaged_record_is_a_gap_of_its_seq_and_the_last_one_of_all_behind() {
    for (lost, gap, exact) in [(7, (7, 7), 3), (10, (10, u64::MAX), 0)] {
        let disk = closed(10);
        // The first two are not commits: the start and the name.
        let bounds = bounds(&disk, FIRST);
        let record = bounds[lost + 1]..bounds[lost + 2];
        flip(&disk, FIRST, record.start + 20);
        let (report, saved) = salvaged(&disk);
        assert_eq!(gaps(&report), [(FIRST, gap.0, gap.1)]);
        assert_eq!((report.exact, saved), (exact, 9), "{report:#?}");
        let end = if lost == 10 { 16 << 10 } else { record.end };
        assert_eq!(report.bytes_skipped, (end - record.start) as u64);
    }
}

#[test]
fn a_lost_name_costs_the_changes_of_its_topic() {
    let (disk, store) = store(3);
    (0..2).for_each(|partition| commit(&store, "u", partition, 100));
    commit(&store, "t", 3, 100);
    store.close().unwrap();
    let bounds = bounds(&disk, FIRST);
    // Start, name, three commits, and the name.
    flip(&disk, FIRST, bounds[5] + 16);
    let (report, saved) = salvaged(&disk);
    assert_eq!((report.changes_lost, saved), (2, 4), "{report:#?}");
    assert_eq!(gaps(&report), [(FIRST, 4, 4), (FIRST, 5, 5)]);
    assert_eq!((report.exact, report.possibly_old), (1, 3));
}

#[test]
fn without_the_start_of_a_segment_nobody_knows_the_times() {
    let disk = closed(5);
    flip(&disk, FIRST, 4096 + 16);
    let (report, _) = salvaged(&disk);
    assert_eq!((report.exact, report.timestamps_lost), (5, 5), "{report:#?}");
    assert!(report.gaps.is_empty());
}

#[test]
fn what_is_only_named_is_lost_and_told_once() {
    let (disk, store) = store(1);
    store.delete(Key::new("g", "t", 0)).unwrap();
    commit(&store, "u", 0, 100);
    store.close().unwrap();
    let bounds = bounds(&disk, FIRST);
    flip(&disk, FIRST, bounds[bounds.len() - 2] + 20);
    let (report, saved) = salvaged(&disk);
    let lost = |topic: &str, partition, seq| (topic.to_owned(), partition, Verdict::Lost, seq);
    let told = |key: &SalvagedKey| (key.topic.clone(), key.partition, key.verdict, key.seq.get());
    let told: Vec<_> = report.uncertain.iter().map(told).collect();
    // The deletion is the newest that is known of the one, and nothing of the other.
    assert_eq!(told, [lost("t", Some(0), 2), lost("u", None, 0)]);
    assert_eq!((report.lost, saved), (2, 0));
}

#[test]
fn the_end_of_a_log_is_believed_as_its_marks_say() {
    // Rot behind the end of a closed log.
    let disk = closed(5);
    let end = *bounds(&disk, FIRST).last().unwrap();
    flip(&disk, FIRST, 16_000);
    let (report, _) = salvaged(&disk);
    assert_eq!((report.exact, report.bytes_skipped), (5, (16 << 10) - end as u64), "{report:#?}");
    assert!(report.gaps.is_empty(), "{report:#?}");

    // A session that was begun and not closed, without changes and with some.
    for partitions in [0, 5] {
        let disk = closed(5);
        let store = options(1).open_in(disk.dir()).unwrap();
        (0..partitions).for_each(|partition| commit(&store, "t", partition, 100));
        let (report, _) = salvaged(&disk.process_crash());
        assert_eq!(report.exact, 5, "{report:#?}");
        assert!(report.gaps.is_empty(), "{report:#?}");
    }

    // A session of which nothing is left but its mark.
    let disk = closed(5);
    options(1).open_in(disk.dir()).unwrap().close().unwrap();
    let bounds = bounds(&disk, FIRST);
    let mut bytes = disk.contents(FIRST).unwrap();
    bytes[bounds[bounds.len() - 2]..].fill(0);
    disk.put(FIRST, bytes);
    let (report, _) = salvaged(&disk);
    assert_eq!(gaps(&report), [(FIRST, 6, u64::MAX)]);
    assert_eq!((report.exact, report.possibly_old), (0, 5));
}

#[test]
fn what_is_missing_behind_a_segment_is_a_gap_without_end() {
    // A segment whose successor was there for good.
    let (disk, store) = store(300);
    let names: Vec<_> = disk.files().into_iter().filter(|name| name.ends_with(".log")).collect();
    store.close().unwrap();
    names[1..].iter().for_each(|name| assert!(disk.delete(name)));
    let (report, saved) = salvaged(&disk);
    assert_eq!(gaps(&report), [(FIRST, saved as u64 + 1, u64::MAX)]);
    // A later file of which not even the header is right, and an earlier one.
    for (first_seq, is_behind) in [(6, true), (2, false)] {
        let disk = self::store(5).0.process_crash();
        let name = format!("{first_seq:020}.log");
        disk.put(&name, vec![7; 5000]);
        let (report, _) = salvaged(&disk);
        let behind = [(FIRST, 6, u64::MAX)];
        assert_eq!(gaps(&report), behind[usize::from(!is_behind)..], "{report:#?}");
        assert_eq!((report.unreadable.len(), report.bytes_skipped), (1, 5000));
        assert!(report.unreadable[0].ends_with(&name));
    }
}

#[test]
fn a_sector_that_the_device_does_not_give_may_have_held_anything() {
    let (disk, store) = store(55);
    let disk = disk.process_crash();
    drop(store);
    let end = *bounds(&disk, FIRST).last().unwrap() as u64;
    assert!((8192..12_288).contains(&end), "{end}");
    let behind = |bad: Range<u64>| {
        let report = salvaged_from(&with_bad(&disk, FIRST, bad)).0;
        let behind = gaps(&report).iter().filter(|gap| gap.2 == u64::MAX).count();
        (report.bytes_skipped, behind)
    };
    // The marks, but not the header; then the blank rest.
    assert_eq!(behind(100..200), (4096, 1));
    assert_eq!(behind(16_000..16_001), (4096, 1));
    let (skipped, ends) = behind(5000..5001);
    assert!(skipped >= 4096 && ends == 0, "{skipped}, {ends}");
}

#[test]
fn a_sector_of_zeros_that_a_record_has_read_without_it_costs_nothing() {
    // A state of zeros, of such a length that its record ends with a sector.
    let zeros = |len: usize| {
        let disk = SimDisk::new();
        let store = options(1).open_in(disk.dir()).unwrap();
        let mut batch = CommitBatch::new("g");
        batch.put_state(StateOwner::Application, "state", 0, &vec![0; len]);
        store.commit_batch(&batch).unwrap();
        disk.process_crash()
    };
    let end = *bounds(&zeros(8000), FIRST).last().unwrap();
    let disk = zeros(8000 + 12_288 - end);
    assert_eq!(bounds(&disk, FIRST).last(), Some(&12_288));
    let (report, _) = salvaged_from(&with_bad(&disk, FIRST, 8192..12_288));
    assert_eq!((report.states_exact, report.bytes_skipped), (1, 4096));
    assert!(report.gaps.is_empty(), "{report:#?}");
}

#[test]
fn a_file_of_another_store_is_not_taken_in_and_the_store_of_most_files_counts() {
    for (own, foreign) in [(1, 2), (2, 1)] {
        let open = |seed, disk: &SimDisk| options(seed).open_in(disk.dir()).unwrap();
        let (disk, other) = (SimDisk::new(), SimDisk::new());
        let store = open(own, &disk);
        (0..300).for_each(|partition| commit(&store, "t", partition, 100));
        store.close().unwrap();
        let id = salvaged(&disk).0.store_id;
        let store = open(foreign, &other);
        commit(&store, "t", 0, 100);
        store.compact().unwrap();
        store.close().unwrap();
        let snapshot = snapshot_of(&other);
        let bytes = other.contents(&snapshot).unwrap();
        disk.put(&snapshot, bytes.clone());
        let (report, _) = salvaged(&disk);
        assert_eq!(report.store_id, id);
        assert_ne!(salvaged(&other).0.store_id, id);
        assert_eq!(gaps(&report), [(&*snapshot, 1, 1)]);
        assert_eq!((report.unreadable.len(), report.bytes_skipped), (1, bytes.len() as u64));
    }
}

/// A closed store whose snapshot covers seqs up to 6, with a topic in a record each, and what a
/// segment has that the snapshot stands for.
fn compacted() -> (SimDisk, Vec<u8>) {
    let (disk, store) = store(3);
    (0..3).for_each(|partition| commit(&store, "u", partition, 100));
    let crashed = disk.process_crash();
    store.compact().unwrap();
    (0..200).for_each(|partition| commit(&store, "v", partition, 100));
    store.close().unwrap();
    (disk, crashed.contents(FIRST).unwrap())
}

#[test]
fn a_snapshot_stands_for_segments_only_if_all_of_it_is_right() {
    let (disk, old) = compacted();
    let name = snapshot_of(&disk);
    let logs = disk.files().iter().filter(|name| name.ends_with(".log")).count();
    assert!(logs > 1);
    // A segment that should have been removed is not read.
    disk.put(FIRST, old);
    let (report, _) = salvaged(&disk);
    assert_eq!((report.exact, report.files.len()), (206, logs + 1));
    assert!(report.gaps.is_empty() && !report.files.iter().any(|path| path.ends_with(FIRST)));
    disk.delete(FIRST);

    // The base, a record for each topic, and the seal.
    let bounds = bounds(&disk, &name);
    assert_eq!(bounds.len(), 5);
    for topic in [1, 2] {
        let disk = disk.deep_clone();
        flip(&disk, &name, bounds[topic] + 40);
        let (report, _) = salvaged(&disk);
        assert_eq!(gaps(&report), [(&*name, 1, 6)], "{topic}");
        assert_eq!(report.bytes_skipped, (bounds[topic + 1] - bounds[topic]) as u64);
        // What is left of it is as new as all of it.
        assert_eq!((report.exact, report.possibly_old, report.lost), (203, 0, 0), "{report:#?}");
    }

    // A header that tells of more than there is behind the seal.
    let mut bytes = disk.contents(&name).unwrap();
    bytes.resize(bytes.len() + 64, 0);
    let size = bytes.len() as u64;
    bytes[40..48].copy_from_slice(&size.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    disk.put(&name, bytes);
    let (report, _) = salvaged(&disk);
    assert_eq!(gaps(&report), [(&*name, 1, 6)]);
    assert_eq!(report.exact, 206);
}

#[test]
fn a_snapshot_that_reaches_further_than_the_log_tells_of_more() {
    let (disk, old) = compacted();
    let name = snapshot_of(&disk);
    for log in disk.files().into_iter().filter(|name| name.ends_with(".log")) {
        disk.delete(&log);
    }
    disk.put(FIRST, old);
    flip(&disk, &name, bounds(&disk, &name)[1] + 40);
    let (report, _) = salvaged(&disk);
    assert!(report.gaps.is_empty(), "the log has all of it: {report:#?}");
    // An earlier moment of the same log.
    let earlier = store(3).0.process_crash().contents(FIRST).unwrap();
    disk.put(FIRST, earlier);
    let (report, _) = salvaged(&disk);
    assert_eq!(gaps(&report), [(&*name, 4, 6), (FIRST, 7, u64::MAX)]);
}

/// A store whose first segment is sealed, and which went on in a later session behind seqs that it
/// left out: nobody knew whether they were used.
fn skipped_ahead(len: usize) -> (SimDisk, String) {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    while disk.files().iter().filter(|name| name.ends_with(".log")).count() == 1 {
        commit(&store, "t", 0, len);
    }
    let crashed = disk.process_crash();
    let second = crashed.files().into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    // It never reached the disk.
    crashed.delete(&second);
    let store = options(9).open_in(crashed.dir()).unwrap();
    commit(&store, "t", 1, 100);
    store.close().unwrap();
    let second = crashed.files().into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    (crashed, second)
}

#[test]
fn a_session_skips_seqs_without_a_gap_if_it_goes_on_from_the_very_segment_in_front() {
    let (disk, second) = skipped_ahead(1000);
    assert!(second[..20].parse::<u64>().unwrap() > 1 << 32);
    let (report, _) = salvaged(&disk);
    assert_eq!((gaps(&report), report.exact), (vec![], 2));
    // The same segment with other records: another history of the same store.
    let (other, _) = skipped_ahead(996);
    let first = other.contents(FIRST).unwrap();
    assert_eq!(first[..64], disk.contents(FIRST).unwrap()[..64], "the same header");
    disk.put(FIRST, first);
    let (report, _) = salvaged(&disk);
    let [(name, _, to)] = gaps(&report)[..] else { panic!("{report:#?}") };
    assert_eq!((name, to + 1), (&*second, second[..20].parse().unwrap()));
}

#[test]
fn the_progress_ends_with_the_bytes_of_all_files() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let store = options(1).open(&from).unwrap();
    (0..300).for_each(|partition| commit(&store, "t", partition, 100));
    store.close().unwrap();
    let files = std::fs::read_dir(&from).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_name() != "LOCK");
    let bytes: u64 = files.map(|entry| entry.metadata().unwrap().len()).sum();
    let mut told = Vec::new();
    pagemark::salvage_with(&from, &to, |progress| told.push(progress)).unwrap();
    assert!(told.is_sorted_by_key(|progress| progress.done));
    assert!(told.iter().all(|progress| progress.total == bytes), "{told:?}");
    assert_eq!(told.last().unwrap().done, bytes);
}
