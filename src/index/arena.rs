//! The memory of the index: chunks of atomic words that are never given back while it lives.
//!
//! Slots and the cells of long values are cut from the same memory. A word of it is always an
//! `AtomicU64`, whoever owns it, so that a reader that is late may look at memory that meanwhile
//! belongs to someone else: it reads nonsense, notices it, and throws it away. That is what allows
//! readers to follow a stale index without locks, reference counts or unsafe code.
//!
//! Memory is dealt out in units of 48 bytes, in runs of a power of two of them. A run that is given
//! back goes to the free list of its class and is split if a smaller one is wanted.

use std::iter::Map;
use std::ops::Range;
use std::slice;
use std::sync::Arc;

use crate::sync::OnceLock;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::growing::Growing;
use super::slot::Slot;

/// Words of one unit. A slot is exactly one unit.
pub(super) const UNIT_WORDS: usize = 6;
/// Units of one chunk: 96 KiB, so that a new chunk holds up a commit for microseconds only.
const CHUNK_UNITS: usize = 1 << MAX_CLASS;
/// Words of one chunk.
pub(super) const CHUNK_WORDS: usize = CHUNK_UNITS * UNIT_WORDS;
/// The class of the longest run, a whole chunk. It holds the longest metadata.
const MAX_CLASS: u32 = 11;

type Chunk = Box<[AtomicU64]>;

/// The slots in a run, in order.
pub(super) type Slots<'a> =
    Map<slice::Iter<'a, [AtomicU64; UNIT_WORDS]>, fn(&'a [AtomicU64; UNIT_WORDS]) -> Slot<'a>>;

/// The number of a unit. Zero is never dealt out and stands for "none".
pub(super) type Unit = u32;

/// What readers see of the memory: chunks by number.
pub(super) struct Arena {
    chunks: Growing<OnceLock<Chunk>>,
    /// Chunks that some allocator has taken.
    taken: AtomicUsize,
    reserved: AtomicUsize,
}

impl Arena {
    fn new() -> Arena {
        Arena { chunks: Growing::new(), taken: AtomicUsize::new(0), reserved: AtomicUsize::new(0) }
    }

    /// The slot in `unit`, which must have been dealt out at some time.
    pub(super) fn slot(&self, unit: Unit) -> Slot<'_> {
        // A unit that was dealt out lies in a chunk, and a chunk is never given back: there is no
        // input for which this fails.
        let words = self.run(unit, 0).and_then(|words| words.first_chunk());
        Slot::new(words.expect("a unit that was dealt out lies in a chunk"))
    }

    /// The slots in a run, which must have been dealt out at some time.
    pub(super) fn slots(&self, unit: Unit, class: u32) -> Slots<'_> {
        let words = self.run(unit, class).unwrap_or_default();
        words.as_chunks().0.iter().map(Slot::new)
    }

    /// The words of a run, or none if there can be no such run: a reader that lost a race asks for
    /// anything.
    pub(super) fn run(&self, unit: Unit, class: u32) -> Option<&[AtomicU64]> {
        let chunk = self.chunks.get(unit as usize / CHUNK_UNITS)?.get()?;
        let first = unit as usize % CHUNK_UNITS * UNIT_WORDS;
        chunk.get(first..first + run_words(class)?)
    }

    /// Bytes taken from the allocator for chunks.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Makes the next chunk, and returns its units.
    fn create(&self) -> Range<usize> {
        let chunk = self.taken.fetch_add(1, Ordering::Relaxed);
        self.chunks.ensure(chunk).get_or_init(|| {
            self.reserved.fetch_add(CHUNK_WORDS * size_of::<AtomicU64>(), Ordering::Relaxed);
            (0..CHUNK_WORDS).map(|_| AtomicU64::new(0)).collect()
        });
        // Unit zero is never dealt out.
        (chunk * CHUNK_UNITS).max(1)..(chunk + 1) * CHUNK_UNITS
    }
}

/// Deals out the memory of an [`Arena`], a chunk at a time. An arena may have several: each has chunks
/// of its own, and any of them takes back what another has dealt out.
pub(super) struct Allocator {
    arena: Arc<Arena>,
    /// Runs to be dealt out again, by class. They are remembered here and not in the runs
    /// themselves, so that giving back a run does not touch its memory, which is rarely cached.
    free: [Vec<Unit>; MAX_CLASS as usize + 1],
    /// The units of the last chunk that were never dealt out.
    fresh: Range<usize>,
}

impl Allocator {
    /// The first allocator of a new arena.
    pub(super) fn new() -> Allocator {
        Allocator::of(Arc::new(Arena::new()))
    }

    /// One more allocator of an arena.
    pub(super) fn of(arena: Arc<Arena>) -> Allocator {
        let free = [const { Vec::new() }; MAX_CLASS as usize + 1];
        Allocator { arena, free, fresh: 0..0 }
    }

