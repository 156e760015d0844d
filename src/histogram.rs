//! How long something took, each time: counted in buckets of rising size.

use std::array;
use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};

/// A power of two has this many buckets, as a power of two itself.
const SUB_BITS: u32 = 2;
/// Buckets for all of `u64`.
const BUCKETS: usize = ((64 - SUB_BITS as usize) + 1) << SUB_BITS;

/// Durations, counted in buckets: four for each power of two, so that what is read from it is at
/// most a quarter too high.
///
/// The buckets are those of an HDR histogram with two significant bits, from one nanosecond on.
///
/// ```
/// use pagemark::{Key, NextOffset, OffsetStore};
///
/// # let dir = tempfile::tempdir()?;
/// let store = OffsetStore::open(dir.path())?;
/// store.commit(Key::new("billing", "orders", 0), NextOffset(42))?;
/// let flushes = store.stats().flush_latency;
/// assert!(flushes.count() > 0 && flushes.quantile(0.5) <= flushes.quantile(0.99));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By number of the bucket; empty if nothing was counted.
    counts: Vec<u64>,
    sum_ns: u64,
}

impl Histogram {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, exactly.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// A duration that at least this part of them, from 0 to 1, does not exceed: the upper bound of
    /// the bucket in which it lies. Zero if nothing was counted.
    pub fn quantile(&self, part: f64) -> Duration {
        let count = self.count();
        // A part of a count that can be counted to is far below what a float says exactly.
        let rank = ((count as f64 * part.clamp(0.0, 1.0)).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let found = self.buckets().find(|(_, counted)| {
            seen += counted;
            seen >= rank
        });
        found.map_or(Duration::ZERO, |(upper, _)| upper)
    }

    /// The buckets that are not empty, in order: the longest duration that belongs there, and how
    /// many there are.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(bucket, count)| (Duration::from_nanos(upper_bound(bucket)), *count))
    }
}

/// A histogram that grows while it is read.
#[derive(Debug)]
pub(crate) struct LiveHistogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Default for LiveHistogram {
    fn default() -> LiveHistogram {
        let counts = array::from_fn(|_| AtomicU64::new(0));
        LiveHistogram { counts, sum_ns: AtomicU64::new(0) }
    }
}

impl LiveHistogram {
    /// Counts a duration.
    pub(crate) fn add(&self, nanoseconds: u64) {
        self.counts[bucket_of(nanoseconds)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn read(&self) -> Histogram {
        let counts: Vec<u64> =
            self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        Histogram { counts: counts[..used].to_vec(), sum_ns: self.sum_ns.load(Ordering::Relaxed) }
    }
}

/// The bucket of a number: small ones have their own, others share it with those of the same
/// leading bits.
fn bucket_of(number: u64) -> usize {
    match number.checked_ilog2() {
        Some(power) if power >= SUB_BITS => {
            let leading = (number >> (power - SUB_BITS)) as usize & ((1 << SUB_BITS) - 1);
            (((power - SUB_BITS + 1) as usize) << SUB_BITS) + leading
        }
        _ => number as usize,
    }
}

/// The largest number in a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let (row, leading) = (bucket >> SUB_BITS, bucket as u64 & ((1 << SUB_BITS) - 1));
    match row.checked_sub(1) {
        None => leading,
        Some(shift) => ((1 << SUB_BITS | leading) << shift) + ((1 << shift) - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_bucket_that_is_at_most_a_quarter_wide() {
        let mut numbers = vec![0, 1, 2, 3, u64::MAX];
        for power in 1..64 {
            let number = 1_u64 << power;
            numbers.extend([number - 1, number, number + 1, number / 2 * 3, number / 4 * 7]);
        }
        numbers.sort_unstable();
        let mut last = 0;
        for number in numbers {
            let bucket = bucket_of(number);
            assert!(bucket < BUCKETS && bucket >= last, "{number}");
            assert!(upper_bound(bucket) >= number && upper_bound(bucket) - number <= number / 4);
            assert_eq!(bucket_of(upper_bound(bucket)), bucket, "{number}");
            assert!(bucket == 0 || upper_bound(bucket - 1) < number, "{number}");
            last = bucket;
        }
        assert_eq!(last, BUCKETS - 1, "no bucket is for nothing");
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let live = LiveHistogram::default();
        assert_eq!(
            (live.read(), live.read().quantile(0.5)),
            (Histogram::default(), Duration::ZERO)
        );
        (1..=100).for_each(|n| live.add(n * 1000));
        let read = live.read();
        assert_eq!((read.count(), read.sum()), (100, Duration::from_micros(5050)));
        for (part, exact) in [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (1.0, 100), (7.0, 100)] {
            let found = read.quantile(part);
            let exact = Duration::from_micros(exact);
            assert!(found >= exact && found <= exact + exact / 4, "{part}: {found:?}");
        }
        assert_eq!(read.buckets().map(|(_, count)| count).sum::<u64>(), 100);
    }
}
