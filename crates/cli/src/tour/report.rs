//! What the tour came to: tables for people, JSON and CSV for programs.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::judge::{Check, Partition};
use super::story::{Outcome, Plan, Takeover, numbers};
use super::wire::{GROUP, TOPIC};
use crate::table::{Cell, Column, Format, Table};

const PARTITIONS: &[Column] = &[
    ("PARTITION", "partition"),
    ("RECORDS", "records"),
    ("COMMITTED", "committed"),
    ("BY-A", "processed_by_a"),
    ("BY-B", "processed_by_b"),
    ("BY-C", "processed_by_c"),
    ("SEEN-TWICE", "seen_twice"),
    ("SKIPPED", "skipped"),
];

const TAKEOVERS: &[Column] = &[
    ("KILLED", "killed"),
    ("TAKEN-OVER-BY", "heir"),
    ("PARTITIONS", "partitions"),
    ("SECONDS-TO-TAKE-OVER", "seconds"),
    ("SEEN-TWICE", "seen_twice"),
    ("FINISHED-EARLY", "finished_early"),
];

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    promise_kept: bool,
    group: &'static str,
    topic: &'static str,
    records_per_partition: i64,
    commit_every: i64,
    seed: u64,
    session_timeout_seconds: f64,
    consumers: &'a [char],
    partitions: &'a [Partition],
    takeovers: &'a [Takeover],
    commits: u64,
    mean_commit_us: f64,
    seconds: f64,
    checks: &'a [Check],
}

/// Prints what the story came to.
pub(super) fn write(
    plan: &Plan,
    outcome: &Outcome,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Table => write_tables(plan, outcome, out)?,
        Format::Csv => by_partition(outcome, false).write(format, out)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &document(plan, outcome))?;
            writeln!(out)?;
        }
    }
    out.flush()
}

fn document<'a>(plan: &Plan, outcome: &'a Outcome) -> Document<'a> {
    Document {
        promise_kept: outcome.broken().next().is_none(),
        group: GROUP,
        topic: TOPIC,
        records_per_partition: plan.records,
        commit_every: plan.commit_every,
        seed: plan.seed,
        session_timeout_seconds: plan.session_timeout.as_secs_f64(),
        consumers: &outcome.consumers,
        partitions: &outcome.partitions,
        takeovers: &outcome.takeovers,
        commits: outcome.commits,
        mean_commit_us: outcome.mean_commit.as_secs_f64() * 1e6,
        seconds: outcome.elapsed.as_secs_f64(),
        checks: &outcome.checks,
    }
}

fn write_tables(plan: &Plan, outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    by_partition(outcome, true).write(Format::Table, out)?;
    writeln!(out)?;
    takeovers(&outcome.takeovers).write(Format::Table, out)?;
    writeln!(out, "\nWhat the journals and the store say:")?;
    for Check { claim, broken } in &outcome.checks {
        match broken.as_slice() {
            [] => writeln!(out, "  ok      {claim}")?,
            broken => {
                for broken in broken {
                    writeln!(out, "  BROKEN  {broken}")?;
                }
            }
        }
    }
    writeln!(
        out,
        "\nIt took {:.1} s, of which {:.1} s were two sessions that had to run out. A commit took \
         the broker {}\non average, with the flush that lets it survive power loss.",
        outcome.elapsed.as_secs_f64(),
        2.0 * plan.session_timeout.as_secs_f64(),
        readable(outcome.mean_commit),
    )
}

fn by_partition(outcome: &Outcome, with_sum: bool) -> Table {
    let mut table = Table::new(PARTITIONS);
    let sum = with_sum.then(|| sum(&outcome.partitions));
    for found in &outcome.partitions {
        table.push(row(Cell::Number(found.partition.into()), found));
    }
    if let Some(sum) = sum {
        table.push(row("all".into(), &sum));
    }
    table
}

fn row(name: Cell, found: &Partition) -> Vec<Cell> {
    let mut row = vec![name, Cell::Number(found.records), Cell::optional(found.committed)];
    row.extend(found.processed.iter().map(|processed| Cell::Number(*processed)));
    row.extend([Cell::Number(found.seen_twice), Cell::Number(found.skipped)]);
    row
}

/// The sum of all partitions, which has no committed offset.
fn sum(partitions: &[Partition]) -> Partition {
    let sum = |part: &dyn Fn(&Partition) -> i64| partitions.iter().map(part).sum();
    let consumers = partitions.first().map_or(0, |found| found.processed.len());
    Partition {
        partition: 0,
        records: sum(&|found| found.records),
        committed: None,
        processed: (0..consumers).map(|who| sum(&|found| found.processed[who])).collect(),
        seen_twice: sum(&|found| found.seen_twice),
        skipped: sum(&|found| found.skipped),
    }
}

fn takeovers(takeovers: &[Takeover]) -> Table {
    let mut table = Table::new(TAKEOVERS);
    for Takeover { killed, heir, partitions, seconds, seen_twice, finished_early } in takeovers {
        table.push(vec![
            Cell::Text(killed.to_string()),
            Cell::Text(heir.to_string()),
            Cell::Text(numbers(partitions)),
            Cell::Text(format!("{seconds:.3}")),
            Cell::Number(*seen_twice),
            Cell::Number(*finished_early),
        ]);
    }
    table
}

fn readable(duration: Duration) -> String {
    let us = duration.as_secs_f64() * 1e6;
    if us < 1000.0 { format!("{us:.0} µs") } else { format!("{:.1} ms", us / 1000.0) }
}
