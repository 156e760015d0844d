//! `pagemark export`: the offsets of some or all groups as text.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Result;
use pagemark::{CommittedOffset, OffsetReader};

use crate::codec::{Codec, csv, jsonl};
use crate::failure::Failure;
use crate::store;
use crate::table::visible;

const AFTER_HELP: &str = "\
Examples:
  pagemark export --dir offsets --format jsonl > everything.jsonl
  pagemark export --dir offsets --group billing > billing.csv
  kafka-consumer-groups.sh ... --group billing --reset-offsets --from-file billing.csv --execute

The CSV is the one that kafka-consumer-groups.sh reads and writes: topic,partition,offset if exactly
one group is named, group,topic,partition,offset otherwise, and no header. It has no place for
metadata, leader epochs, timestamps and expiry; JSON Lines (jsonl) keep everything.";

/// Print the offsets of some or all groups, sorted, as CSV for Kafka or as JSON Lines.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Only this group; may be given several times
    #[arg(long)]
    group: Vec<String>,

    /// The format
    #[arg(long, default_value = "csv")]
    format: Codec,
}

/// Prints the offsets, and warns if the format left something out.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let reader = store::read(dir)?;
    let mut groups = reader.groups();
    if !args.group.is_empty() {
        if let Some(missing) = args.group.iter().find(|&group| !groups.contains(group)) {
            let message = format!("nothing found: group {} has no offsets", visible(missing));
            return Err(Failure::NotFound(message).into());
        }
        groups.retain(|group| args.group.contains(group));
    }
    let mut lossy = 0_u64;
    for group in &groups {
        each(&reader, group, |topic, partition, value| match args.format {
            Codec::Jsonl => jsonl::write_row(group, topic, partition, value, out),
            Codec::Csv => {
                let more = value.leader_epoch().is_some() || value.expire_at_ms().is_some();
                lossy += u64::from(more || !value.metadata().is_empty());
                let named = (args.group.len() != 1).then_some(group.as_str());
                csv::write_row(named, topic, partition, value.offset().0, out)
            }
        })?;
    }
    out.flush()?;
    if args.format == Codec::Csv && !groups.is_empty() {
        warn(lossy);
    }
    Ok(())
}

/// Visits a group until writing fails.
fn each(
    reader: &OffsetReader,
    group: &str,
    mut write: impl FnMut(&str, i32, &CommittedOffset) -> io::Result<()>,
) -> io::Result<()> {
    let mut outcome = Ok(());
    reader.visit_group(group, |topic, partition, value| {
        if outcome.is_ok() {
            outcome = write(topic, partition, value);
        }
    });
    outcome
}

/// Every offset has a timestamp, so that each CSV leaves something out. What somebody had put there
/// on purpose is worth a number.
fn warn(lossy: u64) {
    let also = match lossy {
        0 => String::new(),
        1 => " and of 1 offset a leader epoch, an expiry or metadata".into(),
        lossy => format!(" and of {lossy} offsets a leader epoch, an expiry or metadata"),
    };
    eprintln!(
        "pagemark: CSV has no place for everything: left out are the timestamps{also}; \
         --format jsonl keeps them"
    );
}
