//! Compaction: what a snapshot stands for is all there, disk use depends on what lives, and a
//! compaction that fails costs nothing but room. Crashes in the middle of one are part of the
//! histories in `durability.rs`, rot in a snapshot of those in `recovery.rs`.

#[path = "support/hooked.rs"]
mod hooked;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hooked::{Call, Hooked};
use pagemark::testkit::{Op, SimDisk};
use pagemark::{
    Commit, CommitBatch, Durability, ErrorKind, Key, NextOffset, OffsetStore, Options, Progress,
};
use support::{Lots, Player, Step, check_files, history, observe, options};

/// Everything about every value, seqs included.
fn everything(store: &OffsetStore) -> Vec<String> {
    let mut all = Vec::new();
    for group in store.groups() {
        store.visit_group(&group, |topic, partition, value| {
            all.push(format!(
                "{group}/{topic}/{partition}: {} {} {:?} {} {}",
                value.seq().get(),
                value.offset().0,
                value.leader_epoch(),
                value.commit_timestamp_ms(),
                value.metadata()
            ));
        });
    }
    all
}

#[test]
fn replay_of_the_compacted_store_equals_replay_of_the_original() {
    for seed in 500..560 {
        let mut steps = history(seed, 80);
        steps.retain(|step| !matches!(step, Step::Reopen | Step::Compact));
        let mut original = Player::new(SimDisk::new(), options(seed));
        original.play(&steps).unwrap();
        let mut lots = Lots(seed);
        for at in (0..=steps.len()).rev() {
            if lots.below(6) == 0 {
                steps.insert(at, Step::Compact);
            }
        }
        let mut compacted = Player::new(SimDisk::new(), options(seed));
        compacted.play(&steps).unwrap();
        let [original, compacted] = [original, compacted].map(|player| {
            let store = player.options.open_in(player.disk.process_crash().dir()).unwrap();
            everything(&store)
        });
        assert_eq!(original, compacted, "seed {seed}");
    }
}

#[test]
fn a_snapshot_has_many_keys_and_long_values() {
    let disk = SimDisk::new();
    let options = options(1).segment_size(1 << 20);
    let store = options.open_in(disk.dir()).unwrap();
    let mut expected = BTreeMap::new();
    for i in 0..30_000_u32 {
        let (group, topic) = (format!("group-{}", i % 7), format!("topic-{}", i % 3));
        let partition = if i % 5 == 0 { (i * 70_001 % 1_000_000) as i32 } else { (i / 21) as i32 };
        let metadata = "m".repeat(if i % 100 == 0 { 4096 } else { (i % 3) as usize });
        let epoch = if i % 2 == 0 { i32::MAX } else { 5 };
        let commit = Commit::new(NextOffset(i64::from(i))).metadata(&metadata).leader_epoch(epoch);
        let commit = commit.timestamp_ms(if i % 11 == 0 { i64::MIN } else { 1_700_000_000_000 });
        let receipt = store.commit(Key::new(&group, &topic, partition), commit).unwrap();
        expected.insert((group, topic, partition), (i, receipt.seq(), metadata, epoch));
    }
    let (mut told, mut last) = (0, (0, 0));
    let report = store.compact_with(|progress| {
        assert!(progress.done <= progress.total, "{progress:?}");
        assert!(progress.done > last.0, "{progress:?} after {last:?}");
        (told, last) = (told + 1, (progress.done, progress.total));
    });
    let report = report.unwrap();
    assert!(told > 10 && last.1 == 2 * report.snapshot_bytes, "{told} {last:?}");
    assert_eq!(report.keys, expected.len() as u64);
    assert_eq!(store.stats().segments, 1);
    assert_eq!(report.snapshot_bytes, store.stats().snapshot_bytes);
    let before = everything(&store);
    let store = options.open_in(disk.process_crash().dir()).unwrap();
    assert_eq!(everything(&store), before);
    assert_eq!(store.recovery_report().snapshot_keys, expected.len() as u64);
    assert_eq!(store.recovery_report().changes, 0, "nothing but the snapshot was needed");
    for ((group, topic, partition), (offset, seq, metadata, epoch)) in &expected {
        let found = store.fetch(Key::new(group, topic, *partition)).unwrap();
        assert_eq!((found.offset().0, found.seq()), (i64::from(*offset), *seq));
        assert_eq!((found.metadata(), found.leader_epoch()), (&**metadata, Some(*epoch)));
    }
}

