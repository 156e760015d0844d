//! The measurements of commits and fetches on a store of 100,000 keys.

use crate::args::Args;
use crate::engines::{Engine, Kind, Mode};
use crate::quiet::Quiet;
use crate::run::{Outcome, RunOptions, Task, run, with_engine};
use crate::table::{Column, Table, Unit};
use crate::workload::{Shape, Workload};

/// Threads that commit.
const THREADS: [usize; 6] = [1, 2, 4, 16, 64, 256];
/// Keys of a batch, each with a shape in which as many are of one group.
const BATCHES: [(usize, Shape); 3] = [
    (10, Shape::USUAL),
    (100, Shape::USUAL),
    (1000, Shape { groups: 100, topics: 10, partitions: 100 }),
];
/// Commits that one thread has in flight.
const WINDOWS: [usize; 3] = [100, 1_000, 10_000];

/// Commits that need not survive power loss.
pub fn buffered(args: &Args) -> Vec<Table> {
    let workload = Workload::new(Shape::USUAL);
    let engines = args.engines(|kind| kind.buffered);
    let mut table = Table::new("buffered", "Buffered commits per second, by threads");
    for_each_round(args, Mode::Buffered, &engines, [&mut table], |kind, setting, [table]| {
        for threads in args.threads(&THREADS) {
            let done = setting.open(kind, &workload, |open| open.commits(Task::Commit, threads));
            table.add(kind, Column::at(threads, Unit::More), done.rate);
        }
    });
    vec![table]
}

/// Batches of keys of a group, buffered and synced.
pub fn batches(args: &Args) -> Vec<Table> {
    let title = "Buffered batches of one thread: keys per second, by keys in each";
    let mut buffered = Table::new("batches", title);
    let title = "Synced batches of one thread: keys per second, by keys in each";
    let mut synced = Table::new("synced-batches", title);
    let workloads = BATCHES.map(|(size, shape)| (size, Workload::new(shape)));
    let measure = |kind: &Kind, setting: &Setting<'_>, [table]: &mut [&mut Table; 1]| {
        for (size, workload) in &workloads {
            let done = setting.open(kind, workload, |open| open.commits(Task::Batch(*size), 1));
            table.add(kind, Column::at(*size, Unit::More), done.rate);
        }
    };
    let engines = args.engines(|kind| kind.buffered);
    for_each_round(args, Mode::Buffered, &engines, [&mut buffered], measure);
    let engines = args.engines(|kind| kind.durable);
    for_each_round(args, Mode::Durable, &engines, [&mut synced], measure);
    vec![buffered, synced]
}

/// Commits that are synced before they return.
pub fn durable(args: &Args) -> Vec<Table> {
    let workload = Workload::new(Shape::USUAL);
    let engines = args.engines(|kind| kind.durable);
    let mut tables = [
        Table::new("durable", "Synced commits per second, by threads"),
        Table::new("durable-p50", "Synced commits: p50 in microseconds, by threads"),
        Table::new("durable-p99", "Synced commits: p99 in microseconds, by threads"),
        Table::new("durable-p99.9", "Synced commits: p99.9 in microseconds, by threads"),
        Table::new("durable-flushes", "Synced commits: commits per flush, by threads"),
    ];
    let all = tables.each_mut();
    for_each_round(args, Mode::Durable, &engines, all, |kind, setting, tables| {
        let [rates, p50, p99, p999, flushes] = tables;
        for threads in args.threads(&THREADS) {
            let done = setting.open(kind, &workload, |open| open.commits(Task::Commit, threads));
            rates.add(kind, Column::at(threads, Unit::More), done.rate);
            for (table, part) in [(&mut *p50, 0.5), (&mut *p99, 0.99), (&mut *p999, 0.999)] {
                let microseconds = done.quantile_ns(part) / 1e3;
                table.add(kind, Column::at(threads, Unit::Less), microseconds);
            }
            if let Some(commits) = done.commits_per_flush {
                flushes.add(kind, Column::at(threads, Unit::Plain), commits);
            }
        }
    });
    tables.into()
}

