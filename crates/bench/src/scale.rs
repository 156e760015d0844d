//! Stores of the size that one has after years, and of patterns that would fill a disk: built,
//! compacted, backed up, killed and opened again. Pagemark alone.

use std::path::{Path, PathBuf};
use std::time::Instant;

use pagemark::{CommitBatch, Durability, Key, NextOffset, OffsetStore, Options};
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::child::{self, Stop};
use crate::engines::pagemark::{commit, named};
use crate::process::{anonymous_bytes, disk_bytes, processor_seconds};
use crate::quiet::Quiet;
use crate::run::TempDir;
use crate::table::{Column, Table, Unit, count};
use crate::workload::{Shape, Workload};

/// 1,000 groups of 100 topics of 100 partitions.
const KEYS: usize = 10_000_000;
const COMMITS: usize = 100_000_000;
/// Commits to one key, and groups that are made and deleted again.
const TURNS: usize = 10_000_000;
/// Groups that are there at a time.
pub const LIVE: usize = 100;

/// How a store is filled.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Pattern {
    /// So many keys, each once.
    Keys(usize),
    /// Commits over and over to 100,000 keys.
    Commits,
    /// Commits to one key.
    OneKey,
    /// Commits to ever new groups, which are deleted again.
    NewGroups,
}

impl Pattern {
    fn name(self) -> String {
        match self {
            Pattern::Keys(keys) => format!("{} keys", count(keys)),
            Pattern::Commits => format!("{} commits", count(COMMITS)),
            Pattern::OneKey => format!("{} commits to one key", count(TURNS)),
            Pattern::NewGroups => format!("{} groups come and go", count(TURNS)),
        }
    }

    /// The keys that are there in the end.
    fn keys(self) -> usize {
        match self {
            Pattern::Keys(keys) => keys,
            Pattern::Commits => Shape::USUAL.keys(),
            Pattern::OneKey => 1,
            Pattern::NewGroups => LIVE,
        }
    }
}

/// What a child has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    store: PathBuf,
    pattern: Pattern,
    stop: Stop,
}

#[derive(Debug, Serialize, Deserialize)]
struct Built {
    fill_seconds: f64,
    compact_seconds: f64,
    backup_seconds: f64,
    most_disk: u64,
    compactions: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    seconds: f64,
    processor_seconds: f64,
    memory: u64,
}

/// Builds stores in processes that are killed, and opens them in new ones.
pub fn scale(args: &Args) -> Vec<Table> {
    let quiet = Quiet::new(args.patience);
    let mut table = Table::new("scale", "Stores of some age");
    let patterns = [
        Pattern::Keys(KEYS),
        Pattern::Keys(KEYS / 100),
        Pattern::Commits,
        Pattern::OneKey,
        Pattern::NewGroups,
    ];
    for pattern in patterns {
        eprintln!("scale, building: {}", pattern.name());
        let dir = TempDir::new(&args.dir);
        let mut plan = Plan { store: dir.0.join("store"), pattern, stop: Stop::Kill };
        let built: Built = child::run_and_kill("child-scale", &plan);
        let row = pattern.name();
        let mut add = |name: &str, value| table.add(&*row, Column::named(name, Unit::Plain), value);
        add("built s", built.fill_seconds);
        add("compacted s", built.compact_seconds);
        add("backed up s", built.backup_seconds);
        add("disk MB at most", built.most_disk as f64 / 1e6);
        add("compactions", built.compactions as f64);
        for stop in [Stop::Kill, Stop::Close] {
            plan.stop = stop;
            if stop == Stop::Close {
                let _: Opened = child::run_and_kill("child-reopen", &plan);
            }
            for _ in 0..args.rounds {
                let opened: Opened = quiet.measure(|| child::run_and_kill("child-reopen", &plan));
                let column = |what| format!("{}: {what}", stop.name());
                add(&column("open ms"), opened.seconds * 1e3);
                add(&column("processor ms"), opened.processor_seconds * 1e3);
                add(&column("memory B/key"), opened.memory as f64 / pattern.keys() as f64);
            }
        }
        add("disk MB", disk_bytes(&plan.store) as f64 / 1e6);
    }
    table.quietness = quiet.told();
    vec![table]
}

