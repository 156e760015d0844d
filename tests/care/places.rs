//! What verify says of one kind of damage each, with its place.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pagemark::testkit::{Access, Op, SimDisk, verify_in};
use pagemark::{
    Commit, CommitBatch, ErrorKind, Finding, FindingKind, Key, NextOffset, OffsetStore, Severity,
    VerifyReport,
};

use crate::hooked::{Call, Hooked};
use crate::report;
use crate::support::{options, record_bounds};

/// Sets so much that a segment of 16 KiB fills up more than once.
fn fill(store: &OffsetStore) {
    let text = "x".repeat(1000);
    for partition in 0..40 {
        let commit = Commit::new(NextOffset(1)).metadata(&text);
        store.commit(Key::new("g", "t", partition), commit).unwrap();
    }
}

/// A closed store of a snapshot, if it is wanted, and segments of which the last has a free rest.
fn closed(compacts: bool) -> SimDisk {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    fill(&store);
    if compacts {
        store.compact().unwrap();
    }
    fill(&store);
    store.close().unwrap();
    disk
}

fn logs(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().filter(|name| name.ends_with(".log")).collect()
}

fn change(disk: &SimDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.contents(name).unwrap();
    change(&mut bytes);
    disk.put(name, bytes);
}

fn bounds(disk: &SimDisk, name: &str) -> Vec<usize> {
    record_bounds(&disk.contents(name).unwrap())
}

/// The findings: what, how bad, in which file, and where.
fn told(report: &VerifyReport) -> Vec<(FindingKind, Severity, String, Option<u64>)> {
    let told = |finding: &Finding| {
        let name = finding.path.file_name().unwrap().to_str().unwrap().to_owned();
        (finding.kind, finding.severity, name, finding.position)
    };
    report.findings.iter().map(told).collect()
}

fn damage(
    kind: FindingKind,
    name: &str,
    at: usize,
) -> (FindingKind, Severity, String, Option<u64>) {
    (kind, Severity::Damage, name.to_owned(), Some(at as u64))
}

#[test]
fn the_files_that_count_are_counted() {
    let disk = closed(true);
    let report = report(&disk);
    let files = disk.files().into_iter().filter(|name| name != "LOCK");
    let sizes: Vec<u64> = files.map(|name| disk.contents(&name).unwrap().len() as u64).collect();
    assert_eq!((report.files, report.bytes), (sizes.len() as u64, sizes.iter().sum()));
    assert!(report.files > 3 && report.findings.is_empty(), "{report:#?}");
}

#[test]
fn a_lock_file_that_is_not_as_it_was_written_is_told() {
    let disk = closed(false);
    let found = |edit: &dyn Fn(&SimDisk)| {
        let disk = disk.deep_clone();
        edit(&disk);
        told(&report(&disk))
    };
    let lock = |severity| (FindingKind::Lock, severity, "LOCK".to_owned(), None);
    let gone = found(&|disk| assert!(disk.delete("LOCK")));
    assert_eq!(gone, [lock(Severity::Repairable)]);
    assert_eq!(found(&|disk| disk.put("LOCK", *b"")), [lock(Severity::Repairable)]);
    let longer = found(&|disk| change(disk, "LOCK", |bytes| bytes.extend(b"more")));
    assert_eq!(longer, [lock(Severity::Note)]);
    // One that cannot be opened is an error, and not taken for one that is gone.
    let mut failed = 0;
    for n in 0.. {
        let disk = disk.deep_clone();
        disk.fail_nth(Op::Open, n, io::ErrorKind::Other);
        let verified = verify_in(&*disk.dir());
        if disk.failures() == 0 {
            break;
        }
        failed += 1;
        let is_lock = |finding: &Finding| finding.kind == FindingKind::Lock;
        assert!(!verified.is_ok_and(|report| report.findings.iter().any(is_lock)), "{n}");
    }
    assert!(failed > 3);
}

