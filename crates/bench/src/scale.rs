//! Stores of the size that one has after years.

use std::path::Path;
use std::time::Instant;

use pagemark::{CommitBatch, Durability, Key, NextOffset, OffsetStore, Options};

use crate::args::Args;
use crate::child;
use crate::commits::GROUPS;
use crate::engines::pagemark::{commit, named};
use crate::memory::anonymous_bytes;
use crate::quiet::Quiet;
use crate::replay::processor_seconds;
use crate::run::TempDir;
use crate::table::{median, print_aligned, short};
use crate::workload::Workload;

/// 1,000 groups of 100 topics of 100 partitions.
const KEYS: usize = 10_000_000;
const COMMITS: usize = 100_000_000;
/// Commits to one key, and groups that are made and deleted again.
const TURNS: usize = 10_000_000;
/// Groups that are there at a time.
pub const LIVE: usize = 100;

/// Builds both stores in processes that are killed, and opens them in new ones.
pub fn scale(args: &Args) {
    let quiet = Quiet::new(args.patience);
    let mut rows = vec![row(&[
        "store",
        "built in s",
        "compacted",
        "backed up",
        "disk MB, most",
        "compactions",
        "stopped by",
        "open ms",
        "processor ms",
        "RSS, bytes a key",
        "disk MB",
    ])];
    let stores = [
        ("child-keys", KEYS),
        ("child-keys", KEYS / 100),
        ("child-commits", GROUPS * 100),
        ("child-one-key", 1),
        ("child-new-keys", LIVE),
    ];
    for (child, keys) in stores {
        let dir = TempDir::new(&args.dir);
        let store = dir.0.join("store");
        let path = store.display().to_string();
        eprintln!("building: {child}");
        let built = child::run_and_kill(&[child, &path, &keys.to_string()]);
        let mut built: Vec<String> = built.split(' ').map(str::to_owned).collect();
        for stop in ["kill", "close"] {
            if stop == "close" {
                child::run_and_kill(&["child-reopen", &path, stop]);
            }
            let mut opened: [Vec<f64>; 3] = Default::default();
            for _ in 0..args.rounds {
                let told = quiet.measure(|| child::run_and_kill(&["child-reopen", &path, stop]));
                let told = told.split(' ').map(|word| word.parse::<f64>().expect("a number"));
                opened.iter_mut().zip(told).for_each(|(all, one)| all.push(one));
            }
            let [open, cpu, memory] = opened.map(|rounds| median(rounds).unwrap_or(0.0));
            let mut cells =
                row(&[&format!("{} {}", short(keys as f64), child.trim_start_matches("child-"))]);
            cells.append(&mut built);
            cells.resize(6, String::new());
            let numbers = [open, cpu, memory / keys as f64, disk_bytes(&store) as f64 / 1e6];
            cells.push(stop.to_owned());
            cells.extend(numbers.map(short));
            rows.push(cells);
        }
    }
    println!(
        "\n## {} keys, and {} commits over 100 k keys\n",
        short(KEYS as f64),
        short(COMMITS as f64)
    );
    print_aligned(&rows);
    let _ = quiet.tell();
}

pub fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// The child that fills a store with many keys, compacts it and waits to be killed.
pub fn fill_keys(args: &Args) {
    let store = open(&args.rest[0], true);
    let started = Instant::now();
    let keys: usize = args.rest[1].parse().expect("a number of keys");
    for i in 0..keys / 100 {
        let (group, topic) =
            (format!("billing-service-{:06}", i / 100), format!("orders-events-{:06}", i % 100));
        let mut batch = CommitBatch::new(&group);
        for partition in 0..100 {
            batch.commit(&topic, partition, NextOffset(partition.into()));
        }
        store.commit_batch(&batch).expect("commit");
    }
    finish(&store, &args.rest[0], started, 0);
}

/// The child that commits over and over the same keys while the store compacts itself.
pub fn fill_commits(args: &Args) {
    let workload = Workload::new(GROUPS);
    let store = open(&args.rest[0], true);
    let started = Instant::now();
    let mut stream = workload.stream(0, 1);
    let mut most = 0;
    for i in 0..COMMITS {
        let (key, value) = stream.next_commit();
        store.commit(named(key), commit(&value)).expect("commit");
        if i % 100_000 == 0 {
            most = most.max(disk_bytes(Path::new(&args.rest[0])));
        }
    }
    finish(&store, &args.rest[0], started, most);
}

/// The child that commits to one key.
pub fn fill_one_key(args: &Args) {
    turns(args, |store, i| {
        store.commit(Key::new("g", "t", 0), NextOffset(i as i64)).expect("commit");
    });
}

/// The child that commits to ever new groups and deletes them again.
pub fn fill_new_keys(args: &Args) {
    let group = |i: usize| format!("console-consumer-{i}");
    turns(args, |store, i| {
        store.commit(Key::new(&group(i), "t", 0), NextOffset(1)).expect("commit");
        if let Some(before) = i.checked_sub(LIVE) {
            store.delete_group(&group(before)).expect("delete");
        }
    });
}

fn turns(args: &Args, turn: impl Fn(&OffsetStore, usize)) {
    let store = open(&args.rest[0], true);
    let (started, mut most) = (Instant::now(), 0);
    for i in 0..TURNS {
        turn(&store, i);
        if i % 20_000 == 0 {
            most = most.max(disk_bytes(Path::new(&args.rest[0])));
        }
    }
    finish(&store, &args.rest[0], started, most);
}

/// Compacts and backs up a store that was filled, and tells how long all of it took.
fn finish(store: &OffsetStore, path: &str, started: Instant, most: u64) -> ! {
    let filled = started.elapsed().as_secs_f64();
    let most = most.max(disk_bytes(Path::new(path))) / 1_000_000;
    let started = Instant::now();
    store.compact().expect("compact");
    let compacted = started.elapsed().as_secs_f64();
    let started = Instant::now();
    store.backup(Path::new(path).with_extension("backup")).expect("back up");
    let backed_up = started.elapsed().as_secs_f64();
    // A tail behind the snapshot, as there always is one.
    store.commit(Key::new("g", "t", 0), NextOffset(1)).expect("commit");
    store.sync().expect("sync");
    let completed = store.stats().compaction.completed;
    child::tell(&format!("{filled:.1} {compacted:.2} {backed_up:.2} {most} {completed}"));
}

/// The child that opens a store and tells what that took.
pub fn reopen(args: &Args) {
    let before = anonymous_bytes();
    let (started, cpu) = (Instant::now(), processor_seconds());
    // After a kill the next one is to find the same log again.
    let store = open(&args.rest[0], args.rest[1] == "close");
    let (elapsed, cpu) = (started.elapsed(), processor_seconds() - cpu);
    let grown = anonymous_bytes().saturating_sub(before);
    assert!(store.stats().keys > 0, "the store is there");
    if args.rest[1] == "close" {
        store.close().expect("close");
    }
    child::tell(&format!("{} {} {grown}", elapsed.as_secs_f64() * 1e3, cpu * 1e3));
}

pub fn open(path: &str, auto_compact: bool) -> OffsetStore {
    let options = Options::new().durability(Durability::Buffered).auto_compact(auto_compact);
    options.open(path).expect("open pagemark")
}

/// The blocks of all files of a directory.
fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).expect("list the store");
    // A file may go while the directory is read.
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|file| file.blocks() * 512)
        .sum()
}
