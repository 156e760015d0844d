//! Backups that are not made: into the wrong directory, without room, of a store that failed.

use pagemark::testkit::{Op, SimDisk};
use pagemark::{ErrorKind, Key, NextOffset, OffsetStore, verify};

use crate::shown;
use crate::support::{Player, history, observe, options};

#[test]
fn directories_that_must_not_be_overwritten_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let store = OffsetStore::open(path("store")).unwrap();
    let key = Key::new("g", "t", 0);
    // A store without a single commit can be copied, too.
    store.backup(path("backup")).unwrap();
    assert!(verify(path("backup")).unwrap().is_clean());
    let seq = store.commit(key, NextOffset(1)).unwrap().seq();
    let mut told = 0;
    let report = store.backup_with(path("backup"), |progress| told = progress.done).unwrap();
    assert_eq!((report.seq, told), (seq, report.bytes_copied + report.bytes_kept));
    let kind = |dest: std::path::PathBuf| store.backup(dest).unwrap_err().kind();
    assert_eq!(kind(path("store")), ErrorKind::InvalidArgument);
    assert_eq!(kind(path("store/inside")), ErrorKind::InvalidArgument);
    assert!(!path("store/inside").exists());
    let other = OffsetStore::open(path("other")).unwrap();
    other.commit(key, NextOffset(5)).unwrap();
    assert_eq!(kind(path("other")), ErrorKind::Locked);
    other.close().unwrap();
    assert_eq!(kind(path("other")), ErrorKind::WrongStore);
    // Of this one nothing is left but its name.
    std::fs::create_dir(path("bare")).unwrap();
    std::fs::copy(path("other/LOCK"), path("bare/LOCK")).unwrap();
    assert_eq!(kind(path("bare")), ErrorKind::WrongStore);
    std::fs::remove_file(path("other/LOCK")).unwrap();
    assert_eq!(kind(path("other")), ErrorKind::WrongStore);
    assert_eq!(OffsetStore::open(path("other")).unwrap().fetch(key).unwrap().offset().0, 5);
    // A backup that went its own way.
    let restored = OffsetStore::open(path("backup")).unwrap();
    assert!(restored.commit(key, NextOffset(9)).unwrap().seq().get() > 1 << 32, "seqs are new");
    restored.close().unwrap();
    assert_eq!(kind(path("backup")), ErrorKind::WrongStore);
    assert_eq!(OffsetStore::open(path("backup")).unwrap().fetch(key).unwrap().offset().0, 9);
}

#[test]
fn a_backup_that_finds_no_room_leaves_the_earlier_one_and_a_store_that_failed_has_none() {
    let mut player = Player::new(SimDisk::new(), options(5));
    player.play(&history(5, 20)).unwrap();
    let dest = SimDisk::new();
    player.store.as_ref().unwrap().backup_in(&dest).unwrap();
    let before = shown(&dest).unwrap();
    player.play(&history(55, 20)).unwrap();
    let store = player.store.as_ref().unwrap();
    assert_ne!(observe(store), before);
    dest.capacity(Some(dest.used() + 100));
    assert_eq!(store.backup_in(&dest).unwrap_err().kind(), ErrorKind::Full);
    dest.capacity(None);
    assert_eq!(shown(&dest).unwrap(), before);
    store.commit(Key::new("g", "t", 0), NextOffset(1)).unwrap();
    player.disk.fail_nth(Op::SyncFile, 0, std::io::ErrorKind::Other);
    assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(store.backup_in(&dest).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(shown(&dest).unwrap(), before);
}
