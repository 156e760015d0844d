//! JSON Lines: one object for each key, with everything that the store keeps, so that an export can
//! be imported without loss.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};

use anyhow::{Result, anyhow};
use pagemark::CommittedOffset;
use serde::{Deserialize, Serialize};

use super::lines::Lines;
use super::{Row, Value, take};

/// One line. Members that nobody knows are refused: they would be lost.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    group: Option<Cow<'a, str>>,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    partition: i32,
    offset: i64,
    leader_epoch: Option<i32>,
    #[serde(borrow, default)]
    metadata: Cow<'a, str>,
    timestamp_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_at_ms: Option<i64>,
}

/// Writes one line.
pub(crate) fn write_row(
    group: &str,
    topic: &str,
    partition: i32,
    value: &CommittedOffset,
    out: &mut dyn Write,
) -> io::Result<()> {
    let line = Line {
        group: Some(group.into()),
        topic: topic.into(),
        partition,
        offset: value.offset().0,
        leader_epoch: value.leader_epoch(),
        metadata: value.metadata().into(),
        timestamp_ms: Some(value.commit_timestamp_ms()),
        expire_at_ms: value.expire_at_ms(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

/// Reads a file and calls `visit` for each line. The group may be missing if the command line names
/// one.
pub(crate) fn read(
    input: impl BufRead,
    group: Option<&str>,
    visit: &mut dyn FnMut(Row<'_>) -> Result<()>,
) -> Result<()> {
    let mut lines = Lines::new(input);
    while let Some(number) = lines.next()? {
        let line: Result<Line<'_>> =
            serde_json::from_slice(lines.text()).map_err(|error| explain(&error));
        let row =
            line.as_ref().map_err(|error| anyhow!("{error}")).and_then(|line| row(line, group));
        take(number, row, visit)?;
    }
    Ok(())
}

fn row<'a>(line: &'a Line<'_>, group: Option<&str>) -> Result<Row<'a>> {
    if line.group.is_none() && group.is_none() {
        return Err(anyhow!("the line names no group; say which one it is with --group"));
    }
    Ok(Row {
        group: line.group.as_deref(),
        topic: &line.topic,
        partition: line.partition,
        value: Value {
            offset: line.offset,
            leader_epoch: line.leader_epoch,
            timestamp_ms: line.timestamp_ms,
            expire_at_ms: line.expire_at_ms,
            metadata: line.metadata.as_ref().into(),
        },
    })
}

/// The parser counts lines within the one line that it was given, which would only confuse.
fn explain(error: &serde_json::Error) -> anyhow::Error {
    let (text, column) = (error.to_string(), error.column());
    let place = format!(" at line {} column {column}", error.line());
    match text.strip_suffix(&place) {
        Some(reason) => anyhow!("{reason} (column {column})"),
        None => anyhow!("{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, group: Option<&str>) -> String {
        let refused = read(text.as_bytes(), group, &mut |_| Ok(()));
        refused.expect_err("the file must be refused").to_string()
    }

    #[test]
    fn a_line_with_everything_and_one_with_the_least() {
        let text = "\u{feff}{\"group\":\"g\",\"topic\":\"t\\n\",\"partition\":3,\"offset\":4,\
                    \"leader_epoch\":5,\"metadata\":\"m\",\"timestamp_ms\":-6,\"expire_at_ms\":7}\r\n \r\n\
                    {\"topic\":\"u\",\"partition\":0,\"offset\":1}";
        let mut rows = Vec::new();
        let read = read(text.as_bytes(), Some("other"), &mut |row| {
            rows.push((
                row.group.map(str::to_owned),
                row.topic.to_owned(),
                row.partition,
                row.value,
            ));
            Ok(())
        });
        read.expect("a good file");
        let full = Value {
            offset: 4,
            leader_epoch: Some(5),
            timestamp_ms: Some(-6),
            expire_at_ms: Some(7),
            metadata: "m".into(),
        };
        let least = Value {
            offset: 1,
            leader_epoch: None,
            timestamp_ms: None,
            expire_at_ms: None,
            metadata: "".into(),
        };
        assert_eq!(rows, [(Some("g".into()), "t\n".into(), 3, full), (None, "u".into(), 0, least)]);
    }

    #[test]
    fn refusals_name_the_line() {
        let good = r#"{"group":"g","topic":"t","partition":0,"offset":1}"#;
        let refused = refusal(&format!("{good}\n\n{{\"topic\":1}}\n"), None);
        assert!(refused.starts_with("line 3: invalid type"), "{refused}");
        assert!(refused.contains("(column "), "{refused}");
        let refused = refusal(r#"{"topic":"t","partition":0,"offset":1}"#, None);
        assert!(refused.starts_with("line 1: the line names no group"), "{refused}");
        let refused = refusal(&good.replace("offset", "ofset"), None);
        assert!(refused.contains("unknown field `ofset`"), "{refused}");
        let refused = refusal(&good.replace("}", r#","leader_epoch":-1}"#), None);
        assert!(refused.contains("leader epoch -1 is negative"), "{refused}");
    }
}
