//! How long single buffered commits take while the store compacts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pagemark::{Key, NextOffset};

use crate::args::Args;
use crate::commits::GROUPS;
use crate::engines::pagemark::{commit, commit_batch, named};
use crate::quiet::Quiet;
use crate::run::TempDir;
use crate::scale::{LIVE, open, row};
use crate::table::{median, print_aligned, short};
use crate::workload::Workload;

const COMMITS: usize = 4_000_000;

/// Fills a store, and times single commits with compactions or without. Returns how many there were,
/// and the times.
type Measure = fn(&Args, bool) -> (u64, Vec<u32>);

const CASES: [(&str, Measure); 2] = [("1 M keys", keys), ("ever new groups", new_groups)];

/// Times single commits with compactions and with none.
pub fn stall(args: &Args) {
    let quiet = Quiet::new(args.patience);
    let cases = CASES.iter().flat_map(|case| [(case, false), (case, true)]);
    let mut all = vec![<[Vec<f64>; 6]>::default(); 2 * CASES.len()];
    for round in 1..=args.rounds {
        for (((name, measure), compacting), all) in cases.clone().zip(&mut all) {
            eprintln!("round {round} of {}: {name}, compacting: {compacting}", args.rounds);
            let told = quiet.measure(|| quantiles(measure(args, compacting)));
            all.iter_mut().zip(told).for_each(|(all, one)| all.push(one));
        }
    }
    let header = ["commits to", "compactions", "p50 ns", "p99", "p99.9", "p99.99", "most µs"];
    let mut rows = vec![row(&header)];
    for (((name, _), _), told) in cases.zip(all) {
        let mut cells = row(&[name]);
        cells.extend(told.map(|rounds| median(rounds).map_or("-".to_owned(), short)));
        rows.push(cells);
    }
    println!("\n## Single buffered commits\n");
    print_aligned(&rows);
    let _ = quiet.tell();
}

fn quantiles((compactions, mut times): (u64, Vec<u32>)) -> [f64; 6] {
    times.sort_unstable();
    let at = |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]);
    [compactions as f64, at(0.5), at(0.99), at(0.999), at(0.9999), at(1.0) / 1e3]
}

fn nanoseconds(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_nanos()).unwrap_or(u32::MAX)
}

/// Commits to keys that are there, with a compaction under way all the time or none.
fn keys(args: &Args, compacting: bool) -> (u64, Vec<u32>) {
    let dir = TempDir::new(&args.dir);
    let workload = Workload::new(10 * GROUPS);
    let store = open(&dir.0.join("store").display().to_string(), false);
    let mut batch = Vec::new();
    for group in 0..workload.groups() {
        workload.fill_batch(group, 0, &mut batch);
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
                    std::thread::sleep(Duration::from_millis(20));
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
    (store.stats().compaction.completed - 1, times)
}

/// Commits that make groups and calls that delete them, while the store compacts itself or does not.
fn new_groups(args: &Args, compacting: bool) -> (u64, Vec<u32>) {
    let dir = TempDir::new(&args.dir);
    let store = open(&dir.0.join("store").display().to_string(), compacting);
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
    (store.stats().compaction.completed, times)
}
