//! What is measured, in which order, and what it is compared with.

use std::time::Duration;

use super::measure::{Latencies, Slice};

/// Keys of the store: 1,000 groups with 10 topics of 10 partitions.
pub(super) const KEYS: usize = GROUPS * BATCH;
/// Groups of the store.
pub(super) const GROUPS: usize = 1_000;
/// Commits of a batch: all keys of a group.
pub(super) const BATCH: usize = TOPICS * PARTITIONS;
/// Topics of a group.
pub(super) const TOPICS: usize = 10;
/// Partitions of a topic.
pub(super) const PARTITIONS: usize = 10;
/// Commits that are under way at once in one thread.
pub(super) const PIPELINED: usize = 64;

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    RawFlush,
    Synced,
    Pipelined,
    RawMemory,
    ByNames,
    BySlot,
    Batch,
    FetchByNames,
    FetchBySlot,
    Open,
}

impl Verb {
    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Verb::RawFlush => "raw flush",
            Verb::Synced => "synced commit",
            Verb::Pipelined => "pipelined commit",
            Verb::RawMemory => "raw memory",
            Verb::ByNames => "buffered commit by names",
            Verb::BySlot => "buffered commit by slot",
            Verb::Batch => "buffered batch of 100",
            Verb::FetchByNames => "fetch by names",
            Verb::FetchBySlot => "fetch by slot",
            Verb::Open => "open after close",
        }
    }

    /// What the machine would do at most, where that is known.
    pub(super) fn limit(self) -> Option<Verb> {
        match self {
            Verb::Synced | Verb::Pipelined => Some(Verb::RawFlush),
            Verb::ByNames | Verb::BySlot | Verb::Batch => Some(Verb::RawMemory),
            Verb::RawFlush | Verb::RawMemory => None,
            Verb::FetchByNames | Verb::FetchBySlot | Verb::Open => None,
        }
    }

    /// How many commits or fetches one call of it is.
    fn weight(self) -> usize {
        match self {
            Verb::Pipelined => PIPELINED,
            Verb::Batch => BATCH,
            _ => 1,
        }
    }

    /// One call in so many is timed: looking at the clock takes as long as some verbs.
    pub(super) fn sampling(self) -> u64 {
        match self {
            Verb::RawMemory | Verb::ByNames | Verb::BySlot => 16,
            Verb::FetchByNames | Verb::FetchBySlot => 16,
            _ => 1,
        }
    }
}

/// A verb, by so many threads at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) verb: Verb,
    pub(super) threads: usize,
}

/// All rows, in rounds of short slices: what disturbs the machine for a while disturbs the limits as
/// it disturbs the store.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rows: Vec<Row>,
    pub(super) rounds: usize,
    pub(super) slice: Duration,
}

impl Plan {
    /// A plan for so long.
    pub(super) fn new(seconds: u64, synced: &[u16], processors: usize) -> Plan {
        const LONGEST: Duration = Duration::from_millis(150);
        const FEWEST_ROUNDS: usize = 5;
        let row = |verb| move |threads| Row { verb, threads };
        let synced = counts(synced.iter().map(|threads| usize::from(*threads)));
        // All the processors, and two of them, since threads of one core meet in other places.
        let buffered = counts([2.min(processors), processors].into_iter());
        let mut rows = vec![Row { verb: Verb::RawFlush, threads: 1 }];
        rows.extend(synced.into_iter().map(row(Verb::Synced)));
        rows.extend([Verb::Pipelined, Verb::RawMemory].map(|verb| row(verb)(1)));
        rows.extend(buffered.iter().copied().map(row(Verb::ByNames)));
        rows.extend(buffered.iter().copied().map(row(Verb::BySlot)));
        let alone = [Verb::Batch, Verb::FetchByNames, Verb::FetchBySlot, Verb::Open];
        rows.extend(alone.map(|verb| row(verb)(1)));
        let each = Duration::from_secs(seconds) / rows.len() as u32;
        let rounds = (each.as_millis() / LONGEST.as_millis()) as usize;
        let rounds = rounds.max(FEWEST_ROUNDS);
        Plan { rows, rounds, slice: each / rounds as u32 }
    }
}

