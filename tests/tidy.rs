//! The absences of the house: what must not stand in its files, each with the reason why.
//!
//! These tests read the source text. A line that breaks a rule is named with its file and number.

use std::fs;
use std::path::Path;

/// A file of the repository.
struct Source {
    /// Relative to the root, with `/` between the parts.
    path: String,
    text: String,
}

/// The files of the repository that somebody wrote, this one excepted: it has to name what it
/// forbids.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut sources);
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the tree was found");
    sources.retain(|source| source.path != "tests/tidy.rs");
    sources
}

fn walk(dir: &Path, prefix: &str, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        let made = ["target", ".git", "corpus", "artifacts", "coverage", "mutants.out"];
        if made.contains(&name.as_str()) {
            continue;
        }
        // Follows links, unlike the type of the entry.
        let kind = fs::metadata(entry.path()).unwrap();
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), sources);
        } else if is_text(&path) {
            sources.push(Source { text: fs::read_to_string(entry.path()).unwrap(), path });
        }
    }
}

fn is_text(path: &str) -> bool {
    path.starts_with(".ci/")
        || [".rs", ".md", ".toml", ".yml", ".yaml", ".sh", ".py"].iter().any(|e| path.ends_with(e))
}

impl Source {
    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| match place.strip_suffix('/') {
            Some(_) => self.path.starts_with(place),
            None => self.path == *place,
        })
    }

    /// The code of the crates: the engine and what is built around it.
    fn is_crate_source(&self) -> bool {
        let of_crate = self.path.starts_with("crates/") && self.path.contains("/src/");
        self.path.ends_with(".rs") && (self.is_in(&["src/"]) || of_crate)
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The lines that are compiled into the library: without comments and test modules.
    fn code(&self) -> Vec<(usize, &str)> {
        let mut code = Vec::new();
        let mut lines = self.lines().peekable();
        while let Some((number, line)) = lines.next() {
            let next = lines.peek().map_or("", |(_, next)| *next);
            let indent = indent_of(line);
            if is_of_tests(line) && is_module(next) && next.ends_with('{') {
                // rustfmt puts the closing brace below the line that it closes.
                let closing = format!("{}}}", " ".repeat(indent));
                lines.by_ref().find(|(_, line)| *line == closing);
                continue;
            }
            let line = line.split_once(" // ").map_or(line, |(before, _)| before);
            if !line.trim_start().starts_with("//") {
                code.push((number, line));
            }
        }
        code
    }
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether what follows is for tests only: plain ones, or those of a model checker.
fn is_of_tests(line: &str) -> bool {
    let checkers = ["loom", "shuttle", "any(loom, shuttle)"];
    let line = line.trim();
    line == "#[cfg(test)]" || checkers.iter().any(|c| line == format!("#[cfg(all(test, {c}))]"))
}

fn is_module(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words[..], ["mod", ..] | ["pub" | "pub(crate)" | "pub(super)", "mod", ..])
}

/// Whether `word` stands in a line, and not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_name);
        let after = line[at + word.len()..].chars().next().is_some_and(is_name);
        !(before && word.starts_with(is_name) || after && word.ends_with(is_name))
    })
}

/// The files that only tests are compiled with: `#[cfg(test)] mod name;` and the like.
fn test_files(sources: &[Source]) -> Vec<String> {
    let mut files = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let lines: Vec<&str> = source.text.lines().collect();
        for pair in lines.windows(2) {
            let name =
                pair[1].trim().strip_suffix(';').and_then(|line| line.split(' ').next_back());
            if let (true, true, Some(name)) = (is_of_tests(pair[0]), is_module(pair[1]), name) {
                let parent = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
                let parent = parent.strip_suffix("src/lib").map_or(parent, |_| "src");
                files.push(format!("{parent}/{name}.rs"));
                files.push(format!("{parent}/{name}/"));
            }
        }
    }
    files
}

/// Lines of code outside of tests with one of the words, in the files that `covers` picks.
fn offences(sources: &[Source], words: &[&str], covers: impl Fn(&Source) -> bool) -> Vec<String> {
    let tests = test_files(sources);
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| covers(source) && !source.is_in(&tests)) {
        for (number, line) in source.code() {
            for word in words.iter().filter(|word| has_word(line, word)) {
                found.push(format!("{}:{number}: `{word}`: {}", source.path, line.trim()));
            }
        }
    }
    found
}

fn expect_none(offences: &[String], why: &str) {
    assert!(offences.is_empty(), "{why}\n{}", offences.join("\n"));
}

fn forbid(words: &[&str], covers: impl Fn(&Source) -> bool, why: &str) {
    expect_none(&offences(&sources(), words, covers), why);
}

