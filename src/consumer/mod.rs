//! What a consumer needs beside its store.
//!
//! [`AckTracker`] has the records of one assigned partition that were handed out and are completed out
//! of order, and derives the watermark, which is what may be committed. It is a plain value: no store,
//! no thread, no clock, no randomness.

mod acks;

pub use acks::{AckLimits, AckTracker, DELTAS_PER_STATE};