#[test]
fn a_creation_that_was_interrupted_is_told_from_no_store_at_all() {
    let found = |files: &[&str]| {
        let disk = SimDisk::new();
        files.iter().for_each(|name| disk.put(name, *b""));
        verify_in(&*disk.dir())
            .map(|report| report.findings.iter().map(|f| (f.kind, f.severity)).collect::<Vec<_>>())
    };
    let unborn = (FindingKind::Unborn, Severity::Repairable);
    for files in [&["LOCK"][..], &["spare.tmp"], &["LOCK", "spare.tmp"]] {
        let found = found(files).unwrap();
        assert!(found.contains(&unborn), "{files:?}: {found:?}");
    }
    assert_eq!(found(&[]).unwrap_err().kind(), ErrorKind::NotAStore);
}

#[test]
fn what_is_lost_and_what_else_is_wrong_is_told_with_its_place() {
    let disk = closed(false);
    let logs = logs(&disk);
    assert!(logs.len() > 4, "{logs:?}");
    let damaged = disk.deep_clone();
    // A record of the first, so that nothing is opened behind it. The second is whole.
    let first = bounds(&disk, &logs[0])[4];
    change(&damaged, &logs[0], |bytes| bytes[first + 20] ^= 1);
    // The seal of the third, as if it had not been written.
    let third = bounds(&disk, &logs[2]);
    let third = third[third.len() - 2];
    change(&damaged, &logs[2], |bytes| bytes[third..].fill(0));
    // A record of the last, which has no seal.
    let end = logs.len() - 1;
    let last = bounds(&disk, &logs[end])[3];
    let whole_end = damaged.deep_clone();
    change(&damaged, &logs[end], |bytes| bytes[last + 20] ^= 1);
    let mut lost = vec![
        damage(FindingKind::Lost, &logs[0], first),
        damage(FindingKind::Lost, &logs[2], third),
        damage(FindingKind::Lost, &logs[end], last),
    ];
    let found = report(&damaged);
    assert_eq!(told(&found), lost);
    assert!(found.findings[0].message.contains("had been durable"), "{found:#?}");
    lost.pop();
    assert_eq!(told(&report(&whole_end)), lost);
    // Without the lock file the segments say which store it is.
    assert!(damaged.delete("LOCK"));
    assert_eq!(report(&damaged).store_id, report(&disk).store_id);

    // One that is missing between two others, and one that was extended.
    let missing = disk.deep_clone();
    change(&missing, &logs[0], |bytes| bytes[first + 20] ^= 1);
    missing.delete(&logs[2]);
    change(&missing, &logs[4], |bytes| bytes.resize(17 << 10, 0));
    let lost = [
        damage(FindingKind::Lost, &logs[0], first),
        damage(FindingKind::Lost, &logs[3], 4096),
        damage(FindingKind::Lost, &logs[4], 0),
    ];
    assert_eq!(told(&report(&missing))[..3], lost);
    // The end of the log.
    let missing = disk.deep_clone();
    missing.delete(&logs[end]);
    let found = told(&report(&missing));
    assert!(matches!(found[..], [(FindingKind::Lost, Severity::Damage, _, Some(_))]), "{found:?}");
}

#[test]
fn what_the_device_does_not_give_is_damage() {
    let disk = closed(false);
    let name = logs(&disk)[1].clone();
    let bad = Hooked::new(disk.dir(), move |call| match call {
        Call::Read(of, bytes, read) if of == name && bytes.end > 4096 + 2000 => {
            *read = Err(io::ErrorKind::Other.into());
        }
        _ => {}
    });
    let found = told(&verify_in(&*bad).unwrap());
    let is_it = |found: &&(FindingKind, Severity, String, Option<u64>)| {
        found.0 == FindingKind::Unreadable && found.1 == Severity::Damage
    };
    assert_eq!(found.iter().filter(is_it).count(), 1, "{found:?}");
}

