//! `pagemark dump`: every record of one segment or snapshot.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use pagemark::dump::{Body, Ending, Record, Summary, dump};
use serde_json::{Value, json};

use crate::change;
use crate::failure::Failure;
use crate::table::visible;
use crate::time::utc;

const AFTER_HELP: &str = "\
Examples:
  pagemark dump offsets/00000000000000000001.log
  pagemark dump offsets/00000000000000000042.snapshot
  pagemark dump offsets/00000000000000000001.log --format json | grep '\"topic\":\"orders\"'

A dump says what stands in a file, not what of it counts: a torn tail, which a crash leaves behind
the last durable record, is no damage. Exits with 3 if the file states that something is durable and
it cannot be read, or holds a record that makes no sense.";

/// Show the header, the marks and every record of a segment or snapshot, also of an open store.
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
    (end.ending != Ending::Sealed && end.end < durable).then(|| {
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
    writeln!(out, "file     {}", summary.kind)?;
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
    text_body(&record.body, out)
}

fn text_body(body: &Body<'_>, out: &mut dyn Write) -> io::Result<()> {
    match body {
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
            changes.iter().try_for_each(|change| {
                write!(out, "    ")?;
                change::text(change, out)
            })
        }
        Body::Seal { next_seq } => writeln!(out, "  seal: the log goes on at seq {next_seq}"),
        Body::Base { last_seq, next_seq, base_timestamp_ms } => {
            let times = utc(*base_timestamp_ms);
            writeln!(
                out,
                "  base: stands for the log up to seq {last_seq}, which goes on at {next_seq}, times \
                 from {times}"
            )
        }
        Body::Values(values) => {
            writeln!(out, "  values of {}", values.len())?;
            values.iter().try_for_each(|(seq, change)| {
                write!(out, "    seq {seq}  ")?;
                change::text(change, out)
            })
        }
        Body::State(seq, change) => {
            write!(out, "  seq {seq}  ")?;
            change::text(change, out)
        }
        Body::Unknown { kind } => writeln!(out, "  kind {kind}, which this version does not know"),
        Body::Malformed { kind } => writeln!(out, "  kind {kind}, MALFORMED"),
        _ => writeln!(out, "  a record that this version cannot print"),
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
    json!({"type": summary.kind, "store_id": format!("{:032x}", summary.store_id),
           "salt": format!("{:016x}", summary.salt), "epoch": summary.epoch, "size": summary.size,
           "records": summary.records, "marks": marks})
}

fn json_record(record: &Record<'_>) -> Value {
    json!({"type": "record", "position": record.position, "length": record.length,
           "seq": record.seq, "durable_seq": record.durable_seq, "body": json_body(&record.body)})
}

fn json_body(body: &Body<'_>) -> Value {
    match body {
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
            let changes: Vec<Value> = changes.iter().map(|c| change::json(None, c)).collect();
            json!({"kind": "batch", "changes": changes})
        }
        Body::Seal { next_seq } => json!({"kind": "seal", "next_seq": next_seq}),
        Body::Base { last_seq, next_seq, base_timestamp_ms } => {
            json!({"kind": "base", "last_seq": last_seq, "next_seq": next_seq,
                   "base_timestamp_ms": base_timestamp_ms})
        }
        Body::Values(values) => {
            let values = values.iter().map(|(seq, change)| change::json(Some(*seq), change));
            json!({"kind": "values", "values": values.collect::<Vec<_>>()})
        }
        Body::State(seq, change) => {
            json!({"kind": "state", "state": change::json(Some(*seq), change)})
        }
        Body::Unknown { kind } => json!({"kind": "unknown", "number": kind}),
        Body::Malformed { kind } => json!({"kind": "malformed", "number": kind}),
        _ => json!({"kind": "other"}),
    }
}

#[cfg(test)]
mod tests {
    use pagemark::dump::Change;

    use super::*;

    #[test]
    fn the_records_that_only_snapshots_have() {
        let change = Change::Commit {
            group: "g\n",
            topic: "t",
            partition: 3,
            offset: 42,
            leader_epoch: None,
            timestamp_ms: 0,
            expire_at_ms: None,
            metadata: "m",
        };
        let base = Body::Base { last_seq: 7, next_seq: 9, base_timestamp_ms: 1 };
        let values = Body::Values(vec![(5, change.clone()), (7, change)]);
        let mut out = Vec::new();
        text_body(&base, &mut out).and_then(|()| text_body(&values, &mut out)).expect("a vector");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "  base: stands for the log up to seq 7, which goes on at 9, times from \
             1970-01-01T00:00:00.001Z\n  values of 2\n    \
             seq 5  commit  g\\n  t  3  offset 42  1970-01-01T00:00:00.000Z  metadata m\n    \
             seq 7  commit  g\\n  t  3  offset 42  1970-01-01T00:00:00.000Z  metadata m\n"
        );
        assert_eq!(
            json_body(&base),
            json!({"kind": "base", "last_seq": 7, "next_seq": 9, "base_timestamp_ms": 1})
        );
        let value = |seq| {
            json!({"kind": "commit", "seq": seq, "group": "g\n", "topic": "t", "partition": 3,
                   "offset": 42, "leader_epoch": null, "metadata": "m", "timestamp_ms": 0,
                   "expire_at_ms": null})
        };
        assert_eq!(json_body(&values), json!({"kind": "values", "values": [value(5), value(7)]}));
    }
}
