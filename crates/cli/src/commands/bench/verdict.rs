//! What the figures mean, in sentences, and what they are not worth.

use std::time::Duration;

use super::machine::Mount;
use super::report::Report;
use super::rows::{KEYS, PIPELINED, Series, Verb, find};
use crate::table::rounded;
use crate::time::elapsed;

/// A flush that has reached a device takes longer.
const TOO_FAST: Duration = Duration::from_micros(5);
/// How many processors others may keep busy in a measurement that counts as quiet.
const QUIET: f64 = 0.1;
/// How many times as fast a good round may be as a bad one.
const STEADY: f64 = 1.3;

/// The limits of the machine and how close the store comes.
pub(super) fn sentences(series: &[Series]) -> Vec<String> {
    [of_flushes, of_group_commit, of_pipelining, of_memory, of_reads]
        .into_iter()
        .filter_map(|sentence| sentence(series))
        .collect()
}

fn of_flushes(series: &[Series]) -> Option<String> {
    let raw = find(series, Verb::RawFlush, 1)?;
    let synced = find(series, Verb::Synced, 1)?;
    Some(format!(
        "A write and its flush take {} here, so one thread that waits for each of its commits to be \
         durable can make about {} a second; Pagemark makes {}, {} % of that.",
        elapsed(raw.each()),
        rounded(raw.rate()),
        rounded(synced.rate()),
        rounded((synced.times(raw) * 100.0).round())
    ))
}

fn of_group_commit(series: &[Series]) -> Option<String> {
    let alone = find(series, Verb::Synced, 1)?;
    let shared = series.iter().filter(|s| s.row.verb == Verb::Synced && s.row.threads > 1);
    let best = shared.max_by(|a, b| a.rate().total_cmp(&b.rate()))?;
    Some(format!(
        "{} threads share flushes: {} a second, {} times what one makes.",
        best.row.threads,
        rounded(best.rate()),
        rounded(best.times(alone))
    ))
}

fn of_pipelining(series: &[Series]) -> Option<String> {
    let pipelined = find(series, Verb::Pipelined, 1)?;
    Some(format!(
        "One thread that waits only once for {PIPELINED} commits makes {} a second durable.",
        rounded(pipelined.rate())
    ))
}

fn of_memory(series: &[Series]) -> Option<String> {
    let raw = find(series, Verb::RawMemory, 1)?;
    let names = find(series, Verb::ByNames, 1)?;
    let slot = find(series, Verb::BySlot, 1)?;
    Some(format!(
        "A buffered commit, which waits for no flush, takes {} by names and {} by slot, {} and {} \
         times as long as a checksum and copies of its bytes.",
        elapsed(names.each()),
        elapsed(slot.each()),
        rounded(raw.times(names)),
        rounded(raw.times(slot))
    ))
}

fn of_reads(series: &[Series]) -> Option<String> {
    let names = find(series, Verb::FetchByNames, 1)?;
    let slot = find(series, Verb::FetchBySlot, 1)?;
    let open = find(series, Verb::Open, 1)?;
    Some(format!(
        "A fetch takes {} by names and {} by slot, and opening a store of {} keys {}.",
        elapsed(names.each()),
        elapsed(slot.each()),
        rounded(KEYS as f64),
        elapsed(open.latencies.median()?)
    ))
}

/// Why the figures may not say what they seem to.
pub(super) fn warnings(report: &Report) -> Vec<String> {
    let raw = find(&report.series, Verb::RawFlush, 1);
    let mut warnings = Vec::new();
    if cfg!(debug_assertions) {
        warnings
            .push("this program was built without optimisation; build it with --release".into());
    }
    warnings.extend(of_place(
        report.machine.mount.as_ref(),
        raw.and_then(|raw| raw.latencies.median()),
    ));
    warnings.extend(report.others.filter(|others| *others > QUIET).map(|others| {
        format!("the run was disturbed: other programs kept {others:.1} processors busy")
    }));
    warnings.extend(raw.map(Series::spread).filter(|spread| *spread > STEADY).map(|spread| {
        format!(
            "the run was disturbed: raw flushes were {spread:.1} times as fast in good rounds as in \
             bad ones"
        )
    }));
    warnings
}

