//! What is complete above the watermark: bits for what this life completed, runs for what an earlier
//! one did and nobody has come to yet.

use std::collections::BTreeMap;
use std::ops::Range;

use super::window::Window;

/// About what one run takes in the table of runs, which is half full at worst.
const RUN_BYTES: usize = 2 * size_of::<Range<u64>>();

/// The set of the offsets. What is inserted takes memory by its distance from the base, and what is
/// restored by what was said of it: a few bytes can state a run of any length.
///
/// Mostly nothing is far, and then everything is as fast as it is near: the table is not asked.
#[derive(Clone)]
pub(super) struct Done {
    near: Window,
    /// Runs from the end of `near` on, starts and ends. They do not touch each other, and only the
    /// first may touch what is near.
    far: BTreeMap<u64, u64>,
}

impl Done {
    /// The empty set.
    pub(super) fn new(base: u64) -> Done {
        Done { near: Window::new(base), far: BTreeMap::new() }
    }

    /// The offset after the highest one in the set, or the base, unless offsets were removed.
    pub(super) fn end(&self) -> u64 {
        self.far.last_key_value().map_or(self.near.end(), |(_, end)| *end)
    }

    pub(super) fn contains(&self, at: u64) -> bool {
        self.near.contains(at) || self.far_run_at(at).is_some()
    }

    /// Adds offsets that are complete now, none of them below the base.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        self.bring_near(range.end);
        self.near.insert(range);
    }

    /// Adds offsets that were complete in an earlier life, none of them below the base.
    pub(super) fn restore(&mut self, range: Range<u64>) {
        let split = self.near.end().clamp(range.start, range.end);
        if range.start < split {
            self.near.insert(range.start..split);
        }
        if split < range.end {
            self.put_far(split..range.end);
        }
    }

    /// How many offsets of the range are in the set.
    pub(super) fn count(&self, range: Range<u64>) -> u64 {
        let near = self.near.count(range.clone());
        if self.far.is_empty() {
            return near;
        }
        near + self.far_in(range).map(|run| run.end - run.start).sum::<u64>()
    }

    /// How many runs begin in the range.
    pub(super) fn starts(&self, range: Range<u64>) -> u64 {
        let near = self.near.starts(range.clone());
        if self.far.is_empty() {
            return near;
        }
        let near_end = (self.near.base() < self.near.end()).then_some(self.near.end());
        let far = self.far.range(range).filter(|(start, _)| Some(**start) != near_end);
        near + far.count() as u64
    }

    /// The first offset of the range that is in the set.
    pub(super) fn next_set(&self, range: Range<u64>) -> Option<u64> {
        let near = self.near.next_set(range.clone());
        near.or_else(|| self.far_in(range).next().map(|run| run.start))
    }

    /// The first offset at or above `from` that is not in the set.
    pub(super) fn next_clear(&self, from: u64) -> u64 {
        let at = self.near.next_clear(from);
        self.far_run_at(at).map_or(at, |run| run.end)
    }

    /// The set as runs that do not touch, in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        let (mut at, end) = (self.near.base(), self.end());
        std::iter::from_fn(move || {
            let start = self.next_set(at..end)?;
            at = self.next_clear(start);
            Some(start..at)
        })
    }

    /// Moves the base up and takes out what lies below it.
    pub(super) fn raise(&mut self, base: u64) {
        while let Some(run) = self.take_far_below(base) {
            if base < run.end {
                self.far.insert(base, run.end);
            }
        }
        self.near.raise(base);
    }

    /// Takes out everything from `end` on. A base that lies above moves down to it.
    pub(super) fn truncate(&mut self, end: u64) {
        drop(self.far.split_off(&end));
        if let Some(mut last) = self.far.last_entry() {
            let cut = end.min(*last.get());
            last.insert(cut);
        }
        self.near.truncate(end);
    }

    /// What the set takes, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.near.memory_bytes() + self.far.len() * RUN_BYTES
    }

    /// Makes bits of all far offsets below `end`.
    fn bring_near(&mut self, end: u64) {
        while let Some(run) = self.take_far_below(end) {
            let split = run.end.min(end);
            self.near.insert(run.start..split);
            if split < run.end {
                self.far.insert(split, run.end);
            }
        }
    }

    fn take_far_below(&mut self, end: u64) -> Option<Range<u64>> {
        if self.far.is_empty() {
            return None;
        }
        let first = self.far.first_entry().filter(|first| *first.key() < end)?;
        let (start, end) = first.remove_entry();
        Some(start..end)
    }

    /// Adds a run to those that are far, in the place of all that it touches.
    fn put_far(&mut self, mut run: Range<u64>) {
        while let Some((&start, &end)) = self.far.range(..=run.end).next_back() {
            if end < run.start {
                break;
            }
            self.far.remove(&start);
            run = run.start.min(start)..run.end.max(end);
        }
        self.far.insert(run.start, run.end);
    }

    fn far_run_at(&self, at: u64) -> Option<Range<u64>> {
        if self.far.is_empty() {
            return None;
        }
        let (&start, &end) = self.far.range(..=at).next_back()?;
        (at < end).then_some(start..end)
    }

    /// What is far of a range, run by run.
    fn far_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.far_run_at(range.start).map(|run| run.start);
        let runs = self.far.range(first.unwrap_or(range.start)..range.end.max(range.start));
        runs.map(move |(&start, &end)| start.max(range.start)..end.min(range.end))
    }
}
