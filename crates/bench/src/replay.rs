//! What replay costs: a long log that was never compacted, after a kill and after a close.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pagemark::{Durability, Options};
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::child::{self, Stop};
use crate::engines::pagemark::{commit, commit_batch, named, session};
use crate::process::{drop_from_cache, processor_seconds};
use crate::quiet::Quiet;
use crate::run::{TempDir, lost};
use crate::table::{Column, Table, Unit, count};
use crate::workload::{Batch, Shape, Workload};

const COMMITS: usize = 10_000_000;
const SHAPES: [Shape; 2] = [Shape::USUAL, Shape { groups: 10_000, ..Shape::USUAL }];

/// What a child has to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    store: PathBuf,
    shape: Shape,
    stop: Stop,
}

#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    seconds: f64,
    processor_seconds: f64,
    changes: u64,
    bytes: u64,
}

/// Fills stores in processes that are killed, and opens them again in new ones.
pub fn replay(args: &Args) -> Vec<Table> {
    let quiet = Quiet::new(args.patience);
    let title = format!("Replay of {} commits by pagemark", count(COMMITS));
    let mut table = Table::new("replay", &title);
    for shape in SHAPES {
        let dir = TempDir::new(&args.dir);
        let mut plan = Plan { store: dir.0.join("store"), shape, stop: Stop::Kill };
        eprintln!("replay, filling {} keys", count(shape.keys()));
        let () = child::run_and_kill("child-replay-fill", &plan);
        for stop in [Stop::Kill, Stop::Close] {
            plan.stop = stop;
            if stop == Stop::Close {
                let _: Opened = child::run_and_kill("child-replay-open", &plan);
            }
            let row = format!("{} keys, {}", count(shape.keys()), stop.name());
            for round in 1..=args.rounds {
                eprintln!("replay, round {round} of {}: {row}", args.rounds);
                let raw = read_raw(&plan.store);
                let done: Opened =
                    quiet.measure(|| child::run_and_kill("child-replay-open", &plan));
                let mut add = |name, value| {
                    table.add(row.as_str(), Column::named(name, Unit::Plain), value);
                };
                add("commits/s", done.changes as f64 / done.seconds);
                add("per core", done.changes as f64 / done.processor_seconds);
                add("open ms", done.seconds * 1e3);
                add("log MB", done.bytes as f64 / 1e6);
                add("raw read ms", raw * 1e3);
            }
        }
    }
    table.quietness = quiet.told();
    vec![table]
}

/// The whole log stays: it is what is measured.
fn options() -> Options {
    Options::new().durability(Durability::Buffered).auto_compact(false)
}

/// The child that fills a store. It is killed when it has told that it is done.
pub fn fill(plan: &Plan) -> ! {
    let workload = Workload::new(plan.shape);
    let store = options().open(&plan.store).expect("open pagemark");
    let mut batch = Vec::new();
    let size = plan.shape.keys_per_group();
    for number in 0..plan.shape.groups {
        workload.fill_batch(Batch { number, size, offset: 0 }, &mut batch);
        commit_batch(&store, &batch);
    }
    let mut stream = workload.stream(0, 1);
    for _ in 0..COMMITS {
        let (key, value) = stream.next_commit();
        store.commit(named(key), commit(&value)).expect("commit");
    }
    child::tell(&())
}

/// The child that opens a store and tells how long that took.
pub fn open(plan: &Plan) -> ! {
    let workload = Workload::new(plan.shape);
    let (started, cpu_before) = (Instant::now(), processor_seconds());
    let store = options().open(&plan.store).expect("open pagemark");
    let seconds = started.elapsed().as_secs_f64();
    let processor_seconds = processor_seconds() - cpu_before;
    let report = store.recovery_report().clone();
    let mut stream = workload.stream(0, 1);
    stream.skip_to(COMMITS);
    let lost = lost(&mut *session(&store), &workload, &[stream], 1);
    assert!(lost.is_empty(), "committed and not replayed: {lost:?}");
    if plan.stop == Stop::Close {
        store.close().expect("close");
    }
    let (changes, bytes) = (report.changes, report.bytes);
    child::tell(&Opened { seconds, processor_seconds, changes, bytes })
}

/// Reads all files of a directory once from the device.
fn read_raw(dir: &Path) -> f64 {
    drop_from_cache(dir);
    let mut bytes = vec![0; 1 << 20];
    let started = Instant::now();
    for entry in std::fs::read_dir(dir).expect("list the store") {
        let file = File::open(entry.expect("list the store").path()).expect("open a file");
        let mut position = 0;
        loop {
            let read = file.read_at(&mut bytes, position).expect("read a file");
            if read == 0 {
                break;
            }
            std::hint::black_box(crc32fast::hash(&bytes[..read]));
            position += read as u64;
        }
    }
    started.elapsed().as_secs_f64()
}
