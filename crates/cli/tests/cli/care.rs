//! `verify`, `backup` and `salvage`.

use std::fs;
use std::path::Path;

use pagemark::{Key, NextOffset, OffsetStore};
use serde_json::json;

use crate::Place;

/// A store with eight offsets, each in a record of its own.
fn store(place: &Place) {
    let store = OffsetStore::open(place.path("s")).expect("a store");
    for partition in 0..8 {
        store.commit(Key::new("g", "t", partition), NextOffset(42)).expect("a commit");
    }
    store.close().expect("an orderly end");
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).expect("a file");
    bytes[at] ^= 1;
    fs::write(file, bytes).expect("a file");
}

#[test]
fn a_whole_store_is_clean_closed_or_open() {
    let place = Place::new();
    store(&place);
    let text = place.run("verify --dir s").ok();
    assert!(text.starts_with("STORE     "), "{text}");
    assert!(text.contains("\nCLEAN     yes\nCLOSED    yes\nKEYS      8\nLAST-SEQ  8\n"), "{text}");
    assert_eq!(text.lines().count(), 9, "{text}");
    let empty = place.run("verify --dir s --format csv").ok();
    assert_eq!(empty, "severity,kind,file,position,message\n");

    place.file("s/notes.txt", "somebody else's");
    let open = OffsetStore::open(place.path("s")).expect("a store");
    let report = place.run("verify --dir s --format json").json();
    assert_eq!([&report["clean"], &report["closed"]], [&json!(true), &json!(false)], "{report}");
    assert_eq!(report["keys"], 8);
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.iter().any(|finding| finding["kind"] == "Foreign"
        && finding["severity"] == "note"
        && finding["file"] == "s/notes.txt"));
    open.close().expect("an orderly end");
}

#[test]
fn damage_is_found_and_exits_with_3() {
    let place = Place::new();
    store(&place);
    flip(&place.segment("s"), 4200);
    let outcome = place.run("verify --dir s");
    assert!(outcome.stdout.contains("\nCLEAN     no\n"), "{outcome:?}");
    assert!(outcome.stdout.contains("\nSEVERITY  KIND "), "{outcome:?}");
    assert!(outcome.stdout.contains("\ndamage    Lost "), "{outcome:?}");
    assert_eq!(outcome.fails(3), "pagemark: 1 place is damaged (s)\n");

    let outcome = place.run("verify --dir s --format json");
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(report["clean"], false);
    assert_eq!(report["findings"][0]["severity"], "damage");
    assert!(report["findings"][0]["position"].as_u64() >= Some(4096), "{report}");
    outcome.fails(3);
    let outcome = place.run("verify --dir s --format csv");
    assert!(outcome.stdout.contains("\ndamage,Lost,\"s/"), "{outcome:?}");
    outcome.fails(3);
}

#[test]
fn what_is_whole_is_salvaged_as_it_is() {
    let place = Place::new();
    store(&place);
    let text = place.run("salvage --from s --to new").ok();
    assert!(text.starts_with("EXACT             8\nPOSSIBLY-OLD      0\nLOST "), "{text}");
    assert_eq!(text.lines().count(), 10, "{text}");
    let exported = place.run("export --dir s --format jsonl").ok();
    assert_eq!(place.run("export --dir new --format jsonl").ok(), exported);
    // The source can be named like every store.
    place.run("salvage --dir s --to other").ok();
    assert_eq!(place.run("export --dir other --format jsonl").ok(), exported);
}

#[test]
fn what_is_damaged_is_salvaged_as_far_as_it_can_be_read_and_exits_with_3() {
    let place = Place::new();
    store(&place);
    flip(&place.segment("s"), 4200);
    let before = fs::read(place.segment("s")).expect("a segment");
    let outcome = place.run("salvage --from s --to new --format json");
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let refused = outcome.fails(3);
    assert!(refused.starts_with("pagemark: not everything is certain to be as it was: of "));
    let kept = report["exact"].as_u64().zip(report["possibly_old"].as_u64());
    assert_eq!(kept.map(|(exact, old)| exact + old), Some(7), "{report}");
    let uncertain = report["uncertain"].as_array().expect("keys");
    let counted = report["possibly_old"].as_u64().zip(report["lost"].as_u64());
    assert_eq!(counted.map(|(old, lost)| old + lost), Some(uncertain.len() as u64), "{report}");
    assert_eq!(report["gaps"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(place.run("export --dir new").ok().lines().count(), 7);
    assert_eq!(fs::read(place.segment("s")).expect("a segment"), before);

    let outcome = place.run("salvage --from s --to again");
    assert!(outcome.stdout.contains("\nMISSING-FROM-SEQ  TO-SEQ  FILE\n"), "{outcome:?}");
    outcome.fails(3);
    let outcome = place.run("salvage --from s --to csv --format csv");
    assert_eq!(outcome.stdout.lines().count(), 1 + uncertain.len(), "{outcome:?}");
    assert!(outcome.stdout.starts_with("group,topic,partition,verdict,known_up_to_seq\n"));
    outcome.fails(3);
}

#[test]
fn a_backup_is_a_store_and_a_later_one_copies_what_is_new() {
    let place = Place::new();
    store(&place);
    let first = place.run("backup --dir s --to b --format json").json();
    assert_eq!(first["seq"], 8);
    assert_eq!(first["files_kept"], 0);
    assert!(first["files_copied"].as_u64() >= Some(1), "{first}");
    place.run("verify --dir b").ok();
    assert_eq!(place.run("export --dir b").ok(), place.run("export --dir s").ok());

    place.run("commit --dir s --group g --topic t --partition 0 --offset 43").ok();
    let second = place.run("backup --dir s --to b --format json").json();
    assert_eq!(second["seq"], 9);
    assert_eq!(second["files_kept"], first["files_copied"]);
    assert_eq!(place.run("export --dir b").ok(), place.run("export --dir s").ok());
    let table = place.run("backup --dir s --to c").ok();
    assert!(table.starts_with("SEQ  FILES-COPIED  BYTES-COPIED  FILES-KEPT  "), "{table}");
}

#[test]
fn directories_that_will_not_do_are_refused() {
    let place = Place::new();
    store(&place);
    place.run("commit --dir other --group g --topic t --partition 0 --offset 1").ok();
    // Not empty, and not a place for something new.
    assert!(place.run("salvage --from s --to other").fails(2).contains("name a new one"));
    place.run("backup --dir s --to s").fails(2);
    place.run("backup --dir s --to s/b").fails(2);
    let refused = place.run("backup --dir s --to other").fails(1);
    assert!(refused.contains("another store"), "{refused}");
    assert!(refused.contains("hint: name a new directory"), "{refused}");
    assert_eq!(place.run("export --dir other").ok(), "g,t,0,1\n");

    let open = OffsetStore::open(place.path("s")).expect("a store");
    assert!(place.run("salvage --from s --to new").fails(1).contains("is open in process"));
    open.close().expect("an orderly end");

    flip(&place.segment("other"), 4100);
    let refused = place.run("backup --dir other --to new2").fails(3);
    assert!(refused.contains("hint: copy the directory"), "{refused}");
    assert!(!place.path("new2").exists(), "no backup was begun");
}
