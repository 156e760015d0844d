//! The text formats that offsets are exported to and imported from.

pub(crate) mod csv;
pub(crate) mod jsonl;
mod lines;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use pagemark::{MAX_METADATA_BYTES, MAX_NAME_BYTES};

/// A format of `export` and `import`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    /// What Kafka's tools write: names, partition and offset alone.
    Csv,
    /// One JSON object in each line, with everything that the store keeps.
    Jsonl,
}

/// What a file says about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// The next offset.
    pub(crate) offset: i64,
    /// The leader epoch.
    pub(crate) leader_epoch: Option<i32>,
    /// The commit timestamp, if the file has one.
    pub(crate) timestamp_ms: Option<i64>,
    /// When the value may go, if the file says so.
    pub(crate) expire_at_ms: Option<i64>,
    /// The metadata.
    pub(crate) metadata: Box<str>,
}

/// One line of a file.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// The group, unless the file leaves it to the command line.
    pub(crate) group: Option<&'a str>,
    /// The topic.
    pub(crate) topic: &'a str,
    /// The partition.
    pub(crate) partition: i32,
    /// The value.
    pub(crate) value: Value,
}

impl Row<'_> {
    /// Checks what the store would refuse, so that a file is refused as a whole before the first
    /// commit.
    fn check(&self) -> Result<()> {
        if let Some(group) = self.group {
            check_name("group", group)?;
        }
        check_name("topic", self.topic)?;
        ensure!(self.partition >= 0, "partition {} is negative", self.partition);
        ensure!(self.value.offset >= 0, "offset {} is negative", self.value.offset);
        if let Some(epoch) = self.value.leader_epoch {
            ensure!(
                epoch >= 0,
                "leader epoch {epoch} is negative; where there is none, write null"
            );
        }
        let bytes = self.value.metadata.len();
        if bytes > MAX_METADATA_BYTES {
            bail!("the metadata has {bytes} bytes, the limit is {MAX_METADATA_BYTES}");
        }
        Ok(())
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    ensure!(!name.is_empty(), "the {what} name is empty");
    let bytes = name.len();
    ensure!(
        bytes <= MAX_NAME_BYTES,
        "the {what} name has {bytes} bytes, the limit is {MAX_NAME_BYTES}"
    );
    Ok(())
}

/// Checks a row, hands it on, and names its line in what goes wrong.
fn take(
    line: u64,
    row: Result<Row<'_>>,
    visit: &mut dyn FnMut(Row<'_>) -> Result<()>,
) -> Result<()> {
    let checked = row.and_then(|row| {
        row.check()?;
        visit(row)
    });
    checked.map_err(|error| anyhow::anyhow!("line {line}: {error}"))
}
