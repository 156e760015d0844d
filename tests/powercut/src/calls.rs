//! System calls that fail: the n-th of a kind, or all from the n-th on, for every n.
//!
//! strace makes the calls fail. What it injects never happened: a failed sync has lost nothing. So this
//! shows that every error is heard and told, that nothing dies of it, and that what was acknowledged
//! is there; not that an error is believed for good.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::scenario::{self, BEGIN, Orders, PHASES, State};
use crate::trace::{self, Calls};

/// The calls that touch files, and the errors that each of them may have.
const KINDS: [(&str, &[&str]); 27] = [
    ("openat", &["EIO", "ENOSPC", "EMFILE", "EINTR"]),
    ("mkdir", &["EIO", "ENOSPC"]),
    ("flock", &["EIO", "ENOLCK"]),
    ("fcntl", &["EIO"]),
    ("fallocate", &["EIO", "ENOSPC", "EOPNOTSUPP", "EINTR"]),
    ("ftruncate", &["EIO", "ENOSPC"]),
    ("pwrite64", &["EIO", "ENOSPC", "EINTR"]),
    ("write", &["EIO", "ENOSPC", "EINTR"]),
    ("pread64", &["EIO", "EINTR"]),
    ("read", &["EIO", "EINTR"]),
    ("preadv2", &["EIO", "EAGAIN", "EOPNOTSUPP"]),
    ("fdatasync", &["EIO", "ENOSPC", "EINTR"]),
    ("fsync", &["EIO", "ENOSPC", "EINTR"]),
    ("msync", &["EIO"]),
    ("sync_file_range", &["EIO"]),
    ("mmap", &["ENOMEM", "EIO"]),
    ("munmap", &["EINVAL"]),
    ("madvise", &["EIO", "EINVAL"]),
    ("fadvise64", &["EIO"]),
    ("renameat", &["EIO", "ENOSPC"]),
    ("renameat2", &["EIO", "ENOSPC"]),
    ("unlinkat", &["EIO"]),
    ("getdents64", &["EIO"]),
    ("statx", &["EIO"]),
    ("newfstatat", &["EIO"]),
    ("fstatfs", &["EIO"]),
    ("clone3", &["EAGAIN"]),
];

/// What was done.
#[derive(Debug, Default)]
struct Totals {
    runs: u64,
    /// Runs in which some call of the store failed.
    failed: u64,
    by_call: BTreeMap<&'static str, u64>,
    kinds: BTreeMap<String, u64>,
}

/// Every call, in every way, with every kind of store; or every `stride`-th of them.
pub(crate) fn run(stride: u64) -> Result<(), String> {
    let scratch = tempfile::tempdir().map_err(|error| format!("no scratch space: {error}"))?;
    let mut totals = Totals::default();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (mapped, background) in [(true, false), (false, false), (true, true)] {
        let orders = Orders { dir: scratch.path().join("dir"), mapped, background };
        let calls = count(&orders, &scratch.path().join("trace"))?;
        for (call, errors) in KINDS {
            for n in calls.numbers(call) {
                seen += 1;
                if seen % stride > 0 {
                    continue;
                }
                for when in cases(call, errors, n) {
                    if let Err(why) = totals.fail(&orders, call, &when) {
                        println!("WRONG: {call} {when}, {orders:?}: {why}");
                        wrong.push(when);
                    }
                }
            }
        }
    }
    let Totals { runs, failed, by_call, kinds } = totals;
    println!("{runs} runs, {failed} of them with an error that a call of the store returned");
    println!("by system call: {by_call:?}\nby kind of error: {kinds:?}");
    match wrong.len() {
        0 => Ok(()),
        wrong => Err(format!("{wrong} runs went wrong")),
    }
}

/// The ways in which the n-th call can fail, as strace wants to hear them.
fn cases(call: &str, errors: &[&str], n: u64) -> Vec<String> {
    let once = errors.iter().map(|error| format!("error={error}:when={n}"));
    // One that is to be repeated would be repeated for ever, and without threads there is no process
    // to look at.
    let lasting = errors.iter().filter(|error| **error != "EINTR" && call != "clone3");
    once.chain(lasting.map(|error| format!("error={error}:when={n}+"))).collect()
}

/// Plays the scenario without a failure, and notes the system calls that it makes for its files.
fn count(orders: &Orders, trace: &Path) -> Result<Calls, String> {
    let output = strace(orders, &["-y", "-o", &trace.display().to_string()])?;
    let said = Said::read(&output)?;
    let missing = said.lines.iter().find(|line| !line.ends_with(" ok") && *line != "salvaged true");
    if let Some(line) = missing {
        return Err(format!("without a failure: {line}"));
    }
    said.check(orders)?;
    let text = fs::read_to_string(trace).map_err(|error| format!("no trace: {error}"))?;
    Ok(trace::read(&text, BEGIN, &orders.dir.display().to_string()))
}

