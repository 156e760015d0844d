//! The mutants that `cargo mutants --list` names.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// A place in a text, as cargo-mutants counts: lines and characters, from 1.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
pub struct At {
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Span {
    pub start: At,
    pub end: At,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Function {
    pub function_name: String,
    pub span: Span,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    pub file: String,
    pub function: Option<Function>,
    pub genre: Genre,
    pub name: String,
    pub replacement: String,
    pub span: Span,
    /// The same for the same change of the same text, wherever that stands in its file.
    #[serde(skip)]
    pub key: String,
    /// The line that is changed.
    #[serde(skip)]
    pub line: String,
}

impl Mutant {
    /// The name without the place, which moves with every line above it.
    pub fn what(&self) -> &str {
        self.name.splitn(4, ':').nth(3).unwrap_or(&self.name).trim_start()
    }

    /// The part of the engine: a directory, or a file beside them.
    pub fn part(&self) -> &str {
        let in_source = self.file.strip_prefix("src/").unwrap_or(&self.file);
        let end = in_source.find(['/', '.']).unwrap_or(in_source.len());
        &in_source[..end]
    }

    /// What the mutants of one function have in common.
    pub fn function(&self) -> (&str, &str) {
        (&self.file, self.function.as_ref().map_or("", |f| &f.function_name))
    }
}

/// All mutants of the tree at `root`, as its configuration wants them.
pub fn of_tree(root: &Path) -> Result<Vec<Mutant>, String> {
    let mut command = Command::new("cargo");
    command.args(["mutants", "--list", "--json", "--dir"]).arg(root);
    let output = command.output().map_err(|error| format!("cargo mutants: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "cargo mutants --list: {}\n(cargo install cargo-mutants --version 27.1.0 --locked)",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let mut mutants: Vec<Mutant> =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("the list: {error}"))?;
    let mut texts = HashMap::new();
    for mutant in &mut mutants {
        if !texts.contains_key(&mutant.file) {
            let text = std::fs::read_to_string(root.join(&mutant.file))
                .map_err(|error| format!("{}: {error}", mutant.file))?;
            texts.insert(mutant.file.clone(), text);
        }
        let lines: Vec<&str> = texts[&mutant.file].lines().collect();
        mutant.line = lines[mutant.span.start.line - 1].trim().to_owned();
        mutant.key = key(mutant, &lines);
    }
    Ok(mutants)
}

fn key(mutant: &Mutant, lines: &[&str]) -> String {
    let around = mutant.function.as_ref().map_or(mutant.span, |function| function.span);
    let mut hasher = DefaultHasher::new();
    lines[around.start.line - 1..around.end.line].hash(&mut hasher);
    let Span { start, end } = mutant.span;
    (start.line - around.start.line, start.column, end.line - start.line).hash(&mut hasher);
    mutant.genre.hash(&mut hasher);
    format!("{} {:016x} {}", mutant.file, hasher.finish(), mutant.replacement)
}
