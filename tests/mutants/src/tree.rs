//! A copy of the tree with all mutants in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::list::Mutant;
use crate::places::{self, Place, Unswitched};
use crate::rewrite::{Rewritten, rewrite};

/// The switch, put into the engine as a module of its own.
const SWITCH: &str = include_str!("switch.rs");
const CHECK: &[&str] =
    &["check", "--package=pagemark", "--lib", "--features=testkit", "--message-format=json"];
const BUILD: &[&str] =
    &["build", "--profile=test", "--lib", "--features=testkit", "--message-format=json"];
/// Where the module is declared.
const LIB: &str = "src/lib.rs";
/// What no copy needs.
const LEFT_OUT: [&str; 5] = ["target", ".git", "fuzz", "corpus", "mutants.out"];

/// The copy, and what became of each mutant in it.
pub struct Tree {
    pub root: PathBuf,
    /// The places, and the mutants of each.
    pub places: Vec<(String, Place)>,
    pub unswitched: HashMap<usize, Unswitched>,
    /// Mutants that do not compile, with what the compiler said.
    pub unviable: BTreeMap<usize, String>,
}

#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    message: String,
    rendered: Option<String>,
    spans: Vec<Spot>,
}

#[derive(Deserialize)]
struct Spot {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

impl Tree {
    /// Copies the tree at `from` to `root`, puts the mutants in, and leaves out those that the
    /// compiler refuses. `unviable` are those of which that is known.
    pub fn make(
        from: &Path,
        root: &Path,
        mutants: &[Mutant],
        unviable: BTreeMap<usize, String>,
    ) -> Result<Tree, String> {
        // What is written anew is not copied, so that cargo sees only what changed.
        let mut written: HashSet<PathBuf> = mutants.iter().map(|m| from.join(&m.file)).collect();
        written.extend([from.join(LIB), from.join("src/mutant.rs")]);
        copy(from, root, &written).map_err(|error| format!("copying the tree: {error}"))?;
        let (places, unswitched) = (Vec::new(), HashMap::new());
        let mut tree = Tree { root: root.to_owned(), places, unswitched, unviable };
        let mut files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
        for (number, mutant) in mutants.iter().enumerate() {
            files.entry(&mutant.file).or_default().push((number, mutant));
        }
        let mut texts = BTreeMap::new();
        for (file, mutants) in files {
            let text = fs::read_to_string(from.join(file)).map_err(|e| format!("{file}: {e}"))?;
            let found = places::find(&text, &mutants).map_err(|why| format!("{file}: {why}"))?;
            tree.places.extend(found.places.into_iter().map(|place| (file.to_owned(), place)));
            tree.unswitched.extend(found.unswitched);
            texts.insert(file.to_owned(), text);
        }
        tree.add_switch(from).map_err(|error| format!("adding the switch: {error}"))?;
        // First as fast as errors can be had. Some come only where code is made.
        for arguments in [CHECK, BUILD] {
            loop {
                let written = tree.write(&texts, mutants)?;
                let refused = tree.compile(arguments, &written)?;
                println!("cargo {}: {} mutants do not compile", arguments[0], refused.len());
                if refused.is_empty() {
                    break;
                }
                tree.unviable.extend(refused);
            }
        }
        Ok(tree)
    }

    fn add_switch(&self, from: &Path) -> std::io::Result<()> {
        let switch = format!("{SWITCH}\nconst PLACES: usize = {};\n", self.places.len());
        write_if_new(&self.root.join("src/mutant.rs"), &switch)?;
        let text = fs::read_to_string(from.join(LIB))?;
        let text = text.replacen("mod batch;", "mod batch;\nmod mutant;", 1);
        write_if_new(&self.root.join(LIB), &text)
    }

