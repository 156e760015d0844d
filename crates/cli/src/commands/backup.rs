//! `pagemark backup`: a copy of a store that can be opened as one.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::progress::Bar;
use crate::store;
use crate::table::{Cell, Column, Format, Table};

const AFTER_HELP: &str = "\
Examples:
  pagemark backup --dir offsets --to /backups/offsets
  pagemark verify --dir /backups/offsets

The command opens the store for writing, so no other process may have it open. A process that has can
make the same backup itself, while commits go on: with OffsetStore::backup of the library.

A later backup into the same directory copies only what is new. Open copies of a backup, not the backup
itself: no later one goes into a directory that was opened as a store.";

const COLUMNS: &[Column] = &[
    ("SEQ", "seq"),
    ("FILES-COPIED", "files_copied"),
    ("BYTES-COPIED", "bytes_copied"),
    ("FILES-KEPT", "files_kept"),
    ("BYTES-KEPT", "bytes_kept"),
    ("FILES-REMOVED", "files_removed"),
    ("ELAPSED-MS", "elapsed_ms"),
];

/// Copy a store that no process has open into a directory that can be opened as a store.
///
/// Every byte is checked while it is copied: damage is an error, and never part of a backup.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The directory for the copy: a new one, or one with an earlier backup of the store
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Copies, closes the store, and says what was copied.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let store = store::open_existing(dir)?;
    let mut bar = Bar::new("copying");
    let report = store.backup_with(&args.to, |progress| bar.show(progress))?;
    drop(bar);
    store.close()?;
    let mut table = Table::new(COLUMNS);
    table.push(vec![
        Cell::count(report.seq.get()),
        Cell::count(report.files_copied),
        Cell::count(report.bytes_copied),
        Cell::count(report.files_kept),
        Cell::count(report.bytes_kept),
        Cell::count(report.files_removed),
        Cell::count(report.elapsed_ms),
    ]);
    Ok(table.write_one(args.format, out)?)
}
