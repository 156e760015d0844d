//! Runs the fuzz targets without libFuzzer, on stable Rust, as a check on every commit.
//!
//! Inputs are the corpus that is checked in, and mutations of it that a seed decides: it sees no
//! coverage and finds less than libFuzzer in the same time, but the same things on every machine.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pagemark::testkit::{Lots, mix};
use pagemark_fuzz::{TARGETS, Target};

const USAGE: &str = "\
usage: smoke                             tries as many inputs of each target as on every commit
       smoke SECONDS [TARGET [SEED]]     runs each target, or one, for so long
       smoke replay TARGET FILE          runs one input
       smoke shrink TARGET FILE          makes an input that fails as short as it can";
const LONGEST_INPUT: usize = 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let passed = match arguments[..] {
        ["replay", name, file] => target(name).zip(fs::read(file).ok()).map(|(target, input)| {
            (target.body)(&input);
            true
        }),
        ["shrink", name, file] => {
            target(name).zip(fs::read(file).ok()).map(|(target, input)| shrink(target, input, file))
        }
        [] => Some(run_all(&TARGETS, |target| run(target, Length::Executions(target.check), 1))),
        [seconds] => fuzz(seconds, &TARGETS, "1"),
        [seconds, name] => target(name).and_then(|target| fuzz(seconds, [target], "1")),
        [seconds, name, seed] => target(name).and_then(|target| fuzz(seconds, [target], seed)),
        _ => None,
    };
    match passed {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// When a run ends.
enum Length {
    /// After so many inputs, which are the same on every machine.
    Executions(u64),
    Time(Duration),
}

/// Runs targets for some seconds each.
fn fuzz(
    seconds: &str,
    targets: impl IntoIterator<Item = &'static Target>,
    seed: &str,
) -> Option<bool> {
    let (seconds, seed) = (seconds.parse().ok()?, seed.parse().ok()?);
    Some(run_all(targets, |target| run(target, Length::Time(Duration::from_secs(seconds)), seed)))
}

/// Runs all of these, also when one has failed. False if an input made one panic.
fn run_all(
    targets: impl IntoIterator<Item = &'static Target>,
    run: impl Fn(&Target) -> bool,
) -> bool {
    targets.into_iter().map(run).fold(true, |passed, this| passed & this)
}

fn run(target: &Target, length: Length, seed: u64) -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = corpus(&here.join("corpus").join(target.name));
    let mut lots = Lots(mix(seed));
    let started = Instant::now();
    let mut executions = 0_u64;
    for round in 0.. {
        let is_over = match length {
            Length::Executions(most) => executions >= most,
            Length::Time(time) => started.elapsed() >= time,
        };
        let input = match corpus.get(round) {
            Some(input) => input.clone(),
            None if is_over => break,
            None => mutate(&corpus, &mut lots),
        };
        executions += 1;
        if fails(target, &input) {
            let file = save(&here.join("artifacts").join(target.name), &input);
            println!("{}: execution {executions} failed, see {}", target.name, file.display());
            return false;
        }
    }
    let per_second = executions as f64 / started.elapsed().as_secs_f64();
    let (name, files) = (target.name, corpus.len());
    println!("{name}: {executions} executions, {per_second:.0} per second, from {files} files");
    true
}

fn fails(target: &Target, input: &[u8]) -> bool {
    catch_unwind(|| (target.body)(input)).is_err()
}

/// The inputs of a directory, in the order of their names.
fn corpus(dir: &Path) -> Vec<Vec<u8>> {
    let listed = fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| fs::read(file).ok()).collect()
}

fn save(dir: &Path, input: &[u8]) -> PathBuf {
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let file = dir.join(format!("crash-{hash:016x}"));
    if let Err(error) = fs::create_dir_all(dir).and_then(|()| fs::write(&file, input)) {
        eprintln!("the input could not be saved: {error}\n{input:02x?}");
    }
    file
}

/// Removes and zeroes pieces of an input as long as it goes on failing.
fn shrink(target: &Target, mut input: Vec<u8>, file: &str) -> bool {
    if !fails(target, &input) {
        println!("{}: {file} does not fail", target.name);
        return true;
    }
    // One report is enough.
    std::panic::set_hook(Box::new(|_| {}));
    let mut len = input.len();
    while len > 0 {
        let mut at = 0;
        while at < input.len() {
            let end = (at + len).min(input.len());
            let mut shorter = input.clone();
            shorter.drain(at..end);
            let mut zeroed = input.clone();
            zeroed[at..end].fill(0);
            if fails(target, &shorter) {
                input = shorter;
            } else if zeroed != input && fails(target, &zeroed) {
                input = zeroed;
            } else {
                at = end;
            }
        }
        len /= 2;
    }
    let dir = Path::new(file).parent().unwrap_or(Path::new("."));
    let file = save(dir, &input);
    println!("{}: {} bytes still fail, see {}", target.name, input.len(), file.display());
    false
}

/// A number below `n`, or zero.
fn below(lots: &mut Lots, n: usize) -> usize {
    lots.below(n.max(1) as u64) as usize
}

fn bytes(lots: &mut Lots, len: usize) -> Vec<u8> {
    (0..len).map(|_| below(lots, 256) as u8).collect()
}

/// A new input: one of the corpus with some changes, or anything.
fn mutate(corpus: &[Vec<u8>], lots: &mut Lots) -> Vec<u8> {
    if corpus.is_empty() || below(lots, 4) == 0 {
        let len = below(lots, LONGEST_INPUT);
        return bytes(lots, len);
    }
    let mut input = corpus[below(lots, corpus.len())].clone();
    for _ in 0..1 + below(lots, 6) {
        let at = below(lots, input.len() + 1);
        let end = (at + 1 + below(lots, 16)).min(input.len());
        match below(lots, 7) {
            0 if at < end => input[at] ^= 1 << below(lots, 8),
            1 if at < end => input[at] = [0, 1, 0x7f, 0x80, 0xff][below(lots, 5)],
            2 => drop(input.drain(at..end)),
            3 => {
                let len = below(lots, 16);
                input.splice(at..at, bytes(lots, len));
            }
            4 => {
                let copy = input[at..end].to_vec();
                let to = below(lots, input.len() + 1);
                input.splice(to..to, copy);
            }
            5 => {
                let other = &corpus[below(lots, corpus.len())];
                let from = below(lots, other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let bytes = bytes(lots, end - at);
                input[at..end].copy_from_slice(&bytes);
            }
        }
    }
    input.truncate(LONGEST_INPUT);
    input
}
