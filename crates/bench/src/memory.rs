//! Memory per key.

use std::path::Path;

use crate::args::Args;
use crate::child;
use crate::commits::GROUPS;
use crate::engines::{ALL, Kind, Mode};
use crate::run::with_engine;
use crate::table::print_aligned;
use crate::workload::{KEYS_PER_GROUP, Workload};

/// Fills each engine in a process of its own and tells by how much that grew.
pub fn memory(args: &Args) {
    let mut rows = vec![vec!["engine".to_owned()]];
    for kind in args.engines(|kind| kind.buffered && kind.reads) {
        let mut row = vec![kind.name.to_owned()];
        for groups in [GROUPS, 10 * GROUPS] {
            eprintln!("memory of {groups} groups: {}", kind.name);
            let (dir, groups_word) = (args.dir.display().to_string(), groups.to_string());
            let told = child::run_and_kill(&["child-memory", kind.name, &groups_word, &dir]);
            let (grown, stated) = told.split_once(' ').expect("two numbers");
            row.extend([grown.to_owned(), stated.to_owned()]);
        }
        rows.push(row);
    }
    for column in ["100 k keys", "stated", "1 M keys", "stated"] {
        rows[0].push(column.to_owned());
    }
    println!("\n## Anonymous memory, bytes per key (one in ten with 24 bytes of metadata)\n");
    print_aligned(&rows);
    println!("\nstated: what the engine says by itself. LMDB has its keys in the page cache.");
}

/// The child that fills an engine.
pub fn fill(args: &Args) {
    let [name, groups, dir] = &args.rest[..] else { panic!("an engine, groups, a directory") };
    let is_asked = |kind: &&Kind| kind.name == name.as_str();
    let kind = ALL.iter().find(is_asked).expect("an engine");
    let workload = Workload::new(groups.parse().expect("a number of groups"));
    let keys = (workload.groups() * KEYS_PER_GROUP) as u64;
    let before = anonymous_bytes();
    let told = with_engine(kind, Mode::Buffered, Path::new(dir), &workload, |engine| {
        let grown = anonymous_bytes().saturating_sub(before);
        let stated = engine.memory_bytes().map_or("-".to_owned(), |all| (all / keys).to_string());
        format!("{} {stated}", grown / keys)
    });
    child::tell(&told);
}

/// Memory of this process that is no page of a file.
pub fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read /proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.parse::<u64>().ok()).expect("a size") * 1024
}
