//! The CSV of Kafka's `kafka-consumer-groups.sh`: no header, `topic,partition,offset` where one
//! group was named and `group,topic,partition,offset` otherwise.
//!
//! It says nothing of leader epochs, metadata and timestamps.

use std::io::{self, BufRead, Write};
use std::str;

use anyhow::{Result, anyhow, bail, ensure};
use pagemark::MAX_NAME_BYTES;

use super::lines::Lines;
use super::{Row, Value, take};

/// Names longer than this are quoted without a look at them.
const LONGEST_BARE_NAME: usize = 24;
/// No record is longer than two names of nothing but quotes and two numbers. Without a limit, one
/// stray quote would turn the rest of a huge file into one record.
const LONGEST_RECORD: usize = 4 * MAX_NAME_BYTES + 100;

/// Writes one line; without a group it is the short form.
pub(crate) fn write_row(
    group: Option<&str>,
    topic: &str,
    partition: i32,
    offset: i64,
    out: &mut dyn Write,
) -> io::Result<()> {
    if let Some(group) = group {
        write_field(group, out)?;
        out.write_all(b",")?;
    }
    write_field(topic, out)?;
    writeln!(out, ",{partition},{offset}")
}

/// Writes one text, quoted when Kafka's tool would quote it: its library takes no risk with names
/// that are long or have a character up to the comma, so that equal offsets give equal files.
pub(crate) fn write_field(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let long = text.encode_utf16().nth(LONGEST_BARE_NAME).is_some();
    match long || text.bytes().any(|byte| byte <= b',') {
        true => write!(out, "\"{}\"", text.replace('"', "\"\"")),
        false => out.write_all(text.as_bytes()),
    }
}

/// Reads a file and calls `visit` for each record. The first one decides which form all have.
///
/// Quotes must be where they belong: a record that can be read in two ways is refused. A quoted name
/// may go on over several lines; a record is known by its first one.
pub(crate) fn read(
    input: impl BufRead,
    group: Option<&str>,
    visit: &mut dyn FnMut(Row<'_>) -> Result<()>,
) -> Result<()> {
    let mut lines = Lines::new(input);
    let mut columns = None;
    while let Some(number) = lines.next()? {
        // The quotes of a whole record come in pairs.
        let mut quotes = count_quotes(lines.text());
        while quotes % 2 == 1 {
            let seen = lines.text().len();
            let more = seen <= LONGEST_RECORD && lines.append()?;
            ensure!(more, "line {number}: a quote is not closed");
            quotes += count_quotes(&lines.text()[seen..]);
        }
        let fields = split(lines.text());
        let row = fields.as_ref().map_err(|error| anyhow!("{error}")).and_then(|fields| {
            let columns = *columns.get_or_insert(fields.len());
            row(fields, columns, group)
        });
        take(number, row, visit)?;
    }
    Ok(())
}

fn count_quotes(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'"').count()
}

/// Takes a record apart.
fn split(mut record: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut fields = Vec::new();
    loop {
        let (field, rest) = match record.strip_prefix(b"\"") {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = record.iter().position(|byte| *byte == b',').unwrap_or(record.len());
                let (field, rest) = record.split_at(end);
                ensure!(!field.contains(&b'"'), "a quote stands within a name without quotes");
                (field.to_vec(), rest)
            }
        };
        fields.push(field);
        match rest.split_first() {
            None => return Ok(fields),
            Some((b',', rest)) => record = rest,
            Some(_) => bail!("something other than a comma follows a quoted name"),
        }
    }
}

/// The text up to the closing quote, and what follows that.
fn unquote(quoted: &[u8]) -> Result<(Vec<u8>, &[u8])> {
    let (mut field, mut rest) = (Vec::new(), quoted);
    loop {
        let end = rest.iter().position(|byte| *byte == b'"');
        let (text, behind) = rest.split_at(end.ok_or_else(|| anyhow!("a quote is not closed"))?);
        field.extend_from_slice(text);
        match behind {
            [b'"', b'"', behind @ ..] => {
                field.push(b'"');
                rest = behind;
            }
            behind => return Ok((field, behind.get(1..).unwrap_or_default())),
        }
    }
}

