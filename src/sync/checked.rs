//! What the checkers have, and what they lack, made of what they have.

#[cfg(loom)]
use loom as checker;
#[cfg(all(shuttle, not(loom)))]
use shuttle as checker;

use std::cell::Cell;
use std::sync::LockResult;
use std::time::Duration;

pub(crate) use std::sync::PoisonError;

pub(crate) use checker::hint::spin_loop;
pub(crate) use checker::sync::{Mutex, MutexGuard, atomic};
pub(crate) use checker::thread;

use atomic::{AtomicBool, Ordering};

/// Whether something that may happen at any time, or not at all, happens now. Loom tries everything
/// else; shuttle draws lots, which belong to the schedule and are the same when it is replayed.
fn happens() -> bool {
    #[cfg(loom)]
    return false;
    #[cfg(all(shuttle, not(loom)))]
    return shuttle::rand::Rng::gen_ratio(&mut shuttle::rand::thread_rng(), 1, 4);
}

/// Wakes up without a reason, as that of `std` may, and lets time run out before anybody calls.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    inner: checker::sync::Condvar,
}

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        if happens() { Ok(guard) } else { self.inner.wait(guard) }
    }

    pub(crate) fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let mut has_waited = false;
        self.wait_timeout_while(guard, time, |_| !std::mem::replace(&mut has_waited, true))
    }

    /// Says also whether the time ran out.
    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        if time.is_zero() || happens() {
            return Ok((guard, true));
        }
        match self.wait_while(guard, condition) {
            Ok(guard) => Ok((guard, false)),
            Err(error) => Err(PoisonError::new((error.into_inner(), false))),
        }
    }

    pub(crate) fn notify_one(&self) {
        self.inner.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.inner.notify_all();
    }
}

/// Runs a model in all orders that so many preemptions allow.
#[cfg(loom)]
pub(crate) fn model(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    let (counter, run) = Runs::count(run);
    builder.check(run);
    drop(counter);
}

/// Says in the end how often a model was run, whether the last run failed or not.
pub(crate) struct Runs(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl Runs {
    pub(crate) fn count(run: impl Fn() + Send + Sync) -> (Runs, impl Fn() + Send + Sync) {
        let runs = Runs(std::sync::Arc::default());
        let count = std::sync::Arc::clone(&runs.0);
        let counted = move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            run();
        };
        (runs, counted)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        println!("{} runs", self.0.load(std::sync::atomic::Ordering::Relaxed));
    }
}

/// A value that is set once.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    /// Held by the one who makes the value.
    making: Mutex<()>,
    /// Memory for it. Nobody waits here, so the checker need not know of it.
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> OnceLock<T> {
        OnceLock {
            is_set: AtomicBool::new(false),
            making: Mutex::new(()),
            value: std::sync::OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.is_set.load(Ordering::Acquire).then(|| self.value.get()).flatten()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let _making = self.making.lock();
        let set = self.value.set(value);
        self.is_set.store(true, Ordering::Release);
        set
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _making = self.making.lock();
        let value = self.value.get_or_init(make);
        self.is_set.store(true, Ordering::Release);
        value
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

/// A clock that goes by lots: mostly it stands still, and now and then it goes ahead by hours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instant {
    hours: u64,
}

impl Instant {
    pub(crate) fn now() -> Instant {
        thread_local! {
            static HOURS: Cell<u64> = const { Cell::new(0) };
        }
        HOURS.set(HOURS.get() + if happens() { 1000 } else { 0 });
        Instant { hours: HOURS.get() }
    }

    pub(crate) fn checked_add(self, time: Duration) -> Option<Instant> {
        let hours = self.hours.checked_add(time.as_secs().div_ceil(3600))?;
        Some(Instant { hours })
    }

    pub(crate) fn saturating_duration_since(self, earlier: Instant) -> Duration {
        Duration::from_secs(self.hours.saturating_sub(earlier.hours).saturating_mul(3600))
    }
}
