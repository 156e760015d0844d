//! What a backup counts and tells, and files of more than one piece.

use pagemark::testkit::SimDisk;
use pagemark::{Commit, CommitBatch, Key, NextOffset, verify};

use crate::support::{observe, options};

#[test]
fn the_report_and_the_progress_count_the_bytes_of_the_files() {
    let temp = tempfile::tempdir().unwrap();
    let store = options(1).open(temp.path().join("store")).unwrap();
    let dest = temp.path().join("dest");
    let commit = |times: i32| {
        for i in 0..times {
            store.commit(Key::new("g", "t", i % 5000), NextOffset(i.into())).unwrap();
        }
    };
    // What a snapshot and segments of a copy take, and all progress that was told.
    let backup = || {
        let mut told = Vec::new();
        let report = store.backup_with(&dest, |progress| told.push(progress)).unwrap();
        let files = std::fs::read_dir(&dest).unwrap().map(|entry| entry.unwrap());
        let files = files.filter(|entry| entry.file_name() != "LOCK");
        let bytes: u64 = files.map(|entry| entry.metadata().unwrap().len()).sum();
        assert!(told.is_sorted_by(|a, b| a.done <= b.done && a.total <= b.total));
        assert!(told.iter().all(|progress| progress.done <= progress.total));
        let last = told[told.len() - 1];
        assert_eq!((last.done, last.total), (bytes, bytes), "all is done at the end");
        assert_eq!(report.bytes_kept + report.bytes_copied, bytes);
        report
    };
    commit(6000);
    store.compact().unwrap();
    commit(3000);
    let first = backup();
    assert!(first.files_copied > 3 && first.bytes_copied > 200 << 10, "{first:?}");
    assert_eq!((first.files_kept, first.bytes_kept, first.files_removed), (0, 0, 0));
    let again = backup();
    assert_eq!((again.files_kept, again.bytes_kept), (first.files_copied, first.bytes_copied));
    assert_eq!((again.files_copied, again.bytes_copied, again.files_removed), (0, 0, 0));
    commit(1000);
    let more = backup();
    assert_eq!((more.files_kept, more.bytes_kept), (first.files_copied, first.bytes_copied));
    assert!(more.files_copied > 0 && more.bytes_copied >= 16 << 10, "{more:?}");
    // A new snapshot takes the place of all of it.
    store.compact().unwrap();
    let new = backup();
    assert_eq!(new.files_removed, more.files_kept + more.files_copied);
    assert_eq!(new.files_kept, 0);
}

#[test]
fn files_of_many_pieces_are_copied_whole_and_short_ones_anew() {
    let temp = tempfile::tempdir().unwrap();
    let options = options(1).segment_size(8 << 20);
    let store = options.clone().open(temp.path().join("store")).unwrap();
    let dest = temp.path().join("dest");
    for round in 0..2 {
        for i in 0..70_000 {
            store.commit(Key::new("g", "t", i), NextOffset(round)).unwrap();
        }
        if round == 0 {
            store.compact().unwrap();
        }
    }
    store.backup(&dest).unwrap();
    let files = || {
        let paths = std::fs::read_dir(&dest).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| !path.ends_with("LOCK")).collect::<Vec<_>>()
    };
    for kind in ["log", "snapshot"] {
        let long = |path: &std::path::PathBuf| path.metadata().unwrap().len() > 1 << 20;
        let long = |path| long(path) && path.extension().is_some_and(|e| e == kind);
        assert!(files().iter().any(long), "{kind}: {:?}", files());
    }
    let count = files().len() as u64;
    // What an earlier backup left is of no use any more, and replaced.
    for path in files() {
        std::fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap();
    }
    let report = store.backup(&dest).unwrap();
    assert_eq!((report.files_copied, report.files_kept), (count, 0));
    assert!(verify(&dest).unwrap().findings.is_empty());
    assert_eq!(observe(&options.open(&dest).unwrap()), observe(&store));
}

#[test]
fn a_copy_that_is_shorter_than_a_page_is_made_anew() {
    let temp = tempfile::tempdir().unwrap();
    let store = options(1).open(temp.path().join("store")).unwrap();
    let dest = temp.path().join("dest");
    store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    let first = store.backup(&dest).unwrap();
    for entry in std::fs::read_dir(&dest).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name() != "LOCK" {
            std::fs::write(entry.path(), [0; 100]).unwrap();
        }
    }
    let again = store.backup(&dest).unwrap();
    assert_eq!((again.files_copied, again.files_kept), (first.files_copied, 0));
    assert!(verify(&dest).unwrap().is_clean());
}

#[test]
fn the_copy_of_a_segment_without_changes_is_kept() {
    let (disk, dest) = (SimDisk::new(), SimDisk::new());
    let store = options(1).open_in(disk.dir()).unwrap();
    // Seals a segment that nothing was committed to. Its one seq stands for nothing.
    store.backup_in(&dest).unwrap();
    store.close().unwrap();
    // Another one is sealed as it is, since this record is too long for it.
    let store = options(1).segment_size(64 << 10).open_in(disk.dir()).unwrap();
    let mut batch = CommitBatch::new("g");
    let text = "x".repeat(4000);
    for partition in 0..5 {
        batch.commit("t", partition, Commit::new(NextOffset(1)).metadata(&text));
    }
    assert_eq!(store.commit_batch(&batch).unwrap().seq().get(), 3);
    let report = store.backup_in(&dest).unwrap();
    assert_eq!((report.files_copied, report.files_kept), (2, 1), "{report:?}");
    let again = store.backup_in(&dest).unwrap();
    assert_eq!((again.files_copied, again.files_kept), (0, 3), "{again:?}");
}
