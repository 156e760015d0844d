//! `tour`.

use std::process::Stdio;

use crate::Place;

#[test]
fn the_promise_is_kept_and_the_document_says_so() {
    let place = Place::new();
    let outcome = place.run("tour --records 200 --format json");
    assert!(outcome.stderr.contains("SIGKILL to consumer A"), "{outcome:?}");
    assert!(outcome.stderr.contains("SIGKILL to the broker"), "{outcome:?}");
    let document = outcome.json();
    assert_eq!(document["promise_kept"], true);
    let runs = document["runs"].as_array().expect("two runs");
    assert_eq!(runs.len(), 2);
    for (run, durability) in runs.iter().zip(["synced", "buffered"]) {
        assert_eq!(run["durability"], durability);
        assert_eq!(run["records"], 800);
        assert_eq!(run["skipped"], 0);
        assert!(run["seen_twice"].as_i64() >= Some(1), "the kill left nothing to see twice: {run}");
        assert_eq!(run["reopened_after_kill"]["clean"], false);
        assert_eq!(run["reopened_at_end"]["clean"], true);
        let partitions = run["partitions"].as_array().expect("partitions");
        assert_eq!(partitions.len(), 4);
        for partition in partitions {
            assert_eq!(partition["skipped"], 0);
            assert_eq!(partition["committed"], 200);
        }
    }
}

#[test]
fn other_seeds_and_the_smallest_sizes() {
    let place = Place::new();
    for arguments in [
        "--records 10 --commit-every 1 --seed 2",
        "--records 10 --commit-every 5 --seed 3",
        "--records 61 --commit-every 7 --seed 4",
    ] {
        let csv = place.run(&format!("tour {arguments} --format csv")).ok();
        assert_eq!(csv.lines().count(), 9, "{csv}");
        assert!(csv.starts_with("durability,partition,records,processed_by_a,"), "{csv}");
    }
}

#[test]
fn the_story_and_the_tables_are_on_standard_output_and_a_given_directory_stays() {
    let place = Place::new();
    let outcome = place.run("tour --records 50 --commit-every 10 --dir t");
    assert_eq!(outcome.stderr, "");
    let text = outcome.ok();
    assert!(text.contains("SIGKILL to the broker"), "{text}");
    assert!(text.contains("-- synced ---"), "{text}");
    assert!(text.contains("The promise was kept"), "{text}");
    for durability in ["synced", "buffered"] {
        let fetched =
            place.run(&format!("fetch --group tour --dir t/{durability}/store --format json"));
        let offsets: Vec<_> = fetched
            .json()
            .as_array()
            .expect("offsets")
            .iter()
            .map(|o| o["offset"].clone())
            .collect();
        assert_eq!(offsets, [50, 50, 50, 50]);
    }
    // It is not a place for another tour, nor is any other directory with something in it.
    assert!(place.run("tour --dir t").fails(2).contains("t is not empty"));
}

#[test]
fn the_environments_store_is_left_alone_and_a_listener_may_go_away() {
    let place = Place::new();
    place.run("commit --dir s --group g --topic t --partition 0 --offset 1").ok();
    let mut command = place.command();
    command.args(["tour", "--records", "50"]).args(["--commit-every", "10"]);
    command.env("PAGEMARK_DIR", "s").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(place.run("export --dir s").ok(), "g,t,0,1\n");
}
