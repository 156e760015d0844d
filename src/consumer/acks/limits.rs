//! How far a tracker goes.

use crate::error::{Error, Result};

/// How far a tracker goes before it refuses with
/// [`ErrorKind::BackPressure`](crate::ErrorKind::BackPressure).
///
/// A refused call changed nothing, so nothing is ever dropped to stay within the limits. With half as
/// many ranges as offsets, as by default, no completion is ever refused: then back-pressure meets only
/// who hands out records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckLimits {
    max_span: u64,
    max_ranges: u64,
}

impl AckLimits {
    /// A span of 1,000,000 offsets and 500,000 ranges.
    pub const fn new() -> AckLimits {
        AckLimits { max_span: 1_000_000, max_ranges: 500_000 }
    }

    /// How many offsets there may be from the watermark to the last record that was handed out. It
    /// bounds the memory of what is completed: two bits for each, and as much again at most since
    /// tables double.
    pub const fn max_span(mut self, max_span: u64) -> AckLimits {
        self.max_span = max_span;
        self
    }

    /// How many ranges of completed records there may be beyond the watermark. It bounds the byte
    /// form, and the memory of what is decoded.
    pub const fn max_ranges(mut self, max_ranges: u64) -> AckLimits {
        self.max_ranges = max_ranges;
        self
    }

    pub(super) fn check_ranges(&self, ranges: u64) -> Result<()> {
        if ranges > self.max_ranges {
            return Err(Error::back_pressure(format!(
                "there would be {ranges} ranges of completed records, and max_ranges is {}; \
                 complete what lies between them first",
                self.max_ranges
            )));
        }
        Ok(())
    }

    pub(super) fn check_span(&self, watermark: u64, end: u64) -> Result<()> {
        if end.saturating_sub(watermark) > self.max_span {
            return Err(Error::back_pressure(format!(
                "offset {} is too far from the watermark {watermark}, and max_span is {}; \
                 complete the oldest records first",
                end - 1,
                self.max_span
            )));
        }
        Ok(())
    }
}

impl Default for AckLimits {
    fn default() -> AckLimits {
        AckLimits::new()
    }
}
