//! How many instructions each verb takes: a figure that is the same on a busy machine and on a quiet one,
//! for finding out whether a change has made one of them longer. Needs valgrind.
//!
//! ```sh
//! cargo bench --bench instructions             # compare with benches/instructions.txt
//! cargo bench --bench instructions -- --update # write that file
//! ```
//!
//! The program runs itself under callgrind, once for each verb, and callgrind counts in one function only.

mod workload;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use pagemark::dump::{Record, dump};
use pagemark::testkit::FixedEnvironment;
use pagemark::{Durability, OffsetStore, Options, Slot, WritePath};
use workload::{Workload, commit};

const COUNTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
/// How much more a verb may take before that is a failure, in percent. Counts of one program are the
/// same up to far less.
const ALLOWED: f64 = 3.0;
const USAGE: &str = "usage: cargo bench --bench instructions [-- --update]";

/// What is counted, and who does it: in a directory, once. Returns how many of it that were.
const VERBS: [(&str, fn(&Path) -> u64); 9] = [
    ("commit by names, buffered", |dir| {
        with_store(dir, 2_000, |at, i| {
            black_box(at.store.commit(at.workload.key(spread(i)), commit(i as i64)).unwrap());
        })
    }),
    ("commit by slot, buffered", |dir| {
        with_store(dir, 2_000, |at, i| {
            black_box(at.slots[spread(i)].commit(commit(i as i64)).unwrap());
        })
    }),
    ("batch of 100 commits, buffered", |dir| {
        let workload = Workload::new();
        let batches: Vec<_> = (0..GROUPS).map(|group| workload.batch(group, 7)).collect();
        with_store(dir, 20, |at, i| {
            black_box(at.store.commit_batch(&batches[i % GROUPS]).unwrap());
        })
    }),
    ("fetch by names", |dir| {
        with_store(dir, 2_000, |at, i| {
            black_box(at.store.fetch(at.workload.key(spread(i))).unwrap());
        })
    }),
    ("fetch by slot", |dir| {
        with_store(dir, 2_000, |at, i| {
            black_box(at.slots[spread(i)].fetch().unwrap());
        })
    }),
    ("visit a group of 100 keys", |dir| {
        with_store(dir, 20, |at, i| {
            let group = at.workload.key(spread(i)).group();
            at.store.visit_group(group, |topic, partition, value| {
                black_box((topic, partition, value));
            });
        })
    }),
    ("replay a record", replay),
    ("load a key of a snapshot", load),
    ("dump a record", read),
];

/// Groups that commits and fetches go to, with 100 keys each.
const GROUPS: usize = 10;

/// Keys in an order that is not that in which they lie.
fn spread(i: usize) -> usize {
    i * 7_919 % (GROUPS * 100)
}

/// The one function in which callgrind counts. It finds it by its name.
#[inline(never)]
fn counted_by_callgrind(work: &mut dyn FnMut()) {
    work();
}

/// What could make two runs differ is left out: threads, the clock, and seeds of hashes.
fn options() -> Options {
    Options::new()
        .durability(Durability::Buffered)
        .background(false)
        .auto_compact(false)
        .write_path(WritePath::Mapped)
        .environment(FixedEnvironment::new(1))
}

struct Prepared {
    workload: Workload,
    store: OffsetStore,
    /// Of all keys of the first groups.
    slots: Vec<Slot>,
}

fn with_store(dir: &Path, times: u64, mut work: impl FnMut(&Prepared, usize)) -> u64 {
    let workload = Workload::new();
    let store = options().open(dir).unwrap();
    workload.fill(&store);
    // Their names are in the active segment then.
    for group in 0..GROUPS {
        store.commit_batch(&workload.batch(group, 1)).unwrap();
    }
    let slots = (0..GROUPS * 100).map(|i| store.slot(workload.key(i)).unwrap()).collect();
    let prepared = Prepared { workload, store, slots };
    let segments = prepared.store.stats().segments;
    counted_by_callgrind(&mut || (0..times as usize).for_each(|i| work(&prepared, i)));
    assert_eq!(prepared.store.stats().segments, segments, "a new segment would count, too");
    times
}

/// Makes a log of commits to the keys of a few groups, and closes the store.
fn write_log(dir: &Path) {
    let workload = Workload::new();
    let store = options().open(dir).unwrap();
    for i in 0..20_000 {
        store.commit(workload.key(spread(i)), commit(i as i64)).unwrap();
    }
    store.close().unwrap();
}

