//! What was measured, as a table with sentences below it, or for programs.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;

use super::machine::Machine;
use super::rows::{Plan, Series, find};
use super::verdict;
use crate::table::{Cell, Column, Format, Table};

const SUMMARY: &[Column] = &[
    ("FILE-SYSTEM", "file_system"),
    ("DEVICE", "device"),
    ("PROCESSORS", "processors"),
    ("ROUNDS", "rounds"),
    ("ELAPSED-MS", "elapsed_ms"),
    ("OTHERS", "processors_of_others"),
];

const ROWS: &[Column] = &[
    ("WHAT", "what"),
    ("THREADS", "threads"),
    ("PER-SECOND", "per_second"),
    ("P50", "p50_ns"),
    ("P99", "p99_ns"),
    ("P99.9", "p99_9_ns"),
    ("TIMES-LIMIT", "times_limit"),
    ("LIMIT", "limit"),
];

const WARNINGS: &[Column] = &[("WARNING", "warning")];
const VERDICT: &[Column] = &[("VERDICT", "sentence")];

/// Says what is about to happen, for people.
pub(super) fn announce(machine: &Machine, plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let place = machine.mount.as_ref();
    let place = place.map_or_else(String::new, |m| format!(" on {}, {}", m.device, m.kind));
    let (processors, rounds) = (machine.processors, plan.rounds);
    let seconds = (plan.slice * (rounds * plan.rows.len()) as u32).as_secs_f64().ceil();
    writeln!(
        out,
        "Measuring{place}, with {processors} processors, in {rounds} rounds: about {seconds} s.\n"
    )
}

/// All that is printed at the end.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) series: Vec<Series>,
    pub(super) rounds: usize,
    pub(super) elapsed: Duration,
    /// How many processors other programs kept busy, where the system tells.
    pub(super) others: Option<f64>,
}

impl Report {
    /// Prints it.
    pub(super) fn write(&self, format: Format, out: &mut dyn Write) -> Result<()> {
        let (warnings, verdict) = (verdict::warnings(self), verdict::sentences(&self.series));
        match format {
            Format::Csv => self.rows().write(format, out)?,
            Format::Json => {
                let (warnings, verdict) = (lines(WARNINGS, warnings), lines(VERDICT, verdict));
                let parts =
                    [("rows", &self.rows()), ("warnings", &warnings), ("verdict", &verdict)];
                self.summary().write_with(&parts, out)?;
            }
            Format::Table => {
                self.rows().write(format, out)?;
                writeln!(out)?;
                for warning in warnings {
                    writeln!(out, "Warning: {warning}")?;
                }
                for sentence in verdict {
                    writeln!(out, "{sentence}")?;
                }
            }
        }
        Ok(())
    }

    fn summary(&self) -> Table {
        let text = |text: &String| Cell::Text(text.clone());
        let mount = self.machine.mount.as_ref();
        let mut table = Table::new(SUMMARY);
        table.push(vec![
            mount.map_or(Cell::Missing, |mount| text(&mount.kind)),
            mount.map_or(Cell::Missing, |mount| text(&mount.device)),
            Cell::count(self.machine.processors),
            Cell::count(self.rounds),
            Cell::count(self.elapsed.as_millis()),
            self.others.map_or(Cell::Missing, Cell::Ratio),
        ]);
        table
    }

    fn rows(&self) -> Table {
        let mut table = Table::new(ROWS);
        for series in &self.series {
            let limit = series.row.verb.limit();
            let measured = limit.and_then(|limit| find(&self.series, limit, 1));
            let time = |time: Option<Duration>| time.map_or(Cell::Missing, Cell::Elapsed);
            table.push(vec![
                series.row.verb.name().into(),
                Cell::count(series.row.threads),
                Cell::PerSecond(series.rate()),
                time(series.latencies.median()),
                time(series.latencies.quantile(0.99)),
                time(series.latencies.quantile(0.999)),
                measured.map_or(Cell::Missing, |limit| Cell::Ratio(series.times(limit))),
                limit.map_or(Cell::Missing, |limit| limit.name().into()),
            ]);
        }
        table
    }
}

/// Texts as rows of a table.
fn lines(columns: &'static [Column], lines: Vec<String>) -> Table {
    let mut table = Table::new(columns);
    lines.into_iter().for_each(|line| table.push(vec![Cell::Text(line)]));
    table
}
