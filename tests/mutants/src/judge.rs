//! Runs the tests with one mutant at work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::list::Mutant;
use crate::process::finish;
use crate::programs::{self, Choice, Test};
use crate::tree::Tree;

/// What became of a mutant.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum Verdict {
    /// A test failed, or the program died in it.
    Caught { by: String },
    /// A test did not end.
    Hangs { by: String },
    /// All tests pass.
    Missed,
    /// No test comes by.
    Unreached,
    /// It does not compile.
    Unviable { why: String },
}

impl Verdict {
    /// Whether no test has noticed the mutant.
    pub fn is_missed(&self) -> bool {
        matches!(self, Verdict::Missed | Verdict::Unreached)
    }
}

/// About how long the tests of one run take together. A process for each test of a millisecond costs
/// more than the test does.
const RUN_SECONDS: f64 = 0.3;

/// What a test takes that is too short to be counted.
const LEAST_SECONDS: f64 = 0.005;

/// What a test may take of which it is not known how long it takes.
const MOST_SECONDS: f64 = 300.0;

/// How many tests that caught mutants of the same function, and of the same file, come first.
const NEIGHBOURS: usize = 3;

/// A file and a function in it, or none for all of the file.
type Near<'a> = (&'a str, &'a str);

pub struct Judge<'a> {
    pub tree: &'a Tree,
    pub mutants: &'a [Mutant],
    /// The tests, the short ones first.
    tests: Vec<Test>,
    /// The places in `tests` of those that judge.
    judging: BTreeSet<usize>,
    /// The test that caught a mutant in an earlier run. It judges that one however long it takes.
    known: Mutex<HashMap<usize, usize>>,
    /// The place of each mutant.
    places: HashMap<usize, usize>,
    /// How many mutants of a function each test has caught, and of a file.
    caught: Mutex<BTreeMap<Near<'a>, BTreeMap<usize, usize>>>,
}

/// How one run ended.
enum Ended {
    Well,
    Badly(String),
    Never,
}

