//! What was measured, round by round, and its medians as a table.

use serde::{Deserialize, Serialize};

use crate::engines::{Kind, Role};

/// More are not printed.
const MOST_COLUMNS: usize = 20;

/// What a column counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// A rate: more is better, and compared with the fastest.
    More,
    /// A time or a size: less is better, and compared with the least.
    Less,
    /// Told and not compared.
    Plain,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// What stands above it.
    pub name: String,
    /// Where it stands on the axis of a plot, if the columns are numbers.
    pub at: f64,
    /// What it counts.
    pub unit: Unit,
}

impl Column {
    /// A column for a number, such as one of threads or of keys.
    pub fn at(number: usize, unit: Unit) -> Column {
        Column { name: count(number), at: number as f64, unit }
    }

    /// A column with a name.
    pub fn named(name: &str, unit: Unit) -> Column {
        Column { name: name.to_owned(), at: 0.0, unit }
    }
}

/// One row: an engine, or a case of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What stands in front of it.
    pub name: String,
    /// Whom it stands for.
    pub role: Role,
}

impl From<&Kind> for Row {
    fn from(kind: &Kind) -> Row {
        Row { name: kind.name.to_owned(), role: kind.role }
    }
}

impl From<&str> for Row {
    /// A case of Pagemark.
    fn from(name: &str) -> Row {
        Row { name: name.to_owned(), role: Role::Pagemark }
    }
}

/// How many measurements of a table there were, and how many of them other programs disturbed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Quietness {
    /// All of them.
    pub measured: usize,
    /// Those that may be wrong.
    pub disturbed: usize,
}

/// A table of rows and what was measured of them, round by round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// What it is called in the file of results.
    pub name: String,
    /// What stands above it.
    pub title: String,
    /// How far it can be trusted.
    pub quietness: Quietness,
    rows: Vec<Row>,
    columns: Vec<Column>,
    /// By row, then column, then round.
    samples: Vec<Vec<Vec<f64>>>,
}

impl Table {
    /// An empty table.
    pub fn new(name: &str, title: &str) -> Table {
        Table {
            name: name.to_owned(),
            title: title.to_owned(),
            quietness: Quietness::default(),
            rows: Vec::new(),
            columns: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Adds what one round has measured. Rounds come in the same order for all rows.
    pub fn add(&mut self, row: impl Into<Row>, column: Column, value: f64) {
        assert!(value.is_finite(), "{}, {}: {value}", self.name, column.name);
        let at_row = position_or_push(&mut self.rows, row.into());
        let at = position_or_push(&mut self.columns, column);
        if self.samples.len() <= at_row {
            self.samples.resize(at_row + 1, Vec::new());
        }
        let cells = &mut self.samples[at_row];
        if cells.len() <= at {
            cells.resize(at + 1, Vec::new());
        }
        cells[at].push(value);
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The median of a cell, by the names of its row and column.
    pub fn median(&self, row: &str, column: &str) -> Option<f64> {
        self.median_at(self.row(row)?, self.column(column)?)
    }

    /// Whether it has so many columns that only a plot can show them.
    pub fn is_series(&self) -> bool {
        self.columns.len() > MOST_COLUMNS
    }

    /// The median speed of a row as a multiple of another's, taken round by round. Speed is what
    /// there should be much of: a rate, or one through a time.
    pub fn speed(&self, row: &str, other: &str, column: &str) -> Option<f64> {
        self.ratio(self.row(row)?, self.row(other)?, self.column(column)?)
    }

    /// The fastest row of a role.
    pub fn fastest(&self, role: Role, column: &str) -> Option<&str> {
        let row = self.fastest_row(role, self.column(column)?)?;
        Some(&self.rows[row].name)
    }

    /// Prints medians, and behind each the speed as a multiple of the fastest raw limit and of the
    /// fastest peer, where there is one.
    pub fn print(&self) {
        let has = |role| self.rows.iter().any(|row| row.role == role);
        let others: Vec<_> = [(Role::Raw, "x raw"), (Role::Peer, "x peer")]
            .into_iter()
            .filter(|(role, _)| has(*role))
            .collect();
        let compared = |unit| if unit == Unit::Plain { &[] } else { &others[..] };
        let mut lines = vec![vec![String::new()]];
        for Column { name, unit, .. } in &self.columns {
            lines[0].push(name.clone());
            lines[0].extend(compared(*unit).iter().map(|(_, title)| (*title).to_owned()));
        }
        for (row, Row { name, .. }) in self.rows.iter().enumerate() {
            let mut cells = vec![name.clone()];
            for (at, Column { unit, .. }) in self.columns.iter().enumerate() {
                cells.push(self.median_at(row, at).map_or("-".to_owned(), short));
                cells.extend(compared(*unit).iter().map(|(role, _)| self.against(row, at, *role)));
            }
            lines.push(cells);
        }
        println!("\n## {}\n", self.title);
        print_aligned(&lines);
        let Quietness { measured, disturbed } = self.quietness;
        if measured > 0 {
            println!("\n{disturbed} of {measured} measurements were disturbed by other programs.");
        }
    }

    fn row(&self, name: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.name == name)
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    fn against(&self, row: usize, at: usize, role: Role) -> String {
        let other = self.fastest_row(role, at);
        let ratio = other.and_then(|other| self.ratio(row, other, at));
        ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
    }

    fn fastest_row(&self, role: Role, at: usize) -> Option<usize> {
        let rows = (0..self.rows.len()).filter(|row| self.rows[*row].role == role);
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
        if self.columns[at].unit == Unit::Less { value.recip() } else { value }
    }

    fn median_at(&self, row: usize, at: usize) -> Option<f64> {
        median(self.samples[row].get(at)?.clone())
    }
}

fn position_or_push<T: PartialEq>(all: &mut Vec<T>, one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
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

/// A number of things, such as threads or keys, as one says it.
pub fn count(number: usize) -> String {
    match number {
        n if n >= 1_000_000 && n.is_multiple_of(1_000_000) => format!("{} M", n / 1_000_000),
        n if n >= 1_000 && n.is_multiple_of(1_000) => format!("{} k", n / 1_000),
        n => n.to_string(),
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
