//! `pagemark bench`: what this machine's limit is, and how close the store comes to it.

mod ground;
mod limits;
mod machine;
mod measure;
mod report;
mod rounds;
mod rows;
mod subject;
mod verdict;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use self::ground::{Ground, Interrupt};
use self::machine::{Machine, Usage};
use self::report::Report;
use self::rows::Plan;
use crate::table::Format;

const AFTER_HELP: &str = "\
Examples:
  pagemark bench
  pagemark bench --dir /mnt/disk/bench --seconds 120
  pagemark bench --threads 1,8,32 --format json

The files go into a new directory below the current one, or into --dir, which must be empty or not there
yet. They are removed at the end, also after Ctrl-C; PAGEMARK_DIR is not looked at. About 1 GB of room is
needed.

Two limits are measured without a store. A raw flush writes 4 KiB into a file whose blocks are there and
calls fdatasync. Raw memory is the checksum of 32 bytes, a copy of them to the end of a log, and a store
into the cell of a key: nothing is found by name, shared or recovered. All is measured in short turns, and
TIMES-LIMIT is the median of what each round came to. Synced commits of several threads share flushes, so
they may make many times the limit of one.

The store has 100,000 keys and the default options. Pipelined are buffered commits of one thread that
waits until each 64 of them are durable. Of verbs that take less than a microsecond or so, one in 16 is
timed, with a look at the clock. Percentiles that too few were timed for are left out.";

/// Measure how fast this machine flushes, and how fast the store commits, fetches and opens on it.
///
/// Ends with what that means in plain sentences.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// About how long it may take, in seconds
    #[arg(long, value_name = "N", default_value = "30",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,

    /// How many threads make synced commits at once; one alone is always measured
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,2,4,16,64",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Vec<u16>,

    /// How the result is printed
    #[arg(long, default_value = "table")]
    format: Format,
}

/// Measures, cleans up, and prints what was found.
pub(crate) fn run(args: &Args, dir: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    // Before there is anything that would have to be removed.
    let interrupt = Interrupt::watch().context("signals cannot be watched")?;
    let ground = Ground::prepare(dir)?;
    let machine = Machine::look(ground.path());
    let plan = Plan::new(args.seconds, &args.threads, machine.processors);
    if args.format == Format::Table {
        report::announce(&machine, &plan, out)?;
        out.flush()?;
    }
    let (started, usage) = (Instant::now(), Usage::now());
    let measured = rounds::run(&plan, ground.path(), &interrupt);
    let elapsed = started.elapsed();
    let others = usage.and_then(|usage| usage.others_since());
    let removed = ground.remove();
    let Some(series) = measured? else {
        return Ok(interrupt.end_process()?);
    };
    removed.context("the files of the measurement are still there")?;
    let rounds = plan.rounds;
    Report { machine, series, rounds, elapsed, others }.write(args.format, out)
}
