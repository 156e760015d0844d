//! How long single buffered commits take: of every engine as it runs, and of Pagemark with and without
//! compactions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pagemark::{Key, NextOffset};

use crate::args::Args;
use crate::engines::pagemark::{commit, commit_batch, named};
use crate::engines::{Kind, Mode};
use crate::quiet::Quiet;
use crate::run::{TempDir, quantile, with_engine};
use crate::scale::{LIVE, open};
use crate::table::{Column, Row, Table, Unit};
use crate::workload::{Batch, Shape, Workload};

/// A million keys, so that a compaction takes its time.
const SHAPE: Shape = Shape { groups: 10_000, ..Shape::USUAL };
const COMMITS: usize = 4_000_000;
/// Engines that would take minutes stop after so long.
const MOST_TIME: Duration = Duration::from_secs(10);
/// From the end of a compaction to the beginning of the next.
const PAUSE: Duration = Duration::from_millis(20);

/// The quantiles that are told.
pub const PARTS: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("most", 1.0),
];
/// Pagemark with one compaction after the other, and with none.
pub const CASES: [&str; 2] = ["pagemark, compacting", "pagemark, not compacting"];
/// Commits to groups that come and go, with compactions and with none.
const NEW_GROUPS: [&str; 2] = ["new groups, compacting", "new groups, not compacting"];

/// Nanoseconds of single commits.
struct Times {
    compactions: Option<u64>,
    nanoseconds: Vec<u32>,
}

/// Times single commits.
pub fn latency(args: &Args) -> Vec<Table> {
    let quiet = Quiet::new(args.patience);
    let mut table = Table::new("latency", "Single buffered commits of one thread, nanoseconds");
    let workload = Workload::new(SHAPE);
    let engines = args.stores();
    for round in 1..=args.rounds {
        let mut add = |row: Row, measure: &dyn Fn() -> Times| {
            eprintln!("latency, round {round} of {}: {}", args.rounds, row.name);
            let mut times = quiet.measure(measure);
            times.nanoseconds.sort_unstable();
            for (name, part) in PARTS {
                let nanoseconds = quantile(&times.nanoseconds, part);
                table.add(row.clone(), Column::named(name, Unit::Less), nanoseconds);
            }
            if let Some(compactions) = times.compactions {
                table.add(row, Column::named("compactions", Unit::Plain), compactions as f64);
            }
        };
        for kind in &engines {
            add(kind.into(), &|| of_engine(args, kind, &workload));
        }
        for (name, compacting) in CASES.into_iter().zip([true, false]) {
            add(name.into(), &|| keys(args, &workload, compacting));
        }
        for (name, compacting) in NEW_GROUPS.into_iter().zip([true, false]) {
            add(name.into(), &|| new_groups(args, compacting));
        }
    }
    table.quietness = quiet.told();
    vec![table]
}

fn nanoseconds(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_nanos()).unwrap_or(u32::MAX)
}

/// Commits to keys that are there, while the engine does in the background what it does.
fn of_engine(args: &Args, kind: &Kind, workload: &Workload) -> Times {
    with_engine(kind, Mode::Buffered, &args.dir, workload, |engine| {
        let mut times = Vec::with_capacity(COMMITS);
        let (mut stream, mut session) = (workload.stream(0, 1), engine.session());
        let begun = Instant::now();
        while times.len() < COMMITS && begun.elapsed() < MOST_TIME {
            let (key, value) = stream.next_commit();
            let started = Instant::now();
            session.commit(key, &value);
            times.push(nanoseconds(started));
        }
        Times { compactions: None, nanoseconds: times }
    })
}

/// Commits to keys that are there, with a compaction under way all the time or none.
fn keys(args: &Args, workload: &Workload, compacting: bool) -> Times {
    let dir = TempDir::new(&args.dir);
    let store = open(&dir.0.join("store"), false);
    let (mut batch, size) = (Vec::new(), SHAPE.keys_per_group());
    for number in 0..SHAPE.groups {
        workload.fill_batch(Batch { number, size, offset: 0 }, &mut batch);
        commit_batch(&store, &batch);
    }
    store.compact().expect("compact");
    let mut times = Vec::with_capacity(COMMITS);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if compacting {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    store.compact().expect("compact");
                    std::thread::sleep(PAUSE);
                }
            });
        }
        let mut stream = workload.stream(0, 1);
        for _ in 0..COMMITS {
            let (key, value) = stream.next_commit();
            let started = Instant::now();
            store.commit(named(key), commit(&value)).expect("commit");
            times.push(nanoseconds(started));
        }
        done.store(true, Ordering::Relaxed);
    });
    let compactions = store.stats().compaction.completed - 1;
    assert_eq!(compactions > 0, compacting, "it compacts when it should");
    Times { compactions: Some(compactions), nanoseconds: times }
}

/// Commits that make groups and calls that delete them, while the store compacts itself or does not.
fn new_groups(args: &Args, compacting: bool) -> Times {
    let dir = TempDir::new(&args.dir);
    let store = open(&dir.0.join("store"), compacting);
    let mut times = Vec::with_capacity(2 * COMMITS);
    for i in 0..COMMITS {
        let new = format!("console-consumer-{i}");
        let started = Instant::now();
        store.commit(Key::new(&new, "t", 0), NextOffset(1)).expect("commit");
        times.push(nanoseconds(started));
        if let Some(before) = i.checked_sub(LIVE) {
            let old = format!("console-consumer-{before}");
            let started = Instant::now();
            store.delete_group(&old).expect("delete");
            times.push(nanoseconds(started));
        }
    }
    let compactions = Some(store.stats().compaction.completed);
    Times { compactions, nanoseconds: times }
}
