//! `pagemark commit`: sets the value of one key.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;
use pagemark::{Commit, Durability, Key, LastProcessed, NextOffset};

use crate::store;
use crate::table::{Cell, Column, Format, Table};

const AFTER_HELP: &str = "\
Examples:
  pagemark commit --dir offsets --group billing --topic orders --partition 0 --offset 42
  pagemark commit --dir offsets --group billing --topic orders --partition 0 --last-processed 41
  pagemark commit --dir offsets --group billing --topic orders --partition 0 --offset 42 \\
      --leader-epoch 7 --metadata 'batch 9' --durability buffered";

const COLUMNS: &[Column] = &[
    ("GROUP", "group"),
    ("TOPIC", "topic"),
    ("PARTITION", "partition"),
    ("NEW-OFFSET", "offset"),
    ("SEQ", "seq"),
    ("DURABILITY", "durability"),
];

/// Commit the offset of one partition, creating the store if there is none.
///
/// The latest commit counts, also when its offset is lower: resets are commits too. The command
/// closes the store before it ends, which makes everything durable, also a buffered commit.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The consumer group
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    group: String,

    /// The topic
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    topic: String,

    /// The partition of the topic
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,

    #[command(flatten)]
    position: Position,

    /// The leader epoch of the last record that was read
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(0..))]
    leader_epoch: Option<i32>,

    /// A text that is kept with the offset, at most 4,096 bytes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    metadata: String,

    /// The commit timestamp in milliseconds since 1970 [default: now]
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    timestamp_ms: Option<i64>,

    /// What the commit waits for
    #[arg(long, value_name = "LEVEL", default_value = "synced")]
    durability: Level,

    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// The two ways to say where a consumer stands.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Position {
    /// The next record to read, as Kafka counts
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,

    /// The last record that was processed: one less than --offset
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i64).range(-1..i64::MAX))]
    last_processed: Option<i64>,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Nothing: it survives the death of the process
    Buffered,
    /// The flush: it survives power loss
    Synced,
}

impl Level {
    /// The word for this level, on the command line and in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Level::Buffered => "buffered",
            Level::Synced => "synced",
        }
    }

    /// The library's word.
    pub(crate) const fn durability(self) -> Durability {
        match self {
            Level::Buffered => Durability::Buffered,
            Level::Synced => Durability::Synced,
        }
    }
}

/// Commits, closes the store, and only then says so.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let offset = match (args.position.offset, args.position.last_processed) {
        (Some(offset), _) => NextOffset(offset),
        (None, last) => LastProcessed(last.unwrap_or(-1)).into(),
    };
    let mut commit = Commit::new(offset).metadata(&args.metadata);
    if let Some(epoch) = args.leader_epoch {
        commit = commit.leader_epoch(epoch);
    }
    if let Some(timestamp_ms) = args.timestamp_ms {
        commit = commit.timestamp_ms(timestamp_ms);
    }
    let key = Key::new(&args.group, &args.topic, args.partition);
    let store = store::open(dir, &store::options())?;
    let receipt = store.commit_with(key, commit, args.durability.durability())?;
    store.close()?;
    let mut table = Table::new(COLUMNS);
    table.push(vec![
        key.group().into(),
        key.topic().into(),
        Cell::Number(key.partition().into()),
        Cell::Number(offset.0),
        Cell::count(receipt.seq().get()),
        args.durability.name().into(),
    ]);
    Ok(table.write_one(args.format, out)?)
}
