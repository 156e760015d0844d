//! What an open costs: replay of a long log after a kill and after a close.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use pagemark::{Durability, Options};

use crate::args::Args;
use crate::child;
use crate::commits::GROUPS;
use crate::engines::pagemark::{ByName, commit, commit_batch, named};
use crate::quiet::Quiet;
use crate::run::{TempDir, check};
use crate::table::{median, print_aligned, short};
use crate::workload::{KEYS_PER_GROUP, Workload};

const COMMITS: usize = 10_000_000;

/// Fills stores in processes that are killed, and opens them again in new ones.
pub fn replay(args: &Args) {
    let quiet = Quiet::new(args.patience);
    let mut rows = vec![
        ["keys", "stopped by", "commits/s", "per core", "open ms", "MB", "raw read ms"]
            .map(str::to_owned)
            .into(),
    ];
    for groups in [GROUPS, 10 * GROUPS] {
        let dir = TempDir::new(&args.dir);
        let store = dir.0.join("store");
        let path = store.display().to_string();
        let groups_word = groups.to_string();
        child::run_and_kill(&["child-fill", &path, &groups_word]);
        for stop in ["kill", "close"] {
            if stop == "close" {
                child::run_and_kill(&["child-open", &path, &groups_word, stop]);
            }
            let mut opened: [Vec<f64>; 5] = Default::default();
            for round in 1..=args.rounds {
                eprintln!("round {round} of {}: replay of {groups} groups, {stop}", args.rounds);
                let raw = read_raw(&store);
                let open = ["child-open", &path, &groups_word, stop];
                let told = quiet.measure(|| child::run_and_kill(&open));
                let told: Vec<f64> =
                    told.split(' ').map(|word| word.parse().expect("a number")).collect();
                let [seconds, cpu, changes, bytes] = told[..] else { panic!("four numbers") };
                let (rate, per_core) = (changes / seconds, changes / cpu);
                let found = [rate, per_core, seconds * 1e3, bytes / 1e6, raw * 1e3];
                opened.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
            }
            let [rate, per_core, ms, megabytes, raw] =
                opened.map(|rounds| median(rounds).map_or("-".to_owned(), short));
            let keys = short((groups * KEYS_PER_GROUP) as f64);
            rows.push(vec![keys, stop.to_owned(), rate, per_core, ms, megabytes, raw]);
        }
    }
    println!("\n## Replay of {} commits by pagemark\n", short(COMMITS as f64));
    print_aligned(&rows);
    let _ = quiet.tell();
    println!("\nraw read: the same files read once, not from the page cache, with a CRC-32.");
    println!("per core: commits per second of processor time, of all threads and the kernel.");
    println!("bar: at least 10 M commits per second per core");
}

/// The whole log stays: it is what is measured.
fn options() -> Options {
    Options::new().durability(Durability::Buffered).auto_compact(false)
}

/// The child that fills a store. It is killed when it has told that it is done.
pub fn fill(args: &Args) {
    let (path, workload) = of_child(args);
    let store = options().open(path).expect("open pagemark");
    let mut batch = Vec::new();
    for group in 0..workload.groups() {
        workload.fill_batch(group, 0, &mut batch);
        commit_batch(&store, &batch);
    }
    let mut stream = workload.stream(0, 1);
    for _ in 0..COMMITS {
        let (key, value) = stream.next_commit();
        store.commit(named(key), commit(&value)).expect("commit");
    }
    child::tell("filled");
}

/// The child that opens a store and tells how long that took.
pub fn open(args: &Args) {
    let (path, workload) = of_child(args);
    let (started, cpu_before) = (Instant::now(), processor_seconds());
    let store = options().open(path).expect("open pagemark");
    let seconds = started.elapsed().as_secs_f64();
    let cpu = processor_seconds() - cpu_before;
    let report = store.recovery_report().clone();
    let mut stream = workload.stream(0, 1);
    stream.skip_to(COMMITS);
    check(&mut ByName { store: &store }, &workload, &[stream], false);
    if args.rest.get(2).is_some_and(|stop| stop == "close") {
        store.close().expect("close");
    }
    child::tell(&format!("{seconds} {cpu} {} {}", report.changes, report.bytes));
}

/// Processor time of this process: of all threads, in user mode and in the kernel.
pub fn processor_seconds() -> f64 {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    // SAFETY: all zeros are a value of this struct of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a struct of the type that the call fills.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    assert_eq!(failed, 0, "getrusage");
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn of_child(args: &Args) -> (&Path, Workload) {
    let [path, groups, ..] = &args.rest[..] else { panic!("a path and a number of groups") };
    (Path::new(path), Workload::new(groups.parse().expect("a number of groups")))
}

/// Reads all files of a directory once from the device.
fn read_raw(dir: &Path) -> f64 {
    let mut bytes = vec![0; 1 << 20];
    let started = Instant::now();
    for entry in std::fs::read_dir(dir).expect("list the store") {
        let file = File::open(entry.expect("list the store").path()).expect("open a file");
        // SAFETY: the descriptor is open, and the call touches no memory of this process.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
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
