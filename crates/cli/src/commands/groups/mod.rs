//! `pagemark groups`: the groups of a store, their members, and how far they are.
//!
//! Columns and words are those of `kafka-consumer-groups.sh`. Groups are read as they are stored, also
//! while the process that has the store open changes them.

mod describe;
mod list;
mod members;
mod offsets;
mod state;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Error, Result};
use pagemark::OffsetReader;
use pagemark::group::coordinator::stored::{self, StoredGroup};

use crate::failure;
use crate::table::visible;

const AFTER_HELP: &str = "\
Examples:
  pagemark groups list --dir offsets
  pagemark groups describe --dir offsets --group billing
  pagemark groups describe --dir offsets --all-groups --members --format json";

/// List consumer groups, or describe some of them.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    List(list::Args),
    Describe(describe::Args),
}

/// Prints what was asked for.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    match &args.verb {
        Verb::List(args) => list::run(args, dir, out),
        Verb::Describe(args) => describe::run(args, dir, out),
    }
}

/// A group, or `None` if there is none. An error says which group it is about, as it leaves the
/// others alone.
fn read(reader: &OffsetReader, group: &str) -> Result<Option<StoredGroup>> {
    stored::describe(reader, group).with_context(|| format!("group {}", visible(group)))
}

/// Tells what went wrong with single groups, when all that could be shown is shown. The worst of it
/// decides on the exit code.
fn finish(mut failures: Vec<Error>) -> Result<()> {
    failures.sort_by_key(failure::exit_code);
    let Some(worst) = failures.pop() else { return Ok(()) };
    for failure in &failures {
        failure::report(failure, false);
    }
    Err(worst)
}
