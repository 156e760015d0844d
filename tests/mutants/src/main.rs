//! Breaks the engine in each way that cargo-mutants knows, and sees whether a test notices.
//!
//! ```sh
//! cargo run --release --manifest-path tests/mutants/Cargo.toml
//! ```
//!
//! cargo-mutants builds the engine once for each mutant. Here all of them are compiled at once, each
//! behind a switch, and a run of the tests turns on one.

mod judge;
mod list;
mod places;
mod process;
mod programs;
mod results;
mod rewrite;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use judge::{Judge, Verdict};
use list::Mutant;
use places::Unswitched;
use programs::Choice;
use results::{Listed, Results};
use tree::Tree;

const USAGE: &str = "usage: pagemark-mutants [--resume] [--again] [--every N] [--jobs N] \
    [--longest MILLISECONDS] [--tests PART OF A NAME]... [PART OF A NAME...]";

struct Orders {
    /// Go on with the results of an earlier run.
    resume: bool,
    /// Judge once more what was missed in it.
    again: bool,
    /// Every so many-th mutant.
    every: usize,
    jobs: usize,
    /// How many milliseconds a test may take that judges.
    longest: u64,
    /// Only tests whose names have one of these in them, if there are any. What they miss stays open.
    tests: Vec<String>,
    /// Only mutants whose names have one of these in them, if there are any.
    parts: Vec<String>,
}

fn main() -> ExitCode {
    match Orders::from_args(std::env::args().skip(1)).and_then(|orders| run(&orders)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

impl Orders {
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Orders, String> {
        let (every, jobs, longest) = (1, 2, 60_000);
        let (tests, parts) = (Vec::new(), Vec::new());
        let mut orders = Orders { resume: false, again: false, every, jobs, longest, tests, parts };
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|n| n.parse::<usize>().ok()).ok_or(USAGE);
            match arg.as_str() {
                "--resume" => orders.resume = true,
                "--again" => (orders.resume, orders.again) = (true, true),
                "--every" => orders.every = number()?.max(1),
                "--jobs" => orders.jobs = number()?.max(1),
                "--longest" => orders.longest = number()? as u64,
                "--tests" => orders.tests.push(args.next().ok_or(USAGE)?),
                option if option.starts_with('-') => return Err(USAGE.into()),
                _ => orders.parts.push(arg),
            }
        }
        Ok(orders)
    }

    fn covers(&self, number: usize, mutant: &Mutant) -> bool {
        let named = |part: &String| mutant.name.contains(part);
        number.is_multiple_of(self.every) && (self.parts.is_empty() || self.parts.iter().any(named))
    }
}

fn run(orders: &Orders) -> Result<bool, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..").canonicalize().map_err(|error| error.to_string())?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let copy = target.join("mutants");
    std::fs::create_dir_all(&copy).map_err(|error| error.to_string())?;
    let listed = Listed::read(&here.join("equivalent.toml"))?;
    let mutants = list::of_tree(&root)?;
    let results = Results::open(&target.join("mutants.jsonl"), orders.resume);
    let results = results.map_err(|error| error.to_string())?;
    let tree = Tree::make(&root, &copy, &mutants, unviable(&mutants, &results))?;
    let longest = orders.longest as f64 / 1000.0;
    let choice = Choice { longest, parts: &orders.tests, jobs: orders.jobs };
    let tests = programs::tests(&tree, &target.join("mutants-tests.json"), &choice)?;
    let judging = tests.iter().filter(|test| choice.judges(test)).map(|test| test.seconds);
    let (count, total) = judging.fold((0, 0.0), |(n, total), seconds| (n + 1, total + seconds));
    println!("{count} tests take {total:.0} s without a mutant");
    let constants = tree.unswitched.values().filter(|why| **why == Unswitched::Constant).count();
    println!("{constants} mutants of constants are left to cargo-mutants");
    let verdicts =
        judge_all(orders, &Judge::new(&tree, &mutants, tests, &choice), &results, &listed)?;
    Ok(results::summary(&verdicts, &mutants, &listed))
}

/// What earlier runs have found not to compile.
fn unviable(mutants: &[Mutant], results: &Results) -> BTreeMap<usize, String> {
    let known = mutants.iter().enumerate().map(|(number, m)| (number, results.known(m)));
    known
        .filter_map(|(number, verdict)| match verdict {
            Some(Verdict::Unviable { why }) => Some((number, why.clone())),
            _ => None,
        })
        .collect()
}

fn judge_all(
    orders: &Orders,
    judge: &Judge<'_>,
    results: &Results,
    listed: &Listed,
) -> Result<BTreeMap<usize, Verdict>, String> {
    let mut verdicts = BTreeMap::new();
    let mut open = Vec::new();
    for (number, why) in &judge.tree.unviable {
        let mutant = &judge.mutants[*number];
        let verdict = Verdict::Unviable { why: why.clone() };
        if results.known(mutant) != Some(&verdict) {
            results.add(mutant, &verdict)?;
        }
        if orders.covers(*number, mutant) {
            verdicts.insert(*number, verdict);
        }
    }
    for (number, why) in &judge.tree.unswitched {
        if *why == Unswitched::Let && orders.covers(*number, &judge.mutants[*number]) {
            let why = "a condition with `let` has no other operator than `&&`".to_owned();
            verdicts.insert(*number, Verdict::Unviable { why });
        }
    }
    for (number, mutant) in judge.mutants.iter().enumerate() {
        if !orders.covers(number, mutant) || verdicts.contains_key(&number) {
            continue;
        }
        let known = results.known(mutant).cloned();
        results.caught(mutant).into_iter().for_each(|by| judge.learn(number, by));
        let missed = known.as_ref().is_some_and(Verdict::is_missed);
        let again = orders.again && missed && listed.reason(mutant).is_none();
        if let (Some(verdict), false) = (known, again) {
            verdicts.insert(number, verdict);
        } else if judge.knows(number) {
            open.push(number);
        }
    }
    // Those that nothing can catch take all tests, and come last.
    open.sort_by_key(|number| listed.reason(&judge.mutants[*number]).is_some());
    let (total, start) = (open.len(), Instant::now());
    open.reverse();
    let (open, verdicts) = (Mutex::new(open), Mutex::new(verdicts));
    let work = |worker| -> Result<(), String> {
        loop {
            let Some(number) = open.lock().map_err(|_| "another worker has failed")?.pop() else {
                return Ok(());
            };
            let begun = Instant::now();
            let verdict = judge.judge(number, worker)?;
            let mutant = &judge.mutants[number];
            let is_final = orders.tests.is_empty() || !verdict.is_missed();
            if is_final {
                results.add(mutant, &verdict)?;
            }
            let left = open.lock().map_err(|_| "another worker has failed")?.len();
            println!(
                "{:5.0} s, {} of {total}, {:5.1} s: {verdict:?}: {}",
                start.elapsed().as_secs_f64(),
                total - left,
                begun.elapsed().as_secs_f64(),
                mutant.name
            );
            verdicts.lock().map_err(|_| "another worker has failed")?.insert(number, verdict);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..orders.jobs).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().try_for_each(|w| w.join().map_err(|_| "a worker has failed")?)
    })?;
    verdicts.into_inner().map_err(|_| "a worker has failed".into())
}
