//! `pagemark tour`: consumer groups at work, told as it happens.
//!
//! The tour directs and watches. The broker, which owns the store and coordinates the group, and the
//! consumers are processes of their own, so that they can be killed for real: see `wire` for how all
//! of them talk to each other.

pub(crate) mod broker;
mod client;
pub(crate) mod consumer;
mod journal;
mod judge;
mod narrator;
mod report;
mod stage;
mod story;
mod wire;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use self::narrator::Narrator;
use self::story::Plan;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Format;

const AFTER_HELP: &str = "\
Examples:
  pagemark tour
  pagemark tour --slow
  pagemark tour --records 100000 --commit-every 100 --seed 7
  pagemark tour --dir /mnt/disk/tour --format json

The tour keeps its store and journals in a fresh temporary directory, or in --dir, which must be
empty and is left as it is. It exits with 1 if a promise was broken.";

/// Watch a consumer group lose nothing while its processes are killed.
///
/// Two consumers share a topic of four partitions. One is killed with SIGKILL; the group notices, and
/// the other one takes over at the committed offsets. What the dead one commits late is refused. Then
/// the broker is killed, which owns the store, and a consumer that finishes records out of order. At
/// the end the store is held against what each consumer saw: some records twice, none never.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Records of each partition
    #[arg(long, value_name = "N", default_value = "2000",
          value_parser = clap::value_parser!(i64).range(100..=1_000_000))]
    records: i64,

    /// Records of a consumer between two commits, at most a twentieth of --records
    #[arg(long, value_name = "N", default_value = "25",
          value_parser = clap::value_parser!(i64).range(1..=50_000))]
    commit_every: i64,

    /// Decides the order of the records and the moments of the kills
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,

    /// Tell it slowly enough to follow
    #[arg(long)]
    slow: bool,

    /// Keep the temporary directory
    #[arg(long)]
    keep: bool,

    /// How the result is printed; with json and csv the story is told on standard error
    #[arg(long, default_value = "table")]
    format: Format,
}

impl Args {
    fn plan(&self) -> Result<Plan> {
        if self.commit_every > self.records / 20 {
            let message = "--commit-every is more than a twentieth of --records: too few commits";
            return Err(Failure::Usage(message.into()).into());
        }
        Ok(Plan {
            records: self.records,
            commit_every: self.commit_every,
            seed: self.seed,
            session_timeout: Duration::from_millis(if self.slow { 5_000 } else { 1_500 }),
        })
    }

    fn pause(&self) -> Duration {
        if self.slow { Duration::from_millis(1500) } else { Duration::ZERO }
    }
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

/// Tells the story, and what came of it.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut Output) -> Result<()> {
    let plan = args.plan()?;
    let place = Place::find(dir)?;
    let sockets = socket_dir().context("no temporary directory for sockets")?;
    let socket = sockets.path().join("broker");
    let mut stderr = io::stderr();
    let mut narrator = if args.format == Format::Table {
        Narrator::new(out, &io::stdout(), args.pause())
    } else {
        Narrator::new(&mut stderr, &io::stderr(), args.pause())
    };
    let outcome = story::play(&plan, place.path(), &socket, &mut narrator)?;
    let printed = report::write(&plan, &outcome, args.format, out);
    if args.keep
        && let Place::Temporary(dir) = place
    {
        let path = dir.keep();
        eprintln!("pagemark: the files of the tour are in {}", path.display());
    }
    let broken: Vec<_> = outcome.broken().collect();
    if !broken.is_empty() {
        let message = format!("a promise was broken\n  {}", broken.join("\n  "));
        return Err(Failure::BrokenPromise(message).into());
    }
    Ok(printed?)
}

/// A directory for the socket. Its path has about 100 bytes at most, so that a temporary directory
/// with a long name will not do.
fn socket_dir() -> io::Result<TempDir> {
    const LONGEST: usize = 60;
    let mut dir = env::temp_dir();
    if dir.as_os_str().len() > LONGEST {
        dir = PathBuf::from("/tmp");
    }
    tempfile::Builder::new().prefix("pagemark-").tempdir_in(dir)
}
