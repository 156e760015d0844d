//! `groups list` and `groups describe`, of groups that a coordinator keeps meanwhile.

mod stage;

use pagemark::group::claims::{ClaimEpoch, CommitMode};
use pagemark::group::modern::{HeartbeatRequest, LEAVE_EPOCH};
use pagemark::{CommitBatch, StateOwner, TopicPartition};
use serde_json::Value;

use self::stage::{OUTSIDE, Stage, assignment, at};
use crate::agree::read_csv;

const R_1: &str = "r-1-00000000-0000-0000-0000-000000000001";
const R_2: &str = "r-2-00000000-0000-0000-0000-000000000002";
const W_1: &str = "w-1-00000000-0000-0000-0000-000000000001";

/// Groups of every kind. The numbers are the epochs of the claims.
fn world() -> (Stage, [u64; 2]) {
    let mut stage = Stage::new();
    let both = assignment("orders", &[1, 0]);
    let legacy = stage.classic("legacy", "consumer", &[("r-1", &both), ("r-2", &[])]);
    assert_eq!(legacy, [R_1, R_2]);
    stage.commit("legacy", (R_1, 1), &[at("orders", 1, 9)]);
    assert_eq!(stage.classic("sink", "connect", &[("w-1", b"\0\x01task 7")]), [W_1]);
    let epoch = stage.consumer("billing", "4f1c", None);
    stage.commit("billing", ("4f1c", epoch), &[at("orders", 0, 42)]);
    stage.consumer("billing", "77aa", Some("b-2"));
    let epoch = stage.consumer("gone", "1234", None);
    stage.commit("gone", ("1234", epoch), &[at("orders", 0, 7), at("audit", 0, 8)]);
    stage.beat("gone", HeartbeatRequest::new("1234", LEAVE_EPOCH));
    stage.commit("simple", OUTSIDE, &[at("orders", 0, 1)]);
    stage.commit("workers", OUTSIDE, &[at("orders", 0, 5)]);
    let claims = [0, 1].map(|partition| stage.claim("workers", "worker-1", partition));
    stage.coordinator.set_commit_mode(0, "workers", CommitMode::Monotonic).expect("a mode");
    (stage, claims)
}

const ALL: &str = "describe --all-groups";

#[test]
fn groups_are_listed_with_what_is_asked_for() {
    let (stage, _) = world();
    assert_eq!(stage.groups("list").ok(), "GROUP\nbilling\ngone\nlegacy\nsimple\nsink\nworkers\n");
    assert_eq!(
        stage.groups("list --state --type").ok(),
        "GROUP    TYPE      STATE\n\
         billing  Consumer  Reconciling\n\
         gone     Consumer  Empty\n\
         legacy   Classic   Stable\n\
         simple   Classic   Empty\n\
         sink     Classic   Stable\n\
         workers  Classic   Empty\n"
    );
    assert_eq!(
        stage.groups("list --state empty,DEAD --type consumer --format csv").ok(),
        "group,type,state\ngone,Consumer,Empty\n"
    );
    assert_eq!(stage.groups("list --state assigning").ok(), "GROUP  STATE\n");
    assert_eq!(
        stage.groups("list --type classic --verbose").ok(),
        "GROUP    TYPE     TOPICS  OFFSETS  LAST-COMMIT\n\
         legacy   Classic  1       1        1970-01-01T00:00:00.000Z\n\
         simple   Classic  1       1        1970-01-01T00:00:00.000Z\n\
         sink     Classic  0       0        -\n\
         workers  Classic  1       1        1970-01-01T00:00:00.000Z\n"
    );
    assert_eq!(
        stage.groups("list --verbose --format csv").ok(),
        "group,topics,offsets,last_commit_timestamp_ms\n\
         billing,1,1,0\ngone,2,2,0\nlegacy,1,1,0\nsimple,1,1,0\nsink,0,0,\nworkers,1,1,0\n"
    );
}

