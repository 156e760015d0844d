//! Doing something again and again for a while, and seeing how long it takes each time.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;

/// What a while of one thing came to.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) operations: u64,
    pub(super) elapsed: Duration,
    pub(super) latencies: Latencies,
}

/// How long operations took.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    /// None so far.
    pub(super) fn new() -> Latencies {
        const LONGEST_NS: u64 = 3_600_000_000_000;
        // Fails only for bounds that are no bounds and more than five digits.
        Latencies(Histogram::new_with_max(LONGEST_NS, 2).expect("an hour in two digits"))
    }

    /// Counts one.
    pub(super) fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts those of others, too.
    pub(super) fn merge(&mut self, others: &Latencies) {
        // Fails only for others with other bounds.
        self.0.add(&others.0).expect("equal bounds");
    }

    /// What this part of them, from 0 to 1, took at most. `None` if they are too few to have a
    /// slower one.
    pub(super) fn quantile(&self, part: f64) -> Option<Duration> {
        let slower = self.0.len() as f64 * (1.0 - part);
        // Differences of floats are a little off.
        (slower > 0.999).then(|| Duration::from_nanos(self.0.value_at_quantile(part)))
    }

    /// The half took at most that, if there was any.
    pub(super) fn median(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_nanos(self.0.value_at_quantile(0.5)))
    }
}

/// Runs each operation in a thread of its own, again and again for so long. One in `sampling` is
/// timed.
pub(super) fn measure<F>(time: Duration, sampling: u64, operations: Vec<F>) -> Result<Slice>
where
    F: FnMut() -> Result<()> + Send,
{
    let together = Barrier::new(operations.len());
    thread::scope(|scope| {
        let run = |operation| {
            let together = &together;
            scope.spawn(move || {
                together.wait();
                repeat(time, sampling, operation)
            })
        };
        let threads: Vec<_> = operations.into_iter().map(run).collect();
        let mut all = Slice { operations: 0, elapsed: Duration::ZERO, latencies: Latencies::new() };
        for thread in threads {
            let one = thread.join().map_err(|_| anyhow!("a measuring thread panicked"))??;
            all.operations += one.operations;
            all.elapsed = all.elapsed.max(one.elapsed);
            all.latencies.merge(&one.latencies);
        }
        Ok(all)
    })
}

fn repeat(
    time: Duration,
    sampling: u64,
    mut operation: impl FnMut() -> Result<()>,
) -> Result<Slice> {
    let (mut operations, mut latencies) = (0, Latencies::new());
    let start = Instant::now();
    loop {
        let started = Instant::now();
        operation()?;
        let ended = Instant::now();
        latencies.add(ended - started);
        for _ in 1..sampling {
            operation()?;
        }
        operations += sampling;
        if ended - start >= time {
            return Ok(Slice { operations, elapsed: start.elapsed(), latencies });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_need_enough_to_have_a_slower_one() {
        let mut latencies = Latencies::new();
        assert_eq!((latencies.median(), latencies.quantile(0.99)), (None, None));
        (1..=99).for_each(|ms| latencies.add(Duration::from_millis(ms)));
        assert_eq!(latencies.quantile(0.99), None);
        let mut more = Latencies::new();
        more.add(Duration::from_millis(500));
        latencies.merge(&more);
        let about = |found: Option<Duration>, ms: f64| {
            let found = found.expect("enough").as_secs_f64() * 1e3;
            assert!((found / ms - 1.0).abs() < 0.02, "{found} ms instead of {ms}");
        };
        about(latencies.median(), 50.0);
        about(latencies.quantile(0.99), 99.0);
        assert_eq!(latencies.quantile(0.999), None);
    }

    #[test]
    fn every_thread_works_and_an_error_of_one_is_the_result() {
        let mut counts = [0_u64; 3];
        let operations = counts.iter_mut().map(|count| {
            || {
                *count += 1;
                Ok(())
            }
        });
        let slice = measure(Duration::ZERO, 16, operations.collect()).expect("no error");
        assert_eq!((slice.operations, slice.latencies.0.len()), (48, 3));
        assert_eq!(counts, [16; 3]);
        let fail = |number| move || if number == 1 { Err(anyhow!("no disk")) } else { Ok(()) };
        let failed = measure(Duration::ZERO, 1, (0..3).map(fail).collect());
        assert_eq!(failed.map(|_| ()).expect_err("an error").to_string(), "no disk");
    }
}
