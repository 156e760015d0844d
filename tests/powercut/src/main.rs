//! Evidence from outside of the engine: power cuts under a real kernel, and system calls that fail.
//!
//! ```sh
//! cargo run --release --manifest-path tests/powercut/Cargo.toml -- cuts
//! cargo run --release --manifest-path tests/powercut/Cargo.toml -- calls
//! ```

mod backup;
mod calls;
mod check;
mod cuts;
mod disk;
mod life;
mod mount;
mod said;
mod scenario;
mod trace;

#[path = "../../process/plan.rs"]
mod plan;

/// What the plan shares with the tests.
mod support {
    pub(crate) use pagemark::testkit::{Lots, mix};
}

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

const USAGE: &str = "usage: pagemark-powercut cuts [CUTS [SEED]] | calls [STRIDE]";
/// A night's worth.
const CUTS: u64 = 20_000;
/// Set for the process that has mounts of its own.
const INSIDE: &str = "PAGEMARK_POWERCUT_INSIDE";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let (what, rest) = args.split_first().ok_or(USAGE)?;
    match what.as_str() {
        "cuts" => {
            let [count, seed] = numbers(rest, [CUTS, 1])?;
            cuts(count, seed)
        }
        "calls" => {
            let [stride] = numbers(rest, [1])?;
            calls(stride.max(1))
        }
        // The two below are how the program starts itself.
        "life" => life::live(&life::Orders::from_args(rest).ok_or(USAGE)?),
        "scenario" => {
            scenario::play(&scenario::Orders::from_args(rest).ok_or(USAGE)?);
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}

/// The numbers that were given, in place of the first ones of `numbers`.
fn numbers<const N: usize>(given: &[String], mut numbers: [u64; N]) -> Result<[u64; N], String> {
    if given.len() > N {
        return Err(USAGE.into());
    }
    for (number, given) in numbers.iter_mut().zip(given) {
        *number = given.parse().map_err(|_| USAGE)?;
    }
    Ok(numbers)
}

fn cuts(cuts: u64, seed: u64) -> Result<(), String> {
    if let Err(why) = can_mount() {
        println!("skipped: {why}");
        return Ok(());
    }
    if std::env::var_os(INSIDE).is_none() {
        // With mounts of its own: whatever happens to this process, none is left behind.
        let error = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--"])
            .arg(std::env::current_exe().map_err(|error| error.to_string())?)
            .args(std::env::args_os().skip(1))
            .env(INSIDE, "1")
            .exec();
        return Err(format!("cannot start `unshare`, of util-linux: {error}"));
    }
    let start = Instant::now();
    let totals = cuts::run(cuts, seed)?;
    println!("{}", totals.line(start.elapsed().as_secs_f64()));
    Ok(())
}

fn calls(stride: u64) -> Result<(), String> {
    if let Err(error) = Command::new("strace").arg("--version").output() {
        println!("skipped: strace cannot be started: {error}");
        return Ok(());
    }
    let start = Instant::now();
    calls::run(stride)?;
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Whether a file system of our own can be mounted here, or why not.
fn can_mount() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can mount, and this is not root".into());
    }
    let opened = File::options().read(true).write(true).open("/dev/fuse");
    opened.map(drop).map_err(|error| format!("/dev/fuse cannot be opened: {error}"))
}
