//! `pagemark verify`: whether every byte of a store is what it should be.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use pagemark::{Finding, Severity, VerifyReport, verify_with};

use crate::failure::Failure;
use crate::progress::Bar;
use crate::store;
use crate::table::{Cell, Column, Format, Table};

const AFTER_HELP: &str = "\
Examples:
  pagemark verify --dir offsets
  pagemark verify --dir offsets --format json

A note needs nothing; what is repairable is what crashes leave behind, and the next process that opens
the store for writing mends it; damage is damage. docs/operations.md says what each kind of finding
means, and `pagemark salvage` makes a new store from what can be read. CSV has the findings alone. Exits
with 3 if something is damaged.";

const SUMMARY: &[Column] = &[
    ("STORE", "store_id"),
    ("CLEAN", "clean"),
    ("CLOSED", "closed"),
    ("KEYS", "keys"),
    ("LAST-SEQ", "last_seq"),
    ("FILES", "files"),
    ("BYTES", "bytes"),
    ("RECORDS", "records"),
    ("STATES", "states"),
];

const FINDINGS: &[Column] = &[
    ("SEVERITY", "severity"),
    ("KIND", "kind"),
    ("FILE", "file"),
    ("POSITION", "position"),
    ("MESSAGE", "message"),
];

/// Check every byte of a store, also of one that another process has open.
///
/// It only reads.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Prints what was found, and fails if something is damaged.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let dir = store::find(dir)?;
    let mut bar = Bar::new("verifying");
    let report = verify_with(&dir, move |progress| bar.show(progress))?;
    let (summary, findings) = (summary(&report), findings(&report));
    match args.format {
        Format::Csv => findings.write(args.format, out)?,
        Format::Json => summary.write_with(&[("findings", &findings)], out)?,
        Format::Table => {
            summary.write_list(args.format, out)?;
            if findings.len() > 0 {
                writeln!(out)?;
                findings.write(args.format, out)?;
            }
        }
    }
    if report.is_clean() {
        return Ok(());
    }
    let is_damage = |finding: &&Finding| finding.severity == Severity::Damage;
    let message = match report.findings.iter().filter(is_damage).count() {
        1 => "1 place is damaged".to_owned(),
        count => format!("{count} places are damaged"),
    };
    Err(Failure::Damage(format!("{message} ({})", dir.display())).into())
}

fn summary(report: &VerifyReport) -> Table {
    let mut table = Table::new(SUMMARY);
    table.push(vec![
        report.store_id.map_or(Cell::Missing, |id| Cell::Text(format!("{id:032x}"))),
        Cell::Flag(report.is_clean()),
        Cell::Flag(report.closed),
        Cell::count(report.keys),
        Cell::count(report.last_seq.get()),
        Cell::count(report.files),
        Cell::count(report.bytes),
        Cell::count(report.records),
        Cell::count(report.states),
    ]);
    table
}

fn findings(report: &VerifyReport) -> Table {
    let mut table = Table::new(FINDINGS);
    for finding in &report.findings {
        table.push(vec![
            Cell::Text(finding.severity.to_string()),
            Cell::Text(format!("{:?}", finding.kind)),
            Cell::Text(finding.path.display().to_string()),
            finding.position.map_or(Cell::Missing, Cell::count),
            Cell::Text(finding.message.clone()),
        ]);
    }
    table
}