#[test]
fn partitions_have_offsets_readers_and_owners() {
    let (stage, claims) = world();
    let outcome = stage.groups("describe --group billing --group gone");
    assert_eq!(
        outcome.stderr,
        "Warning: Consumer group 'billing' is rebalancing.\n\
         Consumer group 'gone' has no active members.\n"
    );
    assert_eq!(
        outcome.ok(),
        "GROUP    TOPIC   PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID  HOST       CLIENT-ID\n\
         billing  orders  0          42              -               -    4f1c         /10.0.0.8  client\n\
         billing  orders  1          -               -               -    4f1c         /10.0.0.8  client\n\
         gone     audit   0          8               -               -    -            -          -\n\
         gone     orders  0          7               -               -    -            -          -\n"
    );
    let outcome = stage.groups("describe --group legacy --offsets --verbose --format csv");
    assert_eq!(outcome.stderr, "", "a stable group needs no word");
    assert_eq!(
        outcome.ok(),
        format!(
            "group,topic,partition,leader_epoch,offset,log_end_offset,lag,consumer_id,host,client_id,\
             owner,owner_epoch\n\
             legacy,orders,0,,,,,\"{R_1}\",/10.0.0.7,r-1-client,,\n\
             legacy,orders,1,3,9,,,\"{R_1}\",/10.0.0.7,r-1-client,,\n"
        )
    );
    let workers = |is_claimed| {
        let [first, second] = claims;
        let owner = if is_claimed { format!("worker-1  {first}") } else { "-         -".into() };
        format!(
            "GROUP    TOPIC   PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID  HOST  CLIENT-ID  OWNER     OWNER-EPOCH\n\
             workers  orders  0          5               -               -    -            -     -          {owner}\n\
             workers  orders  1          -               -               -    -            -     -          worker-1  {second}\n"
        )
    };
    assert_eq!(stage.groups("describe --group workers").ok(), workers(true));
    let of = TopicPartition::new("orders", 0);
    let epoch = ClaimEpoch(claims[0]);
    let released = stage.coordinator.release(0, "workers", &[(of, epoch)]).expect("a release");
    assert!(released[0].is_ok());
    assert_eq!(stage.groups("describe --group workers").ok(), workers(false));
}

#[test]
fn a_partition_that_a_leader_gave_to_two_has_two_rows() {
    let mut stage = Stage::new();
    let (both, one) = (assignment("orders", &[0, 1]), assignment("orders", &[1]));
    stage.classic("g", "consumer", &[("r-1", &both), ("r-2", &one)]);
    let rows = read_csv(&stage.groups("describe --group g --format csv").ok());
    let shown: Vec<_> = rows[1..].iter().map(|row| [&row[2][..], &row[6]]).collect();
    assert_eq!(shown, [["0", R_1], ["1", R_1], ["1", R_2]]);
}

#[test]
fn members_are_shown_with_their_assignments() {
    let (stage, _) = world();
    assert_eq!(
        stage.groups("describe --group legacy --group sink --members").ok(),
        format!(
            "GROUP   CONSUMER-ID                               GROUP-INSTANCE-ID  HOST       CLIENT-ID   #PARTITIONS\n\
             legacy  {R_1}  r-1                /10.0.0.7  r-1-client  2\n\
             legacy  {R_2}  r-2                /10.0.0.7  r-2-client  0\n\
             sink    {W_1}  w-1                /10.0.0.7  w-1-client  -\n"
        )
    );
    let instances = stage.groups("describe --group gone --group simple --members").ok();
    assert_eq!(instances, "GROUP  CONSUMER-ID  HOST  CLIENT-ID  #PARTITIONS\n");
    assert_eq!(
        stage.groups("describe --group billing --members --verbose --format csv").ok(),
        "group,consumer_id,group_instance_id,host,client_id,partitions,current_epoch,\
         current_assignment,target_epoch,target_assignment\n\
         billing,4f1c,,/10.0.0.8,client,2,1,\"orders:0,1\",2,orders:0\n\
         billing,77aa,b-2,/10.0.0.8,client,0,2,,2,orders:1\n"
    );
    let legacy = stage.groups("describe --group legacy --members --verbose --format csv").ok();
    let legacy = read_csv(&legacy);
    assert_eq!(legacy[1][6..], ["", "orders:0,1", "", ""]);
    assert_eq!(legacy[2][6..], ["", "", "", ""]);
}

#[test]
fn states_are_those_of_kafka() {
    let (stage, _) = world();
    assert_eq!(
        stage.groups(&format!("{ALL} --state")).ok(),
        "GROUP    COORDINATOR (ID)  ASSIGNMENT-STRATEGY  STATE        #MEMBERS\n\
         billing  -                 uniform              Reconciling  2\n\
         gone     -                 uniform              Empty        0\n\
         legacy   -                 range                Stable       2\n\
         simple   -                 -                    Empty        0\n\
         sink     -                 range                Stable       1\n\
         workers  -                 -                    Empty        0\n"
    );
    assert_eq!(
        stage.groups(&format!("{ALL} --state --verbose --format csv")).ok(),
        "group,coordinator,assignment_strategy,state,group_epoch,target_assignment_epoch,members,\
         generation,commit_mode\n\
         billing,,uniform,Reconciling,2,2,2,,free\n\
         gone,,uniform,Empty,2,1,0,,free\n\
         legacy,,range,Stable,,,2,1,free\n\
         simple,,,Empty,,,0,0,free\n\
         sink,,range,Stable,,,1,1,free\n\
         workers,,,Empty,,,0,0,monotonic\n"
    );
}

