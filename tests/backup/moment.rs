//! Which moment a backup shows.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::channel;

use pagemark::testkit::{SimDisk, verify_in};
use pagemark::{
    Commit, CommitBatch, Durability, Environment, Key, NextOffset, OffsetStore, Options, verify,
};

use crate::support::{Player, history, mix, observe, options};
use crate::{copy_files, shown};

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

/// The offset that all keys of a group have in a copy of a backup, since each batch sets all of them.
fn offset_of_all(backup: &Path, copy: &Path) -> i64 {
    copy_files(backup, copy);
    let values = OffsetStore::open(copy).unwrap().fetch_group("g");
    let offsets: Vec<i64> = values.iter().map(|(_, value)| value.offset().0).collect();
    assert!(offsets.windows(2).all(|o| o[0] == o[1]), "batches are whole: {offsets:?}");
    offsets.first().copied().unwrap_or(0)
}

#[test]
fn backups_beside_commits_and_compactions_are_of_one_moment() {
    // So many commits and a few compactions for each backup. Without an end of them a backup might have
    // ever more to copy, and wait for long: the lock between it and compactions is not fair.
    const BACKUPS: i64 = 20;
    const COMMITS: i64 = 400;
    let dir = tempfile::tempdir().unwrap();
    let (dest, copy) = (dir.path().join("backup"), |n: i64| dir.path().join(format!("copy{n}")));
    let store = Options::new().segment_size(16 << 10).open(dir.path().join("store")).unwrap();
    std::thread::scope(|scope| {
        let (commits, wanted) = channel::<Range<i64>>();
        let committer = scope.spawn(|| {
            let mut batch = CommitBatch::new("g");
            for offset in wanted.into_iter().flatten() {
                batch.clear();
                (0..20).for_each(|p| {
                    batch.commit("t", p, NextOffset(offset));
                });
                store.commit_batch_with(&batch, Durability::Buffered).unwrap();
            }
        });
        let (compactions, wanted) = channel();
        scope.spawn(|| {
            for () in wanted {
                for _ in 0..3 {
                    store.compact().unwrap();
                }
            }
        });
        let mut last = 0;
        for n in 0..BACKUPS {
            commits.send(n * COMMITS..(n + 1) * COMMITS).unwrap();
            compactions.send(()).unwrap();
            let report = store.backup(&dest).unwrap();
            let verified = verify(&dest).unwrap();
            assert!(verified.is_clean(), "{:#?}", verified.findings);
            assert_eq!(verified.last_seq, report.seq);
            let offset = offset_of_all(&dest, &copy(n));
            assert!(offset >= last, "{offset} after {last}");
            last = offset;
        }
        drop((commits, compactions));
        committer.join().unwrap();
        store.backup(&dest).unwrap();
        assert_eq!(offset_of_all(&dest, &copy(BACKUPS)), BACKUPS * COMMITS - 1);
    });
}

/// A clock that is ahead by some milliseconds each time it is asked.
#[derive(Debug)]
struct Ticking(AtomicI64);

impl Environment for Ticking {
    fn now_ms(&self) -> i64 {
        self.0.fetch_add(7, Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        mix(self.now_ms() as u64)
    }
}

#[test]
fn progress_rises_to_all_that_there_is_and_time_is_that_of_the_options() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(1).environment(Arc::new(Ticking(AtomicI64::new(1))));
    let store = options.open(dir.path().join("store")).unwrap();
    let long = "m".repeat(1_600);
    for compacts in [false, false, true, false] {
        for partition in 0..60 {
            let commit = Commit::new(NextOffset(1)).metadata(&long);
            store.commit(Key::new("g", "t", partition), commit).unwrap();
        }
        if compacts {
            store.compact().unwrap();
        }
        let mut told = vec![];
        let report =
            store.backup_with(dir.path().join("backup"), |progress| told.push(progress)).unwrap();
        assert!(told.len() > 1, "{told:?}");
        assert!(told.is_sorted_by_key(|progress| progress.done), "{told:?}");
        assert!(told.is_sorted_by_key(|progress| progress.total), "{told:?}");
        assert!(told.iter().all(|progress| progress.done <= progress.total), "{told:?}");
        let (first, last) = (told[0], told[told.len() - 1]);
        assert!(first.done < last.done, "{told:?}");
        assert_eq!(last.done, last.total, "{told:?}");
        assert_eq!(last.done, report.bytes_copied + report.bytes_kept, "{report:?}");
        assert!(report.elapsed_ms > 0 && report.elapsed_ms.is_multiple_of(7), "{report:?}");
    }
}
