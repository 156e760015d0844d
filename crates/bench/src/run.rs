//! One engine, some threads, some time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::engines::{Engine, Fetched, Kind, Mode, Session};
use crate::workload::{Batch, Change, Stream, Workload};

/// Runs before what is measured, as a part of it.
const WARM_UP_PART: u32 = 5;
/// Calls that have to end before a measurement does.
const ENOUGH: usize = 5;
/// Even then it takes no longer than so many times what was asked for.
const MOST_PARTS: u32 = 20;
/// Keys that are first set together.
const FILL_SIZE: usize = 100;
/// One key in this many is looked up after a run.
const SAMPLE: usize = 97;

/// What threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Commits of one key.
    Commit,
    /// Commits of so many keys of a group.
    Batch(usize),
    /// Commits of one key without a flush, and after so many of them one wait for all to be durable.
    Pipelined(usize),
    /// Fetches of one key.
    Fetch,
    /// Reads of all keys of a group.
    Scan,
}

impl Task {
    /// Keys of one call.
    fn keys(self) -> usize {
        match self {
            Task::Batch(size) => size,
            Task::Commit | Task::Pipelined(_) | Task::Fetch | Task::Scan => 1,
        }
    }
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Keys per second, of all threads together; of scans, groups.
    pub rate: f64,
    /// Commits for each flush, where flushes are counted and there was one.
    pub commits_per_flush: Option<f64>,
    /// Nanoseconds of each call, sorted, if they were asked for.
    pub latencies: Vec<u32>,
}

impl Outcome {
    /// A quantile in nanoseconds.
    pub fn quantile_ns(&self, part: f64) -> f64 {
        quantile(&self.latencies, part)
    }
}

/// A quantile of sorted numbers; zero of none.
pub fn quantile(sorted: &[u32], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * part).round() as usize;
    sorted.get(at).map_or(0.0, |ns| f64::from(*ns))
}

/// Opens an engine in a new directory with a value under every key, and cleans up afterwards.
pub fn with_engine<R>(
    kind: &Kind,
    mode: Mode,
    dir: &Path,
    workload: &Workload,
    then: impl FnOnce(&dyn Engine) -> R,
) -> R {
    let dir = TempDir::new(dir);
    let engine = (kind.open)(&dir.0, mode, workload);
    fill(&*engine, workload);
    then(&*engine)
}

/// Sets every key, in batches.
pub fn fill(engine: &dyn Engine, workload: &Workload) {
    let mut session = engine.session();
    let mut batch = Vec::with_capacity(FILL_SIZE);
    for number in 0..workload.keys() / FILL_SIZE {
        workload.fill_batch(Batch { number, size: FILL_SIZE, offset: 0 }, &mut batch);
        session.commit_batch(&batch);
    }
}

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// Runs `threads` threads at `task` for `time`, beside a thread that commits if `beside_writer`.
pub fn run(
    engine: &dyn Engine,
    workload: &Workload,
    task: Task,
    threads: usize,
    time: Duration,
    options: RunOptions,
) -> Outcome {
    let phase = AtomicU8::new(WARM_UP);
    let (calls, of_writer) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Barrier::new(threads + 1);
    let mut latencies = Vec::new();
    let (rate, commits_per_flush, streams) = std::thread::scope(|scope| {
        let (phase, calls, of_writer, start) = (&phase, &calls, &of_writer, &start);
        let worker = |thread| {
            let worker =
                Worker { engine, workload, task, phase, calls, latencies: options.latencies };
            scope.spawn(move || {
                start.wait();
                worker.run(workload.stream(thread, threads))
            })
        };
        let workers: Vec<_> = (0..threads).map(worker).collect();
        let writer = options.beside_writer.then(|| {
            scope.spawn(move || {
                let (task, calls) = (Task::Commit, of_writer);
                let worker = Worker { engine, workload, task, phase, calls, latencies: false };
                worker.run(workload.stream(0, 1))
            })
        });
        start.wait();
        std::thread::sleep(time / WARM_UP_PART);
        let (before, started) = (engine.flushes(), Instant::now());
        phase.store(MEASURE, Ordering::Relaxed);
        // Longer than was asked for if a call takes so long that too few would end.
        loop {
            std::thread::sleep(time);
            if calls.load(Ordering::Relaxed) >= ENOUGH || started.elapsed() > time * MOST_PARTS {
                break;
            }
        }
        let (after, elapsed) = (engine.flushes(), started.elapsed());
        phase.store(STOP, Ordering::Relaxed);
        let (mut taken, mut streams) = (0, Vec::new());
        for worker in workers {
            let mut done = worker.join().expect("a worker panicked");
            taken += done.taken;
            latencies.append(&mut done.latencies);
            streams.push(done.stream);
        }
        if let Some(writer) = writer {
            streams = vec![writer.join().expect("the writer panicked").stream];
        }
        let rate = (taken * task.keys()) as f64 / elapsed.as_secs_f64();
        let flushed = before.zip(after).map(|(before, after)| after - before);
        let flushed = flushed.filter(|flushed| *flushed > 0);
        (rate, flushed.map(|flushed| taken as f64 / flushed as f64), streams)
    });
    latencies.sort_unstable();
    if options.check {
        let size = if let Task::Batch(size) = task { size } else { 1 };
        let lost = lost(&mut *engine.session(), workload, &streams, size);
        assert!(lost.is_empty(), "committed and not read back: {lost:?}");
    }
    Outcome { rate, commits_per_flush, latencies }
}