impl<'a> Judge<'a> {
    pub fn new(
        tree: &'a Tree,
        mutants: &'a [Mutant],
        mut tests: Vec<Test>,
        choice: &Choice<'_>,
    ) -> Judge<'a> {
        tests.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let places = tree.places.iter().enumerate();
        let places = places.flat_map(|(number, (_, place))| {
            place.mutants.iter().map(move |(mutant, _)| (*mutant, number))
        });
        let (places, known, caught) = (places.collect(), Mutex::default(), Mutex::default());
        let judging = (0..tests.len()).filter(|test| choice.judges(&tests[*test])).collect();
        Judge { tree, mutants, tests, judging, known, places, caught }
    }

    /// Remembers which test caught the mutant with this number in an earlier run.
    pub fn learn(&self, mutant: usize, by: &str) {
        if let Some(test) = (0..self.tests.len()).find(|test| self.name(*test) == by) {
            self.known.lock().unwrap().insert(mutant, test);
            self.note(mutant, test);
        }
    }

    /// Whether the mutant with this number has a switch.
    pub fn knows(&self, mutant: usize) -> bool {
        self.places.contains_key(&mutant)
    }

    /// Runs the tests that pass the place of the mutant, until one fails. `worker` says whose
    /// directory for temporary files is used.
    pub fn judge(&self, mutant: usize, worker: usize) -> Result<Verdict, String> {
        let place = self.places[&mutant];
        let function = self.mutants[mutant].function();
        let known = self.known.lock().unwrap().get(&mutant).copied();
        let passing = |test: &usize| {
            let judges = self.judging.contains(test);
            known == Some(*test) || judges && self.tests[*test].passed.contains(&place)
        };
        let mut left: Vec<usize> = (0..self.tests.len()).filter(passing).collect();
        if left.is_empty() {
            return Ok(Verdict::Unreached);
        }
        // First what caught it before, and those that caught the neighbours, each on its own.
        let mut runs: Vec<Vec<usize>> = known.into_iter().map(|test| vec![test]).collect();
        for near in [function, (function.0, "")] {
            let caught = self.caught.lock().unwrap().get(&near).cloned().unwrap_or_default();
            let open = |test: &usize| left.contains(test) && !runs.contains(&vec![*test]);
            let mut first: Vec<_> = caught.into_iter().filter(|(test, _)| open(test)).collect();
            first.sort_by_key(|(_, times)| usize::MAX - times);
            runs.extend(first.into_iter().take(NEIGHBOURS).map(|(test, _)| vec![test]));
        }
        left.retain(|test| !runs.iter().any(|run| run.contains(test)));
        runs.extend(self.pack(&left));
        for run in runs {
            let (verdict, test) = match self.run(mutant, &run, worker)? {
                Ended::Well => continue,
                Ended::Badly(by) => {
                    let test = run.iter().copied().find(|test| by == self.name(*test));
                    (Verdict::Caught { by }, test)
                }
                Ended::Never => (Verdict::Hangs { by: self.name(run[0]) }, Some(run[0])),
            };
            if let Some(test) = test {
                self.note(mutant, test);
            }
            return Ok(verdict);
        }
        Ok(Verdict::Missed)
    }

    /// Remembers for the neighbours of a mutant that this test caught it.
    fn note(&self, mutant: usize, test: usize) {
        let function = self.mutants[mutant].function();
        let mut caught = self.caught.lock().unwrap();
        for near in [function, (function.0, "")] {
            *caught.entry(near).or_default().entry(test).or_default() += 1;
        }
    }

    fn name(&self, test: usize) -> String {
        format!("{}::{}", self.tests[test].judge, self.tests[test].name)
    }

    /// The tests in runs, in each of which one program does a few of them.
    fn pack(&self, tests: &[usize]) -> Vec<Vec<usize>> {
        let mut runs: Vec<Vec<usize>> = Vec::new();
        let mut open: HashMap<&Path, usize> = HashMap::new();
        for &test in tests {
            let program = self.tests[test].program.as_path();
            match open.get(program) {
                Some(&run) if self.seconds(&runs[run]) + self.seconds(&[test]) < RUN_SECONDS => {
                    runs[run].push(test);
                }
                _ => {
                    open.insert(program, runs.len());
                    runs.push(vec![test]);
                }
            }
        }
        runs
    }

    fn seconds(&self, run: &[usize]) -> f64 {
        run.iter().map(|test| self.tests[*test].seconds.max(LEAST_SECONDS)).sum()
    }

    fn run(&self, mutant: usize, run: &[usize], worker: usize) -> Result<Ended, String> {
        let names: Vec<&str> = run.iter().map(|test| self.tests[*test].name.as_str()).collect();
        let program = &self.tests[run[0]].program;
        let is_known = run.iter().all(|test| self.judging.contains(test));
        let limit = if !is_known { MOST_SECONDS } else { self.seconds(run) * 5.0 + 3.0 };
        let mut command = programs::command(self.tree, program, &names);
        let temporary = self.tree.root.join(format!("tmp-{worker}"));
        std::fs::create_dir_all(&temporary).map_err(|error| error.to_string())?;
        command.env("PAGEMARK_MUTANT", mutant.to_string()).env("TMPDIR", &temporary);
        let ended = finish(&mut command, limit);
        let _ = std::fs::remove_dir_all(&temporary);
        let ended = ended?;
        Ok(match ended.success {
            None => Ended::Never,
            Some(true) => Ended::Well,
            Some(false) => Ended::Badly(self.failed(run, &ended.said)),
        })
    }

    /// The test that failed: the first one of which the program says so, or that it did not end.
    fn failed(&self, run: &[usize], said: &str) -> String {
        let ok = |test: &usize| said.contains(&format!("test {} ... ok", self.tests[*test].name));
        let failed = run.iter().find(|test| !ok(test)).unwrap_or(&run[0]);
        self.name(*failed)
    }
}