    /// The memory that is dealt out here.
    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Takes a run of `1 << class` units. Its words hold anything.
    ///
    /// Who writes to it must order the write behind a release fence: readers of the previous owner
    /// may still look at it, and only the fence makes them notice.
    ///
    /// # Panics
    ///
    /// If `class` is not one, or when 2^32 units (206 GB) are in use: then memory ran out, which is
    /// no error that a caller could handle.
    pub(super) fn take(&mut self, class: u32) -> Unit {
        let mut found = class as usize;
        while found < self.free.len() {
            if let Some(unit) = self.free[found].pop() {
                while found > class as usize {
                    found -= 1;
                    self.free[found].push(unit + (1 << found));
                }
                return unit;
            }
            found += 1;
        }
        self.take_new(class)
    }

    /// Gives back a run that was taken with the same class.
    pub(super) fn give_back(&mut self, unit: Unit, class: u32) {
        self.free[class as usize].push(unit);
    }

    fn take_new(&mut self, class: u32) -> Unit {
        // Classes come from `class_of` and from the constants of `Topic`, both below the limit; at 48
        // bytes a unit, memory ends long before the numbers do.
        let units = run_words(class).expect("the class of a run has a limit") / UNIT_WORDS;
        while self.fresh.len() < units {
            // A run does not cross chunks. What is left of this one is cut into smaller runs.
            while let Some(class) = self.fresh.len().checked_ilog2() {
                self.free[class as usize].push(unit(self.fresh.start));
                self.fresh.start += 1 << class;
            }
            self.fresh = self.arena.create();
        }
        let first = self.fresh.start;
        self.fresh.start += units;
        unit(first)
    }
}

fn unit(number: usize) -> Unit {
    Unit::try_from(number).expect("the index has at most 2^32 units")
}

/// The class of the smallest run with at least `words` words.
pub(super) fn class_of(words: usize) -> u32 {
    words.div_ceil(UNIT_WORDS).next_power_of_two().ilog2()
}

/// The words of a run of a class, or none if there is no such class.
fn run_words(class: u32) -> Option<usize> {
    (class <= MAX_CLASS).then_some(UNIT_WORDS << class)
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(test)]
mod tests {
    use super::super::tests::steps;
    use super::*;

    #[test]
    fn runs_do_not_overlap_and_come_back() {
        let mut allocator = Allocator::new();
        let mut taken = Vec::new();
        for round in 0..3 {
            for i in 0..steps(4_000, 600) as u32 {
                let class = i % 4 + if i % 500 == 0 { 8 } else { 0 };
                taken.push((allocator.take(class), class));
            }
            let mut sorted = taken.clone();
            sorted.sort_unstable();
            for pair in sorted.windows(2) {
                assert!(pair[0].0 + (1 << pair[0].1) <= pair[1].0, "round {round}: {pair:?}");
            }
            assert!(sorted[0].0 > 0);
            for (unit, class) in taken.drain(..) {
                assert!(allocator.arena.run(unit, class).is_some());
                allocator.give_back(unit, class);
            }
        }
        let reserved = allocator.arena.reserved_bytes();
        for _ in 0..100 {
            let unit = allocator.take(MAX_CLASS - 3);
            allocator.give_back(unit, MAX_CLASS - 3);
        }
        assert_eq!(allocator.arena.reserved_bytes(), reserved);
    }

    #[test]
    fn nothing_of_a_run_that_is_cut_is_lost() {
        let mut allocator = Allocator::new();
        let run = allocator.take(MAX_CLASS - 1);
        allocator.give_back(run, MAX_CLASS - 1);
        let mut cut: Vec<Unit> = (0..1 << (MAX_CLASS - 1)).map(|_| allocator.take(0)).collect();
        cut.sort_unstable();
        assert!(cut.iter().copied().eq(run..run + (1 << (MAX_CLASS - 1))));
    }

    #[test]
    fn nonsense_is_refused() {
        let mut allocator = Allocator::new();
        assert!(allocator.arena().run(1, 0).is_none());
        let unit = allocator.take(0);
        assert!(allocator.arena().run(unit, 0).is_some());
        assert!(allocator.arena().run(unit, MAX_CLASS).is_none());
        assert!(allocator.arena().run(unit, 63).is_none());
        assert!(allocator.arena().run(Unit::MAX, 0).is_none());
    }

    #[test]
    fn classes_hold_what_they_say() {
        assert_eq!(class_of(1), 0);
        assert_eq!(class_of(UNIT_WORDS), 0);
        assert_eq!(class_of(UNIT_WORDS + 1), 1);
        assert_eq!(class_of(2 + 65_536 / 8), MAX_CLASS);
    }
}
