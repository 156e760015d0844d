//! `pagemark fetch`: the newest committed values of a group.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use pagemark::{CommittedOffset, Key};

use crate::failure::Failure;
use crate::store;
use crate::table::{Cell, Column, Format, Table, visible};

const AFTER_HELP: &str = "\
Examples:
  pagemark fetch --dir offsets --group billing
  pagemark fetch --dir offsets --group billing --topic orders --partition 0 --format json

Exits with 1 if nothing is found.";

const COLUMNS: &[Column] = &[
    ("GROUP", "group"),
    ("TOPIC", "topic"),
    ("PARTITION", "partition"),
    ("CURRENT-OFFSET", "offset"),
    ("LEADER-EPOCH", "leader_epoch"),
    ("TIMESTAMP", "timestamp_ms"),
    ("METADATA", "metadata"),
];

/// Show the committed offsets of a group, a topic of it, or one partition.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The consumer group
    #[arg(long)]
    group: String,

    /// Only this topic
    #[arg(long)]
    topic: Option<String>,

    /// Only this partition of the topic
    #[arg(long, requires = "topic", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,

    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Prints what the store has.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let reader = store::read(dir)?;
    let mut table = Table::new(COLUMNS);
    let mut add = |topic: &str, partition: i32, value: &CommittedOffset| {
        table.push(vec![
            args.group.as_str().into(),
            topic.into(),
            Cell::Number(partition.into()),
            Cell::Number(value.offset().0),
            Cell::optional(value.leader_epoch()),
            Cell::Time(value.commit_timestamp_ms()),
            value.metadata().into(),
        ]);
    };
    match (&args.topic, args.partition) {
        (Some(topic), Some(partition)) => {
            if let Some(value) = reader.fetch(Key::new(&args.group, topic, partition)) {
                add(topic, partition, &value);
            }
        }
        (wanted, _) => reader.visit_group(&args.group, |topic, partition, value| {
            if wanted.as_deref().is_none_or(|wanted| wanted == topic) {
                add(topic, partition, value);
            }
        }),
    }
    if table.len() == 0 {
        return Err(Failure::NotFound(absence(args)).into());
    }
    // One partition was asked for, one is the answer.
    match args.partition {
        Some(_) => table.write_one(args.format, out)?,
        None => table.write(args.format, out)?,
    }
    Ok(())
}

fn absence(args: &Args) -> String {
    let group = visible(&args.group);
    match (args.topic.as_deref().map(visible), args.partition) {
        (Some(topic), Some(partition)) => {
            format!("nothing found: group {group} has no offset for {topic}-{partition}")
        }
        (Some(topic), None) => format!("nothing found: group {group} has no offset for {topic}"),
        (None, _) => format!("nothing found: group {group} has no offsets"),
    }
}
