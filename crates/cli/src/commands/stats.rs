//! `pagemark stats`: the numbers of a store, read from outside.

use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use pagemark::OffsetReader;
use pagemark::dump::{Body, dump};

use crate::store;
use crate::table::{Cell, Column, Format, Table};

const AFTER_HELP: &str = "\
Examples:
  pagemark stats --dir offsets
  pagemark stats --dir offsets --format json

Data bytes are what the values would take alone: the names of groups and topics once each, the
metadata, and 24 bytes for each key, 32 if it may expire. Disk bytes are what the files take on the
device, reserved room included; amplification is how many times the data that is. Counts of commits,
flushes and compactions are known only to the process that has the store open.";

const COLUMNS: &[Column] = &[
    ("KEYS", "keys"),
    ("GROUPS", "groups"),
    ("LAST-SEQ", "last_seq"),
    ("DURABLE-SEQ", "durable_seq"),
    ("SEGMENTS", "segments"),
    ("LOG-BYTES", "log_bytes"),
    ("SNAPSHOT-BYTES", "snapshot_bytes"),
    ("SNAPSHOT-KEYS", "snapshot_keys"),
    ("TEMPORARY-BYTES", "temporary_bytes"),
    ("DATA-BYTES", "data_bytes"),
    ("DISK-BYTES", "disk_bytes"),
    ("AMPLIFICATION", "amplification"),
];

/// Partition, offset, leader epoch and commit timestamp.
const VALUE_BYTES: u64 = 4 + 8 + 4 + 8;
const EXPIRY_BYTES: u64 = 8;

/// Show how many keys a store has, how far it is durable, and what it takes on the disk.
///
/// It only reads, also while another process has the store open.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Prints the numbers.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let reader = store::read(dir)?;
    let data = Data::of(&reader);
    let (files, snapshot_keys) = look(&store::find(dir)?)?;
    let mut table = Table::new(COLUMNS);
    table.push(vec![
        Cell::count(data.keys),
        Cell::count(data.groups),
        Cell::count(reader.last_seq().get()),
        Cell::count(reader.durable_seq().get()),
        Cell::count(files.segments),
        Cell::count(files.log_bytes),
        Cell::count(files.snapshot_bytes),
        snapshot_keys.map_or(Cell::Missing, Cell::count),
        Cell::count(files.temporary_bytes),
        Cell::count(data.bytes),
        Cell::count(files.disk_bytes),
        match data.bytes {
            0 => Cell::Missing,
            bytes => Cell::Ratio(files.disk_bytes as f64 / bytes as f64),
        },
    ]);
    Ok(table.write_list(args.format, out)?)
}

/// What stands in the directory, and how many keys the newest snapshot has.
fn look(dir: &Path) -> Result<(Files, Option<u64>)> {
    loop {
        let files = Files::of(dir)?;
        let Some(snapshot) = &files.snapshot else { return Ok((files, None)) };
        let mut keys = 0;
        let read = dump(&dir.join(snapshot), |record| {
            if let Body::Values(values) = &record.body {
                keys += values.len() as u64;
            }
        });
        match read {
            Ok(_) => return Ok((files, Some(keys))),
            // There is a newer one now.
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_not_found(error: &pagemark::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == ErrorKind::NotFound)
}

/// What the values come to.
#[derive(Default)]
struct Data {
    keys: u64,
    groups: u64,
    bytes: u64,
}

impl Data {
    fn of(reader: &OffsetReader) -> Data {
        let mut data = Data::default();
        let mut last_topic = String::new();
        for group in reader.groups() {
            data.groups += 1;
            data.bytes += group.len() as u64;
            last_topic.clear();
            reader.visit_group(&group, |topic, _, value| {
                // The topics come in order, and none has an empty name.
                if topic != last_topic {
                    data.bytes += topic.len() as u64;
                    last_topic.clear();
                    last_topic.push_str(topic);
                }
                data.keys += 1;
                data.bytes += VALUE_BYTES + value.metadata().len() as u64;
                data.bytes += value.expire_at_ms().map_or(0, |_| EXPIRY_BYTES);
            });
        }
        data
    }
}

/// What stands in the directory.
#[derive(Default)]
struct Files {
    segments: u64,
    log_bytes: u64,
    snapshot_bytes: u64,
    /// The name of the newest.
    snapshot: Option<String>,
    temporary_bytes: u64,
    disk_bytes: u64,
}

impl Files {
    fn of(dir: &Path) -> Result<Files> {
        let failed = || format!("the directory {} cannot be read", dir.display());
        let mut files = Files::default();
        for entry in fs::read_dir(dir).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // The process that has the store open has removed it meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(failed),
            };
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let kind = match parts(&name) {
                (true, ".log") => {
                    files.segments += 1;
                    &mut files.log_bytes
                }
                (true, ".snapshot") => {
                    // The names sort by seq.
                    files.snapshot = files.snapshot.max(Some(name.to_string()));
                    &mut files.snapshot_bytes
                }
                (true, ".log.tmp" | ".snapshot.tmp") | (false, "spare.tmp") => {
                    &mut files.temporary_bytes
                }
                (false, "LOCK") => &mut 0,
                _ => continue,
            };
            *kind += metadata.len();
            // The unit of the system call, whatever the block size of the file system.
            files.disk_bytes += metadata.blocks() * 512;
        }
        Ok(files)
    }
}

/// Whether a name begins with a seq, as those of segments and snapshots do, and what follows. Other
/// names are somebody else's.
fn parts(name: &str) -> (bool, &str) {
    const DIGITS: usize = 20;
    match name.split_at_checked(DIGITS) {
        Some((seq, rest)) if seq.bytes().all(|byte| byte.is_ascii_digit()) => (true, rest),
        _ => (false, name),
    }
}