    fn write(
        &self,
        texts: &BTreeMap<String, String>,
        mutants: &[Mutant],
    ) -> Result<HashMap<String, Rewritten>, String> {
        let off: HashSet<usize> = self.unviable.keys().copied().collect();
        let mut written = HashMap::new();
        for (file, text) in texts {
            let places = self.places.iter().enumerate();
            let places = places.filter(|(_, (of, _))| of == file);
            let places = places.map(|(number, (_, place))| (number, place)).collect();
            let new = rewrite(text, places, mutants, &off);
            write_if_new(&self.root.join(file), &new.text)
                .map_err(|error| format!("{file}: {error}"))?;
            written.insert(file.clone(), new);
        }
        Ok(written)
    }

    /// The mutants that the compiler refuses, each with what it says.
    fn compile(
        &self,
        arguments: &[&str],
        written: &HashMap<String, Rewritten>,
    ) -> Result<Vec<(usize, String)>, String> {
        let output = self.cargo().args(arguments).output();
        let output = output.map_err(|error| format!("cargo: {error}"))?;
        let mut refused = BTreeMap::new();
        let mut strange = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Ok(Line { message: Some(message) }) = serde_json::from_str(line) else { continue };
            if message.level != "error" || message.spans.is_empty() {
                continue;
            }
            match self.blame(&message, written) {
                found if found.is_empty() => {
                    strange.push(message.rendered.unwrap_or(message.message));
                }
                found => refused
                    .extend(found.into_iter().map(|mutant| (mutant, message.message.clone()))),
            }
        }
        if !strange.is_empty() && refused.is_empty() {
            return Err(format!("errors that no mutant has to do with:\n{}", strange.join("\n")));
        }
        if refused.is_empty() && !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(refused.into_iter().collect())
    }

    /// The mutant in whose own text an error is, or all of the smallest place around it.
    fn blame(&self, message: &Message, written: &HashMap<String, Rewritten>) -> Vec<usize> {
        let (first, other): (Vec<_>, Vec<_>) = message.spans.iter().partition(|s| s.is_primary);
        for spot in first.iter().chain(&other) {
            let Some(file) = written.get(&spot.file_name) else { continue };
            let holds = |range: &std::ops::Range<usize>| {
                range.start <= spot.byte_start && spot.byte_end <= range.end
            };
            if let Some((_, mutant)) = file.arms.iter().find(|(range, _)| holds(range)) {
                return vec![*mutant];
            }
        }
        for spot in first {
            let Some(file) = written.get(&spot.file_name) else { continue };
            let around = file
                .places
                .iter()
                .filter(|(range, _)| range.start <= spot.byte_start && spot.byte_end <= range.end);
            if let Some((_, place)) = around.min_by_key(|(range, _)| range.len()) {
                return self.places[*place].1.mutants.iter().map(|(mutant, _)| *mutant).collect();
            }
        }
        Vec::new()
    }

    /// Cargo in the copy, with a target directory of its own.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new("cargo");
        // Lints that deny, such as a shift by too much, still do: cargo-mutants compiles with them.
        command.current_dir(&self.root).env("RUSTFLAGS", "-Awarnings");
        command.env("CARGO_TARGET_DIR", self.root.join("target"));
        command.env("CARGO_PROFILE_TEST_OPT_LEVEL", "2").env("CARGO_PROFILE_TEST_DEBUG", "false");
        command
    }
}

fn copy(from: &Path, to: &Path, written: &HashSet<PathBuf>) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    let mut kept = HashSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        if entry.file_type()?.is_dir() {
            copy(&from, &to, written)?;
        } else if entry.file_type()?.is_file() && !written.contains(&from) {
            let bytes = fs::read(&from)?;
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                fs::write(&to, bytes)?;
            }
        }
        kept.insert(name);
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_written = written.contains(&from.join(&name));
        if entry.file_type()?.is_file() && !kept.contains(&name) && !is_written {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Leaves a file as it is that has this text, so that cargo sees no change.
fn write_if_new(path: &Path, text: &str) -> std::io::Result<()> {
    match fs::read_to_string(path) {
        Ok(old) if old == text => Ok(()),
        _ => fs::write(path, text),
    }
}
