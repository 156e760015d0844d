//! Stores of many keys, and of much history: what they take, and how long they take to open. Each is
//! built in one process and opened in others.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::child::{self, Stop};
use crate::engines::{self, Fetched, Kind, Mode, Role, Session};
use crate::process::{Written, anonymous_bytes, disk_bytes, drop_from_cache, read_into_cache};
use crate::quiet::Quiet;
use crate::run::{TempDir, fill, lost};
use crate::table::{Column, Table, Unit, count};
use crate::workload::{Shape, Workload};

/// From 10 thousand to 10 million.
const KEYS: [usize; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// Commits to 100,000 keys.
const COMMITS: [usize; 3] = [1_000_000, 10_000_000, 100_000_000];
/// More than these would take a peer the better part of an hour.
const MOST_OF_PEERS: usize = 10_000_000;
/// Between two opens one thread commits at most so often and so long: a compaction or none, and a
/// part of the log that was not flushed.
const MOST_BETWEEN: usize = 2_000_000;
const TIME_BETWEEN: Duration = Duration::from_millis(250);
/// From one open to the next, so that rounds meet logs of different length.
const STEP_BETWEEN: usize = 777_777;
/// Between two looks at how much disk a store takes.
const LOOK_EVERY: usize = 100_000;

/// What a child has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    engine: String,
    store: PathBuf,
    shape: Shape,
    has_metadata: bool,
    /// Commits so far, or those to make.
    commits: usize,
    /// Commits to make after an open.
    more: usize,
    stop: Stop,
}

impl Plan {
    fn kind(&self) -> &'static Kind {
        engines::named(&self.engine)
    }

    fn workload(&self) -> Workload {
        let workload = Workload::new(self.shape);
        if self.has_metadata { workload } else { workload.without_metadata() }
    }
}

/// What a store of many keys takes, in bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Filled {
    /// Each key was set once.
    memory: u64,
    disk: u64,
    /// After that the store was compacted.
    memory_compacted: u64,
    disk_compacted: u64,
}

/// What a history took.
#[derive(Debug, Serialize, Deserialize)]
struct Grown {
    seconds: f64,
    process_bytes: f64,
    device_bytes: Option<f64>,
    most_disk: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    seconds: f64,
    memory: u64,
    /// Keys of the sample whose last commit was gone.
    lost: usize,
    committed: usize,
}

/// Memory, disk and opening by the number of keys, which lie in topics of 100 partitions.
pub fn keys(args: &Args) -> Vec<Table> {
    let mut tables = [
        Table::new("keys-memory", "Anonymous memory, bytes a key, set once, by keys"),
        Table::new("keys-memory-compacted", "Anonymous memory, bytes a key, after a compaction"),
        Table::new("keys-disk", "Disk, bytes a key, set once, by keys"),
        Table::new("keys-disk-compacted", "Disk, bytes a key, after a compaction"),
        Table::new("keys-memory-opened", "Anonymous memory, bytes a key, opened after a close"),
        Table::new("keys-open-killed", "Open after SIGKILL and first fetch, ms, by keys"),
        Table::new("keys-open-closed", "Open after a close and first fetch, ms, by keys"),
        Table::new("keys-open-cached", "The same with the files in the page cache, ms, by keys"),
    ];
    let quiet = Quiet::new(args.patience);
    for kind in args.stores() {
        for keys in args.keys(&KEYS) {
            eprintln!("keys, {}: {}", count(keys), kind.name);
            let dir = TempDir::new(&args.dir);
            let plan = Plan {
                engine: kind.name.to_owned(),
                store: dir.0.join("store"),
                shape: Shape { groups: keys.div_ceil(10_000), topics: 100, partitions: 100 },
                has_metadata: false,
                commits: 0,
                more: 0,
                stop: Stop::Kill,
            };
            let filled: Filled = child::run_and_kill("child-keys", &plan);
            let Filled { memory, memory_compacted, disk, disk_compacted } = filled;
            let bytes = [memory, memory_compacted, disk, disk_compacted];
            for (table, bytes) in tables.iter_mut().zip(bytes) {
                let per_key = bytes as f64 / plan.shape.keys() as f64;
                table.add(&kind, Column::at(keys, Unit::Less), per_key);
            }
            let [.., memory, killed, closed, cached] = &mut tables;
            for bytes in open_again(args, &quiet, plan, keys, [killed, closed, cached]) {
                memory.add(&kind, Column::at(keys, Unit::Less), bytes as f64 / keys as f64);
            }
        }
    }
    // Sizes are the same however busy the machine is.
    let [.., killed, closed, cached] = &mut tables;
    [killed, closed, cached].into_iter().for_each(|table| table.quietness = quiet.told());
    tables.into()
}

