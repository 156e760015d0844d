//! Pagemark and its peers side by side on one workload. See `README.md` beside this package.

mod args;
mod child;
mod commits;
mod engines;
mod group_commit;
mod memory;
mod quiet;
mod replay;
mod run;
mod scale;
mod stall;
mod table;
mod workload;

use std::process::ExitCode;

use args::Args;
use engines::{ALL, Kind};
use table::Table;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("{message}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match args.command.as_str() {
        "all" => {
            let buffered = buffered(&args);
            tell(&args, &[commits::batches(&args)]);
            let durable = durable(&args);
            tell(&args, &[commits::fetch(&args)]);
            replay::replay(&args);
            memory::memory(&args);
            commits::print_bars(Some(&buffered), Some(&durable));
        }
        "buffered" => commits::print_bars(Some(&buffered(&args)), None),
        "batches" => tell(&args, &[commits::batches(&args)]),
        "durable" => commits::print_bars(None, Some(&durable(&args))),
        "fetch" => tell(&args, &[commits::fetch(&args)]),
        "replay" => replay::replay(&args),
        "memory" => memory::memory(&args),
        "scale" => scale::scale(&args),
        "stall" => stall::stall(&args),
        "list" => list(),
        "child-fill" => replay::fill(&args),
        "child-open" => replay::open(&args),
        "child-keys" => scale::fill_keys(&args),
        "child-commits" => scale::fill_commits(&args),
        "child-one-key" => scale::fill_one_key(&args),
        "child-new-keys" => scale::fill_new_keys(&args),
        "child-reopen" => scale::reopen(&args),
        "child-memory" => memory::fill(&args),
        _ => {
            eprintln!("{}", args::USAGE);
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn buffered(args: &Args) -> Table {
    let table = commits::buffered(args);
    tell(args, std::slice::from_ref(&table));
    table
}

/// Tells all tables and returns the one of rates.
fn durable(args: &Args) -> Table {
    let [rates, times, flushes] = commits::durable(args);
    tell(args, &[rates.clone(), times, flushes]);
    rates
}

fn list() {
    for Kind { name, note, .. } in ALL {
        println!("{name:<16} {note}");
    }
}

fn tell(args: &Args, tables: &[Table]) {
    for table in tables {
        table.print();
        if let Some(path) = &args.csv
            && let Err(error) = table.append_csv(path)
        {
            eprintln!("{}: {error}", path.display());
        }
    }
}
