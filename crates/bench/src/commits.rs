//! The measurements of commits and fetches.

use crate::args::Args;
use crate::engines::{Kind, Mode, Role};
use crate::quiet::Quiet;
use crate::run::{RunOptions, Task, run, with_engine};
use crate::table::{Table, Unit};
use crate::workload::{KEYS_PER_GROUP, Workload};

/// Groups of the workload of commits and fetches.
pub const GROUPS: usize = 1000;

/// The part of the measurements that may be disturbed if they are to decide about anything.
const MAX_DISTURBED: f64 = 0.25;

/// Commits that need not survive power loss.
pub fn buffered(args: &Args) -> Table {
    let workload = Workload::new(GROUPS);
    let engines = args.engines(|kind| kind.buffered);
    let mut table = Table::new("Buffered commits: commits per second", &engines);
    let options = RunOptions { check: true, ..RunOptions::default() };
    let disturbed = for_each_round(args, &engines, |kind, quiet| {
        for threads in args.threads(&[1, 2, 4]) {
            with_engine(kind, Mode::Buffered, &args.dir, &workload, |engine| {
                let done = quiet
                    .measure(|| run(engine, &workload, Task::Commit, threads, args.time, options));
                let column = column(threads);
                table.add(kind, &column, Unit::Rate, done.rate);
            });
        }
    });
    table.set_disturbed(disturbed);
    table
}

/// Commits of all keys of a group that need not survive power loss.
pub fn batches(args: &Args) -> Table {
    let workload = Workload::new(GROUPS);
    let engines = args.engines(|kind| kind.buffered);
    let mut table = Table::new("Buffered batches of 100: keys per second", &engines);
    let options = RunOptions { check: true, ..RunOptions::default() };
    let _ = for_each_round(args, &engines, |kind, quiet| {
        with_engine(kind, Mode::Buffered, &args.dir, &workload, |engine| {
            let done = quiet.measure(|| run(engine, &workload, Task::Batch, 1, args.time, options));
            let keys = done.rate * KEYS_PER_GROUP as f64;
            table.add(kind, &column(1), Unit::Rate, keys);
        });
    });
    table
}

/// Commits that are synced before they return.
pub fn durable(args: &Args) -> [Table; 3] {
    let workload = Workload::new(GROUPS);
    let engines = args.engines(|kind| kind.durable);
    let titled = |title| Table::new(title, &engines);
    let mut rates = titled("Durable commits: commits per second");
    let mut times = titled("Durable commits: p50 and p99 in microseconds");
    let mut flushes = titled("Durable commits: commits per flush");
    let disturbed = for_each_round(args, &engines, |kind, quiet| {
        for threads in args.threads(&[1, 4, 16, 64, 256]) {
            with_engine(kind, Mode::Durable, &args.dir, &workload, |engine| {
                let options =
                    RunOptions { latencies: true, check: kind.reads, ..RunOptions::default() };
                let done = quiet
                    .measure(|| run(engine, &workload, Task::Commit, threads, args.time, options));
                let column = column(threads);
                rates.add(kind, &column, Unit::Rate, done.rate);
                let (p50, p99) = (done.quantile_us(0.5), done.quantile_us(0.99));
                times.add(kind, &format!("{threads}: p50"), Unit::Plain, p50);
                times.add(kind, &format!("{threads}: p99"), Unit::Plain, p99);
                if let Some(per_commit) = done.flushes {
                    flushes.add(kind, &column, Unit::Plain, per_commit.recip());
                }
            });
        }
    });
    rates.set_disturbed(disturbed);
    [rates, times, flushes]
}

/// Fetches and scans.
pub fn fetch(args: &Args) -> Table {
    let workload = Workload::new(GROUPS);
    let engines = args.engines(|kind| kind.buffered && kind.reads);
    let mut table = Table::new("Fetch: nanoseconds (a scan reads 100 keys)", &engines);
    let _ = for_each_round(args, &engines, |kind, quiet| {
        with_engine(kind, Mode::Buffered, &args.dir, &workload, |engine| {
            let mut measure = |column, task, beside_writer| {
                let options = RunOptions { beside_writer, check: beside_writer, latencies: false };
                let done = quiet.measure(|| run(engine, &workload, task, 1, args.time, options));
                table.add(kind, column, Unit::Time, 1e9 / done.rate);
            };
            measure("fetch", Task::Fetch, false);
            measure("scan", Task::Scan, false);
            measure("beside a writer", Task::Fetch, true);
        });
    });
    table
}

/// How the measurements stand to what the project asks for.
pub fn print_bars(buffered: Option<&Table>, durable: Option<&Table>) {
    println!("\n## Bars\n");
    let say = |table: &Table, what: &str, bar: f64, ratio: Option<f64>| match ratio {
        Some(ratio) => {
            // Between other programs every engine waits for the processor, and all look alike.
            let verdict = match ratio >= bar {
                _ if table.disturbed() > MAX_DISTURBED => "UNKNOWN: the machine was busy",
                true => "reached",
                false => "MISSED",
            };
            println!("{what}: {ratio:.2} (at least {bar}) {verdict}");
        }
        None => println!("{what}: not measured"),
    };
    if let Some(table) = durable {
        let (one, many) = (column(1), column(64));
        let raw = table.fastest(Role::Raw, &one);
        let ratio = raw.and_then(|raw| table.speed("pagemark", raw, &one));
        say(table, "synced, 1 thread, of the fastest raw flush", 0.85, ratio);
        say(
            table,
            "synced, 64 threads, of RocksDB",
            2.0,
            table.speed("pagemark", "rocksdb", &many),
        );
    }
    if let Some(table) = buffered {
        let one = column(1);
        let peer = table.fastest(Role::Peer, &one);
        let ratio = peer.and_then(|peer| table.speed("pagemark", peer, &one));
        say(table, "buffered by names, 1 thread, of the fastest peer", 3.0, ratio);
    }
}

fn column(threads: usize) -> String {
    match threads {
        1 => "1 thread".to_owned(),
        _ => format!("{threads} threads"),
    }
}

/// Returns the part of the measurements that were disturbed.
fn for_each_round(args: &Args, engines: &[Kind], mut measure: impl FnMut(&Kind, &Quiet)) -> f64 {
    let quiet = Quiet::new(args.patience);
    for round in 1..=args.rounds {
        for kind in engines {
            eprintln!("round {round} of {}: {}", args.rounds, kind.name);
            measure(kind, &quiet);
        }
    }
    quiet.tell()
}
