//! A steady state: commits and fetches at full speed for as long as one likes, looked at over and over.
//! What would run away in a week shows as a drift.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use crate::args::Args;
use crate::engines::{Fetched, Kind, Mode};
use crate::process::{anonymous_bytes, disk_bytes};
use crate::quiet::Quiet;
use crate::run::{TempDir, fill, lost};
use crate::table::{Column, Table, Unit, median};
use crate::workload::{Shape, Workload};

/// Looks at the store; between two of them passes the time of one measurement.
const LOOKS: usize = 60;
/// What has to have settled first is left out of both ends.
const QUARTER: usize = LOOKS / 4;
/// Counted by the worker so seldom that counting costs nothing.
const COUNT_EVERY: u64 = 256;

/// What one look has seen.
#[derive(Clone, Copy, Debug)]
struct Look {
    rate: f64,
    memory: f64,
    disk: f64,
}

/// What stands for some looks: the median of what goes up and down, the most of what has a bound.
type Typical = fn(&[Look]) -> f64;

fn rate(looks: &[Look]) -> f64 {
    median(looks.iter().map(|look| look.rate).collect()).expect("some looks")
}

fn memory(looks: &[Look]) -> f64 {
    looks.iter().map(|look| look.memory).fold(0.0, f64::max)
}

fn disk(looks: &[Look]) -> f64 {
    looks.iter().map(|look| look.disk).fold(0.0, f64::max)
}

/// Runs every engine for the time of sixty measurements.
pub fn steady(args: &Args) -> Vec<Table> {
    let of_looks = |name, what| Table::new(name, &format!("Steady state: {what}, by looks"));
    let mut series = [
        of_looks("steady-rate", "a commit and a fetch in turn, turns per second"),
        of_looks("steady-memory", "anonymous memory of the process in MB"),
        of_looks("steady-disk", "disk in MB"),
    ];
    let title = "Steady state: the last quarter, as a multiple of the second";
    let mut drift = Table::new("steady", title);
    let workload = Workload::new(Shape::USUAL);
    let quiet = Quiet::new(args.patience);
    for kind in args.stores() {
        eprintln!("steady: {}", kind.name);
        let looks = quiet.measure_once(|| run(args, &kind, &workload));
        for (at, Look { rate, memory, disk }) in looks.iter().enumerate() {
            for (table, value) in series.iter_mut().zip([*rate, memory / 1e6, disk / 1e6]) {
                table.add(&kind, Column::at(at + 1, Unit::Plain), value);
            }
        }
        let (second, last) = (&looks[QUARTER..2 * QUARTER], &looks[LOOKS - QUARTER..]);
        let all: [(&str, Typical); 3] = [("rate", rate), ("memory", memory), ("disk", disk)];
        for (name, of) in all {
            drift.add(&kind, Column::named(name, Unit::Plain), of(last) / of(second));
        }
        drift.add(&kind, Column::named("turns/s", Unit::More), rate(&looks));
    }
    let mut tables = Vec::from(series);
    tables.insert(0, drift);
    tables.iter_mut().for_each(|table| table.quietness = quiet.told());
    tables
}

fn run(args: &Args, kind: &Kind, workload: &Workload) -> Vec<Look> {
    let dir = TempDir::new(&args.dir);
    let engine = (kind.open)(&dir.0, Mode::Buffered, workload);
    fill(&*engine, workload);
    let (turns, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut session = engine.session();
            let (mut stream, mut found) = (workload.stream(0, 1), Fetched::default());
            while !done.load(Ordering::Relaxed) {
                for _ in 0..COUNT_EVERY {
                    let (key, value) = stream.next_commit();
                    session.commit(key, &value);
                    assert!(session.fetch(key, &mut found) && found == value, "it was committed");
                }
                turns.fetch_add(COUNT_EVERY, Ordering::Relaxed);
            }
            stream
        });
        let (mut last, mut before) = (Instant::now(), turns.load(Ordering::Relaxed));
        let looks = (0..LOOKS).map(|_| {
            thread::sleep(args.time);
            let (now, after) = (Instant::now(), turns.load(Ordering::Relaxed));
            let rate = (after - before) as f64 / now.duration_since(last).as_secs_f64();
            (last, before) = (now, after);
            Look { rate, memory: anonymous_bytes() as f64, disk: disk_bytes(&dir.0) as f64 }
        });
        let looks = looks.collect();
        done.store(true, Ordering::Relaxed);
        let stream = worker.join().expect("the worker panicked");
        let lost = lost(&mut *engine.session(), workload, &[stream], 1);
        assert!(lost.is_empty(), "committed and not read back: {lost:?}");
        looks
    })
}
