//! `pagemark salvage`: a new store from what can be read of a damaged one.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use pagemark::{SalvageReport, Verdict, salvage_with};

use crate::change;
use crate::failure::Failure;
use crate::progress::Bar;
use crate::store;
use crate::table::{Cell, Column, Format, Table};

const AFTER_HELP: &str = "\
Examples:
  pagemark salvage --from offsets --to saved
  pagemark salvage --from offsets --to saved --format csv > uncertain.csv

A value is exact if nothing that cannot be read can have held a newer one. Of a key that is possibly
old, the last value that can be read was saved; of one that is lost, none could be. docs/operations.md
says what to do about them. CSV has those keys alone. Exits with 3 unless everything was saved and all
of it is exact; the new store is complete in both cases.";

const SUMMARY: &[Column] = &[
    ("EXACT", "exact"),
    ("POSSIBLY-OLD", "possibly_old"),
    ("LOST", "lost"),
    ("CHANGES-LOST", "changes_lost"),
    ("TIMESTAMPS-LOST", "timestamps_lost"),
    ("FILES", "files"),
    ("UNREADABLE-FILES", "unreadable_files"),
    ("RECORDS", "records"),
    ("BYTES-SKIPPED", "bytes_skipped"),
    ("STATES-EXACT", "states_exact"),
];

const KEYS: &[Column] = &[
    ("GROUP", "group"),
    ("TOPIC", "topic"),
    ("PARTITION", "partition"),
    ("VERDICT", "verdict"),
    ("KNOWN-UP-TO-SEQ", "known_up_to_seq"),
];

const STATES: &[Column] = &[
    ("GROUP", "group"),
    ("OWNER", "owner"),
    ("STATE", "name"),
    ("PART", "part"),
    ("VERDICT", "verdict"),
    ("KNOWN-UP-TO-SEQ", "known_up_to_seq"),
];

const GAPS: &[Column] = &[("MISSING-FROM-SEQ", "from"), ("TO-SEQ", "to"), ("FILE", "file")];

/// Make a new store from all that can be read of a damaged one, which is left as it is.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The damaged store [default: the one of --dir]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    /// The directory for the new store: new or empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Saves, prints what could be saved, and fails if that is not everything.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let from = store::find(args.from.as_deref().or(dir))?;
    let mut bar = Bar::new("reading");
    let report = salvage_with(&from, &args.to, |progress| bar.show(progress))?;
    drop(bar);
    let (summary, keys, gaps) = (summary(&report), keys(&report), gaps(&report));
    let states = states(&report);
    match args.format {
        Format::Csv => keys.write(args.format, out)?,
        Format::Json => summary.write_with(
            &[("uncertain", &keys), ("uncertain_states", &states), ("gaps", &gaps)],
            out,
        )?,
        Format::Table => {
            summary.write_list(args.format, out)?;
            for table in [&keys, &states, &gaps].into_iter().filter(|table| table.len() > 0) {
                writeln!(out)?;
                table.write(args.format, out)?;
            }
        }
    }
    if is_exact(&report) {
        return Ok(());
    }
    let message = format!(
        "not everything is certain to be as it was: of {} keys, {} may be old, and {} are lost ({})",
        report.kept() + report.lost,
        report.possibly_old,
        report.lost,
        from.display()
    );
    Err(Failure::Damage(message).into())
}

/// Whether the new store has all that the old one had.
fn is_exact(report: &SalvageReport) -> bool {
    report.uncertain.is_empty()
        && report.uncertain_states.is_empty()
        && report.gaps.is_empty()
        && report.unreadable.is_empty()
        && report.changes_lost == 0
        && report.timestamps_lost == 0
}

fn summary(report: &SalvageReport) -> Table {
    let mut table = Table::new(SUMMARY);
    table.push(vec![
        Cell::count(report.exact),
        Cell::count(report.possibly_old),
        Cell::count(report.lost),
        Cell::count(report.changes_lost),
        Cell::count(report.timestamps_lost),
        Cell::count(report.files.len()),
        Cell::count(report.unreadable.len()),
        Cell::count(report.records),
        Cell::count(report.bytes_skipped),
        Cell::count(report.states_exact),
    ]);
    table
}

fn keys(report: &SalvageReport) -> Table {
    let mut table = Table::new(KEYS);
    for key in &report.uncertain {
        table.push(vec![
            key.group.as_str().into(),
            key.topic.as_str().into(),
            Cell::optional(key.partition),
            verdict(key.verdict),
            Cell::count(key.seq.get()),
        ]);
    }
    table
}

fn states(report: &SalvageReport) -> Table {
    let mut table = Table::new(STATES);
    for state in &report.uncertain_states {
        table.push(vec![
            state.group.as_str().into(),
            Cell::Text(change::owner_name(state.owner)),
            state.name.as_str().into(),
            Cell::Number(state.part.into()),
            verdict(state.verdict),
            Cell::count(state.seq.get()),
        ]);
    }
    table
}

fn verdict(verdict: Verdict) -> Cell {
    match verdict {
        Verdict::Exact => "exact".into(),
        Verdict::PossiblyOld => "possibly old".into(),
        Verdict::Lost => "lost".into(),
    }
}

fn gaps(report: &SalvageReport) -> Table {
    let mut table = Table::new(GAPS);
    for gap in &report.gaps {
        table.push(vec![
            Cell::count(gap.from.get()),
            match gap.to.get() {
                // Nobody knows how many there were.
                u64::MAX => Cell::Missing,
                to => Cell::count(to),
            },
            Cell::Text(gap.path.display().to_string()),
        ]);
    }
    table
}
