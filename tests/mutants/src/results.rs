//! What is kept of a run, the list of mutants that change nothing, and the summary.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::judge::Verdict;
use crate::list::Mutant;

/// One line of the file of results.
#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    name: String,
    verdict: Verdict,
}

/// The file of results, which grows by a line for each verdict.
pub struct Results {
    file: Mutex<File>,
    known: HashMap<String, Verdict>,
    /// What caught mutants of a name, perhaps before their function was changed.
    caught: HashMap<String, String>,
}

impl Results {
    /// Opens the file at `path`. What is in it counts if `resume` says so.
    pub fn open(path: &Path, resume: bool) -> std::io::Result<Results> {
        let text =
            if resume { fs::read_to_string(path).unwrap_or_default() } else { String::new() };
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let (mut known, mut caught) = (HashMap::new(), HashMap::new());
        for Line { key, name, verdict } in lines {
            if let Verdict::Caught { by } = &verdict {
                caught.insert(without_place(&name), by.clone());
            }
            known.insert(key, verdict);
        }
        let mut options = File::options();
        let file = options.create(true).write(true).append(resume).truncate(!resume).open(path)?;
        Ok(Results { file: Mutex::new(file), known, caught })
    }

    pub fn known(&self, mutant: &Mutant) -> Option<&Verdict> {
        self.known.get(&mutant.key)
    }

    /// The test that caught a mutant of this name the last time that one was caught.
    pub fn caught(&self, mutant: &Mutant) -> Option<&str> {
        self.caught.get(&without_place(&mutant.name)).map(String::as_str)
    }

    pub fn add(&self, mutant: &Mutant, verdict: &Verdict) -> Result<(), String> {
        let (key, name) = (mutant.key.clone(), mutant.name.clone());
        let line = Line { key, name, verdict: verdict.clone() };
        let line = serde_json::to_string(&line).map_err(|error| error.to_string())?;
        let mut file = self.file.lock().map_err(|_| "another worker has failed")?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(|error| error.to_string())
    }
}

/// The file and what is changed, without the line and the column.
fn without_place(name: &str) -> String {
    let mut parts = name.splitn(4, ':');
    format!("{}{}", parts.next().unwrap_or_default(), parts.nth(2).unwrap_or_default())
}

/// Mutants that no test can catch, each with the reason.
#[derive(Deserialize)]
pub struct Listed {
    #[serde(default)]
    equivalent: Vec<Entry>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    file: String,
    /// Names without the place.
    mutants: Vec<String>,
    /// A part of the line, where the names alone would say too much.
    line: Option<String>,
    reason: String,
}

impl Listed {
    pub fn read(path: &Path) -> Result<Listed, String> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Why nothing can catch this one, if that is listed.
    pub fn reason(&self, mutant: &Mutant) -> Option<&str> {
        let entry = self.equivalent.iter().find(|entry| entry.is_of(mutant))?;
        Some(&entry.reason)
    }

    /// What is listed and is no mutant at all.
    pub fn stale(&self, mutants: &[Mutant]) -> Vec<String> {
        let mut stale = Vec::new();
        for entry in &self.equivalent {
            for name in &entry.mutants {
                let alone = Entry { mutants: vec![name.clone()], ..entry.clone() };
                if !mutants.iter().any(|mutant| alone.is_of(mutant)) {
                    stale.push(format!("{}: {name}", entry.file));
                }
            }
        }
        stale
    }
}

impl Entry {
    fn is_of(&self, mutant: &Mutant) -> bool {
        self.file == mutant.file
            && self.mutants.iter().any(|name| name == mutant.what())
            && self.line.as_ref().is_none_or(|line| mutant.line.contains(line))
    }
}

/// Prints what became of the mutants, and says whether all is well.
pub fn summary(verdicts: &BTreeMap<usize, Verdict>, mutants: &[Mutant], listed: &Listed) -> bool {
    // By the part of the engine, and of all of them.
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut well = true;
    for (number, verdict) in verdicts {
        let mutant = &mutants[*number];
        let listed = listed.reason(mutant).is_some();
        let (what, complaint) = match verdict {
            Verdict::Caught { .. } if listed => ("caught", Some("is listed, and caught")),
            Verdict::Caught { .. } => ("caught", None),
            Verdict::Hangs { .. } if listed => ("caught by a limit", Some("is listed, and hangs")),
            Verdict::Hangs { .. } => ("caught by a limit", None),
            Verdict::Unviable { .. } => ("do not compile", None),
            Verdict::Missed | Verdict::Unreached if listed => ("listed", None),
            Verdict::Missed => ("missed", Some("is missed")),
            Verdict::Unreached => ("missed", Some("is missed: no test comes by")),
        };
        for part in [mutant.part(), "all"] {
            *counts.entry(part).or_default().entry(what).or_default() += 1;
        }
        if let Some(complaint) = complaint {
            println!("{}: {complaint}", mutant.name);
            well = false;
        }
    }
    for name in listed.stale(mutants) {
        println!("{name} is listed, and no mutant");
        well = false;
    }
    println!("{} of {} mutants", verdicts.len(), mutants.len());
    counts.iter().for_each(|(part, counts)| println!("{part}: {counts:?}"));
    well
}
