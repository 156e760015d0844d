//! The commands that only read: beside the process that has the store open, and without a trace.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use pagemark::{Key, NextOffset, OffsetStore};

use crate::Place;

const READERS: &[&str] = &[
    "fetch --group g",
    "groups list",
    "groups describe --group g",
    "export",
    "stats",
    "verify",
    "tail --from-start --once",
];

/// The files of a store with their bytes and when they were written.
fn contents(place: &Place, store: &str) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let entries = fs::read_dir(place.path(store)).expect("a store");
    let read = entries.map(|entry| {
        let entry = entry.expect("an entry");
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let bytes = fs::read(entry.path()).expect("a file");
        let name = entry.file_name().into_string().expect("a name of text");
        (name, (bytes, written.expect("a time")))
    });
    read.collect()
}

#[test]
fn they_work_beside_the_process_that_has_the_store_open() {
    let place = Place::new();
    let store = OffsetStore::open(place.path("s")).expect("a store");
    for offset in [5, 6] {
        store.commit(Key::new("g", "t", 0), NextOffset(offset)).expect("a commit");
        assert_eq!(place.run("export --dir s").ok(), format!("g,t,0,{offset}\n"));
        for command in READERS {
            let printed = place.run(&format!("{command} --dir s")).ok();
            assert!(!printed.is_empty(), "{command}");
        }
    }
    store.close().expect("an orderly end");
}

#[test]
fn they_leave_no_trace_and_need_no_right_to_write() {
    let place = Place::new();
    let store = OffsetStore::open(place.path("s")).expect("a store");
    store.commit(Key::new("g", "t", 0), NextOffset(1)).expect("a commit");
    store.compact().expect("a snapshot");
    store.commit(Key::new("g", "t", 0), NextOffset(2)).expect("a commit");
    // As after a crash: what opens it for writing has something to write.
    fs::create_dir(place.path("crashed")).expect("a directory");
    for name in contents(&place, "s").into_keys() {
        fs::copy(place.path("s").join(&name), place.path("crashed").join(&name)).expect("a copy");
    }
    store.close().expect("an orderly end");
    for dir in ["s", "crashed"] {
        let before = contents(&place, dir);
        let may = |files: u32, directory: u32| {
            for name in before.keys() {
                let path = place.path(dir).join(name);
                fs::set_permissions(path, Permissions::from_mode(files)).expect("permissions");
            }
            fs::set_permissions(place.path(dir), Permissions::from_mode(directory))
                .expect("permissions");
        };
        may(0o444, 0o555);
        for command in READERS {
            let printed = place.run(&format!("{command} --dir {dir}")).ok();
            assert!(!printed.is_empty(), "{command}");
            assert!(contents(&place, dir) == before, "{command} changed something");
        }
        may(0o644, 0o755);
        assert_eq!(place.run(&format!("export --dir {dir}")).ok(), "g,t,0,2\n");
    }
    // It does notice what a command changes that opens the store for writing.
    let before = contents(&place, "crashed");
    place.run("compact --dir crashed").ok();
    assert!(contents(&place, "crashed") != before);
}
