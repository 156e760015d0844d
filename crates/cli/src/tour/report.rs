//! What the tour came to: tables for people, JSON and CSV for programs.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::broker::Opened;
use super::client::{GROUP, TOPIC};
use super::judge::Partition;
use super::story::{PARTITIONS, Plan, Run};
use crate::table::{Cell, Column, Format, Table};

const SIDE_BY_SIDE: &[Column] = &[
    ("PARTITION", "partition"),
    ("RECORDS", "records"),
    ("BY-A", "synced_by_a"),
    ("BY-B", "synced_by_b"),
    ("SEEN-TWICE", "synced_seen_twice"),
    ("SKIPPED", "synced_skipped"),
    ("COMMITTED", "synced_committed"),
    ("BY-A", "buffered_by_a"),
    ("BY-B", "buffered_by_b"),
    ("SEEN-TWICE", "buffered_seen_twice"),
    ("SKIPPED", "buffered_skipped"),
    ("COMMITTED", "buffered_committed"),
];

const SPEED: &[Column] = &[
    ("DURABILITY", "durability"),
    ("COMMITS", "commits"),
    ("SECONDS", "seconds"),
    ("COMMITS/S", "commits_per_second"),
    ("TIME IN THE STORE PER COMMIT", "mean_commit_us"),
];

const FLAT: &[Column] = &[
    ("DURABILITY", "durability"),
    ("PARTITION", "partition"),
    ("RECORDS", "records"),
    ("BY-A", "processed_by_a"),
    ("BY-B", "processed_by_b"),
    ("SEEN-TWICE", "seen_twice"),
    ("SKIPPED", "skipped"),
    ("COMMITTED", "committed"),
];

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    promise_kept: bool,
    broken: Vec<&'a str>,
    group: &'static str,
    topic: &'static str,
    partitions: i32,
    records_per_partition: i64,
    commit_every: i64,
    seed: u64,
    runs: Vec<DocumentRun<'a>>,
}

#[derive(Serialize)]
struct DocumentRun<'a> {
    durability: &'static str,
    records: i64,
    processed: i64,
    seen_twice: i64,
    skipped: i64,
    commits: u64,
    seconds: f64,
    commits_per_second: f64,
    mean_commit_us: f64,
    reopened_after_kill: &'a Opened,
    reopened_at_end: &'a Opened,
    partitions: &'a [Partition],
}

/// Prints the runs, the synced one and the buffered one, which must have been told before.
pub(super) fn write(
    plan: &Plan,
    [synced, buffered]: &[Run; 2],
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Table => {
            side_by_side(synced, buffered).write(format, out)?;
            writeln!(out)?;
            speed([synced, buffered]).write(format, out)
        }
        Format::Csv => flat([synced, buffered]).write(format, out),
        Format::Json => {
            let broken = synced.broken.iter().chain(&buffered.broken);
            let document = Document {
                promise_kept: synced.broken.is_empty() && buffered.broken.is_empty(),
                broken: broken.map(String::as_str).collect(),
                group: GROUP,
                topic: TOPIC,
                partitions: PARTITIONS,
                records_per_partition: plan.records,
                commit_every: plan.commit_every,
                seed: plan.seed,
                runs: [synced, buffered].map(describe).into(),
            };
            serde_json::to_writer_pretty(&mut *out, &document)?;
            writeln!(out)
        }
    }
}

fn describe(run: &Run) -> DocumentRun<'_> {
    let sum = |part: fn(&Partition) -> i64| run.partitions.iter().map(part).sum();
    DocumentRun {
        durability: run.level.name(),
        records: sum(|found| found.records),
        processed: sum(|found| found.processed_by_a + found.processed_by_b),
        seen_twice: sum(|found| found.seen_twice),
        skipped: sum(|found| found.skipped),
        commits: run.commits,
        seconds: run.elapsed.as_secs_f64(),
        commits_per_second: rate(run),
        mean_commit_us: run.mean_commit.as_secs_f64() * 1e6,
        reopened_after_kill: &run.reopened[0],
        reopened_at_end: &run.reopened[1],
        partitions: &run.partitions,
    }
}

fn side_by_side(synced: &Run, buffered: &Run) -> Table {
    let headings = vec![("", 2), (synced.level.name(), 5), (buffered.level.name(), 5)];
    let mut table = Table::new(SIDE_BY_SIDE).headings(headings);
    for (left, right) in synced.partitions.iter().zip(&buffered.partitions) {
        let mut row = vec![Cell::Number(left.partition.into()), Cell::Number(left.records)];
        row.extend(cells(left));
        row.extend(cells(right));
        table.push(row);
    }
    let (left, right) = (total(&synced.partitions), total(&buffered.partitions));
    let mut row = vec!["all".into(), Cell::Number(left.records)];
    row.extend(cells(&left));
    row.extend(cells(&right));
    table.push(row);
    table
}

fn flat(runs: [&Run; 2]) -> Table {
    let mut table = Table::new(FLAT);
    for run in runs {
        for found in &run.partitions {
            let partition = Cell::Number(found.partition.into());
            let mut row = vec![run.level.name().into(), partition, Cell::Number(found.records)];
            row.extend(cells(found));
            table.push(row);
        }
    }
    table
}

fn cells(found: &Partition) -> [Cell; 5] {
    [
        Cell::Number(found.processed_by_a),
        Cell::Number(found.processed_by_b),
        Cell::Number(found.seen_twice),
        Cell::Number(found.skipped),
        Cell::optional(found.committed),
    ]
}

/// The sum of all partitions, which has no committed offset.
fn total(partitions: &[Partition]) -> Partition {
    let sum = |part: fn(&Partition) -> i64| partitions.iter().map(part).sum();
    Partition {
        partition: 0,
        records: sum(|found| found.records),
        processed_by_a: sum(|found| found.processed_by_a),
        processed_by_b: sum(|found| found.processed_by_b),
        seen_twice: sum(|found| found.seen_twice),
        skipped: sum(|found| found.skipped),
        committed: None,
    }
}

fn speed(runs: [&Run; 2]) -> Table {
    let mut table = Table::new(SPEED);
    for run in runs {
        table.push(vec![
            run.level.name().into(),
            Cell::count(run.commits),
            Cell::Text(format!("{:.3}", run.elapsed.as_secs_f64())),
            Cell::Text(format!("{:.0}", rate(run))),
            Cell::Text(readable(run.mean_commit)),
        ]);
    }
    table
}

fn rate(run: &Run) -> f64 {
    run.commits as f64 / run.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn readable(duration: Duration) -> String {
    let us = duration.as_secs_f64() * 1e6;
    if us < 1000.0 { format!("{us:.1} µs") } else { format!("{:.2} ms", us / 1000.0) }
}
