//! Locks, atomics and threads: those of `std`, or in their place those of a model checker.
//!
//! All code that threads share takes them from here, so that the same code runs under [loom], which
//! tries all orders of memory accesses of a small piece, and under [shuttle], which tries many
//! schedules of the whole engine. Without `--cfg loom` or `--cfg shuttle`, and outside of the unit
//! tests in any case, these are the names of `std` and nothing else.
//!
//! `Arc` is always that of `std`: `arc-swap` takes no other, and neither checker has one that can
//! hold a `str` or a trait object and does more.
//!
//! [loom]: https://docs.rs/loom
//! [shuttle]: https://docs.rs/shuttle

#[cfg(all(test, any(loom, shuttle)))]
mod checked;

#[cfg(all(test, any(loom, shuttle)))]
pub(crate) use checked::*;
#[cfg(not(all(test, any(loom, shuttle))))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError, atomic},
    thread,
    time::Instant,
};