#[test]
fn without_anything_new_nothing_is_done() {
    let disk = SimDisk::new();
    let store = options(2).open_in(disk.dir()).unwrap();
    assert_eq!(store.compact().unwrap(), Default::default(), "an empty store");
    store.commit(Key::new("g", "t", 0), NextOffset(7)).unwrap();
    let report = store.compact().unwrap();
    assert_eq!((report.keys, report.segments_retired), (1, 1));
    let files = disk.files();
    assert_eq!(store.compact().unwrap(), Default::default());
    assert_eq!(disk.files(), files);
    assert_eq!(store.stats().compaction.completed, 1);
    // The last key goes, and with it what the snapshot says of it.
    store.delete(Key::new("g", "t", 0)).unwrap();
    let report = store.compact().unwrap();
    assert_eq!((report.keys, report.segments_retired), (0, 1));
    drop(store);
    let store = options(3).open_in(disk.power_cut(0).dir()).unwrap();
    assert!(store.groups().is_empty());
}

#[test]
fn a_compaction_that_fails_is_loud_and_stops_nobody() {
    let kinds = [Op::Create, Op::Write, Op::SyncFile, Op::Open, Op::Read, Op::Rename, Op::SyncDir];
    let (mut failed, mut poisoned) = (0, 0);
    for kind in kinds {
        for n in 0..30 {
            let disk = SimDisk::new();
            let options = options(4);
            let store = options.open_in(disk.dir()).unwrap();
            for i in 0..50 {
                store.commit(Key::new("g", "t", i), NextOffset(1)).unwrap();
            }
            store.compact().unwrap();
            store.commit(Key::new("g", "t", 3), NextOffset(2)).unwrap();
            disk.fail_nth(kind, n, std::io::ErrorKind::Other);
            let Err(error) = store.compact() else { break };
            failed += 1;
            let stats = store.stats();
            assert_eq!(stats.compaction.failed, 1);
            assert_eq!(stats.compaction.failure, Some(error.to_string()));
            if stats.poisoned.is_none() {
                store.commit(Key::new("g", "t", 4), NextOffset(2)).unwrap();
                let report = store.compact().unwrap();
                assert_eq!((report.keys, store.stats().compaction.failure), (50, None));
                check_files(&disk, &(kind, n));
            } else {
                // The log itself could not be written, or the directory that it depends on.
                poisoned += 1;
                let error = store.commit(Key::new("g", "t", 4), NextOffset(2)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Poisoned);
            }
            let mut shown = observe(&store);
            drop(store);
            let store = options.open_in(disk.process_crash().dir()).unwrap();
            if stats.poisoned.is_some() {
                // The commit behind the first compaction was buffered, and its flush failed.
                let key = ("g".to_owned(), "t".to_owned(), 3);
                let kept = store.fetch(Key::new("g", "t", 3)).unwrap().offset();
                assert!(kept == NextOffset(1) || kept == NextOffset(2));
                shown.offsets.insert(key, (kept.0, String::new()));
            }
            assert_eq!(observe(&store), shown, "{kind:?} {n}");
        }
    }
    assert!(
        failed > 10 && poisoned > 0 && poisoned < failed,
        "{failed} failed, {poisoned} poisoned"
    );
}

#[test]
fn what_could_not_be_removed_is_removed_the_next_time() {
    let disk = SimDisk::new();
    let store = options(10).open_in(disk.dir()).unwrap();
    store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    disk.fail_nth(Op::Remove, 0, std::io::ErrorKind::Other);
    let error = store.compact().unwrap_err();
    assert!(error.to_string().contains("could not remove a file"), "{error}");
    assert_eq!(store.stats().compaction.failure, Some(error.to_string()));
    // There is nothing new to compact, and still something to do.
    assert_eq!(store.compact().unwrap(), Default::default());
    check_files(&disk, &"after the second one");
    assert_eq!(store.stats().compaction.failure, None);
}

