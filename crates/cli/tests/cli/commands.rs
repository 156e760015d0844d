//! `commit`, `fetch` and `delete`.

use serde_json::json;

use crate::Place;

const COMMIT: &str = "commit --dir s --group billing --topic orders";

#[test]
fn a_commit_is_fetched_in_every_format() {
    let place = Place::new();
    let printed = place.run(&format!("{COMMIT} --partition 0 --offset 42 --timestamp-ms 0")).ok();
    assert_eq!(
        printed,
        "GROUP    TOPIC   PARTITION  NEW-OFFSET  SEQ  DURABILITY\n\
         billing  orders  0          42          1    synced\n"
    );
    let more = "--partition 1 --last-processed 6 --leader-epoch 3 --metadata m,m --timestamp-ms 1 \
                --durability buffered --format json";
    assert_eq!(
        place.run(&format!("{COMMIT} {more}")).json(),
        json!({"group": "billing", "topic": "orders", "partition": 1, "offset": 7, "seq": 2,
               "durability": "buffered"})
    );
    assert_eq!(
        place.run("fetch --dir s --group billing").ok(),
        "GROUP    TOPIC   PARTITION  CURRENT-OFFSET  LEADER-EPOCH  TIMESTAMP                 METADATA\n\
         billing  orders  0          42              -             1970-01-01T00:00:00.000Z  -\n\
         billing  orders  1          7               3             1970-01-01T00:00:00.001Z  m,m\n"
    );
    assert_eq!(
        place.run("fetch --dir s --group billing --topic orders --format csv").ok(),
        "group,topic,partition,offset,leader_epoch,timestamp_ms,metadata\n\
         billing,orders,0,42,,0,\nbilling,orders,1,7,3,1,\"m,m\"\n"
    );
    let one = json!({"group": "billing", "topic": "orders", "partition": 1, "offset": 7,
                     "leader_epoch": 3, "timestamp_ms": 1, "metadata": "m,m"});
    let fetch = "fetch --dir s --group billing --topic orders --partition 1 --format json";
    assert_eq!(place.run(fetch).json(), one);
    let all = place.run("fetch --dir s --group billing --format json").json();
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    assert_eq!(all[1], one);
}

#[test]
fn a_lower_offset_is_a_commit_like_any_other() {
    let place = Place::new();
    place.run(&format!("{COMMIT} --partition 0 --offset 42")).ok();
    place.run(&format!("{COMMIT} --partition 0 --last-processed -1")).ok();
    let fetch = "fetch --dir s --group billing --topic orders --partition 0 --format json";
    assert_eq!(place.run(fetch).json()["offset"], 0);
}

#[test]
fn what_is_not_there_is_said_and_exits_with_1() {
    let place = Place::new();
    place.run(&format!("{COMMIT} --partition 0 --offset 42")).ok();
    for missing in [
        "--group billing --topic orders --partition 1",
        "--group billing --topic o",
        "--group b",
        "--group b --topic t --partition 0 --format json",
    ] {
        let outcome = place.run(&format!("fetch --dir s {missing}"));
        assert_eq!(outcome.stdout, "");
        assert!(outcome.fails(1).starts_with("pagemark: nothing found: group b"));
    }
}

#[test]
fn the_store_can_be_named_before_the_command_and_by_the_environment() {
    let place = Place::new();
    place.run("--dir s commit --group g --topic t --partition 0 --offset 1").ok();
    let output = place.command().args(["groups", "list"]).env("PAGEMARK_DIR", "s").output();
    assert!(String::from_utf8(output.expect("a run").stdout).expect("text").contains("\ng\n"));
    // The argument counts more.
    let mut command = place.command();
    let output =
        command.args(["groups", "list", "--dir", "s"]).env("PAGEMARK_DIR", "nowhere").output();
    assert!(output.expect("a run").status.success());
}

#[test]
fn delete_takes_one_offset_at_once_and_more_with_yes() {
    let place = Place::new();
    let file = place.file("in.csv", "g,t,0,1\ng,t,1,1\ng,u,0,1\nh,t,0,1\n");
    place.run(&format!("import --dir s {file}")).ok();
    let one = "delete --dir s --group g --topic t --partition 1 --format json";
    let deleted = |count| json!({"group": "g", "topic": "t", "partition": 1, "deleted": count});
    assert_eq!(place.run(one).json(), deleted(1));
    assert_eq!(place.run(one).json(), deleted(0));

    let refused = place.run("delete --dir s --group g --topic t").fails(2);
    assert!(refused.contains("all offsets of topic t in group g, now 1; add --yes"), "{refused}");
    let refused = place.run("delete --dir s --group g").fails(2);
    assert!(refused.contains("all offsets of group g, now 2; add --yes"), "{refused}");
    assert_eq!(place.run("export --dir s").ok(), "g,t,0,1\ng,u,0,1\nh,t,0,1\n");

    let printed = place.run("delete --dir s --group g --topic t --yes").ok();
    assert_eq!(printed, "GROUP  TOPIC  PARTITION  DELETED\ng      t      -          1\n");
    assert_eq!(place.run("export --dir s").ok(), "g,u,0,1\nh,t,0,1\n");
    place.run("delete --dir s --group g --yes").ok();
    assert_eq!(place.run("export --dir s").ok(), "h,t,0,1\n");
}
