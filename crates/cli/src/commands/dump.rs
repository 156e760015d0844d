//! `pagemark dump`: every record of one segment file.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use pagemark::dump::{Body, Change, Ending, Record, Summary, dump};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::table::visible;
use crate::time::utc;

const AFTER_HELP: &str = "\
Examples:
  pagemark dump offsets/00000000000000000001.log
  pagemark dump offsets/00000000000000000001.log --format json | grep '\"topic\":\"orders\"'

A dump says what stands in a file, not what of it counts: a torn tail, which a crash leaves behind
the last durable record, is no damage. Exits with 3 if the file states that something is durable and
it cannot be read, or holds a record that makes no sense.";

/// Show the header, the marks and every record of a segment file, also of a store that is open.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The file
    file: PathBuf,

    /// How it is printed
    #[arg(long, default_value = "text")]
    format: Format,
}

/// How a dump is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object in each line
    Json,
}

/// Prints the file, and fails if it is damaged.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    // The summary is known at the end and belongs at the beginning.
    let summary = dump(&args.file, |_| {})?;
    match args.format {
        Format::Text => text_summary(&summary, out)?,
        Format::Json => writeln!(out, "{}", json_summary(&summary))?,
    }
    let (mut outcome, mut malformed) = (Ok(()), 0_u64);
    let end = dump(&args.file, |record| {
        malformed += u64::from(matches!(record.body, Body::Malformed { .. }));
        if outcome.is_ok() {
            outcome = match args.format {
                Format::Text => text_record(record, out),
                Format::Json => writeln!(out, "{}", json_record(record)),
            };
        }
    })?;
    outcome?;
    match args.format {
        Format::Text => writeln!(out, "@{}  end: {}", end.end, ending(end.ending))?,
        Format::Json => writeln!(
            out,
            "{}",
            json!({"type": "end", "position": end.end, "records": end.records,
                   "ending": ending_name(end.ending)})
        )?,
    }
    match damage(&end, malformed) {
        Some(message) => {
            Err(Failure::Damage(format!("{message} ({})", args.file.display())).into())
        }
        None => Ok(()),
    }
}

fn damage(end: &Summary, malformed: u64) -> Option<String> {
    if malformed > 0 {
        return Some(format!("{malformed} records make no sense in spite of their checksums"));
    }
    let durable = end.marks.iter().map(|mark| mark.position).max()?;
    (end.ending == Ending::Broken && end.end < durable).then(|| {
        format!("damage at byte {}: the file states that it is durable up to {durable}", end.end)
    })
}

fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Sealed => "sealed",
        Ending::Blank => "nothing but zeros behind it",
        Ending::Broken => "what follows is no record, a torn tail or damage",
    }
}

fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Sealed => "sealed",
        Ending::Blank => "blank",
        Ending::Broken => "broken",
    }
}

fn text_summary(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "store    {:032x}", summary.store_id)?;
    writeln!(out, "salt     {:016x}", summary.salt)?;
    writeln!(out, "epoch    {}", summary.epoch)?;
    writeln!(out, "size     {} bytes, {} records", summary.size, summary.records)?;
    for mark in &summary.marks {
        writeln!(
            out,
            "mark     {} in epoch {}, durable below byte {} and up to seq {}",
            mark.state, mark.epoch, mark.position, mark.durable_seq
        )?;
    }
    Ok(())
}

fn text_record(record: &Record<'_>, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "@{}  {} bytes  seq {}", record.position, record.length, record.seq)?;
    if let Some(durable_seq) = record.durable_seq {
        write!(out, "  durable {durable_seq}")?;
    }
    match &record.body {
        Body::Start { first_seq, base_timestamp_ms } => {
            writeln!(out, "  start: first seq {first_seq}, times from {}", utc(*base_timestamp_ms))
        }
        Body::Open { epoch, next_seq } => {
            writeln!(out, "  open: epoch {epoch}, next seq {next_seq}")
        }
        Body::Name { id, group, topic } => {
            writeln!(out, "  name {id}: group {}, topic {}", visible(group), visible(topic))
        }
        Body::Batch(changes) => {
            writeln!(out, "  batch of {}", changes.len())?;
            changes.iter().try_for_each(|change| text_change(change, out))
        }
        Body::Seal { next_seq } => writeln!(out, "  seal: the next segment begins at {next_seq}"),
        Body::Unknown { kind } => writeln!(out, "  kind {kind}, which this version does not know"),
        Body::Malformed { kind } => writeln!(out, "  kind {kind}, MALFORMED"),
        _ => writeln!(out, "  a record that this version cannot print"),
    }
}