/// Runs the scenario in an empty directory under strace.
fn strace(orders: &Orders, options: &[&str]) -> Result<Output, String> {
    let failed = |error: std::io::Error| format!("cannot start strace: {error}");
    match fs::remove_dir_all(&orders.dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => fs::create_dir(&orders.dir).map_err(failed)?,
    }
    Command::new("strace")
        .args(["-f", "-qq"])
        .args(options)
        .arg(std::env::current_exe().map_err(failed)?)
        .arg("scenario")
        .args(orders.to_args())
        .output()
        .map_err(failed)
}

impl Totals {
    /// Has system calls fail, and looks at what is left.
    fn fail(&mut self, orders: &Orders, call: &'static str, when: &str) -> Result<(), String> {
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{when}"));
        let output =
            strace(orders, &["--seccomp-bpf", "-o", "/dev/null", "-e", &trace, "-e", &inject])?;
        self.runs += 1;
        *self.by_call.entry(call).or_default() += 1;
        let said = Said::read(&output)?;
        // An interrupted call is repeated, and nobody hears of it.
        if when.contains("EINTR")
            && let Some(line) = said.lines.iter().find(|line| error_of(line).is_some())
        {
            return Err(format!("an interruption is told: {line}"));
        }
        let errors: BTreeSet<&str> = said.lines.iter().filter_map(|line| error_of(line)).collect();
        self.failed += u64::from(!errors.is_empty());
        for error in errors {
            *self.kinds.entry(error.to_owned()).or_default() += 1;
        }
        said.check(orders).map_err(|why| format!("{why}\n{}", said.lines.join("\n")))
    }
}

/// The kind of error that a line tells of.
fn error_of(line: &str) -> Option<&str> {
    let kind = line.split(' ').nth(2)?;
    (kind != "ok").then_some(kind)
}

/// What the process said.
struct Said {
    lines: Vec<String>,
}

impl Said {
    /// Takes in what a process said, if it came to its end in order.
    fn read(output: &Output) -> Result<Said, String> {
        let complaint = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || complaint.contains("panicked") {
            let signal = output.status.signal();
            return Err(format!("{} (signal {signal:?}): {complaint}", output.status));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().filter(|line| *line != BEGIN).map(str::to_owned);
        Ok(Said { lines: lines.collect() })
    }

    /// Compares what was said with what was left.
    fn check(&self, orders: &Orders) -> Result<(), String> {
        let mut states = Possible::default();
        let mut backups = Vec::new();
        let mut phase = -1;
        // Whether a flush of the open store failed, which it must never forget.
        let mut is_latched = false;
        let flush = format!("could not flush a segment ({}", orders.store().display());
        for line in &self.lines {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["did", _, "ok"] if is_latched => {
                    return Err(format!("acknowledged after a failed flush: {line}"));
                }
                ["did", step, "ok"] => states.acknowledge(number(step)?),
                ["did", step, kind, ..] => states.fail(number(step)?, kind),
                ["op", "open", "ok"] => {
                    phase += 1;
                    (states.is_poisoned, is_latched) = (false, false);
                }
                ["op", "backup", "ok"] => backups.push((phase, states.clone())),
                ["op", _, "ok"] | ["salvaged", _] => {}
                ["op", "verify" | "salvage", ..] => {}
                ["op", _, "Io" | "Full" | "Poisoned", ..] => {}
                _ => return Err(format!("this should not be: {line}")),
            }
            is_latched |= line.contains(&flush);
        }
        let options = orders.options().background(false);
        let last = scenario::check(&options, &orders.store(), &states.states)?;
        for (phase, states) in &backups {
            // A phase in which the store could not be opened has no backup.
            let dirs: Vec<PathBuf> = (*phase..PHASES).map(|phase| orders.backup(phase)).collect();
            let dir = dirs.iter().find(|dir| dir.is_dir()).ok_or("a backup is not there")?;
            scenario::check(&options, dir, &states.states)?;
        }
        if self.lines.iter().any(|line| line == "salvaged true") {
            scenario::check(&options, &orders.salvaged(), &[last])?;
        }
        Ok(())
    }
}

fn number(word: &str) -> Result<i64, String> {
    word.parse().map_err(|error| format!("{word}: {error}"))
}

/// The states that a store may show.
#[derive(Clone, Debug)]
struct Possible {
    states: Vec<State>,
    is_poisoned: bool,
}

impl Default for Possible {
    fn default() -> Possible {
        Possible { states: vec![State::new()], is_poisoned: false }
    }
}

impl Possible {
    fn acknowledge(&mut self, step: i64) {
        self.states.iter_mut().for_each(|state| scenario::apply(state, step));
        self.states.dedup();
    }

    fn fail(&mut self, step: i64, kind: &str) {
        // `Full` promises that there was no effect, and after the first failure nothing is written.
        if kind == "Full" || self.is_poisoned {
            return;
        }
        let before = self.states.clone();
        self.acknowledge(step);
        self.states.extend(before);
        self.is_poisoned = true;
    }
}
