//! `pagemark groups describe`: what a group is doing.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use pagemark::group::coordinator::stored::{self, StoredGroup};

use super::{members, offsets, state};
use crate::failure::Failure;
use crate::store;
use crate::table::{Format, visible};

const AFTER_HELP: &str = "\
Examples:
  pagemark groups describe --dir offsets --group billing
  pagemark groups describe --dir offsets --group billing --group audit --members --verbose
  pagemark groups describe --dir offsets --all-groups --state --format json

A store does not know where the logs of others end, so LOG-END-OFFSET and LAG are -. Members are shown
as they are stored: one that has died is there until a coordinator has removed it.
Exits with 1 if a group is not there.";

/// Show the offsets, the members or the state of consumer groups.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The consumer group; may be given more than once
    #[arg(
        long = "group",
        value_name = "GROUP",
        required_unless_present = "all_groups",
        conflicts_with = "all_groups"
    )]
    groups: Vec<String>,

    /// All groups of the store
    #[arg(long)]
    all_groups: bool,

    /// The partitions: what is committed, and who reads or owns them (the default)
    #[arg(long, group = "view")]
    offsets: bool,

    /// The members
    #[arg(long, group = "view")]
    members: bool,

    /// The state
    #[arg(long, group = "view")]
    state: bool,

    /// More columns
    #[arg(long)]
    verbose: bool,

    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Prints one table for all groups, sorted by name.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let reader = store::read(dir)?;
    let names: BTreeSet<String> = match args.all_groups {
        true => stored::groups(&reader).into_iter().collect(),
        false => args.groups.iter().cloned().collect(),
    };
    let (mut groups, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match super::read(&reader, &name) {
            Ok(Some(group)) => groups.push((name, group)),
            Ok(None) if args.all_groups => {}
            Ok(None) => failures.push(absence(&name).into()),
            Err(error) => failures.push(error),
        }
    }
    for (name, group) in &groups {
        tell(name, group);
    }
    let table = if args.members {
        members::table(&groups, args.verbose)
    } else if args.state {
        state::table(&groups, args.verbose)
    } else {
        offsets::table(&reader, &groups, args.verbose)
    };
    table.write(args.format, out)?;
    super::finish(failures)
}

fn absence(group: &str) -> Failure {
    Failure::NotFound(format!("Consumer group '{}' does not exist.", visible(group)))
}

/// Says what Kafka's tool says beside its tables.
fn tell(name: &str, group: &StoredGroup) {
    let name = visible(name);
    match group.description.state() {
        "Empty" => eprintln!("Consumer group '{name}' has no active members."),
        "Stable" => {}
        _ => eprintln!("Warning: Consumer group '{name}' is rebalancing."),
    }
}
