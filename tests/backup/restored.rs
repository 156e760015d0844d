//! A backup that takes the place of its store.

use std::path::Path;

use pagemark::{ErrorKind, Key, NextOffset, OffsetStore, verify};

use crate::copy_files;

const KEY: Key<'static> = Key::new("g", "t", 0);

/// The store id in the lock file, in each segment and in each snapshot, read as `docs/format.md` says.
fn store_ids(dir: &Path) -> Vec<u128> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            continue;
        }
        let bytes = std::fs::read(path).unwrap();
        ids.push(match bytes.strip_prefix(b"pagemark store ") {
            Some(line) => {
                u128::from_str_radix(std::str::from_utf8(&line[..32]).unwrap(), 16).unwrap()
            }
            None => u128::from_le_bytes(bytes[16..32].try_into().unwrap()),
        });
    }
    ids
}

#[test]
fn a_restored_store_is_the_same_store_at_an_earlier_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (live, backup) = (path("live"), path("backup"));
    let store = OffsetStore::open(&live).unwrap();
    store.commit(KEY, NextOffset(42)).unwrap();
    let report = store.backup(&backup).unwrap();
    let mut handed_out = report.seq;
    for offset in 43..50 {
        handed_out = store.commit(KEY, NextOffset(offset)).unwrap().seq();
    }
    store.close().unwrap();
    let ids = store_ids(&live);

    std::fs::rename(&live, path("aside")).unwrap();
    copy_files(&backup, &live);
    let store = OffsetStore::open(&live).unwrap();
    assert!(!store.recovery_report().clean, "it counts as not closed in order");
    assert_eq!(store.recovery_report().cut, None, "and nothing of it is cut");
    assert_eq!(store.fetch(KEY).unwrap().offset(), NextOffset(42), "what came later is gone");
    let seq = store.commit(KEY, NextOffset(43)).unwrap().seq();
    assert_eq!(seq.get(), report.seq.get() + (1 << 32) + 1);
    assert!(seq > handed_out);
    for dir in [&backup, &live] {
        let found = store_ids(dir);
        assert!(found.len() > 1 && found.iter().all(|id| *id == ids[0]), "{found:x?} {ids:x?}");
    }

    // Only a copy of the backup was opened, so the next one goes into the same directory.
    assert_eq!(store.backup(&backup).unwrap().seq, seq);
    assert!(verify(&backup).unwrap().is_clean());
    copy_files(&backup, &path("again"));
    let again = OffsetStore::open(path("again")).unwrap();
    assert_eq!(again.fetch(KEY).unwrap().offset(), NextOffset(43));
}

#[test]
fn no_later_backup_goes_into_one_that_was_opened_even_if_nothing_was_committed_there() {
    let dir = tempfile::tempdir().unwrap();
    let backup = dir.path().join("backup");
    let store = OffsetStore::open(dir.path().join("live")).unwrap();
    store.commit(KEY, NextOffset(1)).unwrap();
    store.backup(&backup).unwrap();
    let opened = OffsetStore::open(&backup).unwrap();
    assert_eq!(store.backup(&backup).unwrap_err().kind(), ErrorKind::Locked);
    opened.close().unwrap();
    assert_eq!(store.backup(&backup).unwrap_err().kind(), ErrorKind::WrongStore);
    assert_eq!(OffsetStore::open(&backup).unwrap().fetch(KEY).unwrap().offset(), NextOffset(1));
}
