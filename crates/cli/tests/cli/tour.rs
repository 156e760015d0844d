//! `tour`.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::Place;

#[test]
fn the_promises_are_kept_and_the_document_says_so() {
    let place = Place::new();
    let outcome = place.run("tour --records 200 --commit-every 10 --format json");
    for killed in ["SIGKILL to A", "SIGKILL to the broker", "SIGKILL to C"] {
        assert!(outcome.stderr.contains(killed), "{outcome:?}");
    }
    let document = outcome.json();
    assert_eq!(document["promise_kept"], true);
    let partitions = document["partitions"].as_array().expect("partitions");
    assert_eq!(partitions.len(), 4);
    for partition in partitions {
        assert_eq!((&partition["skipped"], &partition["committed"]), (&0.into(), &200.into()));
    }
    let takeovers = document["takeovers"].as_array().expect("takeovers");
    for (takeover, killed) in takeovers.iter().zip(["A", "C"]) {
        assert_eq!((&takeover["killed"], &takeover["heir"]), (&killed.into(), &"B".into()));
        assert_eq!(takeover["partitions"].as_array().map(Vec::len), Some(2));
        assert!(takeover["seen_twice"].as_i64() >= Some(1), "the kill cost nothing: {takeover}");
        let early = takeover["finished_early"].as_i64();
        assert_eq!(early >= Some(1), killed == "C", "{takeover}");
    }
    let checks = document["checks"].as_array().expect("checks");
    assert_eq!(checks.len(), 8);
    assert!(checks.iter().all(|check| check["broken"] == serde_json::json!([])), "{checks:?}");
    let claims = checks.iter().filter_map(|check| check["claim"].as_str());
    let claims: Vec<_> = claims.filter(|claim| claim.contains("(UNKNOWN_MEMBER_ID)")).collect();
    assert_eq!(claims.len(), 1, "the late commit was refused as Kafka refuses it");
}

#[test]
fn other_seeds_and_the_smallest_sizes() {
    let place = Place::new();
    for arguments in [
        "--records 100 --commit-every 1 --seed 2",
        "--records 100 --commit-every 5 --seed 3",
        "--records 213 --commit-every 7 --seed 4",
    ] {
        let csv = place.run(&format!("tour {arguments} --format csv")).ok();
        assert_eq!(csv.lines().count(), 5, "{csv}");
        assert!(csv.starts_with("partition,records,committed,processed_by_a,"), "{csv}");
    }
}

#[test]
fn the_story_and_the_tables_are_plain_text_and_a_given_directory_stays() {
    let place = Place::new();
    let outcome = place.run("tour --records 100 --commit-every 5 --dir t");
    assert_eq!(outcome.stderr, "");
    let text = outcome.ok();
    for part in
        ["\n4. Records are finished", "SECONDS-TO-TAKE-OVER", "  ok      no record was skipped"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
    let fetched = place.run("fetch --group tour --dir t/store --format json").json();
    let fetched = fetched.as_array().expect("offsets");
    let offsets: Vec<_> = fetched.iter().map(|value| value["offset"].clone()).collect();
    assert_eq!(offsets, [100, 100, 100, 100]);
    // It is not a place for another tour, nor is any other directory with something in it.
    assert!(place.run("tour --dir t").fails(2).contains("t is not empty"));
}

#[test]
fn the_environments_store_is_left_alone_and_a_listener_may_go_away() {
    let place = Place::new();
    place.run("commit --dir s --group g --topic t --partition 0 --offset 1").ok();
    let mut command = place.command();
    command.args(["tour", "--records", "100", "--commit-every", "5"]);
    command.env("PAGEMARK_DIR", "s").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(place.run("export --dir s").ok(), "g,t,0,1\n");
}

#[test]
fn a_tour_that_is_killed_takes_its_processes_along() {
    let place = Place::new();
    for until in ["Consumer B", "SIGKILL to A", "SIGKILL to the broker"] {
        let mut command = place.command();
        command.args(["tour"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(until)));
        assert!(line.is_some(), "the story has got to {until:?}");
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
        // All processes of the tour have its standard error, which ends when all of them have ended.
        let mut complaints = String::new();
        let mut stderr = child.stderr.take().expect("its standard error");
        stderr.read_to_string(&mut complaints).expect("text");
        assert_eq!(complaints, "");
    }
}
