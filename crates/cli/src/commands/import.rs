//! `pagemark import`: commits the offsets of a file.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::builder::NonEmptyStringValueParser;
use pagemark::{Commit, CommitBatch, Durability, MAX_METADATA_BYTES, NextOffset, OffsetStore};

use crate::codec::{Codec, Row, Value, csv, jsonl};
use crate::store;
use crate::table::visible;

const AFTER_HELP: &str = "\
Examples:
  kafka-consumer-groups.sh ... --all-groups --reset-offsets --to-current --export --dry-run \\
      | pagemark import --dir offsets
  pagemark import --dir offsets --group billing billing.csv
  pagemark import --dir copy everything.jsonl

The whole file is read and checked before the first commit, so that a bad line changes nothing. Each
group is then imported in one step. Where a key stands several times, its last line counts.";

/// The most changes of a batch. Larger groups take several steps: a step must fit into a segment.
const BATCH_CHANGES: usize = 100_000;
/// The most text of a batch, for the same reason.
const BATCH_TEXT_BYTES: usize = 8 << 20;

/// Commit the offsets of a file of CSV or JSON Lines, creating the store if there is none.
///
/// With --group, CSV of three columns is meant for that group; of files that name groups, only the
/// lines of that group are imported.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The group
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    group: Option<String>,

    /// The format [default: jsonl for files named .jsonl, .ndjson or .json, csv otherwise]
    #[arg(long)]
    format: Option<Codec>,

    /// The file; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// Everything a file says: by group, topic and partition.
#[derive(Default)]
struct Import {
    groups: BTreeMap<String, BTreeMap<String, BTreeMap<i32, Value>>>,
    offsets: u64,
    replaced: u64,
    other_groups: u64,
}

/// Reads everything, commits everything, and says how much it was.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let mut import = Import::default();
    let name =
        if is_stdin(args) { "standard input".into() } else { args.file.display().to_string() };
    read(args, &mut import).with_context(|| format!("nothing was imported from {name}"))?;
    // A store may have been told to take longer metadata than the default, and was exported so.
    let options = store::options().max_metadata_bytes(MAX_METADATA_BYTES);
    let store = store::open(dir, &options)?;
    for (number, (group, topics)) in import.groups.iter().enumerate() {
        commit_group(&store, group, topics).with_context(|| {
            let group = visible(group);
            format!("the import stopped at group {group}, {number} groups before it are complete")
        })?;
    }
    store.sync()?;
    store.close()?;
    write!(
        out,
        "imported {} of {}",
        several(import.offsets, "offset"),
        several(import.groups.len() as u64, "group")
    )?;
    if import.replaced > 0 {
        write!(out, "; {} replaced by later ones", several(import.replaced, "line"))?;
    }
    if import.other_groups > 0 {
        write!(out, "; {} of other groups left out", several(import.other_groups, "line"))?;
    }
    Ok(writeln!(out)?)
}

fn is_stdin(args: &Args) -> bool {
    args.file == Path::new("-")
}

fn several(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn read(args: &Args, import: &mut Import) -> Result<()> {
    let input: Box<dyn Read> = match is_stdin(args) {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(&args.file).context("the file cannot be opened")?),
    };
    let group = args.group.as_deref();
    let mut visit = |row: Row<'_>| {
        import.add(group, row);
        Ok(())
    };
    match args.format.unwrap_or_else(|| codec_of(&args.file)) {
        Codec::Csv => csv::read(BufReader::new(input), group, &mut visit),
        Codec::Jsonl => jsonl::read(BufReader::new(input), group, &mut visit),
    }
}

fn codec_of(file: &Path) -> Codec {
    match file.extension().and_then(OsStr::to_str) {
        Some("jsonl" | "ndjson" | "json") => Codec::Jsonl,
        _ => Codec::Csv,
    }
}

impl Import {
    fn add(&mut self, only: Option<&str>, row: Row<'_>) {
        let group = match (row.group, only) {
            (Some(group), Some(only)) if group != only => {
                self.other_groups += 1;
                return;
            }
            (Some(group), _) | (None, Some(group)) => group,
            // The codecs refuse such a row.
            (None, None) => return,
        };
        // Most lines are of a group and topic that are there already: no new strings for them.
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), BTreeMap::new());
        }
        let Some(topics) = self.groups.get_mut(group) else { return };
        if !topics.contains_key(row.topic) {
            topics.insert(row.topic.to_owned(), BTreeMap::new());
        }
        let Some(partitions) = topics.get_mut(row.topic) else { return };
        match partitions.insert(row.partition, row.value) {
            Some(_) => self.replaced += 1,
            None => self.offsets += 1,
        }
    }
}

/// Commits a group, in one step unless it is huge. The flush comes later, once for all.
fn commit_group(
    store: &OffsetStore,
    group: &str,
    topics: &BTreeMap<String, BTreeMap<i32, Value>>,
) -> pagemark::Result<()> {
    let mut batch = CommitBatch::new(group);
    let mut text = 0;
    for (topic, partitions) in topics {
        text += topic.len();
        for (partition, value) in partitions {
            text += value.metadata.len();
            if batch.len() >= BATCH_CHANGES || text > BATCH_TEXT_BYTES {
                store.commit_batch_with(&batch, Durability::Buffered)?;
                batch.clear();
                text = topic.len() + value.metadata.len();
            }
            let mut commit = Commit::new(NextOffset(value.offset)).metadata(&value.metadata);
            if let Some(epoch) = value.leader_epoch {
                commit = commit.leader_epoch(epoch);
            }
            if let Some(timestamp_ms) = value.timestamp_ms {
                commit = commit.timestamp_ms(timestamp_ms);
            }
            if let Some(expire_at_ms) = value.expire_at_ms {
                commit = commit.expire_at_ms(expire_at_ms);
            }
            batch.commit(topic, *partition, commit);
        }
    }
    if !batch.is_empty() {
        store.commit_batch_with(&batch, Durability::Buffered)?;
    }
    Ok(())
}
