//! `tail`.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use pagemark::{Commit, CommitBatch, Key, NextOffset, OffsetStore};
use serde_json::{Value, json};

use crate::Place;

/// A program that runs until it is told to end.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(place: &Place, arguments: &str) -> Running {
        let mut command = place.command();
        command.args(arguments.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Running { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }

    /// Closes its output, and returns how it ended and what it said then.
    fn close(self) -> (Option<i32>, String) {
        drop(self.output);
        let output = self.child.wait_with_output().expect("the program ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn commit(offset: i64) -> Commit<'static> {
    Commit::new(NextOffset(offset)).timestamp_ms(1000)
}

#[test]
fn each_change_is_a_line_as_it_happens() {
    let place = Place::new();
    let store = OffsetStore::open(place.path("s")).expect("a store");
    store.commit(Key::new("g", "t", 0), commit(1).metadata("m").leader_epoch(3)).expect("a commit");
    store.commit(Key::new("other", "t", 0), commit(1)).expect("a commit");
    let mut all = Running::start(&place, "tail --dir s --format jsonl --interval 1 --from-start");
    let mut some = Running::start(
        &place,
        "tail --dir s --format jsonl --interval 1 --from-start --group g --topic t",
    );
    let first = json!({"kind": "commit", "seq": 1, "group": "g", "topic": "t", "partition": 0,
        "offset": 1, "leader_epoch": 3, "metadata": "m", "timestamp_ms": 1000,
        "expire_at_ms": null});
    assert_eq!(all.json(), first);
    assert_eq!(all.json()["group"], "other");
    assert_eq!(some.json(), first);

    let mut batch = CommitBatch::new("g");
    batch.commit("t", 1, commit(5)).commit("u", 0, commit(6)).delete("t", 0);
    store.commit_batch(&batch).expect("a batch");
    let change = |kind: &str, seq: u64, topic: &str, partition: i32| json!({"kind": kind, "seq": seq, "group": "g", "topic": topic, "partition": partition});
    let committed = |seq: u64, topic: &str, partition: i32, offset: i64| {
        let mut line = change("commit", seq, topic, partition);
        line["offset"] = offset.into();
        line["leader_epoch"] = Value::Null;
        line["metadata"] = "".into();
        line["timestamp_ms"] = 1000.into();
        line["expire_at_ms"] = Value::Null;
        line
    };
    let mut lines = [all.json(), all.json(), all.json()];
    lines.sort_by_key(Value::to_string);
    let mut expected =
        [committed(3, "t", 1, 5), committed(3, "u", 0, 6), change("delete", 3, "t", 0)];
    expected.sort_by_key(Value::to_string);
    assert_eq!(lines, expected);
    let mut lines = [some.json(), some.json()];
    lines.sort_by_key(Value::to_string);
    expected.sort_by_key(|line| (line["topic"] != "t", line.to_string()));
    assert_eq!(lines, expected[..2]);

    store.delete_topic("g", "t").expect("a delete");
    let deleted = json!({"kind": "delete_topic", "seq": 4, "group": "g", "topic": "t"});
    assert_eq!(all.json(), deleted);
    assert_eq!(some.json(), deleted);
    for tail in [all, some] {
        assert_eq!(tail.close(), (Some(0), String::new()));
    }
    store.close().expect("an orderly end");
}

#[test]
fn people_get_columns() {
    let place = Place::new();
    for (group, partition) in [("b", 0), ("a", 1)] {
        let key = format!("--group {group} --topic orders --partition {partition}");
        place.run(&format!("commit --dir s {key} --offset 42 --timestamp-ms 0")).ok();
    }
    let title = "TIMESTAMP                 SEQ       CHANGE  GROUP             TOPIC             \
                 PARTITION  OFFSET    LEADER-EPOCH  METADATA\n";
    assert_eq!(
        place.run("tail --dir s --once --from-start").ok(),
        format!(
            "{title}\
             1970-01-01T00:00:00.000Z  1         commit  b                 orders            \
             0          42        -             -\n\
             1970-01-01T00:00:00.000Z  2         commit  a                 orders            \
             1          42        -             -\n"
        )
    );
    // What was there before is not printed unless it is asked for.
    assert_eq!(place.run("tail --dir s --once").ok(), title);
    assert_eq!(place.run("tail --dir s --once --format jsonl").ok(), "");
    assert_eq!(place.run("tail --dir s --once --from-start --topic none").ok(), title);
}

#[test]
fn it_ends_when_nobody_reads_any_more_also_if_nothing_happens() {
    let place = Place::new();
    place.run("commit --dir s --group g --topic t --partition 0 --offset 1").ok();
    let mut tail = Running::start(&place, "tail --dir s --interval 86400000");
    assert!(tail.line().starts_with("TIMESTAMP "));
    assert_eq!(tail.close(), (Some(0), String::new()));
}

#[test]
fn it_ends_quietly_when_it_is_terminated() {
    let place = Place::new();
    place.run("commit --dir s --group g --topic t --partition 0 --offset 1").ok();
    let mut tail = Running::start(&place, "tail --dir s --interval 86400000 --from-start");
    tail.line();
    assert!(tail.line().contains("  commit  g  "));
    // Not the signal of Ctrl-C, which a shell makes its background jobs ignore, tests among them.
    let terminate = format!("kill -TERM {}", tail.child.id());
    let status = Command::new("sh").args(["-c", &terminate]).status().expect("a shell");
    assert!(status.success());
    let mut rest = String::new();
    tail.output.read_to_string(&mut rest).expect("the end of the output");
    assert_eq!(rest, "");
    let output = tail.child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.signal(), Some(15));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