/// The engine's own code, some places excepted.
fn engine_but(except: &'static [&'static str]) -> impl Fn(&Source) -> bool {
    |source| source.is_in(&["src/"]) && !source.is_in(except)
}

#[test]
fn files_are_touched_in_io_only() {
    forbid(
        &["std::fs", "File", "OpenOptions", "memmap2", "rustix"],
        engine_but(&["src/io/"]),
        "what touches a disk stands in src/io/, so that all of the engine runs on a simulated one",
    );
}

#[test]
fn the_floors_know_only_those_below() {
    let engine = ["crate::engine", "crate::store", "crate::{"];
    let rules: [(&[&str], &[&str], &str); 10] = [
        (
            &["crate::io", "std::io", "crate::segment", "crate::index"],
            &["src/format/"],
            "the format is bytes only, so that it can be fuzzed and read without a disk",
        ),
        (
            &["crate::format", "crate::segment", "crate::index"],
            &["src/io/"],
            "a disk does not know what the bytes mean, so that another one can take its place",
        ),
        (
            &["crate::format", "crate::io", "crate::segment"],
            &["src/index/", "src/index.rs"],
            "the index never sees bytes or files: recovery and commits fill it in the same way",
        ),
        (
            &["crate::index"],
            &["src/segment.rs", "src/segment/"],
            "a segment holds records and does not know what they are for",
        ),
        (
            &engine,
            &["src/format/", "src/io/", "src/index/", "src/segment.rs", "src/segment/"],
            "only the engine stands above these floors, and a grouped import would hide a use of it",
        ),
        (
            &[
                "crate::engine",
                "crate::format",
                "crate::index",
                "crate::io",
                "crate::segment",
                "crate::{",
            ],
            &["src/consumer/"],
            "what is built for consumers uses the store as everyone else does",
        ),
        (
            &[
                "crate::engine",
                "crate::store",
                "crate::format",
                "crate::io",
                "crate::index",
                "crate::segment",
                "crate::{",
            ],
            &["src/group/assign/", "src/group/modern/", "src/group/consumer_protocol/"],
            "what is decided for a group follows from the arguments: it knows keys and errors, no store",
        ),
        (
            &[
                "crate::engine",
                "crate::store",
                "crate::format",
                "crate::io",
                "crate::index",
                "crate::segment",
                "crate::sync",
                "crate::{",
            ],
            &["src/group/classic/"],
            "a group says what to store and never stores it, so that its coordinator can be simulated",
        ),
        (
            &[
                "crate::engine",
                "crate::store",
                "crate::format",
                "crate::io",
                "crate::index",
                "crate::segment",
                "crate::sync",
                "crate::{",
            ],
            &["src/group/claims/"],
            "claims are values: who stores them and when is the coordinator's business",
        ),
        (
            &[
                "crate::engine",
                "crate::format",
                "crate::io",
                "crate::index",
                "crate::segment",
                "crate::{",
            ],
            &["src/group/coordinator/", "src/group/host.rs"],
            "a coordinator commits and reads through the store, as everyone else does",
        ),
    ];
    for (words, places, why) in rules {
        forbid(words, |source| source.is_in(places), why);
    }
}

#[test]
fn unsafe_code_stands_in_one_file() {
    forbid(
        &["unsafe"],
        // The benchmarks are left out: some of the stores that they call ask for it.
        |source| source.is_in(&["src/", "crates/cli/"]) && source.path != "src/io/mapped.rs",
        "unsafe code is kept where one person can check all of it: src/io/mapped.rs",
    );
}

#[test]
fn time_and_chance_come_in_through_the_options() {
    forbid(
        &["Instant::now", "SystemTime", "UNIX_EPOCH"],
        engine_but(&["src/options.rs", "src/engine/sync.rs", "src/consumer/commits/wait.rs"]),
        "the store is a deterministic state machine: time comes from Options::environment, and \
         only a wait with a timeout looks at a clock",
    );
    forbid(
        &["getrandom", "RandomState", "thread_rng", "rand"],
        engine_but(&["src/io/disk.rs"]),
        "random numbers come from Options::environment, so that the same calls give the same bytes",
    );
}

