//! An array that only grows and never moves.

use std::array;

use crate::sync::OnceLock;

/// Entries of the first level. Each level has twice as many as the one before.
const FIRST: usize = 8;
/// Levels up to two thousand million entries: more than any user of this array can address.
const LEVELS: usize = 28;

/// A lock-free array that grows by whole levels, so that what was handed out stays where it is.
///
/// Readers find an entry in two steps without waiting for anyone. A level is created the first time
/// that one of its entries is wanted.
pub(super) struct Growing<T> {
    levels: [OnceLock<Box<[T]>>; LEVELS],
}

impl<T: Default> Growing<T> {
    /// An array without any level.
    pub(super) fn new() -> Growing<T> {
        Growing { levels: array::from_fn(|_| OnceLock::new()) }
    }

    /// An array that begins with these entries.
    pub(super) fn of(entries: impl IntoIterator<Item = T>) -> Growing<T> {
        let array = Growing::new();
        let mut entries = entries.into_iter().peekable();
        for (level, place) in array.levels.iter().enumerate() {
            if entries.peek().is_none() {
                break;
            }
            let count = FIRST << level;
            place.get_or_init(|| (0..count).map(|_| entries.next().unwrap_or_default()).collect());
        }
        array
    }

    /// The entry `i`, if its level exists.
    pub(super) fn get(&self, i: usize) -> Option<&T> {
        let (level, at) = locate(i);
        self.levels.get(level)?.get()?.get(at)
    }

    /// The entry `i`, with its level created if need be.
    ///
    /// # Panics
    ///
    /// If `i` lies behind the last level, which no user of this array can have memory for.
    pub(super) fn ensure(&self, i: usize) -> &T {
        let (level, at) = locate(i);
        let entries = self.levels[level].get_or_init(|| {
            let count = FIRST << level;
            (0..count).map(|_| T::default()).collect()
        });
        &entries[at]
    }

    /// Every entry of every level that exists, in order.
    ///
    /// Levels may be missing in between, hence the index beside each entry.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.levels.iter().enumerate().flat_map(|(level, entries)| {
            let first = ((1 << level) - 1) * FIRST;
            let entries = entries.get().map_or(&[][..], |entries| entries);
            entries.iter().enumerate().map(move |(at, entry)| (first + at, entry))
        })
    }
}

/// The level of entry `i`, and where in it the entry stands.
fn locate(i: usize) -> (usize, usize) {
    let level = (i / FIRST + 1).ilog2() as usize;
    (level, i - ((1 << level) - 1) * FIRST)
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn entries_stay_and_count_up() {
        let array: Growing<AtomicU32> = Growing::new();
        assert!(array.get(0).is_none());
        for i in 0..1000 {
            array.ensure(i).store(i as u32 + 1, Ordering::Relaxed);
        }
        for (i, (at, entry)) in array.iter().enumerate().take(1000) {
            assert_eq!((at, entry.load(Ordering::Relaxed)), (i, i as u32 + 1));
            assert_eq!(array.get(i).map(|e| e.load(Ordering::Relaxed)), Some(i as u32 + 1));
        }
    }

    #[test]
    fn entries_that_are_there_from_the_start_have_their_places() {
        for len in [0, 1, 8, 9, 100] {
            let array: Growing<AtomicU32> = Growing::of((1..=len).map(AtomicU32::new));
            for i in 0..len {
                let entry = array.get(i as usize).map(|entry| entry.load(Ordering::Relaxed));
                assert_eq!(entry, Some(i + 1));
            }
            let rest = array.iter().skip(len as usize);
            assert!(rest.map(|(_, entry)| entry.load(Ordering::Relaxed)).all(|entry| entry == 0));
            assert_eq!(array.ensure(len as usize).load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn a_level_may_be_missing_in_between() {
        let array: Growing<AtomicU32> = Growing::new();
        array.ensure(100);
        assert!(array.get(0).is_none());
        let first = array.iter().next().map(|(at, _)| at);
        assert_eq!(first, Some(56));
        assert!(array.get(usize::MAX / 2).is_none());
    }
}
