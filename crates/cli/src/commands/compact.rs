//! `pagemark compact`: replaces the log by a snapshot.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::progress::Bar;
use crate::store;
use crate::table::{Cell, Column, Format, Table};

const AFTER_HELP: &str = "\
Examples:
  pagemark compact --dir offsets
  pagemark compact --dir offsets --format json

If there is nothing to compact, the table is a sentence that says so, and in JSON and CSV all numbers
are 0.";

const COLUMNS: &[Column] = &[
    ("COVERED-SEQ", "covered_seq"),
    ("KEYS", "keys"),
    ("SNAPSHOT-BYTES", "snapshot_bytes"),
    ("SEGMENTS-RETIRED", "segments_retired"),
    ("BYTES-RETIRED", "bytes_retired"),
    ("ELAPSED-MS", "elapsed_ms"),
];

/// Replace the log by a snapshot: one file with the newest value of every live key.
///
/// A store that is in use does this by itself. No other process may have it open meanwhile.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Compacts, closes the store, and says what came of it.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let store = store::open_existing(dir)?;
    let mut bar = Bar::new("compacting");
    let report = store.compact_with(|progress| bar.show(progress))?;
    drop(bar);
    store.close()?;
    if report.covered_seq.get() == 0 && args.format == Format::Table {
        let sentence = "nothing to compact: nothing was committed or deleted since the last time";
        return Ok(writeln!(out, "{sentence}")?);
    }
    let mut table = Table::new(COLUMNS);
    table.push(vec![
        Cell::count(report.covered_seq.get()),
        Cell::count(report.keys),
        Cell::count(report.snapshot_bytes),
        Cell::count(report.segments_retired),
        Cell::count(report.bytes_retired),
        Cell::count(report.elapsed_ms),
    ]);
    Ok(table.write_one(args.format, out)?)
}