/// What else is wanted of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// The time that each call took.
    pub latencies: bool,
    /// One more thread that commits all the while.
    pub beside_writer: bool,
    /// A comparison of what is read back with what was committed last.
    pub check: bool,
}

#[derive(Clone, Copy)]
struct Worker<'a> {
    engine: &'a dyn Engine,
    workload: &'a Workload,
    task: Task,
    phase: &'a AtomicU8,
    /// Calls that ended while they were measured, up to [`ENOUGH`] of each thread.
    calls: &'a AtomicUsize,
    latencies: bool,
}

/// Memory that every call uses again.
#[derive(Default)]
struct Room<'a> {
    batch: Vec<Change<'a>>,
    fetched: Fetched,
}

struct Done<'a> {
    /// Commits, batches, fetches or scans.
    taken: usize,
    latencies: Vec<u32>,
    stream: Stream<'a>,
}

impl<'a> Worker<'a> {
    /// Counts what ends while it is measured, whenever it began: a thread that waits for others all
    /// the while is not to look as if it had been fast.
    fn run(self, mut stream: Stream<'a>) -> Done<'a> {
        let mut session = self.engine.session();
        let (mut room, mut latencies) = (Room::default(), Vec::new());
        let (mut taken, mut calls, mut last) = (0, 0, Instant::now());
        loop {
            let before = stream.done();
            self.call(&mut *session, &mut stream, &mut room);
            let phase = self.phase.load(Ordering::Relaxed);
            if phase == STOP {
                break;
            }
            let now = if self.latencies { Instant::now() } else { last };
            if phase == MEASURE {
                taken += stream.done() - before;
                if self.latencies {
                    let nanoseconds = now.duration_since(last).as_nanos();
                    latencies.push(u32::try_from(nanoseconds).unwrap_or(u32::MAX));
                }
                // Nobody asks after that, and threads would wait for each other's counter.
                if calls < ENOUGH {
                    calls += 1;
                    self.calls.fetch_add(1, Ordering::Relaxed);
                }
            }
            last = now;
        }
        Done { taken, latencies, stream }
    }

    #[inline]
    fn call(&self, session: &mut dyn Session, stream: &mut Stream<'a>, room: &mut Room<'a>) {
        match self.task {
            Task::Commit => {
                let (key, value) = stream.next_commit();
                session.commit(key, &value);
            }
            Task::Batch(size) => {
                self.workload.fill_batch(stream.next_batch(size), &mut room.batch);
                session.commit_batch(&room.batch);
            }
            Task::Pipelined(window) => {
                for _ in 0..window {
                    let (key, value) = stream.next_commit();
                    session.commit(key, &value);
                }
                session.wait_durable();
            }
            Task::Fetch => {
                let is_there = session.fetch(stream.next_key(), &mut room.fetched);
                assert!(is_there, "every key has a value");
                std::hint::black_box(&room.fetched);
            }
            Task::Scan => {
                let (keys, sum) = session.scan_group(stream.next_group());
                let all = self.workload.shape().keys_per_group();
                assert_eq!(keys, all, "every key of the group has a value");
                std::hint::black_box(sum);
            }
        }
    }
}

/// Compares a sample of what is there with the last commits of the streams, or with their last
/// batches of some size, and returns the keys that differ. Of threads that committed the same key at
/// once, either may have been the last.
pub fn lost(
    session: &mut dyn Session,
    workload: &Workload,
    streams: &[Stream<'_>],
    size: usize,
) -> Vec<usize> {
    let mut last: HashMap<usize, Vec<Change<'_>>> = HashMap::new();
    for stream in streams {
        let mut of_this = HashMap::new();
        for i in stream.last_period()..stream.done() {
            let change = match size {
                1 => stream.commit_at(i),
                _ => {
                    let batch = stream.batch_at(i, size);
                    workload.change_of(batch, batch.number % size)
                }
            };
            if size > 1 || change.0.id.is_multiple_of(SAMPLE) {
                of_this.insert(change.0.id, change);
            }
        }
        of_this.into_iter().for_each(|(id, change)| last.entry(id).or_default().push(change));
    }
    assert!(!last.is_empty() || streams.iter().all(|stream| stream.done() < 10 * SAMPLE));
    let mut found = Fetched::default();
    let mut differs = |changes: &Vec<Change<'_>>| {
        let is_there = session.fetch(changes[0].0, &mut found);
        !is_there || !changes.iter().any(|(_, value)| found == *value)
    };
    last.into_iter().filter(|(_, changes)| differs(changes)).map(|(id, _)| id).collect()
}

/// A directory that is removed with what is in it.
#[derive(Debug)]
pub struct TempDir(pub PathBuf);

impl TempDir {
    /// A new directory in `parent`.
    pub fn new(parent: &Path) -> TempDir {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let unique = now.expect("a clock after 1970").as_nanos();
        let path = parent.join(format!("pagemark-bench-{}-{unique}", std::process::id()));
        std::fs::create_dir(&path).expect("create a directory for data");
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
