//! `bench`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use pagemark::OffsetStore;
use serde_json::Value;

use crate::Place;

/// What is measured by one thread, beside synced commits and open.
const ALONE: &[&str] = &[
    "raw flush",
    "pipelined commit",
    "raw memory",
    "buffered commit by names",
    "buffered commit by slot",
    "buffered batch of 100",
    "fetch by names",
    "fetch by slot",
    "open after close",
];

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<_> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    names.sort();
    names
}

#[test]
fn a_short_run_has_every_row_and_gives_an_empty_directory_back() {
    let place = Place::new();
    fs::create_dir(place.path("b")).expect("a directory");
    let outcome = place.run("bench --dir b --seconds 1 --threads 3,1,3 --format json");
    assert_eq!(outcome.stderr, "");
    let report = outcome.json();
    assert_eq!(names_in(&place.path("b")), [""; 0]);

    let rows = report["rows"].as_array().expect("rows");
    let find = |what: &str, threads: u64| {
        let mut found = rows.iter().filter(|row| row["what"] == what && row["threads"] == threads);
        let row = found.next().unwrap_or_else(|| panic!("no row of {what} by {threads}: {report}"));
        assert_eq!(found.next(), None, "{what} by {threads}");
        row
    };
    for what in ALONE {
        find(what, 1);
    }
    let synced: Vec<&Value> = rows.iter().filter(|row| row["what"] == "synced commit").collect();
    assert_eq!(synced, [find("synced commit", 1), find("synced commit", 3)]);
    for row in rows {
        assert!(row["per_second"].as_f64() > Some(0.0), "{row}");
        assert!(row["p50_ns"].as_u64() > Some(0), "{row}");
        let what = row["what"].as_str().expect("a name");
        let limit = match what {
            "synced commit" | "pipelined commit" => "raw flush".into(),
            _ if what.starts_with("buffered") => "raw memory".into(),
            _ => Value::Null,
        };
        assert_eq!(row["limit"], limit, "{row}");
        assert_eq!(row["times_limit"].as_f64() > Some(0.0), !limit.is_null(), "{row}");
    }
    let verdict = report["verdict"].as_array().expect("sentences");
    assert_eq!(verdict.len(), 5, "{report}");
    assert!(report["warnings"].is_array());
    assert!(report["rounds"].as_u64() >= Some(5), "{report}");
}

#[test]
fn people_get_a_table_and_a_verdict_and_the_environments_store_is_left_alone() {
    let place = Place::new();
    place.run("commit --dir s --group g --topic t --partition 0 --offset 1").ok();
    let mut command = place.command();
    command.args(["bench", "--seconds", "1", "--threads", "1"]).env("PAGEMARK_DIR", "s");
    let output = command.output().expect("the program runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    assert!(next().starts_with("Measuring"), "{text}");
    assert_eq!(next(), "");
    assert!(next().starts_with("WHAT                      THREADS  PER-SECOND  P50  "), "{text}");
    assert!(next().starts_with("raw flush                 1  "), "{text}");
    assert!(text.contains("\nA write and its flush take "), "{text}");
    assert!(!text.contains("share flushes"), "nobody did: {text}");
    // What it made in this directory is gone, and what was there is as it was.
    assert_eq!(names_in(place.0.path()), ["s"]);
    assert_eq!(place.run("export --dir s").ok(), "g,t,0,1\n");
}

#[test]
fn a_directory_with_something_in_it_is_refused_and_left_alone() {
    let place = Place::new();
    let store = OffsetStore::open(place.path("open")).expect("a store");
    place.run("commit --dir closed --group g --topic t --partition 0 --offset 1").ok();
    fs::create_dir(place.path("other")).expect("a directory");
    place.file("other/notes.txt", "somebody else's");
    for dir in ["open", "closed", "other"] {
        let before = names_in(&place.path(dir));
        let refused = place.run(&format!("bench --dir {dir}")).fails(2);
        let expected = format!("{dir} is not empty; name a new directory, such as {dir}/bench");
        assert_eq!(refused, format!("pagemark: {expected}\n"));
        assert_eq!(names_in(&place.path(dir)), before);
    }
    store.close().expect("an orderly end");
    assert_eq!(place.run("export --dir closed").ok(), "g,t,0,1\n");

    for dir in ["other/notes.txt", "missing/b"] {
        let refused = place.run(&format!("bench --dir {dir}")).fails(1);
        assert!(refused.starts_with(&format!("pagemark: {dir} cannot be used: ")), "{refused}");
    }
    assert!(!place.path("missing").exists());
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing_behind() {
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let place = Place::new();
        let mut command = place.command();
        command.args(["bench", "--dir", "b", "--seconds", "86400"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        assert!(line.starts_with("Measuring"), "{line}");
        assert_eq!(names_in(&place.path("b")).len(), 1, "it works there");
        let kill = format!("kill -{name} {}", child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(status.success());
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).expect("the end of the output");
        assert_eq!(rest, "\n", "no figures of half a run");
        let output = child.wait_with_output().expect("the program ends");
        assert_eq!(output.status.signal(), Some(number));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(names_in(place.0.path()), [""; 0]);
    }
}