fn text_change(change: &Change<'_>, out: &mut dyn Write) -> io::Result<()> {
    match change {
        Change::Commit {
            group,
            topic,
            partition,
            offset,
            leader_epoch,
            timestamp_ms,
            expire_at_ms,
            metadata,
        } => {
            let (group, topic, time) = (visible(group), visible(topic), utc(*timestamp_ms));
            write!(out, "    commit  {group}  {topic}  {partition}  offset {offset}  {time}")?;
            if let Some(epoch) = leader_epoch {
                write!(out, "  leader epoch {epoch}")?;
            }
            if let Some(expire_at_ms) = expire_at_ms {
                write!(out, "  expires {}", utc(*expire_at_ms))?;
            }
            if !metadata.is_empty() {
                write!(out, "  metadata {}", visible(metadata))?;
            }
            writeln!(out)
        }
        Change::Delete { group, topic, partition } => {
            writeln!(out, "    delete  {}  {}  {partition}", visible(group), visible(topic))
        }
        Change::DeleteTopic { group, topic } => {
            writeln!(out, "    delete all partitions  {}  {}", visible(group), visible(topic))
        }
        _ => writeln!(out, "    a change that this version cannot print"),
    }
}

fn json_summary(summary: &Summary) -> Value {
    let marks: Vec<Value> = summary
        .marks
        .iter()
        .map(|mark| {
            json!({"state": mark.state, "epoch": mark.epoch, "position": mark.position,
                   "durable_seq": mark.durable_seq})
        })
        .collect();
    // The numbers of 64 bits and more are text: programs that read JSON numbers as floating point
    // would change them.
    json!({"type": "segment", "store_id": format!("{:032x}", summary.store_id),
           "salt": format!("{:016x}", summary.salt), "epoch": summary.epoch, "size": summary.size,
           "records": summary.records, "marks": marks})
}

fn json_record(record: &Record<'_>) -> Value {
    let body = match &record.body {
        Body::Start { first_seq, base_timestamp_ms } => {
            json!({"kind": "start", "first_seq": first_seq, "base_timestamp_ms": base_timestamp_ms})
        }
        Body::Open { epoch, next_seq } => {
            json!({"kind": "open", "epoch": epoch, "next_seq": next_seq})
        }
        Body::Name { id, group, topic } => {
            json!({"kind": "name", "id": id, "group": group, "topic": topic})
        }
        Body::Batch(changes) => {
            let changes: Vec<Value> = changes.iter().map(json_change).collect();
            json!({"kind": "batch", "changes": changes})
        }
        Body::Seal { next_seq } => json!({"kind": "seal", "next_seq": next_seq}),
        Body::Unknown { kind } => json!({"kind": "unknown", "number": kind}),
        Body::Malformed { kind } => json!({"kind": "malformed", "number": kind}),
        _ => json!({"kind": "other"}),
    };
    json!({"type": "record", "position": record.position, "length": record.length,
           "seq": record.seq, "durable_seq": record.durable_seq, "body": body})
}

fn json_change(change: &Change<'_>) -> Value {
    match change {
        Change::Commit {
            group,
            topic,
            partition,
            offset,
            leader_epoch,
            timestamp_ms,
            expire_at_ms,
            metadata,
        } => {
            json!({"kind": "commit", "group": group, "topic": topic, "partition": partition,
                   "offset": offset, "leader_epoch": leader_epoch, "metadata": metadata,
                   "timestamp_ms": timestamp_ms, "expire_at_ms": expire_at_ms})
        }
        Change::Delete { group, topic, partition } => {
            json!({"kind": "delete", "group": group, "topic": topic, "partition": partition})
        }
        Change::DeleteTopic { group, topic } => {
            json!({"kind": "delete_topic", "group": group, "topic": topic})
        }
        _ => json!({"kind": "other"}),
    }
}