#[test]
fn a_bit_that_changes_on_its_way_into_a_snapshot_is_noticed() {
    let mut player = Player::new(SimDisk::new(), options(21));
    let history: Vec<_> =
        history(21, 40).into_iter().filter(|step| *step != Step::Compact).collect();
    player.play(&history).unwrap();
    let state = observe(player.store.as_ref().unwrap());
    drop(player.store.take());
    let (mut noticed, mut writes) = (0, 0);
    'writes: for nth in 0.. {
        let mut byte = 0;
        loop {
            let disk = player.disk.deep_clone();
            let (met, len) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
            let found = Arc::clone(&len);
            let dir = Hooked::new(disk.dir(), move |call| {
                if let Call::Write(name, bytes) = call
                    && name.ends_with(".snapshot.tmp")
                    && met.fetch_add(1, Ordering::Relaxed) == nth
                {
                    found.store(bytes.len() as u64, Ordering::Relaxed);
                    bytes[byte] ^= 1 << (byte % 8);
                }
            });
            let store = player.options.open_in(dir).unwrap();
            let result = store.compact();
            let len = len.load(Ordering::Relaxed) as usize;
            if len == 0 {
                break 'writes;
            }
            let context = format!("write {nth} of {len} bytes, byte {byte}: {result:?}");
            match result {
                // The page of the header is written twice, and the second time counts.
                Ok(_) => assert!(nth == 0 && byte < 4096, "{context}"),
                Err(error) => {
                    assert!(error.is_corruption(), "{context}");
                    noticed += 1;
                }
            }
            assert_eq!(observe(&store), state, "{context}");
            drop(store);
            let again = player.options.open_in(disk.power_cut(0).dir()).unwrap();
            assert_eq!(observe(&again), state, "{context}");
            byte += 1 + len / 300;
            if byte >= len {
                break;
            }
        }
        writes += 1;
    }
    assert!(writes >= 2 && noticed > 300, "{writes} writes, {noticed} noticed");
}

#[test]
fn a_snapshot_whose_name_is_not_durable_yet_is_not_counted_on() {
    let disk = SimDisk::new();
    let options = options(11);
    let store = options.open_in(disk.dir()).unwrap();
    store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    store.sync().unwrap();
    disk.record();
    store.compact().unwrap();
    let state = observe(&store);
    let mut cuts = 0;
    for moment in disk.recorded() {
        // The process dies, and the power fails while the next one opens what it left.
        let next = moment.disk;
        next.record();
        drop(options.open_in(next.dir()).unwrap());
        for moment in next.recorded() {
            for lot in 0..40 {
                let cut = moment.disk.power_cut(lot);
                let context = (moment.operation, lot, cut.files());
                let store = options.open_in(cut.dir());
                let store = store.unwrap_or_else(|error| panic!("{context:?}: {error}"));
                assert_eq!(observe(&store), state, "{context:?}");
                cuts += 1;
            }
        }
    }
    assert!(cuts > 1_000, "{cuts} cuts");
}

#[test]
fn a_full_disk_ends_a_compaction_and_leaves_its_room() {
    let disk = SimDisk::new();
    let store = options(5).open_in(disk.dir()).unwrap();
    for i in 0..100 {
        let commit = Commit::new(NextOffset(1)).metadata("a rather long text for a value");
        store.commit(Key::new("g", "t", i), commit).unwrap();
    }
    // Room for the segment that the log goes on in, and for half of the snapshot.
    disk.capacity(Some(disk.used() + (16 << 10) + (6 << 10)));
    let error = store.compact().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    check_files(&disk, &"full");
    store.commit(Key::new("g", "t", 0), NextOffset(2)).unwrap();
    disk.capacity(None);
    assert_eq!(store.compact().unwrap().keys, 100);
}

