//! A later backup into the same directory: what it copies, keeps, removes and reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pagemark::testkit::{SimDisk, Step, apply_to_store, verify_in};
use pagemark::{Commit, Key, NextOffset, OffsetStore};

use crate::hooked::{Call, Hooked};
use crate::shown;
use crate::support::{Player, history, observe, options};

/// The files of a disk with their sizes, the lock file apart.
fn files(disk: &SimDisk) -> BTreeMap<String, u64> {
    let names = disk.files().into_iter().filter(|name| name != "LOCK");
    names.map(|name| (name.clone(), disk.contents(&name).unwrap().len() as u64)).collect()
}

#[test]
fn the_report_says_which_files_were_copied_kept_and_removed() {
    let (mut kept, mut removed) = (0, 0);
    for seed in 0..12 {
        let mut player = Player::new(SimDisk::new(), options(seed));
        player.play(&[]).unwrap();
        let dest = SimDisk::new();
        for steps in history(seed, 60).chunks(6) {
            player.play(steps).unwrap();
            let before = files(&dest);
            let report = player.store.as_ref().unwrap().backup_in(&dest).unwrap();
            let after = files(&dest);
            // What is sealed is what is copied. The segment in use and a prepared one are not.
            let mut sealed = files(&player.disk);
            sealed.retain(|name, _| !name.ends_with(".tmp"));
            let active = sealed.keys().rfind(|name| name.ends_with(".log")).cloned().unwrap();
            sealed.remove(&active);
            assert_eq!(after, sealed, "{seed}");
            let size_of = |is_old: bool| {
                let sizes = after.iter().filter(|(name, _)| before.contains_key(*name) == is_old);
                sizes.fold((0, 0), |(count, bytes), (_, size)| (count + 1, bytes + size))
            };
            assert_eq!((report.files_copied, report.bytes_copied), size_of(false), "{seed}");
            assert_eq!((report.files_kept, report.bytes_kept), size_of(true), "{seed}");
            let gone = before.keys().filter(|name| !after.contains_key(*name)).count() as u64;
            assert_eq!(report.files_removed, gone, "{seed}");
            kept += report.files_kept;
            removed += gone;
        }
    }
    assert!(kept > 50 && removed > 50, "{kept} kept, {removed} removed");
}

/// The bytes that were read and written of each file.
type Touched = Arc<Mutex<BTreeMap<String, (u64, u64)>>>;

/// A disk that counts what is read and written, and the counts.
fn counted(disk: &SimDisk) -> (Arc<Hooked>, Touched) {
    let touched = Touched::default();
    let counts = Arc::clone(&touched);
    let dir = Hooked::new(disk.dir(), move |call| {
        let mut counts = counts.lock().unwrap();
        match call {
            Call::Read(name, bytes, _) => {
                counts.entry(name.to_owned()).or_default().0 += bytes.end - bytes.start;
            }
            Call::Write(name, bytes) => {
                counts.entry(name.to_owned()).or_default().1 += bytes.len() as u64;
            }
            _ => {}
        }
    });
    (dir, touched)
}

/// Commits so much that segments of 64 KiB fill up.
fn fill(store: &OffsetStore, offset: i64) {
    let long = "x".repeat(1_600);
    for partition in 0..150 {
        let commit = Commit::new(NextOffset(offset)).metadata(&long);
        store.commit(Key::new("g", "t", partition), commit).unwrap();
    }
}

#[test]
fn of_files_that_are_kept_only_the_first_page_is_read() {
    const PAGE: u64 = 4096;
    let (disk, dest) = (SimDisk::new(), SimDisk::new());
    let (source, of_source) = counted(&disk);
    let (copies, of_copies) = counted(&dest);
    let store = options(1).segment_size(64 << 10).open_in(source).unwrap();
    fill(&store, 1);
    store.compact().unwrap();
    fill(&store, 2);
    store.backup_in(&*copies).unwrap();
    let kept = files(&dest);
    let newest = kept.keys().rfind(|name| name.ends_with(".log")).cloned().unwrap();
    assert!(kept.len() > 3 && kept.values().all(|size| *size > 8 * PAGE), "{kept:?}");
    fill(&store, 3);
    [&of_source, &of_copies].iter().for_each(|touched| touched.lock().unwrap().clear());
    let report = store.backup_in(&*copies).unwrap();
    assert!(report.files_copied > 1, "{report:?}");
    assert_eq!(report.files_kept, kept.len() as u64);
    let [of_source, of_copies] =
        [of_source, of_copies].map(|touched| touched.lock().unwrap().clone());
    for (name, size) in &kept {
        let (read, written) = of_source[name];
        assert!(read <= PAGE && written < PAGE, "{name}: {read} read, {written} written");
        let (read, written) = of_copies[name];
        // The last of them is read, to see whether it was opened, and marked: it has a successor now.
        let most = if *name == newest { size + 4 * PAGE } else { 4 * PAGE };
        assert!(read <= most, "{name}: {read} of {size} bytes read");
        assert!(written == 0 || *name == newest && written < PAGE, "{name}: {written} written");
    }
    for name in files(&dest).keys().filter(|name| !kept.contains_key(*name)) {
        assert!(of_source[name].0 > 8 * PAGE, "{name}: {:?}", of_source[name]);
    }
}

#[test]
fn damage_of_a_kept_file_is_found_by_verify_and_not_by_the_next_backup() {
    let mut player = Player::new(SimDisk::new(), options(1));
    player.play(&history(1, 60)).unwrap();
    let store = player.store.as_ref().unwrap();
    let dest = SimDisk::new();
    store.backup_in(&dest).unwrap();
    let first = files(&dest).into_keys().find(|name| name.ends_with(".log")).unwrap();
    let mut bytes = dest.contents(&first).unwrap();
    bytes[4096 + 20] ^= 1;
    dest.put(&first, bytes);
    fill(store, 1);
    store.backup_in(&dest).unwrap();
    assert!(!verify_in(&dest).unwrap().is_clean());
    // A backup in a new directory has nothing of it.
    let other = SimDisk::new();
    store.backup_in(&other).unwrap();
    assert!(verify_in(&other).unwrap().is_clean());
    assert_eq!(shown(&other).unwrap(), observe(store));
}

#[test]
fn a_backup_begins_a_segment_unless_nothing_has_changed_since_the_last_one() {
    let (disk, dest) = (SimDisk::new(), SimDisk::new());
    let store = options(1).open_in(disk.dir()).unwrap();
    let begun = |what: &str| {
        let newest = || files(&disk).into_keys().rfind(|name| name.ends_with(".log"));
        let before = newest();
        store.backup_in(&dest).unwrap();
        let begun = newest() != before;
        assert!(verify_in(&dest).unwrap().is_clean(), "{what}");
        begun
    };
    assert!(begun("the first one, which has to have something to copy"));
    assert!(!begun("nothing was committed"));
    apply_to_store(&store, &Step::Sync).unwrap();
    assert!(!begun("nothing was committed, and it was flushed"));
    for step in [Step::commit("g", "t", 0, 1), Step::delete("g", "t", 0)] {
        apply_to_store(&store, &step).unwrap();
        assert!(begun("one step was taken"), "{step}");
        assert!(!begun("nothing since"), "{step}");
    }
    apply_to_store(&store, &Step::commit("g", "t", 0, 2)).unwrap();
    apply_to_store(&store, &Step::Compact).unwrap();
    assert!(begun("a compaction, which leaves a snapshot and no sealed segment"));
    assert!(!begun("nothing since"));
}