fn replay(dir: &Path) -> u64 {
    write_log(dir);
    let mut opened = None;
    counted_by_callgrind(&mut || opened = Some(options().open(dir).unwrap()));
    opened.unwrap().recovery_report().records
}

fn load(dir: &Path) -> u64 {
    let store = options().open(dir).unwrap();
    Workload::new().fill(&store);
    store.compact().unwrap();
    store.close().unwrap();
    let mut opened = None;
    counted_by_callgrind(&mut || opened = Some(options().open(dir).unwrap()));
    opened.unwrap().recovery_report().snapshot_keys
}

fn read(dir: &Path) -> u64 {
    write_log(dir);
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let largest = files.max_by_key(|file| (file.metadata().unwrap().len(), file.path())).unwrap();
    let mut records = 0;
    counted_by_callgrind(&mut || {
        let visit = |record: &Record<'_>| _ = black_box(record);
        records = dump(&largest.path(), visit).unwrap().records;
    });
    records
}

fn main() -> ExitCode {
    // Cargo adds the first.
    let arguments: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [] => compare(),
        ["--update"] => update(),
        // As a check that it runs, which takes no valgrind.
        ["--test"] => VERBS.iter().try_for_each(|(verb, _)| run(verb).map(drop)),
        ["--count", verb] => run(verb).map(|times| println!("{times}")),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Does what a verb says once, in this process.
fn run(verb: &str) -> Result<u64, String> {
    let (_, work) = VERBS.iter().find(|(name, _)| *name == verb).ok_or(USAGE)?;
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    Ok(work(dir.path()))
}

/// The instructions that one of a verb takes, counted in a process of its own.
fn count(verb: &str) -> Result<f64, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = dir.path().join("counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--toggle-collect=*counted_by_callgrind*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe().map_err(|error| error.to_string())?)
        .args(["--count", verb])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("{verb}: valgrind ended with {}", output.status));
    }
    let times = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>();
    let counts = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let total =
        counts.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
    match (times, total) {
        (Ok(times), Some(total)) if times > 0 && total > 0 => Ok(total as f64 / times as f64),
        _ => Err(format!("{verb}: callgrind has counted nothing")),
    }
}

/// What counts depend on beside the code.
fn tools() -> String {
    let version = |tool: &str| {
        let output = Command::new(tool).arg("--version").output();
        let text = output.map_or_else(|_| tool.into(), |output| output.stdout);
        String::from_utf8_lossy(&text).trim().to_owned()
    };
    format!("{}, {}, {}", env::consts::ARCH, version("rustc"), version("valgrind"))
}

fn update() -> Result<(), String> {
    let mut text = format!(
        "# Instructions of each verb: cargo bench --bench instructions -- --update\n# {}\n",
        tools()
    );
    for (verb, _) in VERBS {
        let line = format!("{:>8.1}  {verb}", count(verb)?);
        println!("{line}");
        let _ = writeln!(text, "{line}");
    }
    fs::write(COUNTS, text).map_err(|error| error.to_string())
}

fn compare() -> Result<(), String> {
    let text = fs::read_to_string(COUNTS).map_err(|error| format!("{COUNTS}: {error}"))?;
    if !text.contains(&tools()) {
        println!("The counts in {COUNTS} were made with other tools than {}.", tools());
    }
    let known = text.lines().filter_map(|line| {
        let (count, verb) = line.trim().split_once("  ")?;
        Some((verb, count.parse::<f64>().ok()?))
    });
    let known: BTreeMap<&str, f64> = known.collect();
    let mut longer = Vec::new();
    println!("  before       now  change  verb");
    for (verb, _) in VERBS {
        let before = *known.get(verb).ok_or_else(|| format!("{verb}: not in {COUNTS}"))?;
        let now = count(verb)?;
        let change = (now / before - 1.0) * 100.0;
        println!("{before:>8.1}  {now:>8.1}  {change:>+5.1}%  {verb}");
        if change > ALLOWED {
            longer.push(verb);
        }
    }
    match longer[..] {
        [] => Ok(()),
        _ => Err(format!("more than {ALLOWED} % longer: {}", longer.join("; "))),
    }
}
