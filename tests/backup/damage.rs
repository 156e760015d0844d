//! Damage: of the store, and of the bytes on their way into a copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pagemark::OffsetStore;
use pagemark::testkit::{SimDisk, verify_in};

use crate::hooked::{Call, Hooked};
use crate::shown;
use crate::support::{Player, Step, history, observe, options};

#[test]
fn damage_is_never_copied() {
    let mut player = Player::new(SimDisk::new(), options(3));
    let mut steps = history(3, 80);
    steps.push(Step::Compact);
    steps.extend(history(33, 60).into_iter().filter(|step| *step != Step::Compact));
    player.play(&steps).unwrap();
    let store = player.store.as_ref().unwrap();
    store.backup_in(&SimDisk::new()).unwrap();
    let files = player.disk.files().into_iter().filter(|name| name != "LOCK");
    let active = player.disk.files().into_iter().rfind(|name| name.ends_with(".log"));
    let state = observe(store);
    let (mut damaged, mut left_out) = (0, 0);
    for name in files.filter(|name| Some(name) != active.as_ref()) {
        let bytes = player.disk.contents(&name).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for byte in (0..1100).step_by(7).chain((4096..used).step_by(97)) {
            let mut changed = bytes.clone();
            changed[byte] ^= 4;
            player.disk.put(&name, changed);
            let dest = SimDisk::new();
            match store.backup_in(&dest) {
                Err(error) => {
                    assert!(error.is_corruption(), "{name} byte {byte}: {error}");
                    damaged += 1;
                }
                // A copy has a first page of its own, with the header and one mark.
                Ok(_) => {
                    assert!((64..4096).contains(&byte), "{name} byte {byte}");
                    let verified = verify_in(&dest).unwrap();
                    assert!(verified.findings.is_empty(), "{name} byte {byte}: {verified:#?}");
                    assert_eq!(shown(&dest).unwrap(), state, "{name} byte {byte}");
                    left_out += 1;
                }
            }
        }
        player.disk.put(&name, bytes);
    }
    assert!(damaged > 100 && left_out > 100, "{damaged} damaged, {left_out} left out");
    store.backup_in(&SimDisk::new()).unwrap();
}

#[test]
fn what_the_damage_of_the_store_leaves_is_the_backup_that_was_there() {
    let mut failed = 0;
    for compacts in [false, true] {
        let mut player = Player::new(SimDisk::new(), options(3));
        player.play(&history(3, 30)).unwrap();
        let dest = SimDisk::new();
        player.store.as_ref().unwrap().backup_in(&dest).unwrap();
        let (before, kept) = (shown(&dest).unwrap(), dest.files());
        let mut steps = history(33, 40);
        steps.retain(|step| *step != Step::Compact);
        player.play(&steps).unwrap();
        player.play(if compacts { &[Step::Compact] } else { &[] }).unwrap();
        let store = player.store.as_ref().unwrap();
        // Seals what is new.
        store.backup_in(&SimDisk::new()).unwrap();
        let after = observe(store);
        assert_ne!(after, before);
        let active = player.disk.files().into_iter().rfind(|name| name.ends_with(".log"));
        let is_new = |name: &String| !kept.contains(name) && Some(name) != active.as_ref();
        for name in player.disk.files().into_iter().filter(is_new) {
            let bytes = player.disk.contents(&name).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            for byte in [0, 40, 4096, (4096 + used) / 2, used] {
                let mut changed = bytes.clone();
                changed[byte] ^= 16;
                player.disk.put(&name, changed);
                let error = store.backup_in(&dest).unwrap_err();
                assert!(error.is_corruption(), "{name} byte {byte}: {error}");
                assert_eq!(shown(&dest).unwrap(), before, "{name} byte {byte}");
                assert!(verify_in(&dest).unwrap().is_clean(), "{name} byte {byte}");
                failed += 1;
            }
            player.disk.put(&name, bytes);
        }
        store.backup_in(&dest).unwrap();
        assert_eq!(shown(&dest).unwrap(), after);
    }
    assert!(failed > 20, "{failed} failed");
}

/// Backs up onto a disk that changes a bit of the `nth` write: that of `byte`, counted from the start
/// of the bytes. Returns how many there were, if that write came.
fn backup_with_a_flip(
    store: &OffsetStore,
    dest: &SimDisk,
    nth: usize,
    byte: usize,
) -> (Result<pagemark::BackupReport, pagemark::Error>, Option<usize>) {
    let (writes, len) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let found = Arc::clone(&len);
    let dir = Hooked::new(dest.dir(), move |call| {
        if let Call::Write(_, bytes) = call
            && writes.fetch_add(1, Ordering::Relaxed) == nth
        {
            found.store(bytes.len(), Ordering::Relaxed);
            bytes[byte] ^= 1 << (byte % 8);
        }
    });
    let result = store.backup_in(&*dir);
    let len = len.load(Ordering::Relaxed);
    (result, (len > 0).then_some(len))
}

#[test]
fn a_bit_that_changes_on_its_way_into_a_copy_is_noticed() {
    let mut player = Player::new(SimDisk::new(), options(3));
    player.play(&history(3, 30)).unwrap();
    let old = SimDisk::new();
    player.store.as_ref().unwrap().backup_in(&old).unwrap();
    let before = shown(&old).unwrap();
    player.play(&history(33, 40)).unwrap();
    player.play(&[Step::Compact]).unwrap();
    let behind = history(333, 40).into_iter().filter(|step| *step != Step::Compact);
    player.play(&behind.collect::<Vec<_>>()).unwrap();
    let store = player.store.as_ref().unwrap();
    let after = observe(store);
    let (mut noticed, mut harmless, mut writes) = (0, 0, 0);
    'writes: for nth in 0.. {
        let mut byte = 0;
        loop {
            let dest = old.deep_clone();
            let (result, len) = backup_with_a_flip(store, &dest, nth, byte);
            let Some(len) = len else { break 'writes };
            let context = format!("write {nth} of {len} bytes, byte {byte}: {result:?}");
            match result {
                // Of two marks one is left.
                Ok(_) => {
                    assert!(verify_in(&dest).unwrap().is_clean(), "{context}");
                    assert_eq!(shown(&dest).unwrap(), after, "{context}");
                    harmless += 1;
                }
                Err(error) => {
                    assert!(error.is_corruption(), "{context}");
                    assert_eq!(shown(&dest).unwrap(), before, "{context}");
                    noticed += 1;
                }
            }
            store.backup_in(&dest).unwrap();
            assert_eq!(shown(&dest).unwrap(), after, "{context}");
            byte += if len <= 64 { 1 } else { 1 + len / 64 };
            if byte >= len {
                break;
            }
        }
        writes += 1;
    }
    println!("{writes} writes: {noticed} noticed, {harmless} harmless");
    assert!(writes > 5 && noticed > 300 && harmless < 100, "{writes} {noticed} {harmless}");
}