/// Plays `commits` calls of `commit` with the background threads, and checks the disk now and then.
fn bounded(options: &Options, commits: u64, mut commit: impl FnMut(&OffsetStore, u64)) {
    const SEGMENT: u64 = 64 << 10;
    let disk = SimDisk::new();
    let options = options.clone().segment_size(SEGMENT).background(true);
    let store = options.open_in(disk.dir()).unwrap();
    for i in 0..commits {
        commit(&store, i);
        if i % 1_000 > 0 {
            continue;
        }
        // A compaction may be under way, or behind: then it has to come to the bound all the same.
        let mut rounds = 0;
        loop {
            let stats = store.stats();
            if disk.used() <= 2 * stats.live_bytes + 2 * SEGMENT {
                break;
            }
            rounds += 1;
            assert!(rounds < 2_000_000, "{} bytes on disk: {stats:?}", disk.used());
            std::thread::yield_now();
        }
    }
    assert!(store.stats().compaction.completed > 3, "{:?}", store.stats());
    assert_eq!(store.stats().compaction.failed, 0);
    let before = everything(&store);
    drop(store);
    let store = options.background(false).open_in(disk.process_crash().dir()).unwrap();
    assert_eq!(everything(&store), before);
}

#[test]
fn disk_use_depends_on_what_lives_whatever_the_pattern() {
    let commit = |store: &OffsetStore, key: u64, i: u64| {
        let (group, topic) =
            (format!("group-{}", key / 1_000), format!("topic-{}", key / 100 % 10));
        let key = Key::new(&group, &topic, (key % 100) as i32);
        store.commit(key, NextOffset(i as i64)).unwrap();
    };
    let mut lots = Lots(6);
    bounded(&options(6), 60_000, |store, i| commit(store, lots.below(5_000), i));
    bounded(&options(7), 40_000, |store, i| commit(store, 0, i));
    // Ever new keys that are deleted again.
    bounded(&options(8), 20_000, |store, i| {
        let group = |i: u64| format!("console-consumer-{i}");
        store.commit(Key::new(&group(i), "t", 0), NextOffset(1)).unwrap();
        if i >= 10 {
            store.delete_group(&group(i - 10)).unwrap();
        }
    });
}

#[test]
fn commits_and_deletes_go_on_while_snapshots_are_taken() {
    let temp = tempfile::tempdir().unwrap();
    let options = options(9).segment_size(64 << 10);
    let store = options.open(temp.path()).unwrap();
    let (done, compactions) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let committers: Vec<_> = (0..3_u64)
            .map(|thread| {
                let (store, compactions) = (&store, &compactions);
                scope.spawn(move || {
                    let mut lots = Lots(thread);
                    // Some thousands for each snapshot that is taken meanwhile.
                    let enough = |i| i >= 5_000 && compactions.load(Ordering::Relaxed) >= 10;
                    for i in (0..10_000_000).take_while(|i| !enough(*i)) {
                        let group = format!("group-{}", lots.below(20));
                        match lots.below(40) {
                            0 => drop(store.delete_group(&group).unwrap()),
                            1 => drop(store.delete_topic(&group, "topic-1").unwrap()),
                            _ => {
                                let mut batch = CommitBatch::new(&group);
                                for _ in 0..1 + lots.below(3) {
                                    let partition = lots.below(50) as i32;
                                    let topic = format!("topic-{}", lots.below(3));
                                    batch.commit(&topic, partition, NextOffset(i));
                                }
                                store.commit_batch(&batch).unwrap();
                            }
                        }
                    }
                })
            })
            .collect();
        let compactor = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let taken = store.compact().unwrap().snapshot_bytes > 0;
                compactions.fetch_add(u64::from(taken), Ordering::Relaxed);
            }
        });
        let joined: Vec<_> = committers.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Relaxed);
        compactor.join().unwrap();
        assert!(joined.iter().all(Result::is_ok));
    });
    let before = everything(&store);
    store.close().unwrap();
    let store = options.open(temp.path()).unwrap();
    assert!(store.recovery_report().clean);
    assert_eq!(everything(&store), before);
}

