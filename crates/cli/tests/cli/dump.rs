//! `dump`.

use pagemark::{Key, NextOffset, OffsetStore};
use serde_json::{Value, json};

use crate::Place;

fn store(place: &Place) -> String {
    for (arguments, partition) in
        [("--offset 42 --metadata m --leader-epoch 3", 0), ("--offset 7", 1)]
    {
        let key = format!("--group billing --topic orders --partition {partition}");
        place.run(&format!("commit --dir s {key} {arguments} --timestamp-ms 1000")).ok();
    }
    place.run("delete --dir s --group billing --topic orders --partition 1").ok();
    place.run("delete --dir s --group billing --topic orders --yes").ok();
    place.segment("s").to_str().expect("a path of text").to_owned()
}

#[test]
fn text_shows_header_marks_and_records() {
    let place = Place::new();
    let text = place.run(&format!("dump {}", store(&place))).ok();
    assert!(text.starts_with("file     segment\nstore    "), "{text}");
    assert!(text.contains("\nmark     closed in epoch 4, durable below byte "), "{text}");
    assert!(text.contains("name 0: group billing, topic orders\n"), "{text}");
    assert!(
        text.contains(
            "    commit  billing  orders  0  offset 42  1970-01-01T00:00:01.000Z  leader epoch 3  \
             metadata m\n"
        ),
        "{text}"
    );
    assert!(text.contains("    delete  billing  orders  1\n"), "{text}");
    assert!(text.contains("    delete all partitions  billing  orders\n"), "{text}");
    assert!(text.ends_with("  end: nothing but zeros behind it\n"), "{text}");
}

#[test]
fn json_has_one_object_in_each_line() {
    let place = Place::new();
    let text = place.run(&format!("dump {} --format json", store(&place))).ok();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (first, last) = (&lines[0], &lines[lines.len() - 1]);
    assert_eq!(first["type"], "segment");
    assert_eq!(first["marks"][0]["state"], "closed");
    assert_eq!(last["ending"], "blank");
    assert_eq!(last["records"], first["records"]);
    let changes: Vec<&Value> = lines.iter().map(|line| &line["body"]["changes"]).collect();
    let commit = json!([{"kind": "commit", "group": "billing", "topic": "orders", "partition": 0,
        "offset": 42, "leader_epoch": 3, "metadata": "m", "timestamp_ms": 1000,
        "expire_at_ms": null}]);
    assert!(changes.contains(&&commit), "{text}");
}

#[test]
fn a_file_of_an_open_store_can_be_dumped_and_another_file_cannot() {
    let place = Place::new();
    let open = OffsetStore::open(place.path("open")).expect("a store");
    open.commit(Key::new("g", "t", 0), NextOffset(5)).expect("a commit");
    let segment = place.segment("open");
    let text = place.run(&format!("dump {}", segment.display())).ok();
    assert!(text.contains("    commit  g  t  0  offset 5  "), "{text}");
    open.close().expect("an orderly end");

    let file = place.file("other.log", "x".repeat(65536));
    let refused = place.run(&format!("dump {file}")).fails(1);
    assert!(refused.starts_with("pagemark: ") && !refused.contains("hint:"), "{refused}");
    place.run("dump missing.log").fails(1);
}

#[test]
fn zeros_where_something_durable_stood_are_damage() {
    let place = Place::new();
    let segment = store(&place);
    let bytes = std::fs::read(&segment).expect("a segment");
    // The records begin behind the first page.
    for from in [4096, 4200] {
        let mut zeroed = bytes.clone();
        zeroed[from..].fill(0);
        std::fs::write(&segment, zeroed).expect("a segment");
        let refused = place.run(&format!("dump {segment}")).fails(3);
        assert!(refused.starts_with("pagemark: damage at byte 4"), "{refused}");
    }
    std::fs::write(&segment, bytes).expect("a segment");
    place.run(&format!("dump {segment}")).ok();
}

#[test]
fn a_snapshot_has_a_base_and_values_with_their_seqs() {
    let place = Place::new();
    for partition in [0, 1] {
        let key = format!("--group billing --topic orders --partition {partition}");
        place.run(&format!("commit --dir s {key} --offset 42 --timestamp-ms 1000")).ok();
    }
    place.run("compact --dir s").ok();
    let snapshot = "s/00000000000000000002.snapshot";
    let text = place.run(&format!("dump {snapshot}")).ok();
    assert!(text.starts_with("file     snapshot\nstore    "), "{text}");
    assert!(
        text.contains("  base: stands for the log up to seq 2, which goes on at 3, "),
        "{text}"
    );
    let values = "  values of 2\n    \
                  seq 1  commit  billing  orders  0  offset 42  1970-01-01T00:00:01.000Z\n    \
                  seq 2  commit  billing  orders  1  offset 42  1970-01-01T00:00:01.000Z\n";
    assert!(text.contains(values), "{text}");
    assert!(text.ends_with("  end: sealed\n"), "{text}");

    let text = place.run(&format!("dump {snapshot} --format json")).ok();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["type"], "snapshot");
    assert_eq!(lines[1]["body"]["kind"], "base");
    assert_eq!(lines[2]["body"]["values"][1]["seq"], 2);
    assert_eq!(lines[lines.len() - 1]["ending"], "sealed");

    let path = place.path(snapshot);
    let mut bytes = std::fs::read(&path).expect("a snapshot");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).expect("a snapshot");
    let refused = place.run(&format!("dump {snapshot}")).fails(3);
    assert!(refused.contains("damage at byte "), "{refused}");
    bytes.pop();
    std::fs::write(&path, &bytes).expect("a snapshot");
    let refused = place.run(&format!("dump {snapshot}")).fails(3);
    assert!(refused.contains("it was cut, extended, or is another"), "{refused}");
}