/// Numbers of threads in order, one among them.
fn counts(threads: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut counts: Vec<usize> = threads.chain([1]).collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// All that was measured of a row.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) row: Row,
    /// Commits or fetches a second, of each round.
    rates: Vec<f64>,
    pub(super) latencies: Latencies,
}

impl Series {
    /// Nothing so far.
    pub(super) fn new(row: Row) -> Series {
        Series { row, rates: Vec::new(), latencies: Latencies::new() }
    }

    /// Adds what a round came to.
    pub(super) fn push(&mut self, slice: &Slice) {
        let done = slice.operations as f64 * self.row.verb.weight() as f64;
        self.rates.push(done / slice.elapsed.as_secs_f64().max(1e-9));
        self.latencies.merge(&slice.latencies);
    }

    /// Commits or fetches a second.
    pub(super) fn rate(&self) -> f64 {
        quantile(self.rates.clone(), 0.5)
    }

    /// How long one takes on average, if one thread does nothing else.
    pub(super) fn each(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate().max(1e-9))
    }

    /// How many times as fast it is as what else was measured in the same rounds.
    pub(super) fn times(&self, other: &Series) -> f64 {
        let times = self.rates.iter().zip(&other.rates).map(|(own, other)| own / other);
        quantile(times.collect(), 0.5)
    }

    /// How many times as fast a good round was as a bad one: of four, one is as good and one as bad
    /// or more so.
    pub(super) fn spread(&self) -> f64 {
        quantile(self.rates.clone(), 0.75) / quantile(self.rates.clone(), 0.25)
    }
}

/// The number that this part of them does not exceed; zero if there are none.
fn quantile(mut numbers: Vec<f64>, part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let at = (numbers.len().saturating_sub(1) as f64 * part).round() as usize;
    numbers.get(at).copied().unwrap_or(0.0)
}

/// Finds a row among those that were measured.
pub(super) fn find(series: &[Series], verb: Verb, threads: usize) -> Option<&Series> {
    series.iter().find(|series| series.row == Row { verb, threads })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(verb: Verb, operations: &[u64]) -> Series {
        let mut series = Series::new(Row { verb, threads: 1 });
        for &operations in operations {
            let elapsed = Duration::from_millis(500);
            series.push(&Slice { operations, elapsed, latencies: Latencies::new() });
        }
        series
    }

    #[test]
    fn a_plan_has_every_verb_and_takes_as_long_as_it_may() {
        for (seconds, processors, buffered) in
            [(1, 1, &[1][..]), (40, 2, &[1, 2]), (600, 64, &[1, 2, 64])]
        {
            let plan = Plan::new(seconds, &[64, 2, 2, 16], processors);
            let threads = |verb| -> Vec<usize> {
                plan.rows.iter().filter(|row| row.verb == verb).map(|row| row.threads).collect()
            };
            assert_eq!(threads(Verb::Synced), [1, 2, 16, 64]);
            assert_eq!(
                (&threads(Verb::ByNames)[..], &threads(Verb::BySlot)[..]),
                (buffered, buffered)
            );
            assert_eq!(plan.rows.len(), 11 + 2 * buffered.len());
            let all = plan.slice * (plan.rounds * plan.rows.len()) as u32;
            assert!(all <= Duration::from_secs(seconds) && plan.rounds >= 5, "{plan:?}");
            assert!(all.as_secs_f64() > seconds as f64 * 0.9, "{plan:?}");
            assert!(plan.slice < Duration::from_millis(300), "{plan:?}");
        }
    }

    #[test]
    fn rounds_are_compared_one_by_one() {
        // The machine is slow in the second round and very slow in the third.
        let limit = series(Verb::RawFlush, &[100, 50, 10]);
        let synced = series(Verb::Synced, &[90, 30, 9]);
        assert_eq!((limit.rate(), synced.rate()), (100.0, 60.0));
        assert_eq!(synced.times(&limit), 0.9);
        assert_eq!(limit.spread(), 2.0);
        assert_eq!(series(Verb::Batch, &[1]).rate(), 200.0);
        assert_eq!(series(Verb::Pipelined, &[1]).rate(), 128.0);
    }
}