#[test]
fn a_store_that_compacts_by_itself_leaves_a_short_log_behind() {
    // One key again and again: more than an open reads in no time, and little lives.
    let snapshots = |by_itself: bool, commits: i64| {
        let temp = tempfile::tempdir().unwrap();
        let options = Options::new().durability(Durability::Buffered).auto_compact(by_itself);
        let store = options.segment_size(8 << 20).open(temp.path()).unwrap();
        for offset in 0..commits {
            store.commit(Key::new("g", "t", 0), NextOffset(offset)).unwrap();
        }
        store.close().unwrap();
        let names = std::fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().path());
        let found = names.filter(|path| path.extension().is_some_and(|e| e == "snapshot")).count();
        let store = OffsetStore::open(temp.path()).unwrap();
        let value = store.fetch(Key::new("g", "t", 0)).unwrap();
        assert_eq!(value.offset(), NextOffset(commits - 1));
        found
    };
    assert_eq!(snapshots(true, 50_000), 1);
    assert_eq!(snapshots(false, 50_000), 0, "nobody asked for one");
    assert_eq!(snapshots(true, 1000), 0, "a short log is read as fast");
}

#[test]
fn the_progress_of_a_compaction_has_two_halves() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    for i in 0..30_000 {
        store.commit(Key::new("g", &format!("topic {}", i % 300), i), NextOffset(1)).unwrap();
    }
    let mut told = Vec::new();
    let report = store.compact_with(|progress| told.push(progress)).unwrap();
    assert!(told.iter().all(|progress| progress.done <= progress.total));
    let last = told[told.len() - 1];
    // Each record is told before it is compared.
    assert_eq!(last.total, 2 * report.snapshot_bytes);
    assert!(last.done > last.total / 10 * 9, "{last:?}");
    // What is written is told as it is written, before any of it is read.
    let (written, read): (Vec<Progress>, Vec<Progress>) =
        told.into_iter().partition(|progress| progress.done <= report.snapshot_bytes);
    assert!(written.len() > 2 && written.iter().all(|p| 2 * p.done <= p.total), "{written:?}");
    assert!(read.len() > 2 && read.is_sorted_by(|a, b| a.done < b.done), "{read:?}");
}

#[test]
fn a_file_that_somebody_else_removed_does_not_stop_a_compaction() {
    let disk = SimDisk::new();
    let store = options(1).open_in(disk.dir()).unwrap();
    for i in 0..2000 {
        store.commit(Key::new("g", "t", i % 10), NextOffset(i.into())).unwrap();
    }
    let covered = disk.files().into_iter().find(|name| name.ends_with(".log")).unwrap();
    disk.delete(&covered);
    let report = store.compact().unwrap();
    assert!(report.segments_retired > 1, "{report:?}");
    assert_eq!(store.stats().compaction.failed, 0);
}

#[test]
fn a_mark_that_found_no_room_is_written_when_there_is_room() {
    let key = Key::new("g", "t", 0);
    // The state of a mark stands behind its checksum, and 2 says that the segment is sealed. Of one
    // that found no room the first half is there, without the counter at its end.
    let is_marked = |disk: &SimDisk, name: &String| {
        let bytes = disk.contents(name).unwrap();
        [512, 1024].iter().any(|mark| bytes[mark + 4] == 2 && bytes[mark + 40] != 0)
    };
    for error in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
        for n in 0.. {
            let disk = SimDisk::new();
            let store = options(1).open_in(disk.dir()).unwrap();
            for offset in 0..1_500 {
                store.commit(key, NextOffset(offset)).unwrap();
            }
            disk.fail_nth(Op::Write, n, error);
            let synced = store.sync();
            if disk.failures() == 0 {
                assert!(n > 1, "a mark for each segment but the last one");
                break;
            }
            if error == std::io::ErrorKind::Other {
                assert!(synced.is_err() && store.stats().poisoned.is_some());
                continue;
            }
            synced.unwrap();
            let logs: Vec<_> = disk.files().into_iter().filter(|n| n.ends_with(".log")).collect();
            let (_, sealed) = logs.split_last().unwrap();
            let unmarked = || sealed.iter().filter(|name| !is_marked(&disk, name)).count();
            assert_eq!(unmarked(), 1);
            store.commit(key, NextOffset(2_000)).unwrap();
            store.sync().unwrap();
            assert_eq!(unmarked(), 0);
        }
    }
}
