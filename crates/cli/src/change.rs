//! One commit or delete, as text for people and as JSON.

use std::io::{self, Write};

use pagemark::dump::Change;
use serde_json::{Value, json};

use crate::table::visible;
use crate::time::utc;

/// Prints a change as one line for people.
pub(crate) fn text(change: &Change<'_>, out: &mut dyn Write) -> io::Result<()> {
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
            write!(out, "commit  {group}  {topic}  {partition}  offset {offset}  {time}")?;
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
            writeln!(out, "delete  {}  {}  {partition}", visible(group), visible(topic))
        }
        Change::DeleteTopic { group, topic } => {
            writeln!(out, "delete all partitions  {}  {}", visible(group), visible(topic))
        }
        _ => writeln!(out, "a change that this version cannot print"),
    }
}

/// A change as a JSON object, with the seq that it has where it stands, if it has one of its own.
pub(crate) fn json(seq: Option<u64>, change: &Change<'_>) -> Value {
    let mut object = match change {
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
    };
    if let Some(seq) = seq {
        object["seq"] = seq.into();
    }
    object
}
