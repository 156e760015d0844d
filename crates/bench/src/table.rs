//! Medians of rounds, as a table.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::engines::{Kind, Role};

/// What a column counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Per second: more is better, and compared with the fastest.
    Rate,
    /// A time: less is better, and compared with the fastest.
    Time,
    /// Told and not compared.
    Plain,
}

/// A table of engines and what was measured of them, round by round.
#[derive(Clone)]
pub struct Table {
    title: String,
    engines: Vec<Kind>,
    columns: Vec<(String, Unit)>,
    /// By engine, then column.
    samples: Vec<Vec<Vec<f64>>>,
    disturbed: f64,
}

impl Table {
    /// An empty table with a row for each engine.
    pub fn new(title: &str, engines: &[Kind]) -> Table {
        Table {
            title: title.to_owned(),
            engines: engines.to_vec(),
            columns: Vec::new(),
            samples: vec![Vec::new(); engines.len()],
            disturbed: 0.0,
        }
    }

    /// Adds what one round has measured. Rounds come in the same order for all engines.
    pub fn add(&mut self, engine: &Kind, column: &str, unit: Unit, value: f64) {
        let row = self.engines.iter().position(|kind| kind.name == engine.name);
        let row = row.expect("an engine of this table");
        let known = self.columns.iter().position(|(name, _)| name == column);
        let at = known.unwrap_or_else(|| {
            self.columns.push((column.to_owned(), unit));
            self.columns.len() - 1
        });
        let cells = &mut self.samples[row];
        if cells.len() <= at {
            cells.resize(at + 1, Vec::new());
        }
        cells[at].push(value);
    }

    /// The part of the measurements that other programs disturbed.
    pub fn disturbed(&self) -> f64 {
        self.disturbed
    }

    /// Sets what [`Table::disturbed`] returns.
    pub fn set_disturbed(&mut self, part: f64) {
        self.disturbed = part;
    }

    /// The median speed of an engine as a multiple of another's, taken round by round.
    pub fn speed(&self, engine: &str, other: &str, column: &str) -> Option<f64> {
        let at = self.columns.iter().position(|(name, _)| name == column)?;
        let row = |name| self.engines.iter().position(|kind| kind.name == name);
        self.ratio(row(engine)?, row(other)?, at)
    }

    /// The fastest engine of a role.
    pub fn fastest(&self, role: Role, column: &str) -> Option<&'static str> {
        let at = self.columns.iter().position(|(name, _)| name == column)?;
        self.fastest_row(role, at).map(|row| self.engines[row].name)
    }

    /// Prints medians, and behind each the speed as a multiple of the fastest raw limit and of the
    /// fastest peer.
    pub fn print(&self) {
        let mut rows = vec![vec!["engine".to_owned()]];
        for (name, unit) in &self.columns {
            rows[0].push(name.clone());
            if *unit != Unit::Plain {
                rows[0].extend(["x raw".to_owned(), "x peer".to_owned()]);
            }
        }
        for (row, kind) in self.engines.iter().enumerate() {
            let mut cells = vec![kind.name.to_owned()];
            for (at, (_, unit)) in self.columns.iter().enumerate() {
                cells.push(self.median_at(row, at).map_or("-".to_owned(), short));
                if *unit != Unit::Plain {
                    cells.push(self.against(row, at, Role::Raw));
                    cells.push(self.against(row, at, Role::Peer));
                }
            }
            rows.push(cells);
        }
        println!("\n## {}\n", self.title);
        print_aligned(&rows);
    }

    /// Appends all measurements, one a line.
    pub fn append_csv(&self, path: &Path) -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() == 0 {
            writeln!(file, "table,engine,column,round,value")?;
        }
        for (kind, cells) in self.engines.iter().zip(&self.samples) {
            for ((column, _), samples) in self.columns.iter().zip(cells) {
                for (round, value) in samples.iter().enumerate() {
                    let Table { title, .. } = self;
                    writeln!(file, "{title},{},{column},{},{value}", kind.name, round + 1)?;
                }
            }
        }
        Ok(())
    }

    fn against(&self, row: usize, at: usize, role: Role) -> String {
        let other = self.fastest_row(role, at);
        let ratio = other.and_then(|other| self.ratio(row, other, at));
        ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
    }

    fn fastest_row(&self, role: Role, at: usize) -> Option<usize> {
        let rows = (0..self.engines.len()).filter(|row| self.engines[*row].role == role);
        let speeds =
            rows.filter_map(|row| Some((row, self.speed_of(self.median_at(row, at)?, at))));
        speeds.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(row, _)| row)
    }

    fn ratio(&self, row: usize, other: usize, at: usize) -> Option<f64> {
        let (row, other) = (self.samples[row].get(at)?, self.samples[other].get(at)?);
        let pairs = row.iter().zip(other);
        median(pairs.map(|(a, b)| self.speed_of(*a, at) / self.speed_of(*b, at)).collect())
    }

    fn speed_of(&self, value: f64, at: usize) -> f64 {
        if self.columns[at].1 == Unit::Time { value.recip() } else { value }
    }

    fn median_at(&self, row: usize, at: usize) -> Option<f64> {
        median(self.samples[row].get(at)?.clone())
    }
}

/// The middle one of some numbers.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// A number with three or four digits that count.
pub fn short(number: f64) -> String {
    match number {
        n if n >= 10_000_000.0 => format!("{:.1} M", n / 1e6),
        n if n >= 1_000_000.0 => format!("{:.2} M", n / 1e6),
        n if n >= 100_000.0 => format!("{:.0} k", n / 1e3),
        n if n >= 10_000.0 => format!("{:.1} k", n / 1e3),
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.3}"),
    }
}

/// Prints cells in columns, the first to the left and the others to the right.
pub fn print_aligned(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match at {
                0 => line.push_str(&format!("{cell:<width$}")),
                _ => line.push_str(&format!("  {cell:>width$}")),
            }
        }
        println!("{}", line.trim_end());
    }
}
