//! Pagemark and its peers side by side on one workload. See `README.md` beside this package.

mod aged;
mod args;
mod bars;
mod child;
mod commits;
mod engines;
mod group_commit;
mod latency;
mod plot;
mod process;
mod quiet;
mod replay;
mod report;
mod results;
mod run;
mod scale;
mod steady;
mod table;
mod workload;

use std::path::Path;
use std::process::ExitCode;

use args::Args;
use engines::{ALL, Kind};
use results::Results;
use table::Table;

/// A measurement.
type Measure = fn(&Args) -> Vec<Table>;

/// All of them, in the order in which they are made.
const MEASUREMENTS: [(&str, Measure); 11] = [
    ("buffered", commits::buffered),
    ("batches", commits::batches),
    ("durable", commits::durable),
    ("pipelined", commits::pipelined),
    ("fetch", commits::fetch),
    ("keys", aged::keys),
    ("history", aged::history),
    ("replay", replay::replay),
    ("latency", latency::latency),
    ("steady", steady::steady),
    ("scale", scale::scale),
];

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => return usage(&message),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => usage(&message),
    }
}

fn usage(message: &str) -> ExitCode {
    eprintln!("{message}\n\n{}", args::USAGE);
    ExitCode::from(2)
}

fn run(args: &Args) -> Result<(), String> {
    match (args.command.as_str(), &args.rest[..]) {
        ("report", []) => measure(args, &report::PARTS)?,
        ("all", []) => measure(args, &MEASUREMENTS)?,
        ("list", []) => list(),
        ("bars", [file]) => bars::print(&Results::read(Path::new(file))?),
        ("plot", [file, dir]) => plot::plot(&Results::read(Path::new(file))?, Path::new(dir))?,
        ("child-keys", plan) => aged::fill_keys(&child::plan(plan)),
        ("child-history", plan) => aged::commit_often(&child::plan(plan)),
        ("child-open", plan) => aged::open(&child::plan(plan)),
        ("child-replay-fill", plan) => replay::fill(&child::plan(plan)),
        ("child-replay-open", plan) => replay::open(&child::plan(plan)),
        ("child-scale", plan) => scale::build(&child::plan(plan)),
        ("child-reopen", plan) => scale::reopen(&child::plan(plan)),
        (command, []) => {
            let known = MEASUREMENTS.iter().find(|(name, _)| *name == command);
            let known = known.ok_or_else(|| format!("`{command}` is no command"))?;
            measure(args, std::slice::from_ref(known))?
        }
        (command, _) => return Err(format!("`{command}` takes other arguments")),
    }
    Ok(())
}

/// Measures, prints and keeps each table as soon as it is there, and says how all of them stand to the
/// aims.
fn measure(args: &Args, measurements: &[(&str, Measure)]) -> Result<(), String> {
    let file = args.json.as_deref();
    let mut results = Results::read_or_new(file)?;
    for (_, measure) in measurements {
        let tables = measure(args);
        tables.iter().filter(|table| !table.is_series()).for_each(Table::print);
        results.replace(tables);
        if let Some(file) = file {
            results.write(file)?;
        }
    }
    bars::print(&results);
    Ok(())
}

fn list() {
    for Kind { name, note, .. } in ALL {
        println!("{name:<16} {note}");
    }
}
