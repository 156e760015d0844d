//! `pagemark groups list`: which groups there are.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use pagemark::OffsetReader;
use pagemark::group::coordinator::GroupType;
use pagemark::group::coordinator::stored::{self, StoredGroup};

use crate::store;
use crate::table::{Cell, Column, Format, Table};

const AFTER_HELP: &str = "\
Examples:
  pagemark groups list --dir offsets
  pagemark groups list --dir offsets --state --type
  pagemark groups list --dir offsets --state stable,empty
  pagemark groups list --dir offsets --verbose --format csv

A group is what has members, offsets or claims.";

/// Kafka's names, all of them, so that its users may type them. No group of a store is dead.
const STATES: [&str; 7] = [
    "PreparingRebalance",
    "CompletingRebalance",
    "Stable",
    "Dead",
    "Empty",
    "Assigning",
    "Reconciling",
];
const TYPES: [&str; 2] = ["Classic", "Consumer"];

/// List the consumer groups.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Show the states of the groups, and only those in one of these states
    #[arg(long, num_args = 0..=1, value_delimiter = ',', ignore_case = true,
          value_parser = PossibleValuesParser::new(STATES))]
    state: Option<Vec<String>>,

    /// Show the types of the groups, and only those of one of these types
    #[arg(long = "type", value_name = "TYPE", num_args = 0..=1, value_delimiter = ',', ignore_case = true,
          value_parser = PossibleValuesParser::new(TYPES))]
    types: Option<Vec<String>>,

    /// Show how many topics and offsets each group has, and when it committed last
    #[arg(long)]
    verbose: bool,

    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

impl Args {
    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![("GROUP", "group")];
        if self.types.is_some() {
            columns.push(("TYPE", "type"));
        }
        if self.state.is_some() {
            columns.push(("STATE", "state"));
        }
        if self.verbose {
            columns.extend([
                ("TOPICS", "topics"),
                ("OFFSETS", "offsets"),
                ("LAST-COMMIT", "last_commit_timestamp_ms"),
            ]);
        }
        columns
    }

    fn row(&self, reader: &OffsetReader, name: &str, group: &StoredGroup) -> Vec<Cell> {
        let mut row = vec![name.into()];
        if self.types.is_some() {
            row.push(type_name(group).into());
        }
        if self.state.is_some() {
            row.push(group.description.state().into());
        }
        if self.verbose {
            row.extend(counts(reader, name));
        }
        row
    }

    fn admits(&self, group: &StoredGroup) -> bool {
        let has = |names: &Option<Vec<String>>, name: &str| {
            let names = names.as_deref().unwrap_or_default();
            names.is_empty() || names.iter().any(|one| one.eq_ignore_ascii_case(name))
        };
        has(&self.state, group.description.state()) && has(&self.types, type_name(group))
    }
}

/// Prints the groups, sorted by name.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let reader = store::read(dir)?;
    let (mut table, mut failures) = (Table::new(&args.columns()), Vec::new());
    for name in stored::groups(&reader) {
        match super::read(&reader, &name) {
            Ok(Some(group)) if args.admits(&group) => table.push(args.row(&reader, &name, &group)),
            Ok(_) => {}
            Err(error) => failures.push(error),
        }
    }
    table.write(args.format, out)?;
    super::finish(failures)
}

/// The type as Kafka's tool spells it, unlike its protocol.
fn type_name(group: &StoredGroup) -> &'static str {
    match group.description.group_type() {
        GroupType::Classic => TYPES[0],
        GroupType::Consumer => TYPES[1],
    }
}

fn counts(reader: &OffsetReader, group: &str) -> [Cell; 3] {
    let (mut topics, mut offsets, mut newest) = (0, 0, None);
    let mut last_topic = String::new();
    reader.visit_group(group, |topic, _, value| {
        // The topics come in order, and none has an empty name.
        if topic != last_topic {
            topics += 1;
            last_topic.clear();
            last_topic.push_str(topic);
        }
        offsets += 1;
        newest = newest.max(Some(value.commit_timestamp_ms()));
    });
    [Cell::Number(topics), Cell::Number(offsets), newest.map_or(Cell::Missing, Cell::Time)]
}