/// The child that fills a store, compacts it and backs it up.
pub fn build(plan: &Plan) -> ! {
    let store = open(&plan.store, true);
    let started = Instant::now();
    let most = match plan.pattern {
        Pattern::Keys(keys) => {
            fill_keys(&store, keys);
            0
        }
        Pattern::Commits => fill_commits(&store, &plan.store),
        Pattern::OneKey => turns(&plan.store, |i| {
            store.commit(Key::new("g", "t", 0), NextOffset(i as i64)).expect("commit");
        }),
        Pattern::NewGroups => turns(&plan.store, |i| {
            let group = |i: usize| format!("console-consumer-{i}");
            store.commit(Key::new(&group(i), "t", 0), NextOffset(1)).expect("commit");
            if let Some(before) = i.checked_sub(LIVE) {
                store.delete_group(&group(before)).expect("delete");
            }
        }),
    };
    let fill_seconds = started.elapsed().as_secs_f64();
    let most_disk = most.max(disk_bytes(&plan.store));
    let started = Instant::now();
    store.compact().expect("compact");
    let compact_seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    store.backup(plan.store.with_extension("backup")).expect("back up");
    let backup_seconds = started.elapsed().as_secs_f64();
    // A tail behind the snapshot, as there always is one.
    store.commit(Key::new("g", "t", 0), NextOffset(1)).expect("commit");
    store.sync().expect("sync");
    let compactions = store.stats().compaction.completed;
    child::tell(&Built { fill_seconds, compact_seconds, backup_seconds, most_disk, compactions })
}

fn fill_keys(store: &OffsetStore, keys: usize) {
    for i in 0..keys / 100 {
        let (group, topic) =
            (format!("billing-service-{:06}", i / 100), format!("orders-events-{:06}", i % 100));
        let mut batch = CommitBatch::new(&group);
        for partition in 0..100 {
            batch.commit(&topic, partition, NextOffset(partition.into()));
        }
        store.commit_batch(&batch).expect("commit");
    }
}

/// Commits while the store compacts itself, and returns how much disk it took at most.
fn fill_commits(store: &OffsetStore, path: &Path) -> u64 {
    let workload = Workload::new(Shape::USUAL);
    let mut stream = workload.stream(0, 1);
    let mut most = 0;
    for i in 0..COMMITS {
        let (key, value) = stream.next_commit();
        store.commit(named(key), commit(&value)).expect("commit");
        if i.is_multiple_of(100_000) {
            most = most.max(disk_bytes(path));
        }
    }
    most
}

fn turns(path: &Path, turn: impl Fn(usize)) -> u64 {
    let mut most = 0;
    for i in 0..TURNS {
        turn(i);
        if i.is_multiple_of(20_000) {
            most = most.max(disk_bytes(path));
        }
    }
    most
}

/// The child that opens a store and tells what that took.
pub fn reopen(plan: &Plan) -> ! {
    let before = anonymous_bytes();
    let (started, cpu) = (Instant::now(), processor_seconds());
    // After a kill the next one is to find the same log again.
    let store = open(&plan.store, plan.stop == Stop::Close);
    let seconds = started.elapsed().as_secs_f64();
    let processor_seconds = processor_seconds() - cpu;
    let memory = anonymous_bytes().saturating_sub(before);
    assert!(store.stats().keys > 0, "the store is there");
    if plan.stop == Stop::Close {
        store.close().expect("close");
    }
    child::tell(&Opened { seconds, processor_seconds, memory })
}

/// Opens a store with default options, but for compactions if they are not wanted.
pub fn open(path: &Path, auto_compact: bool) -> OffsetStore {
    let options = Options::new().durability(Durability::Buffered).auto_compact(auto_compact);
    options.open(path).expect("open pagemark")
}