fn row<'a>(fields: &'a [Vec<u8>], columns: usize, group: Option<&str>) -> Result<Row<'a>> {
    let found = fields.len();
    ensure!(found == columns, "there are {found} columns where the first line has {columns}");
    let (name, topic, partition, offset) = match (fields, group) {
        ([group, topic, partition, offset], _) => (Some(group), topic, partition, offset),
        ([topic, partition, offset], Some(_)) => (None, topic, partition, offset),
        ([_, _, _], None) => bail!("the lines name no group; say which one it is with --group"),
        _ => bail!(
            "there are {found} columns; expected are topic,partition,offset or \
             group,topic,partition,offset"
        ),
    };
    Ok(Row {
        group: name.map(|name| text(name, "group")).transpose()?,
        topic: text(topic, "topic")?,
        partition: number(partition, "partition")?,
        value: Value {
            offset: number(offset, "offset")?,
            leader_epoch: None,
            expire_at_ms: None,
            timestamp_ms: None,
            metadata: "".into(),
        },
    })
}

fn text<'a>(field: &'a [u8], what: &str) -> Result<&'a str> {
    str::from_utf8(field).map_err(|_| anyhow!("the {what} is not UTF-8"))
}

fn number<T: str::FromStr>(field: &[u8], what: &str) -> Result<T> {
    let text = text(field, what)?;
    text.trim().parse().map_err(|_| anyhow!("the {what} {text:?} is not a number in its limits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (Option<String>, String, i32, i64);

    fn rows(text: &[u8], group: Option<&str>) -> Result<Vec<Owned>> {
        let mut rows = Vec::new();
        read(text, group, &mut |row| {
            let group = row.group.map(str::to_owned);
            rows.push((group, row.topic.to_owned(), row.partition, row.value.offset));
            Ok(())
        })?;
        Ok(rows)
    }

    fn refusal(text: &[u8], group: Option<&str>) -> String {
        rows(text, group).expect_err("the file must be refused").to_string()
    }

    fn field(text: &str) -> String {
        let mut out = Vec::new();
        write_field(text, &mut out).expect("a vector takes everything");
        String::from_utf8(out).expect("fields are text")
    }

    #[test]
    fn both_forms_with_quotes_bom_crlf_and_blank_lines() {
        let text = b"\xEF\xBB\xBF\"a \"\"b\"\", c\",0,7\r\n\r\n  \r\nt , 1 , 8 \r\n";
        let expected = [(None, "a \"b\", c".into(), 0, 7), (None, "t ".into(), 1, 8)];
        assert_eq!(rows(text, Some("g")).expect("a good file"), expected);
        let expected = [(Some("g".into()), "t\nu".into(), 2, i64::MAX)];
        let text = b"g,\"t\nu\",2,9223372036854775807\n\n";
        assert_eq!(rows(text, None).expect("a good file"), expected);
        assert_eq!(rows(b"", None).expect("an empty file"), []);
    }

    #[test]
    fn refusals_name_the_line() {
        assert!(refusal(b"t,0,1\n", None).starts_with("line 1: the lines name no group"));
        assert!(refusal(b"g,t,0,1\n\n\ng,t,x,1\n", None).starts_with("line 4: the partition"));
        assert!(refusal(b"g,t,0,1\nt,0,1\n", None).starts_with("line 2: there are 3 columns"));
        assert!(refusal(b"t,1\n", None).starts_with("line 1: there are 2 columns"));
        assert!(refusal(b"t,-1,1\n", Some("g")).contains("partition -1 is negative"));
        assert!(refusal(b"t,1,-1\n", Some("g")).contains("offset -1 is negative"));
        assert!(refusal(b"t,1,\n", Some("g")).contains("the offset \"\" is not a number"));
        assert!(refusal(b"t,2147483648,1\n", Some("g")).contains("not a number in its limits"));
        assert!(refusal(b"\"\",1,1\n", Some("g")).contains("the topic name is empty"));
        assert!(refusal(b"\xFF,1,1\n", Some("g")).contains("not UTF-8"));
        assert!(
            refusal(b"g,t,0,1\r\n\r\ng,\"t\n\nu\",0,1\r\ng,t,1\r\n", None).starts_with("line 6:")
        );
        assert!(refusal(b"g,t,0,1\n\"g,t,0,1\ng,t,0,1\n", None).starts_with("line 2: a quote"));
        assert!(refusal(b"\"t\"u,0,1\n", Some("g")).starts_with("line 1: something other"));
        assert!(refusal(b"t\"u\",0,1\n", Some("g")).starts_with("line 1: a quote stands within"));
    }

    #[test]
    fn quotes_stand_where_kafkas_tool_puts_them() {
        assert_eq!(field("orders-2.eu_west"), "orders-2.eu_west");
        assert_eq!(field("exactly-24-characters-ok"), "exactly-24-characters-ok");
        assert_eq!(field("these-are-25-characters-x"), "\"these-are-25-characters-x\"");
        assert_eq!(field("a b"), "\"a b\"");
        assert_eq!(field("a\"b"), "\"a\"\"b\"");
        assert_eq!(field("größe"), "größe");
    }
}
