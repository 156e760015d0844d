//! `compact` and `stats`.

use std::fs;

use pagemark::{Key, NextOffset, OffsetStore};
use serde_json::json;

use crate::{Place, is_segment};

/// The sizes of the files of a store whose names end like this.
fn sizes(place: &Place, store: &str, ending: &str) -> Vec<u64> {
    let entries = fs::read_dir(place.path(store)).expect("a store");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(ending));
    ours.map(|entry| entry.metadata().expect("a file").len()).collect()
}

#[test]
fn compact_puts_a_snapshot_in_the_place_of_the_log() {
    let place = Place::new();
    let lines: String = (0..100).map(|at| format!("g,t,{},{at}\n", at % 10)).collect();
    for _ in 0..3 {
        place.run_with(&["import", "--dir", "s"], lines.as_bytes()).ok();
    }
    let exported = place.run("export --dir s").ok();
    let log_bytes: u64 = sizes(&place, "s", ".log").iter().sum();
    let report = place.run("compact --dir s --format json").json();
    let snapshot = sizes(&place, "s", ".snapshot");
    assert_eq!(report["covered_seq"], 3);
    assert_eq!(report["keys"], 10);
    assert_eq!(report["snapshot_bytes"], json!(snapshot[0]));
    assert_eq!(report["segments_retired"], 1);
    assert_eq!(report["bytes_retired"], json!(log_bytes));
    assert_eq!(snapshot.len(), 1);
    assert_eq!(place.run("export --dir s").ok(), exported);

    let nothing = "nothing to compact: nothing was committed or deleted since the last time\n";
    assert_eq!(place.run("compact --dir s").ok(), nothing);
    assert_eq!(
        place.run("compact --dir s --format csv").ok().lines().next(),
        Some("covered_seq,keys,snapshot_bytes,segments_retired,bytes_retired,elapsed_ms")
    );
    assert_eq!(place.run("compact --dir s --format json").json()["covered_seq"], 0);

    place.run("delete --dir s --group g --topic t --partition 3").ok();
    let table = place.run("compact --dir s").ok();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "COVERED-SEQ  KEYS  SNAPSHOT-BYTES  SEGMENTS-RETIRED  BYTES-RETIRED  ELAPSED-MS"
    );
    assert!(lines[1].starts_with("4            9     "), "{table}");
}

#[test]
fn stats_count_what_is_there() {
    let place = Place::new();
    let store = OffsetStore::open(place.path("s")).expect("a store");
    let look = || place.run("stats --dir s --format json").json();
    let empty = look();
    for (name, expected) in [("keys", json!(0)), ("data_bytes", json!(0)), ("last_seq", json!(0))] {
        assert_eq!(empty[name], expected, "{empty}");
    }
    assert_eq!(empty["amplification"], json!(null));

    for (group, topic, partition) in
        [("one", "t", 0), ("one", "t", 1), ("one", "u", 0), ("two", "t", 7)]
    {
        let commit = pagemark::Commit::new(NextOffset(1)).metadata("12345");
        store.commit(Key::new(group, topic, partition), commit).expect("a commit");
    }
    store.delete(Key::new("one", "t", 1)).expect("a delete");
    let stats = look();
    let data_bytes = 3 * (24 + 5) + "one".len() + "tu".len() + "two".len() + "t".len();
    let log: Vec<u64> = sizes(&place, "s", ".log");
    for (name, expected) in [
        ("keys", json!(3)),
        ("groups", json!(2)),
        ("last_seq", json!(5)),
        ("segments", json!(1)),
        ("log_bytes", json!(log[0])),
        ("snapshot_bytes", json!(0)),
        ("snapshot_keys", json!(null)),
        ("data_bytes", json!(data_bytes)),
    ] {
        assert_eq!(stats[name], expected, "{name} in {stats}");
    }
    assert!(stats["durable_seq"].as_u64() <= Some(5), "{stats}");
    let disk_bytes = stats["disk_bytes"].as_u64().expect("a number");
    assert!(disk_bytes > 0, "{stats}");
    assert_eq!(stats["amplification"], json!(disk_bytes as f64 / data_bytes as f64));

    store.compact().expect("a snapshot");
    store.commit(Key::new("one", "t", 1), NextOffset(1)).expect("a commit");
    store.close().expect("an orderly end");
    let before = look();
    place.file("s/notes.txt", "x".repeat(100_000));
    place.file("s/program.log", "x".repeat(100_000));
    let stats = look();
    assert_eq!(stats, before, "files of others do not count");
    std::fs::remove_file(place.path("s/program.log")).expect("a file");
    for (name, ending) in
        [("snapshot_bytes", ".snapshot"), ("log_bytes", ".log"), ("temporary_bytes", ".tmp")]
    {
        assert_eq!(stats[name], json!(sizes(&place, "s", ending).iter().sum::<u64>()), "{stats}");
    }
    assert_eq!(stats["durable_seq"], 6);
    assert_eq!([&stats["keys"], &stats["snapshot_keys"]], [4, 3], "{stats}");
    assert!(stats["snapshot_bytes"].as_u64() > Some(0), "{stats}");
}

#[test]
fn stats_are_a_list_for_people_and_a_row_in_csv() {
    let place = Place::new();
    place.run("commit --dir s --group g --topic t --partition 0 --offset 1").ok();
    let text = place.run("stats --dir s").ok();
    assert!(
        text.starts_with("KEYS             1\nGROUPS           1\nLAST-SEQ         1\n"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 12);
    let csv = place.run("stats --dir s --format csv").ok();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("keys,groups,last_seq,durable_seq,segments,log_bytes,"), "{csv}");
    assert!(lines[1].starts_with("1,1,1,1,1,"), "{csv}");
    assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
}

#[test]
fn a_store_that_was_compacted_can_be_compacted_by_the_next_process() {
    let place = Place::new();
    for offset in 0..4 {
        let commit = format!("commit --dir s --group g --topic t --partition 0 --offset {offset}");
        place.run(&commit).ok();
        place.run("compact --dir s").ok();
    }
    assert_eq!(sizes(&place, "s", ".snapshot").len(), 1);
    let logs = fs::read_dir(place.path("s")).expect("a store");
    assert_eq!(logs.filter(|entry| entry.as_ref().is_ok_and(|e| is_segment(&e.path()))).count(), 1);
    assert_eq!(place.run("export --dir s").ok(), "g,t,0,3\n");
}