#[test]
fn bytes_behind_a_seal_are_noted_wherever_they_are() {
    let disk = SimDisk::new();
    let options = options(1).segment_size(1 << 20);
    let store = options.open_in(disk.dir()).unwrap();
    // More than half of a segment of 1 MiB, in one record.
    let mut batch = CommitBatch::new("g");
    let text = "x".repeat(4000);
    for partition in 0..150 {
        batch.commit("t", partition, Commit::new(NextOffset(1)).metadata(&text));
    }
    store.commit_batch(&batch).unwrap();
    // All segments of a backup are sealed, the last one too.
    let dest = SimDisk::new();
    store.backup_in(&dest).unwrap();
    let long = |name: &&String| dest.contents(name).unwrap().len() == 1 << 20;
    let name = logs(&dest).iter().find(long).unwrap().clone();
    assert_eq!(logs(&dest).last(), Some(&name));
    let end = *bounds(&dest, &name).last().unwrap();
    assert!((1 << 20) - end > 256 << 10, "more than is looked at at once: {end}");
    let noted = |disk: &SimDisk, name: &str, end: usize| {
        let found = told(&report(disk));
        let expected = (FindingKind::BehindSeal, Severity::Note);
        assert_eq!(found, [(expected.0, expected.1, name.to_owned(), Some(end as u64))]);
    };
    assert!(report(&dest).findings.is_empty());
    for at in [end, end + 5, (1 << 20) - 1] {
        let dest = dest.deep_clone();
        change(&dest, &name, |bytes| bytes[at] = 1);
        noted(&dest, &name, end);
    }
    // One that another follows.
    let name = &logs(&dest)[0];
    let end = *bounds(&dest, name).last().unwrap();
    change(&dest, name, |bytes| bytes[end + 100] = 1);
    noted(&dest, name, end);
}

#[test]
fn whatever_is_done_to_a_store_while_it_is_looked_at_it_is_not_called_damaged() {
    for compacts in [false, true] {
        for n in 0.. {
            let disk = SimDisk::new();
            let store = options(1).open_in(disk.dir()).unwrap();
            fill(&store);
            let (store, calls) = (Mutex::new(store), AtomicUsize::new(0));
            let done = Arc::new(AtomicBool::new(false));
            let is_done = Arc::clone(&done);
            let dir = Hooked::new(disk.dir(), move |_| {
                if calls.fetch_add(1, Ordering::Relaxed) == n {
                    let store = store.lock().unwrap();
                    fill(&store);
                    if compacts {
                        store.compact().unwrap();
                    }
                    is_done.store(true, Ordering::Relaxed);
                }
            });
            let report = verify_in(&*dir).unwrap();
            assert!(report.is_clean(), "{compacts} {n}: {report:#?}");
            if !done.load(Ordering::Relaxed) {
                assert!(n > 10);
                break;
            }
        }
    }
}

#[test]
fn a_record_that_is_copied_while_it_is_written_is_looked_at_again() {
    let disk = closed(false);
    let name = logs(&disk).pop().unwrap();
    let at = bounds(&disk, &name)[3] + 20;
    let (whole, mut torn) = (disk.contents(&name).unwrap(), disk.contents(&name).unwrap());
    torn[at] ^= 1;
    disk.put(&name, torn);
    assert!(!report(&disk).is_clean());
    // The first time that all of it is read it is not whole yet.
    let file = disk.dir().open(&name, Access::Write).unwrap();
    let is_whole = AtomicBool::new(false);
    let dir = Hooked::new(disk.dir(), move |call| {
        let reads_all = matches!(call, Call::Read(of, bytes, _)
            if of == name && bytes.start == 0 && bytes.end == whole.len() as u64);
        if reads_all && !is_whole.swap(true, Ordering::Relaxed) {
            file.write_at(at as u64, &whole[at..=at]).unwrap();
        }
    });
    let report = verify_in(&*dir).unwrap();
    assert!(report.findings.is_empty(), "{report:#?}");
}

#[test]
fn the_progress_ends_with_what_there_was_to_read() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("store");
    let store = options(1).open(&from).unwrap();
    fill(&store);
    let old = std::fs::read(from.join("00000000000000000001.log")).unwrap();
    store.compact().unwrap();
    fill(&store);
    store.close().unwrap();
    let told = || {
        let told = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&told);
        let report =
            pagemark::verify_with(&from, move |progress| to.lock().unwrap().push(progress));
        let told = std::mem::take(&mut *told.lock().unwrap());
        assert!(told.is_sorted_by_key(|progress| progress.done), "{told:?}");
        (report.unwrap(), *told.last().unwrap())
    };
    let (report, whole) = told();
    assert_eq!((whole.done, whole.total), (report.bytes, report.bytes));
    // What does not count is not read.
    std::fs::write(from.join("00000000000000000001.log"), old).unwrap();
    let (report, with_leftover) = told();
    assert_eq!(report.findings[0].kind, FindingKind::Leftover);
    assert_eq!((with_leftover.done, with_leftover.total), (whole.done, whole.total));
}
