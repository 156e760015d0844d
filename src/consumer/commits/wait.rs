//! Waiting for a future on a thread, for no longer than the caller has time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::sync::{Condvar, Instant, Mutex, PoisonError};

/// When a wait ends at the latest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// A time beyond the range of the clock is no limit.
    pub(super) fn after(time: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(time))
    }

    fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Lets time pass, and says whether any is left then.
    pub(super) fn pause(self, time: Duration) -> bool {
        let left = self.left();
        Parker::default().park(time.min(left));
        time < left
    }

    /// Waits for the future, unless the time runs out first.
    pub(super) fn wait<F: Future + Unpin>(self, future: &mut F) -> Option<F::Output> {
        let parker = Arc::new(Parker::default());
        let waker = Waker::from(Arc::clone(&parker));
        loop {
            if let Poll::Ready(output) =
                Pin::new(&mut *future).poll(&mut Context::from_waker(&waker))
            {
                return Some(output);
            }
            let left = self.left();
            if left.is_zero() {
                return None;
            }
            parker.park(left);
        }
    }
}

#[derive(Default)]
pub(super) struct Parker {
    is_called: Mutex<bool>,
    called: Condvar,
}

impl Parker {
    fn park(&self, time: Duration) {
        let is_called = self.is_called.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |is_called: &mut bool| !*is_called;
        let waited = self.called.wait_timeout_while(is_called, time, is_idle);
        let (mut is_called, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *is_called = false;
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Parker>) {
        *self.is_called.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.called.notify_one();
    }
}