/// What is written, what is kept and how long opening takes by the number of commits to 100,000 keys.
pub fn history(args: &Args) -> Vec<Table> {
    let mut tables = [
        Table::new("history-device", "Bytes to the device for each commit, by commits"),
        Table::new("history-process", "Bytes of pages made dirty for each commit, by commits"),
        Table::new("history-rate", "Commits per second meanwhile, by commits"),
        Table::new("history-disk", "Disk at most, MB, by commits"),
        Table::new("history-open-killed", "Open after SIGKILL and first fetch, ms, by commits"),
        Table::new("history-open-closed", "Open after a close and first fetch, ms, by commits"),
        Table::new("history-open-cached", "The same with the files in the page cache, by commits"),
    ];
    let quiet = Quiet::new(args.patience);
    for kind in args.stores() {
        let is_peer = kind.role == Role::Peer;
        let is_too_much = |commits: &usize| is_peer && *commits > MOST_OF_PEERS;
        for commits in args.commits(&COMMITS).into_iter().filter(|c| !is_too_much(c)) {
            eprintln!("history, {}: {}", count(commits), kind.name);
            let dir = TempDir::new(&args.dir);
            let plan = Plan {
                engine: kind.name.to_owned(),
                store: dir.0.join("store"),
                shape: Shape::USUAL,
                has_metadata: true,
                commits,
                more: 0,
                stop: Stop::Kill,
            };
            let grown: Grown = child::run_and_kill("child-history", &plan);
            let [device, process, rate, disk, killed, closed, cached] = &mut tables;
            let per_commit = |bytes: f64| bytes / commits as f64;
            let less = || Column::at(commits, Unit::Less);
            if let Some(bytes) = grown.device_bytes {
                device.add(&kind, less(), per_commit(bytes));
            }
            process.add(&kind, less(), per_commit(grown.process_bytes));
            rate.add(&kind, Column::at(commits, Unit::More), commits as f64 / grown.seconds);
            disk.add(&kind, less(), grown.most_disk as f64 / 1e6);
            open_again(args, &quiet, plan, commits, [killed, closed, cached]);
        }
    }
    tables.iter_mut().for_each(|table| table.quietness = quiet.told());
    tables.into()
}

/// What an open finds in the page cache.
#[derive(Clone, Copy, PartialEq)]
enum Cache {
    /// What the last process has left there: pages that a killed one has not written are what there is
    /// to open.
    Left,
    /// Nothing.
    Dropped,
    /// All files.
    Read,
}

/// Opens a store that a killed process has left over and over: first each time killed, then closed and
/// read from the device, then closed and read from the page cache. Returns the memory that it took each
/// time from the device.
fn open_again(
    args: &Args,
    quiet: &Quiet,
    mut plan: Plan,
    at: usize,
    tables: [&mut Table; 3],
) -> Vec<u64> {
    let mut memory = Vec::new();
    let kind = plan.kind();
    let ways =
        [(Stop::Kill, Cache::Left), (Stop::Close, Cache::Dropped), (Stop::Close, Cache::Read)];
    for ((stop, cache), table) in ways.into_iter().zip(tables) {
        if cache == Cache::Dropped {
            open_once(&mut plan, stop, 0);
        }
        for round in 0..args.rounds {
            match cache {
                Cache::Left => {}
                Cache::Dropped => drop_from_cache(&plan.store),
                Cache::Read => read_into_cache(&plan.store),
            }
            let more = (round + 1) * STEP_BETWEEN % MOST_BETWEEN;
            // Cannot be measured twice: it changes the store.
            let opened = quiet.measure_once(|| open_once(&mut plan, stop, more));
            table.add(kind, Column::at(at, Unit::Less), opened.seconds * 1e3);
            if cache == Cache::Dropped {
                memory.push(opened.memory);
            }
        }
    }
    memory
}

