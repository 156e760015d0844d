//! A set of positions in a window that moves up: one bit each, in a ring of words.

use std::ops::Range;

const BITS: u64 = u64::BITS as u64;

/// The set. Memory follows the distance from the base to the highest position, at one bit for each
/// position, rounded up to a power of two; it is taken when it is first needed and kept.
#[derive(Clone)]
pub(super) struct Window {
    /// Word `n` of all positions stands at `n % words.len()`. Their number is a power of two, or
    /// none. All bits outside of `base..end` are clear.
    words: Vec<u64>,
    /// Nothing below it is in the set.
    base: u64,
    /// Nothing from here on is in the set.
    end: u64,
}

impl Window {
    /// The empty set.
    pub(super) fn new(base: u64) -> Window {
        Window { words: Vec::new(), base, end: base }
    }

    /// Nothing below it is in the set.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// The position after the highest one in the set, or the base, unless positions were removed.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn contains(&self, at: u64) -> bool {
        (self.base..self.end).contains(&at) && self.word(at / BITS) >> (at % BITS) & 1 == 1
    }

    /// Adds positions, none of them below the base.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        self.reserve(range.end);
        for (number, mask) in parts(range.clone()) {
            let slot = self.slot(number);
            self.words[slot] |= mask;
        }
        self.end = self.end.max(range.end);
    }

    /// How many positions of the range are in the set.
    pub(super) fn count(&self, range: Range<u64>) -> u64 {
        let ones = |(number, mask): (u64, u64)| u64::from((self.word(number) & mask).count_ones());
        parts(self.clip(range)).map(ones).sum()
    }

    /// How many runs begin in the range: positions of the set whose predecessor is not in it.
    pub(super) fn starts(&self, range: Range<u64>) -> u64 {
        let mut starts = 0;
        for (number, mask) in parts(self.clip(range)) {
            let word = self.word(number);
            let before = number > 0 && self.contains(number * BITS - 1);
            starts += (word & !(word << 1 | u64::from(before)) & mask).count_ones();
        }
        u64::from(starts)
    }

    /// The first position of the range that is in the set.
    pub(super) fn next_set(&self, range: Range<u64>) -> Option<u64> {
        parts(self.clip(range))
            .map(|(number, mask)| (number, self.word(number) & mask))
            .find(|(_, word)| *word != 0)
            .map(|(number, word)| number * BITS + u64::from(word.trailing_zeros()))
    }

    /// The first position at or above `from` that is not in the set.
    pub(super) fn next_clear(&self, from: u64) -> u64 {
        if from < self.base || from >= self.end {
            return from;
        }
        parts(from..self.end)
            .map(|(number, mask)| (number, !self.word(number) & mask))
            .find(|(_, word)| *word != 0)
            .map_or(self.end, |(number, word)| number * BITS + u64::from(word.trailing_zeros()))
    }

    /// The set as runs that do not touch, in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        let mut at = self.base;
        std::iter::from_fn(move || {
            let start = self.next_set(at..self.end)?;
            at = self.next_clear(start);
            Some(start..at)
        })
    }

    /// Moves the window up and takes out what it leaves behind.
    pub(super) fn raise(&mut self, base: u64) {
        if base > self.base {
            self.clear(self.base..base.min(self.end));
            self.base = base;
            self.end = self.end.max(base);
        }
    }

    /// Takes out everything from `end` on. A window whose base lies above moves down to it.
    pub(super) fn truncate(&mut self, end: u64) {
        if end < self.end {
            self.clear(end.max(self.base)..self.end);
            self.base = self.base.min(end);
            self.end = self.after_last(self.base..end.min(self.end));
        }
    }

    /// Takes positions out. The window stays where it is.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        self.clear(self.clip(range));
    }

    /// Moves an empty window, up or down.
    pub(super) fn move_to(&mut self, base: u64) {
        (self.base, self.end) = (base, base);
    }

    /// What the set takes, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    /// The position after the last one of the range that is in the set, or else its start.
    fn after_last(&self, range: Range<u64>) -> u64 {
        parts(range.clone())
            .rev()
            .map(|(number, mask)| (number, self.word(number) & mask))
            .find(|(_, word)| *word != 0)
            .map_or(range.start, |(number, word)| {
                (number + 1) * BITS - u64::from(word.leading_zeros())
            })
    }

    fn clear(&mut self, range: Range<u64>) {
        for (number, mask) in parts(range) {
            let slot = self.slot(number);
            self.words[slot] &= !mask;
        }
    }

    fn clip(&self, range: Range<u64>) -> Range<u64> {
        range.start.max(self.base)..range.end.min(self.end)
    }

    fn word(&self, number: u64) -> u64 {
        self.words[self.slot(number)]
    }

    /// Where word `number` stands. The upper bits of the number do not matter in a ring.
    fn slot(&self, number: u64) -> usize {
        number as usize & (self.words.len() - 1)
    }

    /// Makes room for positions up to `end`.
    fn reserve(&mut self, end: u64) {
        let first = self.base / BITS;
        let needed = (end.div_ceil(BITS) - first) as usize;
        if needed <= self.words.len() {
            return;
        }
        let larger = vec![0; needed.next_power_of_two()];
        let old = std::mem::replace(self, Window { words: larger, ..*self });
        for (number, mask) in parts(old.base..old.end) {
            let slot = self.slot(number);
            self.words[slot] = old.word(number) & mask;
        }
    }
}

/// The words that a range touches, each with the mask of the bits that lie in the range.
fn parts(range: Range<u64>) -> impl DoubleEndedIterator<Item = (u64, u64)> {
    let words = if range.is_empty() { 0..0 } else { range.start / BITS..range.end.div_ceil(BITS) };
    let last = words.end.saturating_sub(1);
    words.clone().map(move |number| {
        let low = if number == words.start { u64::MAX << (range.start % BITS) } else { u64::MAX };
        let high =
            if number == last { u64::MAX >> (range.end.wrapping_neg() % BITS) } else { u64::MAX };
        (number, low & high)
    })
}
