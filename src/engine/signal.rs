//! How a background thread is woken and stopped.

use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Says to one thread that there is something to do, or that it is time to end.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    stopped: bool,
}

/// What ended [`Signal::wait_at_most`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// There is something to do.
    Wanted,
    /// The time has passed.
    Nothing,
    /// It is time to end.
    Stop,
}

impl Signal {
    /// Wakes the thread, now or when it waits the next time.
    pub(super) fn want(&self) {
        self.state().wanted = true;
        self.changed.notify_all();
    }

    /// Ends every wait, now and later.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    /// Whether [`Signal::stop`] was called.
    pub(super) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Waits until there is something to do. False when it is time to end.
    pub(super) fn wait(&self) -> bool {
        let idle = |state: &mut State| !state.wanted && !state.stopped;
        let mut state =
            self.changed.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        !state.stopped
    }

    /// Waits until there is something to do, but no longer than the time given.
    pub(super) fn wait_at_most(&self, time: Duration) -> Call {
        let idle = |state: &mut State| !state.wanted && !state.stopped;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.state(), time, idle)
            .unwrap_or_else(PoisonError::into_inner);
        match (std::mem::take(&mut state.wanted), state.stopped) {
            (_, true) => Call::Stop,
            (true, false) => Call::Wanted,
            (false, false) => Call::Nothing,
        }
    }

    /// Lets time pass. False when it is time to end.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let running = |state: &mut State| !state.stopped;
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), time, running)
            .unwrap_or_else(PoisonError::into_inner);
        !state.stopped
    }

    /// No panic can leave two flags half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_seen_once_and_the_end_always() {
        let signal = Signal::default();
        assert!(!signal.is_stopped() && signal.pause(Duration::ZERO));
        signal.want();
        signal.want();
        assert!(signal.wait(), "there is something to do");
        assert!(!signal.state().wanted, "and it was told");
        signal.want();
        signal.stop();
        for _ in 0..2 {
            assert!(signal.is_stopped() && !signal.wait());
            assert!(!signal.pause(Duration::MAX), "nothing waits any more");
        }
    }
}
