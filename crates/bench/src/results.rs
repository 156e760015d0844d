//! All tables of some runs, and the file that keeps them.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::table::Table;

/// What was measured, and on what.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// The processor and the kernel.
    pub machine: String,
    /// What was measured, each table once.
    pub tables: Vec<Table>,
}

impl Results {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn read(path: &Path) -> Result<Results, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| told(&error))?;
        serde_json::from_str(&text).map_err(|error| told(&error))
    }

    /// Reads a file, or begins with nothing if there is none.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn read_or_new(path: Option<&Path>) -> Result<Results, String> {
        match path {
            Some(path) if path.exists() => Results::read(path),
            _ => Ok(Results { machine: machine(), tables: Vec::new() }),
        }
    }

    /// Adds tables, each instead of the one of its name.
    pub fn replace(&mut self, tables: Vec<Table>) {
        for table in tables {
            self.tables.retain(|other| other.name != table.name);
            self.tables.push(table);
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// What went wrong, in words.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).expect("tables are plain data");
        fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }

    /// A table by its name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let models: Vec<&str> = processors
        .lines()
        .filter_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, model)| model)
        .collect();
    let model = models.first().copied().unwrap_or("unknown processor");
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{} of {model}, Linux {}", models.len(), kernel.trim())
}
