//! Backups that are not made: into the wrong directory, without room, of a store that failed.

use pagemark::testkit::{Op, SimDisk, verify_in};
use pagemark::{ErrorKind, Key, NextOffset, OffsetStore, verify};

use crate::shown;
use crate::support::{Player, State, Step, history, observe, options};

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
    assert_eq!(store.backup(path("backup")).unwrap().seq, seq);
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

/// A store with an earlier backup, what that shows, and something to copy since.
fn with_an_earlier_backup() -> (Player, SimDisk, State) {
    let mut player = Player::new(SimDisk::new(), options(5));
    player.play(&history(5, 20)).unwrap();
    let dest = SimDisk::new();
    player.store.as_ref().unwrap().backup_in(&dest).unwrap();
    let before = shown(&dest).unwrap();
    player.play(&history(55, 20)).unwrap();
    player.play(&[Step::commit("g", "t", 0, 1)]).unwrap();
    assert_ne!(observe(player.store.as_ref().unwrap()), before);
    (player, dest, before)
}

#[test]
fn a_backup_that_finds_no_room_has_no_effect_and_may_be_repeated() {
    let (mut player, dest, before) = with_an_earlier_backup();
    let store = player.store.take().unwrap();
    let state = observe(&store);
    for disk in [&dest, &player.disk] {
        disk.capacity(Some(disk.used() + 100));
        assert_eq!(store.backup_in(&dest).unwrap_err().kind(), ErrorKind::Full, "{disk:?}");
        disk.capacity(None);
        assert_eq!((shown(&dest).unwrap(), observe(&store)), (before.clone(), state.clone()));
    }
    store.backup_in(&dest).unwrap();
    assert_eq!(shown(&dest).unwrap(), state);
    assert!(verify_in(&dest).unwrap().findings.is_empty(), "nothing unfinished is left");
}

#[test]
fn a_store_that_failed_is_not_copied_before_it_is_reopened() {
    let (mut player, dest, before) = with_an_earlier_backup();
    let store = player.store.take().unwrap();
    let state = observe(&store);
    player.disk.fail_nth(Op::SyncFile, 0, std::io::ErrorKind::Other);
    assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(store.backup_in(&dest).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!((shown(&dest).unwrap(), observe(&store)), (before, state), "reads go on");
    assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Poisoned);
    let store = options(6).open_in(player.disk.dir()).unwrap();
    store.backup_in(&dest).unwrap();
    assert_eq!(shown(&dest).unwrap(), observe(&store));
}

#[test]
fn a_copy_that_cannot_be_opened_is_not_taken_for_a_missing_one() {
    let (mut player, dest, before) = with_an_earlier_backup();
    let store = player.store.take().unwrap();
    let copies = dest.files().iter().filter(|name| *name != "LOCK").count() as u64;
    for n in 0..copies {
        dest.fail_nth(Op::Open, n, std::io::ErrorKind::PermissionDenied);
        assert_eq!(store.backup_in(&dest).unwrap_err().kind(), ErrorKind::Io, "{n}");
        assert_eq!(shown(&dest).unwrap(), before, "{n}");
    }
    store.backup_in(&dest).unwrap();
    assert_eq!(shown(&dest).unwrap(), observe(&store));
}