/// What the columns are called that people see only if they need them.
const OPTIONAL: [&str; 3] = ["group_instance_id", "owner", "owner_epoch"];

#[test]
fn table_csv_and_json_say_the_same() {
    let (stage, _) = world();
    for view in ["--offsets", "--members", "--state"] {
        for more in ["", " --verbose"] {
            let command = format!("{ALL} {view}{more}");
            let csv = read_csv(&stage.groups(&format!("{command} --format csv")).ok());
            let json = stage.groups(&format!("{command} --format json")).json();
            let table = stage.groups(&command).ok();
            let (names, rows) = csv.split_first().expect("a header");
            assert!(rows.len() >= 4, "{command}");
            assert_eq!(json.as_array().map(Vec::len), Some(rows.len()), "{command}");
            assert_eq!(table.lines().count(), rows.len() + 1, "{command}");
            for ((row, object), line) in
                rows.iter().zip(json.as_array().unwrap()).zip(table.lines().skip(1))
            {
                assert_eq!(object.as_object().map(|object| object.len()), Some(names.len()));
                let told = names.iter().map(|name| match &object[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                assert_eq!(&told.collect::<Vec<_>>(), row, "{command}");
                let cells = row.iter().map(|cell| if cell.is_empty() { "-" } else { cell });
                assert_eq!(line.split_whitespace().collect::<Vec<_>>(), cells.collect::<Vec<_>>());
            }
        }
    }
    // Where nobody needs them, people do not see all columns, and programs do.
    let simple = "describe --group simple --format";
    for view in ["--offsets", "--members"] {
        let csv = stage.groups(&format!("{simple} csv {view}")).ok();
        let table = stage.groups(&format!("{simple} table {view}")).ok();
        let names = &read_csv(&csv)[0];
        let hidden = names.iter().filter(|name| OPTIONAL.contains(&&name[..])).count();
        let titles = table.lines().next().expect("titles").split_whitespace().count();
        assert!(hidden > 0 && titles + hidden == names.len(), "{view}");
    }
}

#[test]
fn names_of_all_kinds_neither_break_a_line_nor_a_file() {
    let stage = Stage::new();
    let empty = "b\r\nc";
    let (group, topic) = ("größe,\nin \"two\" lines", "a\ttopic, \u{1b}[31m");
    stage.coordinator.set_topics([(topic.to_owned(), 1), ("orders".to_owned(), 1)].into());
    stage.consumer(group, "it's me, \r\n", Some("\u{7}"));
    stage.commit(empty, OUTSIDE, &[at(topic, 0, 1)]);
    let of = [TopicPartition::new(topic, 0)];
    stage.coordinator.claim(0, group, "\"worker\",\n1", &of).expect("a claim");
    for view in ["--offsets", "--members --verbose", "--state"] {
        let table = stage.groups(&format!("{ALL} {view}"));
        let csv = read_csv(&stage.groups(&format!("{ALL} {view} --format csv")).ok());
        let json = stage.groups(&format!("{ALL} {view} --format json")).json();
        assert!(table.stdout.chars().all(|c| c == '\n' || !c.is_control()), "{table:?}");
        assert_eq!(table.stderr, "Consumer group 'b\\r\\nc' has no active members.\n");
        assert_eq!(table.ok().lines().count(), csv.len());
        let mine = csv.iter().position(|row| row[0] == group).expect("the group");
        assert_eq!(json[mine - 1]["group"], group);
        for (name, cell) in csv[0].iter().zip(&csv[mine]) {
            if let Value::String(text) = &json[mine - 1][name] {
                assert_eq!(text, cell);
            }
        }
    }
    let csv = read_csv(&stage.groups("list --format csv").ok());
    assert_eq!(csv, [["group"], [empty], [group]]);
    let refused =
        stage.place.run_with(&["groups", "describe", "--dir", "s", "--group", "no\nsuch"], b"");
    assert_eq!(refused.fails(1), "pagemark: Consumer group 'no\\nsuch' does not exist.\n");
}

#[test]
fn what_a_coordinator_does_is_seen_at_once() {
    let mut stage = Stage::new();
    assert_eq!(stage.groups("list").ok(), "GROUP\n");
    assert_eq!(stage.groups(&format!("{ALL} --format json")).json(), Value::Array(Vec::new()));
    let state = |stage: &Stage| {
        let outcome = stage.groups("describe --group g --state --format json");
        let note = outcome.stderr.clone();
        let json = outcome.json();
        (json[0]["state"].as_str().expect("a state").to_owned(), json[0]["members"].clone(), note)
    };
    let nobody = "Consumer group 'g' has no active members.\n".to_owned();
    // The generation is stored before anybody is told of it, its members with their assignments.
    stage.join("g", "consumer", &[("r-1", &[])]);
    assert_eq!(state(&stage), ("Empty".into(), 0.into(), nobody.clone()));
    stage.consumer("h", "a", None);
    assert_eq!(stage.groups("list --state stable").ok(), "GROUP  STATE\nh      Stable\n");
    stage.beat("h", HeartbeatRequest::new("a", LEAVE_EPOCH));
    assert_eq!(stage.groups("list --state stable").ok(), "GROUP  STATE\n");
    stage.coordinator.delete_group(0, "h").expect("an empty group");
    assert_eq!(stage.groups("list").ok(), "GROUP\ng\n");
}

#[test]
fn a_group_that_is_not_there_is_said_and_the_others_are_shown() {
    let (stage, _) = world();
    let outcome = stage.groups("describe --group simple --group x --group a --state --format csv");
    assert_eq!(
        outcome.stdout,
        "group,coordinator,assignment_strategy,state,members\nsimple,,,Empty,0\n"
    );
    assert_eq!(
        outcome.fails(1),
        "Consumer group 'simple' has no active members.\n\
         pagemark: Consumer group 'a' does not exist.\n\
         pagemark: Consumer group 'x' does not exist.\n"
    );
    // What says nothing makes no group.
    stage.coordinator.set_commit_mode(0, "plain", CommitMode::Free).expect("a mode");
    assert!(!stage.groups("list").ok().contains("plain"));
    assert!(!stage.groups(&format!("{ALL} --state")).ok().contains("plain"));
    stage.groups("describe --group plain").fails(1);
}

#[test]
fn what_nobody_has_stored_is_told_after_what_can_be_shown() {
    let (stage, _) = world();
    let put = |group: &str, owner, name: &str, bytes: &[u8]| {
        let mut batch = CommitBatch::new(group);
        batch.put_state(owner, name, 0, bytes);
        stage.coordinator.store().commit_batch(&batch).expect("a state");
    };
    put("future", StateOwner::Membership, "share", &[1]);
    for command in ["list", "describe --all-groups --state"] {
        let outcome = stage.groups(command);
        assert!(outcome.stdout.contains("\nbilling") && !outcome.stdout.contains("future"));
        let refused = outcome.fails(1);
        assert!(refused.contains("pagemark: group future: "), "{refused}");
        assert!(refused.contains("\nhint: use the version that wrote the store"), "{refused}");
    }
    put("damaged", StateOwner::Membership, "classic", &[9]);
    put("simple", StateOwner::Claims, "orders", &[1]);
    for command in [
        "list",
        "describe --all-groups --state",
        "describe --group x --group damaged --group simple",
    ] {
        let outcome = stage.groups(command);
        assert!(outcome.stdout.starts_with("GROUP") && !outcome.stdout.contains("simple"));
        let refused = outcome.fails(3);
        assert!(refused.contains("pagemark: group damaged: "), "{refused}");
        assert!(refused.contains("pagemark: group simple: "), "{refused}");
        assert!(refused.contains("\nhint: copy the directory"), "{refused}");
        assert_eq!(refused.matches("hint:").count(), 1, "{refused}");
    }
    // They hide nothing of the offsets.
    assert!(stage.place.run("fetch --dir s --group simple").ok().contains("simple  orders  0"));
}

#[test]
fn wrong_usage_is_refused() {
    let stage = Stage::new();
    for arguments in [
        "",
        "frobnicate",
        "list --state bogus",
        "list --state stable empty",
        "list --type share",
        "list --group g",
        "describe",
        "describe --group",
        "describe --group g --all-groups",
        "describe --group g --members --state",
        "describe --group g --offsets --members",
        "describe --group g --state stable",
        "describe --group g --format xml",
    ] {
        let refused = stage.groups(arguments).fails(2);
        assert!(refused.contains("try '--help'") || refused.contains("Usage"), "{refused}");
    }
}
