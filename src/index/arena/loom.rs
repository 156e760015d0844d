//! An arena that is small enough for loom, which keeps a history of every word.

use super::*;

impl Allocator {
    /// The allocator of an arena that ends after some units, unit 0 included.
    pub(in crate::index) fn of_units(units: usize) -> Allocator {
        let allocator = Allocator::new();
        let words = (0..units * UNIT_WORDS).map(|_| AtomicU64::new(0)).collect();
        assert!(allocator.arena.chunks.ensure(0).set(words).is_ok(), "the first chunk is new");
        allocator
    }
}
