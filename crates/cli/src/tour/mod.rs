//! `pagemark tour`: the main job of the store, told as it happens.
//!
//! The tour is the coordinator. The broker, which owns the store, and the consumers are processes of
//! their own, so that they can be killed for real. They listen to the tour on standard input and
//! answer on standard output; commits go from the consumers to the broker over a socket.

pub(crate) mod broker;
mod client;
pub(crate) mod consumer;
mod journal;
mod judge;
mod narrator;
mod report;
mod stage;
mod story;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use self::narrator::Narrator;
use self::story::{Plan, Run};
use crate::commands::commit::Level;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Format;

const AFTER_HELP: &str = "\
Examples:
  pagemark tour
  pagemark tour --records 100000 --commit-every 100 --seed 7
  pagemark tour --dir /mnt/disk/tour --format json

The tour keeps its stores and journals in a fresh temporary directory, or in --dir, which must be
empty and is left as it is. It exits with 1 if the promise was broken.";

/// Watch the store keep its promise while processes are killed.
///
/// Two consumers of one group read a topic of four partitions and commit as they go. One of them is
/// killed with SIGKILL; the other takes over at the committed offsets. Then the process that owns
/// the store is killed and started again. At the end the store is compared with what each consumer
/// saw: some records twice, none never. All of it is done with synced and with buffered commits.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Records of each partition
    #[arg(long, value_name = "N", default_value = "2000",
          value_parser = clap::value_parser!(i64).range(10..=1_000_000))]
    records: i64,

    /// Records of a partition between two commits, at most half of --records
    #[arg(long, value_name = "N", default_value = "25",
          value_parser = clap::value_parser!(i64).range(1..=500_000))]
    commit_every: i64,

    /// Decides the order of the records and the moments of the kills
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,

    /// Keep the temporary directory
    #[arg(long)]
    keep: bool,

    /// How the result is printed; with json and csv the story is told on standard error
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Where the tour keeps its files.
enum Place {
    Given(PathBuf),
    Temporary(TempDir),
}

impl Place {
    fn find(dir: Option<&Path>) -> Result<Place> {
        let Some(dir) = dir else {
            let temporary = tempfile::Builder::new().prefix("pagemark-tour-").tempdir();
            return Ok(Place::Temporary(temporary.context("no temporary directory")?));
        };
        let context = || format!("{} cannot be used", dir.display());
        fs::create_dir_all(dir).with_context(context)?;
        if fs::read_dir(dir).with_context(context)?.next().is_some() {
            let message = format!("{} is not empty; the tour needs a new directory", dir.display());
            return Err(Failure::Usage(message).into());
        }
        Ok(Place::Given(dir.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Place::Given(path) => path,
            Place::Temporary(dir) => dir.path(),
        }
    }
}

/// Tells the story twice and compares.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut Output) -> Result<()> {
    if args.commit_every > args.records / 2 {
        let message = "--commit-every is more than half of --records, which is too few commits";
        return Err(Failure::Usage(message.into()).into());
    }
    let plan = Plan { records: args.records, commit_every: args.commit_every, seed: args.seed };
    let place = Place::find(dir)?;
    let runs = if args.format == Format::Table {
        play(&plan, place.path(), &mut Narrator::new(out))?
    } else {
        play(&plan, place.path(), &mut Narrator::new(&mut io::stderr()))?
    };
    let printed = conclude(&plan, &runs, args.format, out);
    if args.keep
        && let Place::Temporary(dir) = place
    {
        let path = dir.keep();
        eprintln!("pagemark: the files of the tour are in {}", path.display());
    }
    let broken: Vec<String> = runs
        .iter()
        .flat_map(|run| {
            let name = run.level.name();
            run.broken.iter().map(move |broken| format!("{name}: {broken}"))
        })
        .collect();
    if !broken.is_empty() {
        let message = format!("the promise was broken\n  {}", broken.join("\n  "));
        return Err(Failure::BrokenPromise(message).into());
    }
    Ok(printed?)
}

fn play(plan: &Plan, dir: &Path, narrator: &mut Narrator<'_>) -> Result<[Run; 2]> {
    let sockets = socket_dir().context("no temporary directory for sockets")?;
    narrator.line(&format!(
        "Topic {} has {} partitions with {} records each. The consumers A and B of group {} commit \
         after\nevery {} records of a partition. What each of them processes, it writes down.",
        client::TOPIC,
        story::PARTITIONS,
        plan.records,
        client::GROUP,
        plan.commit_every
    ));
    let mut play = |level: Level, title: &str| {
        narrator.part(title);
        story::play(plan, level, &dir.join(level.name()), sockets.path(), narrator)
    };
    Ok([
        play(Level::Synced, "With synced commits: an acknowledged commit survives power loss")?,
        play(
            Level::Buffered,
            "With buffered commits: an acknowledged commit survives its process",
        )?,
    ])
}

/// A directory for sockets. Their paths have about 100 bytes at most, so that a temporary directory
/// with a long name will not do.
fn socket_dir() -> io::Result<TempDir> {
    const LONGEST: usize = 60;
    let mut dir = env::temp_dir();
    if dir.as_os_str().len() > LONGEST {
        dir = PathBuf::from("/tmp");
    }
    tempfile::Builder::new().prefix("pagemark-").tempdir_in(dir)
}

fn conclude(plan: &Plan, runs: &[Run; 2], format: Format, out: &mut Output) -> io::Result<()> {
    if format != Format::Table {
        return report::write(plan, runs, format, out);
    }
    writeln!(out)?;
    report::write(plan, runs, format, out)?;
    if runs.iter().all(|run| run.broken.is_empty()) {
        writeln!(
            out,
            "\nThe promise was kept: no acknowledged commit was lost and no record was \
            skipped; each death cost at\nmost the {} records of a partition that were not committed \
            yet, which were seen twice.",
            plan.commit_every
        )?;
        writeln!(
            out,
            "Pulling the plug, which a tour cannot do, could cost the last second of the \
            buffered commits, and\nnone of the synced ones."
        )?;
    }
    out.flush()
}
