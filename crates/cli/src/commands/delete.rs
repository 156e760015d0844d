//! `pagemark delete`: removes the values of a partition, a topic or a group.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use pagemark::{Key, OffsetStore};

use crate::failure::Failure;
use crate::store;
use crate::table::{Cell, Column, Format, Table, visible};

const AFTER_HELP: &str = "\
Examples:
  pagemark delete --dir offsets --group billing --topic orders --partition 0
  pagemark delete --dir offsets --group billing --topic orders --yes
  pagemark delete --dir offsets --group billing --yes";

const COLUMNS: &[Column] =
    &[("GROUP", "group"), ("TOPIC", "topic"), ("PARTITION", "partition"), ("DELETED", "deleted")];

/// Delete the offset of one partition, of a topic, or of a whole group.
///
/// A topic and a group are deleted in one step, also if the machine dies meanwhile, and only with
/// --yes. It is no error if there is nothing to delete.
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

    /// Yes, delete a whole topic or group
    #[arg(long)]
    yes: bool,

    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Deletes, and says how many offsets there were.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let store = store::open_existing(dir)?;
    let count = count(args, &store);
    if args.partition.is_none() && !args.yes {
        store.close()?;
        let what = match &args.topic {
            Some(topic) => format!("topic {} in group {}", visible(topic), visible(&args.group)),
            None => format!("group {}", visible(&args.group)),
        };
        let message =
            format!("this deletes all offsets of {what}, now {count}; add --yes to do it");
        return Err(Failure::Usage(message).into());
    }
    match (&args.topic, args.partition) {
        (Some(topic), Some(partition)) => store.delete(Key::new(&args.group, topic, partition))?,
        (Some(topic), None) => store.delete_topic(&args.group, topic)?,
        (None, _) => store.delete_group(&args.group)?,
    };
    store.close()?;
    let mut table = Table::new(COLUMNS);
    table.push(vec![
        args.group.as_str().into(),
        args.topic.clone().map_or(Cell::Missing, Cell::Text),
        Cell::optional(args.partition),
        Cell::Number(count),
    ]);
    Ok(table.write_one(args.format, out)?)
}

/// The offsets that the arguments mean. Nobody else can write to the store meanwhile.
fn count(args: &Args, store: &OffsetStore) -> i64 {
    let mut count = 0;
    store.visit_group(&args.group, |topic, partition, _| {
        let meant = args.topic.as_deref().is_none_or(|wanted| wanted == topic)
            && args.partition.is_none_or(|wanted| wanted == partition);
        count += i64::from(meant);
    });
    count
}