#[test]
fn tests_run_the_code_that_users_run() {
    let sources = sources();
    let mut found = Vec::new();
    // The file that puts a model checker in the place of `std` has to say when.
    let switch = ["src/sync.rs", "src/sync/"];
    let covered = |source: &&Source| source.is_crate_source() && !source.is_in(&switch);
    for source in sources.iter().filter(covered) {
        let lines: Vec<_> = source.lines().collect();
        for (i, (number, line)) in lines.iter().enumerate() {
            let next = lines.get(i + 1).map_or("", |(_, next)| *next);
            let conditional = ["cfg(", "cfg!(", "cfg_attr("].iter().any(|c| line.contains(c));
            let of_tests = ["test", "loom", "shuttle"].iter().any(|word| has_word(line, word));
            if conditional && of_tests && !(is_of_tests(line) && is_module(next)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    expect_none(
        &found,
        "`cfg(test)`, `loom` and `shuttle` are for modules of tests and nothing else: what is \
         tested is what is shipped",
    );
    expect_none(
        &offences(&sources, &["fail_point", "failpoint", "fail_point!"], Source::is_crate_source),
        "there are no failpoints: faults come from the simulated disk, from outside",
    );
}

#[test]
fn what_threads_share_comes_from_one_file() {
    let words = ["std::sync", "std::thread", "std::hint::spin_loop", "std::{"];
    // A clock that starts once for the process, a thread that reads ahead of a device, which no disk
    // in memory has, and what plays histories from outside: none is there for a model checker.
    let but =
        &["src/sync.rs", "src/sync/", "src/options.rs", "src/segment/pieces.rs", "src/testkit/"];
    let mut found = offences(&sources(), &words, engine_but(but));
    found.retain(|line| !has_word(line, "std::sync::Arc"));
    expect_none(
        &found,
        "locks, atomics and threads are those of crate::sync, so that model checkers see them",
    );
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["todo!", "unimplemented!", "dbg!", "TODO", "FIXME"];
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.path.ends_with(".rs")) {
        for (number, line) in source.lines() {
            if words.iter().any(|word| has_word(line, word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    expect_none(&found, "what is not done is written into an issue, where it is found again");
}

#[test]
fn the_engine_returns_errors_and_does_not_panic() {
    forbid(
        &[".unwrap()", ".unwrap_err()", ".expect(", "panic!", "unreachable!"],
        // The arena deals out its own numbers and says at each place why they are right.
        engine_but(&["src/index/arena.rs"]),
        "the engine lives in somebody else's process: whatever happens is an error that it returns",
    );
}

#[test]
fn files_are_short() {
    const LIMIT: usize = 500;
    let places = ["src/", "crates/", "tests/", "benches/", "fuzz/", "examples/"];
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.is_in(&places) && source.path.ends_with(".rs"))
        .map(|source| (&source.path, source.text.lines().count()))
        .filter(|(_, lines)| *lines > LIMIT)
        .map(|(path, lines)| format!("{path}:{lines}: line {lines} is the last one"))
        .collect();
    expect_none(&long, "a file of more than 500 lines has more than one subject");
}

#[test]
fn every_page_can_be_found() {
    let sources = sources();
    let text = |path: &str| {
        let found = sources.iter().find(|source| source.path == path);
        found.map_or_else(|| panic!("{path} is missing"), |source| source.text.clone())
    };
    let (readme, architecture) = (text("README.md"), text("docs/architecture.md"));
    let lost: Vec<String> = sources
        .iter()
        .filter_map(|source| source.path.strip_prefix("docs/"))
        .filter(|page| page.ends_with(".md") && *page != "architecture.md")
        .filter(|page| {
            let from_readme = readme.contains(&format!("docs/{page}"));
            let from_architecture = architecture.contains(&format!("({page}"));
            !from_readme && !from_architecture
        })
        .map(|page| format!("docs/{page}:1: neither README.md nor docs/architecture.md links it"))
        .collect();
    expect_none(&lost, "a page that nothing links to is read by nobody");
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            if ["/root/", "/home/", "/work/"].iter().any(|path| line.contains(path)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    expect_none(&found, "these paths exist on one machine, and the repository is for all of them");
}

#[test]
fn a_planted_line_is_noticed_and_tests_and_comments_are_not() {
    let plant = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let text = "\
use std::fs;
// std::fs
fn f() -> FileName { g() } // File
#[cfg(test)]
mod tests {
    use std::fs;
    mod inner {}
}
#[cfg(test)]
mod contract;
let file: File = open();
";
    let found = |source: Source| {
        let others =
            [source, plant("src/a/contract.rs", "std::fs"), plant("tests/b.rs", "std::fs")];
        offences(&others, &["std::fs", "File"], engine_but(&["src/io/"]))
    };
    let expected =
        ["src/a.rs:1: `std::fs`: use std::fs;", "src/a.rs:11: `File`: let file: File = open();"];
    assert_eq!(found(plant("src/a.rs", text)), expected);
    assert!(found(plant("src/io/a.rs", text))[..] == ["src/a/contract.rs:1: `std::fs`: std::fs"]);
    assert!(has_word("panic!(\"x\")", "panic!") && !has_word("is_rand()", "rand"));
}