/// Durable commits of one thread that waits once for many.
pub fn pipelined(args: &Args) -> Vec<Table> {
    let workload = Workload::new(Shape::USUAL);
    let engines = args.engines(|kind| kind.pipelined);
    let title = "Pipelined durable commits per second of one thread, by commits in flight";
    let mut rates = Table::new("pipelined", title);
    let title = "Pipelined durable commits: commits per flush, by commits in flight";
    let mut flushes = Table::new("pipelined-flushes", title);
    let all = [&mut rates, &mut flushes];
    for_each_round(args, Mode::Buffered, &engines, all, |kind, setting, [rates, flushes]| {
        for window in WINDOWS {
            let task = Task::Pipelined(window);
            let done = setting.open(kind, &workload, |open| open.commits(task, 1));
            rates.add(kind, Column::at(window, Unit::More), done.rate);
            if let Some(commits) = done.commits_per_flush {
                flushes.add(kind, Column::at(window, Unit::Plain), commits);
            }
        }
    });
    vec![rates, flushes]
}

/// Fetches and scans.
pub fn fetch(args: &Args) -> Vec<Table> {
    let workload = Workload::new(Shape::USUAL);
    let one_group = Workload::new(Shape { groups: 1, ..Shape::USUAL });
    let engines = args.engines(|kind| kind.buffered && kind.reads);
    let mut table = Table::new("fetch", "Fetch: nanoseconds");
    for_each_round(args, Mode::Buffered, &engines, [&mut table], |kind, setting, [table]| {
        let mut add = |column, nanoseconds| {
            table.add(kind, Column::named(column, Unit::Less), nanoseconds);
        };
        setting.open(kind, &workload, |open| {
            add("1 thread", open.reads(Task::Fetch, 1, false));
            add("2 threads", open.reads(Task::Fetch, 2, false));
            add("group of 100", open.reads(Task::Scan, 1, false));
            add("beside a writer", open.reads(Task::Fetch, 1, true));
        });
        setting.open(kind, &one_group, |open| {
            add("of 100 keys", open.reads(Task::Fetch, 1, false));
        });
    });
    vec![table]
}

/// What is the same for all measurements of a command.
struct Setting<'a> {
    args: &'a Args,
    quiet: &'a Quiet,
    mode: Mode,
}

impl Setting<'_> {
    /// Opens an engine with all keys set.
    fn open<R>(&self, kind: &Kind, workload: &Workload, then: impl FnOnce(Measured<'_>) -> R) -> R {
        let Setting { args, quiet, mode } = *self;
        with_engine(kind, mode, &args.dir, workload, |engine| {
            then(Measured { kind, engine, workload, args, quiet, mode })
        })
    }
}

/// An open engine that is to be measured.
struct Measured<'a> {
    kind: &'a Kind,
    engine: &'a dyn Engine,
    workload: &'a Workload,
    args: &'a Args,
    quiet: &'a Quiet,
    mode: Mode,
}

impl Measured<'_> {
    fn run(&self, task: Task, threads: usize, options: RunOptions) -> Outcome {
        let Measured { engine, workload, args, quiet, .. } = self;
        quiet.measure(|| run(*engine, workload, task, threads, args.time, options))
    }

    fn commits(&self, task: Task, threads: usize) -> Outcome {
        // The clock is read after each synced commit alone: beside a flush it takes no time.
        let latencies = task == Task::Commit && self.mode == Mode::Durable;
        let options = RunOptions { latencies, check: self.kind.reads, ..RunOptions::default() };
        self.run(task, threads, options)
    }

    /// Nanoseconds between two calls that end, of all threads together.
    fn reads(&self, task: Task, threads: usize, beside_writer: bool) -> f64 {
        let options = RunOptions { beside_writer, check: beside_writer, ..RunOptions::default() };
        1e9 / self.run(task, threads, options).rate
    }
}

/// Measures all engines in turn, and tells the tables how quiet it was.
fn for_each_round<const N: usize>(
    args: &Args,
    mode: Mode,
    engines: &[Kind],
    mut tables: [&mut Table; N],
    mut measure: impl FnMut(&Kind, &Setting<'_>, &mut [&mut Table; N]),
) {
    let quiet = Quiet::new(args.patience);
    let setting = Setting { args, quiet: &quiet, mode };
    for round in 1..=args.rounds {
        for kind in engines {
            eprintln!("{}, round {round} of {}: {}", tables[0].name, args.rounds, kind.name);
            measure(kind, &setting, &mut tables);
        }
    }
    tables.iter_mut().for_each(|table| table.quietness = quiet.told());
}
