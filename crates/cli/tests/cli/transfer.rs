//! `import` and `export`.

use crate::Place;

/// Kafka's four columns, with the quotes that its tool writes.
const FOUR: &str = "\"a, \"\"b\"\"\",\"a topic\",0,7\n\
                    billing,orders,0,42\n\
                    billing,\"orders-of-the-european-shop\",3,9223372036854775807\n";

#[test]
fn four_columns_come_out_as_they_went_in() {
    let place = Place::new();
    let printed = place.run_with(&["import", "--dir", "s"], FOUR.as_bytes()).ok();
    assert_eq!(printed, "imported 3 offsets of 2 groups\n");
    let exported = place.run("export --dir s");
    assert!(exported.stderr.contains("left out are the timestamps;"), "{exported:?}");
    assert_eq!(exported.ok(), FOUR);
    let two =
        place.run_with(&["export", "--dir", "s", "--group", "billing", "--group", "a, \"b\""], b"");
    assert_eq!(two.ok(), FOUR);
}

#[test]
fn three_columns_are_of_the_group_that_is_named() {
    let place = Place::new();
    let three = "orders,0,42\n\"orders-of-the-european-shop\",3,7\n";
    let file = place.file("in.csv", three);
    let refused = place.run(&format!("import --dir s {file}")).fails(1);
    assert!(refused.contains("in.csv: line 1: the lines name no group"), "{refused}");
    assert!(!place.path("s").exists());
    place.run(&format!("import --dir s --group g {file}")).ok();
    assert_eq!(place.run("export --dir s --group g").ok(), three);
    assert_eq!(
        place.run("export --dir s").ok(),
        "g,orders,0,42\ng,\"orders-of-the-european-shop\",3,7\n"
    );
}

#[test]
fn of_a_file_with_groups_only_the_named_one_is_imported() {
    let place = Place::new();
    let printed = place.run_with(&["import", "--dir", "s", "--group", "billing"], FOUR.as_bytes());
    assert_eq!(printed.ok(), "imported 2 offsets of 1 group; 1 line of other groups left out\n");
    assert!(place.run("export --dir s --format jsonl").ok().lines().all(|l| l.contains("billing")));
}

#[test]
fn byte_order_mark_crlf_blank_lines_and_repeated_keys_are_taken() {
    let place = Place::new();
    let file = place.file("in.csv", "\u{feff}g,t,0,1\r\n\r\ng,t,1,2\r\n  \ng,t,0,3\r\n\n");
    let printed = place.run(&format!("import --dir s {file}")).ok();
    assert_eq!(printed, "imported 2 offsets of 1 group; 1 line replaced by later ones\n");
    assert_eq!(place.run("export --dir s").ok(), "g,t,0,3\ng,t,1,2\n");
}

#[test]
fn json_lines_lose_nothing() {
    let place = Place::new();
    let lines = concat!(
        r#"{"group":"a","topic":"t","partition":0,"offset":0,"leader_epoch":null,"metadata":"","timestamp_ms":-5}"#,
        "\n",
        r#"{"group":"a","topic":"t","partition":2147483647,"offset":9223372036854775807,"leader_epoch":2147483647,"metadata":"line\nbreak \"quoted\" ☃","timestamp_ms":1795264791662}"#,
        "\n",
        r#"{"group":"ü\u0001,","topic":"t\t","partition":1,"offset":1,"leader_epoch":0,"metadata":" ","timestamp_ms":0,"expire_at_ms":-1}"#,
        "\n",
        r#"{"group":"ü\u0001,","topic":"t\t","partition":2,"offset":1,"leader_epoch":null,"metadata":"","timestamp_ms":0,"expire_at_ms":9223372036854775807}"#,
        "\n",
    );
    let file = place.file("in.jsonl", lines);
    place.run(&format!("import --dir s {file}")).ok();
    let first = place.run("export --dir s --format jsonl");
    assert_eq!(first.stderr, "");
    let first = first.ok();
    assert_eq!(first, lines);
    place.run_with(&["import", "--dir", "copy", "--format", "jsonl", "-"], first.as_bytes()).ok();
    assert_eq!(place.run("export --dir copy --format jsonl").ok(), first);

    let csv = place.run("export --dir s");
    assert!(csv.stderr.contains("of 3 offsets a leader epoch, an expiry or metadata"), "{csv:?}");
}

#[test]
fn a_bad_line_is_named_and_nothing_is_imported() {
    let place = Place::new();
    for (name, content, expected) in [
        ("a.csv", "g,t,0,1\n\ng,t,x,1\n", "line 3: the partition \"x\" is not a number"),
        ("b.csv", "g,t,0,1\ng,t,0,-1\n", "line 2: offset -1 is negative"),
        ("c.csv", "g,t,0,1\ng,t,1\n", "line 2: there are 3 columns where the first line has 4"),
        ("d.csv", "g,t,0,1\ng,\"t,0,1\n", "line 2: a quote is not closed"),
        (
            "e.jsonl",
            "{\"group\":\"g\",\"topic\":\"t\",\"partition\":0}\n",
            "line 1: missing field `offset`",
        ),
        ("f.jsonl", "\n{]\n", "line 2: key must be a string"),
    ] {
        let file = place.file(name, content);
        let refused = place.run(&format!("import --dir s {file}")).fails(1);
        let expected = format!("pagemark: nothing was imported from {name}: {expected}");
        assert!(refused.starts_with(&expected), "{refused}");
        assert!(!place.path("s").exists(), "a refused import must not create a store");
    }
    let refused = place.run("import --dir s missing.csv").fails(1);
    assert!(refused.contains("missing.csv: the file cannot be opened: No such file"), "{refused}");
}

#[test]
fn a_large_group_takes_several_steps() {
    let place = Place::new();
    let lines: String = (0..250_000).map(|at| format!("g,t{},{at},{at}\n", at % 7)).collect();
    let printed = place.run_with(&["import", "--dir", "s"], lines.as_bytes()).ok();
    assert_eq!(printed, "imported 250000 offsets of 1 group\n");
    let mut expected: Vec<&str> = lines.lines().collect();
    let exported = place.run("export --dir s").ok();
    let mut found: Vec<&str> = exported.lines().collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert!(found == expected, "the offsets are not the same");
}

#[test]
fn a_group_that_is_not_there_is_not_exported() {
    let place = Place::new();
    place.run_with(&["import", "--dir", "s"], FOUR.as_bytes()).ok();
    let outcome = place.run("export --dir s --group billing --group other");
    assert_eq!(outcome.stdout, "");
    assert_eq!(outcome.fails(1), "pagemark: nothing found: group other has no offsets\n");
}
