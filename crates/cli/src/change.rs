//! One commit, delete or change of a state, as text for people and as JSON.

use std::io::{self, Write};

use pagemark::dump::Change;
use pagemark::{StateChange, StateOwner};
use serde_json::{Value, json};

use crate::table::visible;
use crate::time::utc;

/// What happens to a state, and the bytes that come in.
fn way<'a>(change: &StateChange<'a>) -> (&'static str, &'a [u8]) {
    match *change {
        StateChange::Put(bytes) => ("put", bytes),
        StateChange::Append(bytes) => ("append", bytes),
        StateChange::Delete => ("delete", &[]),
    }
}

/// The owner of a state, by its name if this version knows it.
pub(crate) fn owner_name(number: u8) -> String {
    let known = StateOwner::ALL.into_iter().find(|owner| owner.number() == number);
    known.map_or_else(|| format!("owner {number}"), |o| format!("{o:?}").to_lowercase())
}

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
        Change::State { group, owner, name, part, change } => {
            let (way, bytes) = way(change);
            let (group, owner, name) = (visible(group), owner_name(*owner), visible(name));
            write!(out, "{way} state  {group}  {owner}  {name}  {part}")?;
            match change {
                StateChange::Delete => writeln!(out),
                _ => writeln!(out, "  {} bytes  {}", bytes.len(), bytes.escape_ascii()),
            }
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
        Change::State { group, owner, name, part, change } => {
            let (way, bytes) = way(change);
            // Text of two digits for each byte: JSON has no bytes.
            let bytes: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"kind": format!("{way}_state"), "group": group, "owner": owner, "name": name,
                   "part": part, "bytes": bytes})
        }
        _ => json!({"kind": "other"}),
    };
    if let Some(seq) = seq {
        object["seq"] = seq.into();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_printed_with_their_bytes() {
        let printed = |owner, change| {
            let change = Change::State { group: "g\n", owner, name: "orders", part: 3, change };
            let mut out = Vec::new();
            text(&change, &mut out).expect("a vector takes everything");
            (String::from_utf8(out).expect("text"), json(Some(7), &change))
        };
        let (text, object) = printed(2, StateChange::Append(b"a\n\xff"));
        assert_eq!(text, "append state  g\\n  claims  orders  3  3 bytes  a\\n\\xff\n");
        let expected = json!({"kind": "append_state", "seq": 7, "group": "g\n", "owner": 2,
                              "name": "orders", "part": 3, "bytes": "610aff"});
        assert_eq!(object, expected);
        let (text, object) = printed(200, StateChange::Delete);
        assert_eq!(text, "delete state  g\\n  owner 200  orders  3\n");
        assert_eq!(object["bytes"], "");
    }
}
