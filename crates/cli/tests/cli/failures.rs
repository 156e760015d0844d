//! What goes wrong: the exit code says which kind it is, the message what to do.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::Stdio;

use pagemark::OffsetStore;

use crate::Place;

/// Commands that open a store for writing.
const WRITERS: &[&str] = &[
    "commit --group g --topic t --partition 0 --offset 2",
    "delete --group g --yes",
    "import",
    "compact",
    "backup --to b",
];

#[test]
fn wrong_usage_exits_with_2() {
    let place = Place::new();
    let long = "x".repeat(5000);
    let commit = "commit --dir s --group g --topic t";
    for arguments in [
        "",
        "frobnicate",
        "groups --frobnicate",
        "groups list",
        "fetch --dir s",
        "fetch --dir s --group g --partition 0",
        "export --dir s --format xml",
        "compact",
        "compact --dir s --format xml",
        "stats",
        "stats --dir s --format xml",
        "verify",
        "verify --dir s --format xml",
        "salvage --to t",
        "salvage --from s",
        "salvage --from s --to t --format xml",
        "backup --to t",
        "backup --dir s",
        "backup --dir s --to t --format xml",
        "tail",
        "tail --dir s --format xml",
        "tail --dir s --interval 0",
        "tail --dir s --interval -1",
        "tail --dir s --group= --once",
        "bench --seconds 0",
        "bench --threads 0",
        "bench --threads 1,257",
        "bench --threads 1,,2",
        "bench --format xml",
        "tour --records 200 --commit-every 11",
        "tour --records 99",
        "tour --records 1000001",
        &format!("{commit} --partition 0"),
        &format!("{commit} --partition 0 --offset 1 --last-processed 0"),
        &format!("{commit} --partition -1 --offset 1"),
        &format!("{commit} --partition 0 --offset -1"),
        &format!("{commit} --partition 0 --last-processed 9223372036854775807"),
        &format!("{commit} --partition 0 --offset 1 --leader-epoch -1"),
        &format!("{commit} --partition 0 --offset 1 --metadata {long}"),
        &format!("commit --dir s --group {} --topic t --partition 0 --offset 1", long.repeat(7)),
    ] {
        assert_ne!(place.run(arguments).fails(2), "", "{arguments}");
    }
    assert_ne!(
        place
            .run_with(
                &[
                    "commit",
                    "--dir",
                    "s",
                    "--group",
                    "",
                    "--topic",
                    "t",
                    "--partition",
                    "0",
                    "--offset",
                    "1"
                ],
                b""
            )
            .fails(2),
        ""
    );
}

#[test]
fn help_has_examples_and_exits_with_0() {
    let place = Place::new();
    assert!(place.run("--help").ok().contains("Exit codes: 0 ok, 1 failure, 2 wrong usage, 3 dam"));
    for command in [
        "commit",
        "fetch",
        "groups",
        "groups list",
        "groups describe",
        "delete",
        "import",
        "export",
        "tail",
        "stats",
        "compact",
        "verify",
        "backup",
        "salvage",
        "dump",
        "bench",
        "tour",
    ] {
        let help = place.run(&format!("{command} --help")).ok();
        assert!(help.contains("Examples:\n"), "{command}");
        assert!(!help.contains("__"), "{command} mentions a hidden command");
    }
}

#[test]
fn reading_does_not_create_a_store() {
    let place = Place::new();
    std::fs::create_dir(place.path("empty")).expect("a directory");
    for command in [
        "groups list",
        "fetch --group g",
        "export",
        "stats",
        "tail",
        "verify",
        "compact",
        "backup --to b",
        "salvage --to b",
        "delete --group g --yes",
    ] {
        for dir in ["missing", "empty"] {
            let refused = place.run(&format!("{command} --dir {dir}")).fails(1);
            assert!(refused.contains("hint: check --dir or PAGEMARK_DIR"), "{refused}");
        }
    }
    assert!(!place.path("missing").exists());
}

#[test]
fn a_store_that_is_open_elsewhere_exits_with_1_and_names_the_process() {
    let place = Place::new();
    let store = OffsetStore::open(place.path("s")).expect("a store");
    let holder = format!("pagemark: the store is open in process {};", std::process::id());
    for command in WRITERS {
        let refused = place.run(&format!("{command} --dir s")).fails(1);
        assert!(refused.starts_with(&holder), "{command}: {refused}");
        assert!(refused.contains("hint: wait until that process"), "{refused}");
    }
    store.close().expect("an orderly end");
    for command in WRITERS {
        place.run(&format!("{command} --dir s")).ok();
    }
}

#[test]
fn a_damaged_store_exits_with_3_whatever_it_is_asked() {
    let place = Place::new();
    place.run("commit --dir s --group g --topic t --partition 0 --offset 1").ok();
    let segment = place.segment("s");
    let file = std::fs::File::options().read(true).write(true).open(&segment).expect("a segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 4100).expect("a byte");
    file.write_all_at(&[byte[0] ^ 1], 4100).expect("a byte");
    let before = std::fs::read(&segment).expect("a segment");
    let readers =
        ["groups list", "fetch --group g", "export", "stats", "tail --once", "tail --from-start"];
    for command in readers.iter().chain(WRITERS) {
        let refused = place.run(&format!("{command} --dir s")).fails(3);
        assert!(refused.contains(".log at byte 4096)"), "{refused}");
        assert!(refused.contains("hint: copy the directory"), "{refused}");
    }
    assert_eq!(std::fs::read(&segment).expect("a segment"), before);
    let segment = segment.to_str().expect("a path of text");
    let refused = place.run(&format!("dump {segment}")).fails(3);
    assert!(refused.contains("damage at byte 4096: the file states"), "{refused}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    let lines: String = (0..50_000).map(|at| format!("g,t,{at},{at}\n")).collect();
    place.run_with(&["import", "--dir", "s"], lines.as_bytes()).ok();
    for arguments in [&["export", "--dir", "s"][..], &["fetch", "--dir", "s", "--group", "g"]] {
        let mut command = place.command();
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut byte = [0];
        let mut output = child.stdout.take().expect("its output");
        output.read_exact(&mut byte).expect("some output");
        drop(output);
        let output = child.wait_with_output().expect("the program ends");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
