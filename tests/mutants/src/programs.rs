//! The test programs that judge, and what each of their tests passes and takes.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::process;
use crate::tree::Tree;

/// The programs, besides the unit tests. Those are left out that start processes or mount disks, and
/// those that judge no engine code.
const PROGRAMS: [&str; 19] = [
    "agree",
    "api",
    "backup",
    "care",
    "commits",
    "compaction",
    "concurrency",
    "dump",
    "durability",
    "expiry",
    "format",
    "futures",
    "limits",
    "reader",
    "recovery",
    "salvage",
    "states",
    "stats",
    "testkit",
];

/// Tests that start processes of their own, and one whose threads take minutes on a busy machine.
const LEFT_OUT: [&str; 2] = ["writer::", "backups_beside_commits_and_compactions"];

/// How much the tests do that can do more or less: docs/testing.md.
const SIZES: [(&str, &str); 8] = [
    ("PAGEMARK_TEST_IMAGES", "5000"),
    ("PAGEMARK_TEST_STEPS", "3"),
    ("PAGEMARK_TEST_FAULTS", "10"),
    ("PAGEMARK_TEST_SEQUENCES", "500"),
    // The same cases for every mutant, and none made smaller or kept for the next one.
    ("PROPTEST_RNG_SEED", "1"),
    ("PROPTEST_MAX_SHRINK_ITERS", "0"),
    ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true"),
    ("RUST_BACKTRACE", "0"),
];

/// One test of a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Test {
    pub program: PathBuf,
    /// What `program` is called.
    pub judge: String,
    pub name: String,
    /// Of processor time, which a busy machine does not make much longer.
    pub seconds: f64,
    /// It was stopped after so long, and would have passed other places.
    stopped: bool,
    /// The numbers of the places that it passes.
    pub passed: BTreeSet<usize>,
}

/// Which tests judge, and how many are measured at once.
pub struct Choice<'a> {
    /// They take no more seconds of processor time than this.
    pub longest: f64,
    /// One of these is a part of their names, if there are any.
    pub parts: &'a [String],
    pub jobs: usize,
}

impl Choice<'_> {
    fn covers(&self, judge: &str, name: &str) -> bool {
        let name = format!("{judge}::{name}");
        self.parts.is_empty() || self.parts.iter().any(|part| name.contains(part))
    }

    /// Whether this one judges.
    pub fn judges(&self, test: &Test) -> bool {
        !test.stopped && test.seconds <= self.longest && self.covers(&test.judge, &test.name)
    }
}

/// Builds the programs and runs each test once without a mutant. What is known from an earlier run is
/// in the file `known`. A test that takes more than
/// `longest` seconds of processor time is stopped.
pub fn tests(tree: &Tree, known: &Path, choice: &Choice<'_>) -> Result<Vec<Test>, String> {
    let mut tests: Vec<Test> = match fs::read(known) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string())?,
        Err(_) => Vec::new(),
    };
    let programs = build(tree)?;
    let fresh = |program: &Path| modified(program) > modified(known);
    tests.retain(|t| !fresh(&t.program) && programs.values().any(|p| *p == t.program));
    tests.retain(|test| {
        !test.stopped || test.seconds > choice.longest || !choice.covers(&test.judge, &test.name)
    });
    let mut judges: Vec<_> = programs.into_iter().collect();
    judges.sort();
    for (judge, program) in judges {
        let mut names = names(&program)?;
        names.retain(|name| choice.covers(&judge, name));
        names.retain(|name| !tests.iter().any(|t| t.program == program && t.name == *name));
        let names = Mutex::new(names.into_iter());
        let work = &|worker| -> Result<Vec<Test>, String> {
            let mut measured = Vec::new();
            while let Some(name) = names.lock().ok().and_then(|mut names| names.next()) {
                let passed = tree.root.join(format!("passed-{worker}"));
                measured.push(measure(tree, &judge, &program, name, choice.longest, &passed)?);
            }
            Ok(measured)
        };
        std::thread::scope(|scope| -> Result<(), String> {
            let workers: Vec<_> =
                (0..choice.jobs).map(|worker| scope.spawn(move || work(worker))).collect();
            for worker in workers {
                tests.extend(worker.join().map_err(|_| "a worker has failed")??);
            }
            Ok(())
        })?;
        let bytes = serde_json::to_vec(&tests).map_err(|error| error.to_string())?;
        fs::write(known, bytes).map_err(|error| error.to_string())?;
    }
    Ok(tests)
}

/// A run of these tests of a program.
pub fn command(tree: &Tree, program: &Path, names: &[&str]) -> Command {
    let mut command = Command::new("sh");
    // 6 GiB of addresses and files of 2 GiB: a mutant may ask for anything.
    let script = "ulimit -v 6291456 -f 4194304 -c 0; exec \"$0\" \"$@\"";
    command.args(["-c", script]).arg(program).args(names);
    command.args(["--exact", "--test-threads=1"]).envs(SIZES).current_dir(&tree.root);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn build(tree: &Tree) -> Result<HashMap<String, PathBuf>, String> {
    #[derive(Deserialize)]
    struct Built {
        target: Option<Target>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let mut command = tree.cargo();
    command.args(["test", "--no-run", "-p", "pagemark", "--message-format=json", "--lib"]);
    command.args(PROGRAMS.map(|program| format!("--test={program}")));
    let output = command.output().map_err(|error| format!("cargo test: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let built = text.lines().filter_map(|line| serde_json::from_str::<Built>(line).ok());
    Ok(built.filter_map(|built| Some((built.target?.name, built.executable?))).collect())
}

fn names(program: &Path) -> Result<Vec<String>, String> {
    let list = |args: &[&str]| -> Result<Vec<String>, String> {
        let output = Command::new(program).args(["--list", "--format=terse"]).args(args).output();
        let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter_map(|l| l.strip_suffix(": test")).map(str::to_owned).collect())
    };
    let ignored = list(&["--ignored"])?;
    let mut names = list(&[])?;
    names.retain(|n| !ignored.contains(n) && !LEFT_OUT.iter().any(|out| n.starts_with(out)));
    Ok(names)
}

fn measure(
    tree: &Tree,
    judge: &str,
    program: &Path,
    name: String,
    longest: f64,
    passed: &Path,
) -> Result<Test, String> {
    let _ = fs::remove_file(passed);
    let mut command = command(tree, program, &[&name]);
    command.env("PAGEMARK_MUTANTS_PASSED", passed);
    let ended = process::finish(&mut command, longest)?;
    if ended.success == Some(false) {
        return Err(format!("{judge}::{name} fails without any mutant:\n{}", ended.said));
    }
    let text = fs::read_to_string(passed).unwrap_or_default();
    let passed = text.lines().filter_map(|line| line.parse().ok()).collect();
    let (program, judge) = (program.to_owned(), judge.to_owned());
    let (seconds, stopped) = (ended.seconds, ended.success.is_none());
    println!("{seconds:8.3} s {judge}::{name}");
    Ok(Test { program, judge, name, seconds, stopped, passed })
}

fn modified(path: &Path) -> Duration {
    let time = fs::metadata(path).and_then(|metadata| metadata.modified());
    time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default()
}