/// A place where a flush is not what it is on a disk.
fn of_place(mount: Option<&Mount>, flush: Option<Duration>) -> Option<String> {
    match mount.map(|mount| mount.kind.as_str()) {
        Some(kind @ ("tmpfs" | "ramfs")) => Some(format!(
            "{kind} lies in memory: a flush costs nothing there, and nothing survives power loss; \
             name a directory on a disk with --dir"
        )),
        Some(kind @ "overlay") => Some(format!(
            "{kind} is a layer over other file systems, as containers have it, and its flushes may \
             cost nothing; name a directory on a volume with --dir"
        )),
        _ => flush.filter(|flush| *flush < TOO_FAST).map(|flush| {
            format!("a flush of {} has reached no device: something answers for it", elapsed(flush))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::machine::Machine;
    use crate::commands::bench::measure::{Latencies, Slice};
    use crate::commands::bench::rows::Row;

    /// A row of which each round took a second for as many calls as are given, each as long as the
    /// others.
    fn series(verb: Verb, threads: usize, calls: &[u64]) -> Series {
        let mut series = Series::new(Row { verb, threads });
        for &operations in calls {
            let elapsed = Duration::from_secs(1);
            let mut latencies = Latencies::new();
            latencies.add(elapsed / operations as u32);
            series.push(&Slice { operations, elapsed, latencies });
        }
        series
    }

    fn machine(kind: &str) -> Machine {
        let mount = Mount { kind: kind.into(), device: "/dev/sda1".into() };
        Machine { processors: 2, mount: Some(mount) }
    }

    fn report(series: Vec<Series>, kind: &str, others: Option<f64>) -> Report {
        let elapsed = Duration::from_secs(30);
        Report { machine: machine(kind), series, rounds: 3, elapsed, others }
    }

    #[test]
    fn each_sentence_has_the_figures_of_its_rows() {
        let series = [
            series(Verb::RawFlush, 1, &[5000, 5000, 4000]),
            series(Verb::Synced, 1, &[4500, 4600, 3600]),
            series(Verb::Synced, 4, &[9000, 9000, 9000]),
            series(Verb::Synced, 64, &[92_000, 90_000, 93_000]),
            series(Verb::Pipelined, 1, &[4000, 4000, 4000]),
            series(Verb::RawMemory, 1, &[40_000_000; 3]),
            series(Verb::ByNames, 1, &[4_000_000; 3]),
            series(Verb::ByNames, 2, &[5_000_000; 3]),
            series(Verb::BySlot, 1, &[5_000_000; 3]),
            series(Verb::FetchByNames, 1, &[5_000_000; 3]),
            series(Verb::FetchBySlot, 1, &[10_000_000; 3]),
            series(Verb::Open, 1, &[125, 100, 125]),
        ];
        let expected = [
            "A write and its flush take 200 µs here, so one thread that waits for each of its commits to be \
             durable can make about 5,000 a second; Pagemark makes 4,500, 90 % of that.",
            "64 threads share flushes: 92,000 a second, 20 times what one makes.",
            "One thread that waits only once for 64 commits makes 256,000 a second durable.",
            "A buffered commit, which waits for no flush, takes 250 ns by names and 200 ns by slot, \
             10 and 8.0 times as long as a checksum and copies of its bytes.",
            "A fetch takes 200 ns by names and 100 ns by slot, and opening a store of 100,000 keys \
             8.03 ms.",
        ];
        assert_eq!(sentences(&series), expected);
    }

    #[test]
    fn what_the_figures_are_not_worth_is_said() {
        let about = |flushes: &[u64], kind: &str, others| {
            let warnings =
                warnings(&report(vec![series(Verb::RawFlush, 1, flushes)], kind, others));
            warnings.into_iter().filter(|w| !w.contains("--release")).collect::<Vec<_>>()
        };
        let steady = &[5000, 5000, 5000][..];
        assert_eq!(about(steady, "ext4", Some(0.05)), [""; 0]);
        assert_eq!(about(steady, "ext4", None), [""; 0]);
        let only = |warnings: Vec<String>, expected: &str| {
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
        };
        only(about(steady, "ext4", Some(0.5)), "other programs kept 0.5 processors busy");
        only(
            about(&[5000, 2000, 4000, 1900, 5100], "xfs", None),
            "2.5 times as fast in good rounds",
        );
        only(about(&[900_000; 3], "tmpfs", None), "tmpfs lies in memory");
        only(about(steady, "overlay", None), "overlay is a layer");
        only(about(&[900_000; 3], "xfs", None), "a flush of 1.11 µs has reached no device");
    }
}
