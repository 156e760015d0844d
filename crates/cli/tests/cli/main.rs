//! The program as its users run it: each command end to end, with every documented exit code.

mod agree;
mod bench;
mod care;
mod commands;
mod dump;
mod failures;
mod groups;
mod kafka;
mod operate;
mod reading;
mod tail;
mod tour;
mod transfer;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What a run of the program came to.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// Standard output of a run that must have succeeded.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Standard error of a run that must have failed with this code.
    #[track_caller]
    fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stderr
    }

    /// Standard output as JSON, of a run that must have succeeded.
    #[track_caller]
    fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("JSON on standard output")
    }
}

/// A directory for stores, and a program that works in it.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).expect("a file");
        name.to_owned()
    }

    /// The only segment of a store.
    fn segment(&self, store: &str) -> PathBuf {
        let entries = std::fs::read_dir(self.path(store)).expect("a store");
        let mut segments =
            entries.map(|entry| entry.expect("an entry").path()).filter(|path| is_segment(path));
        let segment = segments.next().expect("a segment");
        assert_eq!(segments.next(), None);
        segment
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pagemark"));
        command.current_dir(self.0.path()).env_remove("PAGEMARK_DIR");
        command
    }

    /// Runs the program with arguments that are separated by blanks.
    fn run(&self, arguments: &str) -> Outcome {
        self.run_with(&arguments.split_whitespace().collect::<Vec<_>>(), b"")
    }

    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        // A program that refuses its arguments may be gone already.
        let _ = child.stdin.take().expect("its input").write_all(input);
        let output = child.wait_with_output().expect("the program ends");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}