fn open_once(plan: &mut Plan, stop: Stop, more: usize) -> Opened {
    let asked = Plan { stop, more, ..plan.clone() };
    let opened: Opened = child::run_and_kill("child-open", &asked);
    if opened.lost > 0 {
        assert!(!plan.kind().survives_kill, "{} lost commits", plan.engine);
        eprintln!("{}: {} keys of the sample were older than committed", plan.engine, opened.lost);
    }
    plan.commits += opened.committed;
    opened
}

/// The child that fills a store with many keys.
pub fn fill_keys(plan: &Plan) -> ! {
    let workload = plan.workload();
    std::fs::create_dir(&plan.store).expect("create a directory for the store");
    let before = anonymous_bytes();
    let mut engine = (plan.kind().open)(&plan.store, Mode::Buffered, &workload);
    let grown = || anonymous_bytes().saturating_sub(before);
    fill(&*engine, &workload);
    let mut session = engine.session();
    make_durable_if_lost(plan.kind(), &mut *session);
    let (memory, disk) = (grown(), disk_bytes(&plan.store));
    drop(session);
    engine.compact();
    let (memory_compacted, disk_compacted) = (grown(), disk_bytes(&plan.store));
    child::tell(&Filled { memory, disk, memory_compacted, disk_compacted })
}

/// A store that would be empty after SIGKILL is nothing to open.
fn make_durable_if_lost(kind: &Kind, session: &mut dyn Session) {
    if !kind.survives_kill && kind.pipelined {
        session.wait_durable();
    }
}

/// The child that commits over and over to the same keys.
pub fn commit_often(plan: &Plan) -> ! {
    let workload = plan.workload();
    std::fs::create_dir(&plan.store).expect("create a directory for the store");
    let engine = (plan.kind().open)(&plan.store, Mode::Buffered, &workload);
    fill(&*engine, &workload);
    let before = Written::now(&plan.store);
    let started = Instant::now();
    let (mut stream, mut session) = (workload.stream(0, 1), engine.session());
    let mut most_disk = 0;
    for i in 0..plan.commits {
        let (key, value) = stream.next_commit();
        session.commit(key, &value);
        if i.is_multiple_of(LOOK_EVERY) {
            most_disk = most_disk.max(disk_bytes(&plan.store));
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    make_durable_if_lost(plan.kind(), &mut *session);
    most_disk = most_disk.max(disk_bytes(&plan.store));
    let (process_bytes, device_bytes) = before.until(Written::now(&plan.store));
    child::tell(&Grown { seconds, process_bytes, device_bytes, most_disk })
}

/// The child that opens a store, tells how long that took, commits and leaves it.
pub fn open(plan: &Plan) -> ! {
    let workload = plan.workload();
    let mut found = Fetched::default();
    let before = anonymous_bytes();
    let started = Instant::now();
    let engine = (plan.kind().open)(&plan.store, Mode::Buffered, &workload);
    let mut session = engine.session();
    let is_there = session.fetch(workload.key(0), &mut found);
    let seconds = started.elapsed().as_secs_f64();
    let memory = anonymous_bytes().saturating_sub(before);
    assert!(is_there || !plan.kind().survives_kill, "every key has a value");
    let mut stream = workload.stream(0, 1);
    stream.skip_to(plan.commits);
    let lost = lost(&mut *session, &workload, std::slice::from_ref(&stream), 1).len();
    let started = Instant::now();
    while stream.done() < plan.commits + plan.more && started.elapsed() < TIME_BETWEEN {
        let (key, value) = stream.next_commit();
        session.commit(key, &value);
    }
    let committed = stream.done() - plan.commits;
    if plan.stop == Stop::Close && plan.kind().pipelined && committed > 0 {
        session.wait_durable();
    }
    drop(session);
    match plan.stop {
        Stop::Close => engine.close(),
        Stop::Kill => std::mem::forget(engine),
    }
    child::tell(&Opened { seconds, memory, lost, committed })
}
