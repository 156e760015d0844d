//! The program `pagemark`: consumer offsets of a Pagemark store, from the command line.
//!
//! This file parses, dispatches and turns the outcome into an exit code; each command has a file of
//! its own under `commands`, and the tour has a folder.

mod change;
mod codec;
mod commands;
mod failure;
mod output;
mod progress;
mod random;
mod store;
mod table;
mod time;
mod tour;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::Output;

/// What stands below the list of commands in the help text.
const AFTER_HELP: &str = "\
Examples:
  pagemark commit --dir offsets --group billing --topic orders --partition 0 --offset 42
  pagemark fetch --dir offsets --group billing
  pagemark export --dir offsets --format jsonl > backup.jsonl
  pagemark tour

Exit codes: 0 ok, 1 failure, 2 wrong usage, 3 damage found.";

/// Keeps and inspects Kafka-like consumer offsets in a Pagemark store.
#[derive(Parser)]
#[command(name = "pagemark", version, after_help = AFTER_HELP)]
struct Cli {
    /// The directory of the store [env: PAGEMARK_DIR, but not for bench and tour]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Commit(commands::commit::Args),
    Fetch(commands::fetch::Args),
    Groups(commands::groups::Args),
    Delete(commands::delete::Args),
    Import(commands::import::Args),
    Export(commands::export::Args),
    Tail(commands::tail::Args),
    Stats(commands::stats::Args),
    Compact(commands::compact::Args),
    Verify(commands::verify::Args),
    Backup(commands::backup::Args),
    Salvage(commands::salvage::Args),
    Dump(commands::dump::Args),
    Bench(commands::bench::Args),
    Tour(tour::Args),
    #[command(name = "__broker", hide = true)]
    Broker(tour::broker::Args),
    #[command(name = "__consumer", hide = true)]
    Consumer(tour::consumer::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Output::stdout();
    let dir = cli.dir.as_deref();
    // The hints are about stores, not about single files.
    let hints = !matches!(cli.command, Command::Dump(_));
    let outcome = match cli.command {
        Command::Commit(args) => commands::commit::run(&args, dir, &mut out),
        Command::Fetch(args) => commands::fetch::run(&args, dir, &mut out),
        Command::Groups(args) => commands::groups::run(&args, dir, &mut out),
        Command::Delete(args) => commands::delete::run(&args, dir, &mut out),
        Command::Import(args) => commands::import::run(&args, dir, &mut out),
        Command::Export(args) => commands::export::run(&args, dir, &mut out),
        Command::Tail(args) => commands::tail::run(&args, dir, &mut out),
        Command::Stats(args) => commands::stats::run(&args, dir, &mut out),
        Command::Compact(args) => commands::compact::run(&args, dir, &mut out),
        Command::Verify(args) => commands::verify::run(&args, dir, &mut out),
        Command::Backup(args) => commands::backup::run(&args, dir, &mut out),
        Command::Salvage(args) => commands::salvage::run(&args, dir, &mut out),
        Command::Dump(args) => commands::dump::run(&args, &mut out),
        Command::Bench(args) => commands::bench::run(&args, dir, &mut out),
        Command::Tour(args) => tour::run(&args, dir, &mut out),
        Command::Broker(args) => tour::broker::run(&args),
        Command::Consumer(args) => tour::consumer::run(&args),
    };
    match outcome.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as `head` does: nothing went wrong.
        Err(error) if out.is_closed() && !failure::is_verdict(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // What was printed so far belongs in front of the error. Its own failure is not news.
            let _ = out.flush();
            failure::report(&error, hints);
            ExitCode::from(failure::exit_code(&error))
        }
    }
}
