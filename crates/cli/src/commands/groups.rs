//! `pagemark groups`: the groups that have committed offsets.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::store;
use crate::table::{Cell, Column, Format, Table};

const AFTER_HELP: &str = "\
Examples:
  pagemark groups --dir offsets
  pagemark groups --dir offsets --format csv";

const COLUMNS: &[Column] = &[
    ("GROUP", "group"),
    ("TOPICS", "topics"),
    ("OFFSETS", "offsets"),
    ("LAST-COMMIT", "last_commit_timestamp_ms"),
];

/// List the groups that have committed offsets.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Prints the groups, sorted by name.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let reader = store::read(dir)?;
    let mut table = Table::new(COLUMNS);
    for group in reader.groups() {
        let (mut topics, mut offsets, mut newest) = (0, 0, i64::MIN);
        let mut last_topic = String::new();
        reader.visit_group(&group, |topic, _, value| {
            // The topics come in order, and none has an empty name.
            if topic != last_topic {
                topics += 1;
                last_topic.clear();
                last_topic.push_str(topic);
            }
            offsets += 1;
            newest = newest.max(value.commit_timestamp_ms());
        });
        table.push(vec![
            Cell::Text(group),
            Cell::Number(topics),
            Cell::Number(offsets),
            Cell::Time(newest),
        ]);
    }
    Ok(table.write(args.format, out)?)
}
