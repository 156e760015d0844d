//! What is complete and was not written down yet.

use std::ops::Range;

use super::window::Window;

const BITS: u64 = u64::BITS as u64;

/// A set of offsets that knows which of its words are not empty. So what is done with all of it costs
/// what it holds, and not what it spans.
#[derive(Clone)]
pub(super) struct Fresh {
    offsets: Window,
    words: Window,
}

impl Fresh {
    pub(super) fn new(base: u64) -> Fresh {
        Fresh { offsets: Window::new(base), words: Window::new(base / BITS) }
    }

    /// Adds offsets, at least one and none of them below the base.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        self.words.insert(range.start / BITS..range.end.div_ceil(BITS));
        self.offsets.insert(range);
    }

    /// The set as runs that do not touch, in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            loop {
                let word = self.words.next_set(at / BITS..u64::MAX)?;
                let (first, after) = (word * BITS, (word + 1) * BITS);
                let Some(start) = self.offsets.next_set(first.max(at)..after) else {
                    at = after;
                    continue;
                };
                at = self.offsets.next_clear(start);
                return Some(start..at);
            }
        })
    }

    /// Takes out what lies below `base`.
    pub(super) fn raise(&mut self, base: u64) {
        self.offsets.raise(base);
        self.words.raise(base / BITS);
    }

    /// Takes everything out and moves the base, up or down.
    pub(super) fn reset(&mut self, base: u64) {
        for words in self.words.runs() {
            self.offsets.remove(words.start * BITS..words.end * BITS);
        }
        self.offsets.move_to(base);
        self.words.truncate(0);
        self.words.raise(base / BITS);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.offsets.memory_bytes() + self.words.memory_bytes()
    }
}
