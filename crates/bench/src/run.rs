//! One engine, some threads, some time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::engines::{Engine, Kind, Mode, Session};
use crate::workload::{Change, KEYS_PER_GROUP, Stream, Workload};

/// Runs before what is measured, as a part of it.
const WARM_UP_PART: u32 = 5;
/// One key in this many is looked up after a run.
const SAMPLE: usize = 97;

/// What threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Commits of one key.
    Commit,
    /// Commits of all keys of a group.
    Batch,
    /// Fetches of one key.
    Fetch,
    /// Reads of all keys of a group.
    Scan,
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Calls per second, of all threads together.
    pub rate: f64,
    /// Flushes per commit, where known.
    pub flushes: Option<f64>,
    /// Nanoseconds of each call, sorted, if they were asked for.
    pub latencies: Vec<u32>,
}

impl Outcome {
    /// A quantile in microseconds.
    pub fn quantile_us(&self, part: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * part).round() as usize;
        self.latencies.get(at).map_or(0.0, |ns| f64::from(*ns) / 1e3)
    }
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
    let mut session = engine.session();
    let mut batch = Vec::with_capacity(KEYS_PER_GROUP);
    for group in 0..workload.groups() {
        workload.fill_batch(group, 0, &mut batch);
        session.commit_batch(&batch);
    }
    drop(session);
    then(&*engine)
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
    let start = Barrier::new(threads + 1);
    let mut latencies = Vec::new();
    let (rate, flushed, streams) = std::thread::scope(|scope| {
        let worker = |thread| {
            let worker =
                Worker { engine, workload, task, phase: &phase, latencies: options.latencies };
            let start = &start;
            scope.spawn(move || {
                start.wait();
                worker.run(workload.stream(thread, threads))
            })
        };
        let workers: Vec<_> = (0..threads).map(worker).collect();
        let writer = options.beside_writer.then(|| {
            let phase = &phase;
            let worker = Worker { engine, workload, task: Task::Commit, phase, latencies: false };
            scope.spawn(move || worker.run(workload.stream(0, 1)))
        });
        start.wait();
        std::thread::sleep(time / WARM_UP_PART);
        let before = engine.flushes();
        phase.store(MEASURE, Ordering::Relaxed);
        std::thread::sleep(time);
        phase.store(STOP, Ordering::Relaxed);
        let after = engine.flushes();
        let (mut rate, mut calls, mut streams) = (0.0, 0, Vec::new());
        for worker in workers {
            let mut done = worker.join().expect("a worker panicked");
            rate += done.calls as f64 / done.elapsed.as_secs_f64();
            calls += done.calls;
            latencies.append(&mut done.latencies);
            streams.push(done.stream);
        }
        if let Some(writer) = writer {
            streams = vec![writer.join().expect("the writer panicked").stream];
        }
        let flushed = before.zip(after).map(|(before, after)| after - before);
        (rate, flushed.map(|flushed| flushed as f64 / calls as f64), streams)
    });
    latencies.sort_unstable();
    if options.check {
        let batches = task == Task::Batch;
        check(&mut *engine.session(), workload, &streams, batches);
    }
    Outcome { rate, flushes: flushed, latencies }
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
    latencies: bool,
}

struct Done<'a> {
    calls: usize,
    elapsed: Duration,
    latencies: Vec<u32>,
    stream: Stream<'a>,
}

impl<'a> Worker<'a> {
    fn run(self, mut stream: Stream<'a>) -> Done<'a> {
        let mut session = self.engine.session();
        let mut batch = Vec::with_capacity(KEYS_PER_GROUP);
        while self.phase.load(Ordering::Relaxed) == WARM_UP {
            self.call(&mut *session, &mut stream, &mut batch);
        }
        let mut latencies = Vec::new();
        let (before, started) = (stream.done(), Instant::now());
        let mut last = started;
        while self.phase.load(Ordering::Relaxed) == MEASURE {
            self.call(&mut *session, &mut stream, &mut batch);
            if self.latencies {
                let now = Instant::now();
                let taken = now.duration_since(last).as_nanos();
                latencies.push(u32::try_from(taken).unwrap_or(u32::MAX));
                last = now;
            }
        }
        Done { calls: stream.done() - before, elapsed: started.elapsed(), latencies, stream }
    }

    #[inline]
    fn call(
        &self,
        session: &mut dyn Session,
        stream: &mut Stream<'a>,
        batch: &mut Vec<Change<'a>>,
    ) {
        match self.task {
            Task::Commit => {
                let (key, value) = stream.next_commit();
                session.commit(key, &value);
            }
            Task::Batch => {
                let (group, offset) = stream.next_batch();
                self.workload.fill_batch(group, offset, batch);
                session.commit_batch(batch);
            }
            Task::Fetch => {
                let found = session.fetch(stream.next_key());
                assert!(found.is_some(), "every key has a value");
                std::hint::black_box(found);
            }
            Task::Scan => {
                let (group, _) = stream.next_batch();
                let (keys, sum) = session.scan_group(self.workload.group(group));
                assert_eq!(keys, KEYS_PER_GROUP, "every key of the group has a value");
                std::hint::black_box(sum);
            }
        }
    }
}

/// Compares a sample of what is there with the last commits of the streams. Of threads that
/// committed the same key at once, either may have been the last.
pub fn check(
    session: &mut dyn Session,
    workload: &Workload,
    streams: &[Stream<'_>],
    batches: bool,
) {
    let mut last: HashMap<usize, Vec<Change<'_>>> = HashMap::new();
    let mut batch = Vec::new();
    for stream in streams {
        let mut of_this = HashMap::new();
        for i in stream.last_period()..stream.done() {
            if batches {
                let (group, offset) = stream.batch_at(i);
                workload.fill_batch(group, offset, &mut batch);
                let key = batch[group % KEYS_PER_GROUP];
                of_this.insert(key.0.id, key);
            } else {
                let change = stream.commit_at(i);
                if change.0.id.is_multiple_of(SAMPLE) {
                    of_this.insert(change.0.id, change);
                }
            }
        }
        of_this.into_iter().for_each(|(id, change)| last.entry(id).or_default().push(change));
    }
    assert!(!last.is_empty() || streams.iter().all(|stream| stream.done() < 10 * SAMPLE));
    for changes in last.values() {
        let found = session.fetch(changes[0].0).expect("a committed key has a value");
        let is_last = changes.iter().any(|(_, value)| found == *value);
        assert!(is_last, "read {found:?}, committed {changes:?}");
    }
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
