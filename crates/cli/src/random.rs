//! Numbers that look random and are the same for the same seed.

/// SplitMix64, which is small and good enough to shuffle a story.
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or zero if that is zero. The tiny bias does not matter here.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // The remainder is less than `bound`, so that it fits.
        (self.next() % (bound.max(1) as u64)) as usize
    }
}
