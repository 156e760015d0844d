//! Those who wait for a record without a thread: futures, by the wakers of their tasks.
//!
//! One thread calls wakers: the background flusher, when it has done what it was asked for and holds
//! nothing. A waker is the embedder's code, which may commit, close the store or drop its last handle;
//! any other thread might be in the middle of a compaction, for whose end a close waits.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Who is to be woken.
#[derive(Debug, Default)]
pub(in crate::engine) struct Watchers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether there is a thread that flushes when it is asked to.
    served: bool,
    wakers: BTreeMap<Ticket, Waker>,
    tickets: u64,
}

/// What one of them is found by again. Those that a flush covers come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct Ticket {
    seq: u64,
    number: u64,
}

impl Watchers {
    /// Notes whom to wake when `seq` is durable. The thread that serves has to be asked for a flush
    /// behind that. False if there is none: then nobody would come.
    ///
    /// Wakers are copied and dropped without the lock, here and below.
    pub(in crate::engine) fn note(
        &self,
        ticket: &mut Option<Ticket>,
        seq: u64,
        waker: &Waker,
    ) -> bool {
        let waker = waker.clone();
        let mut state = self.state();
        if !state.served {
            return false;
        }
        let ticket = *ticket.get_or_insert_with(|| {
            state.tickets += 1;
            Ticket { seq, number: state.tickets }
        });
        let before = state.wakers.insert(ticket, waker);
        drop(state);
        drop(before);
        true
    }

    /// Forgets whom [`note`](Watchers::note) noted.
    pub(in crate::engine) fn forget(&self, ticket: Ticket) {
        let waker = self.state().wakers.remove(&ticket);
        drop(waker);
    }

    /// Wakes those who wait for a record up to `seq`. One that panics leaves the others noted.
    pub(in crate::engine) fn wake(&self, seq: u64) {
        while let Some(waker) = self.take_first(seq) {
            waker.wake();
        }
    }

    fn take_first(&self, seq: u64) -> Option<Waker> {
        let mut state = self.state();
        let first = state.wakers.first_entry().filter(|first| first.key().seq <= seq)?;
        Some(first.remove())
    }

    /// Says that there is a thread that flushes when it is asked to, or that there is none any more:
    /// then all who relied on it are woken, to help themselves.
    pub(in crate::engine) fn set_served(&self, served: bool) {
        self.state().served = served;
        if !served {
            self.wake(u64::MAX);
        }
    }

    /// No panic can leave it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Calls>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What waits for the seqs 1 to 4.
    fn watched() -> (Watchers, [Arc<Calls>; 4], [Option<Ticket>; 4]) {
        let (watchers, calls, mut tickets) = (Watchers::default(), Default::default(), [None; 4]);
        watchers.set_served(true);
        for (seq, (calls, ticket)) in (1..).zip(std::iter::zip(&calls, &mut tickets)) {
            assert!(watchers.note(ticket, seq, &Waker::from(Arc::clone(calls))));
        }
        (watchers, calls, tickets)
    }

    fn counts(calls: &[Arc<Calls>; 4]) -> [usize; 4] {
        calls.each_ref().map(|calls| calls.0.load(Ordering::Relaxed))
    }

    #[test]
    fn a_flush_wakes_those_it_covers_once() {
        let (watchers, calls, _) = watched();
        watchers.wake(2);
        assert_eq!(counts(&calls), [1, 1, 0, 0]);
        watchers.wake(2);
        assert_eq!(counts(&calls), [1, 1, 0, 0]);
        watchers.wake(u64::MAX);
        assert_eq!(counts(&calls), [1, 1, 1, 1]);
    }

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let (watchers, calls, tickets) = watched();
        assert_eq!(Arc::strong_count(&calls[1]), 2);
        watchers.forget(tickets[1].unwrap());
        assert_eq!(Arc::strong_count(&calls[1]), 1);
        watchers.wake(4);
        assert_eq!(counts(&calls), [1, 0, 1, 1]);
        assert_eq!(calls.each_ref().map(Arc::strong_count), [1; 4]);
    }

    #[test]
    fn only_the_newest_waker_of_a_future_is_called() {
        let (watchers, calls, mut tickets) = watched();
        assert!(watchers.note(&mut tickets[0], 1, &Waker::from(Arc::clone(&calls[1]))));
        watchers.wake(4);
        assert_eq!(counts(&calls), [0, 2, 1, 1]);
    }

    #[test]
    fn nobody_is_noted_where_nobody_would_come() {
        let (watchers, calls, _) = watched();
        watchers.set_served(false);
        assert_eq!(counts(&calls), [1; 4], "all who rely on it are told that it ended");
        assert!(!watchers.note(&mut None, 5, &Waker::from(Arc::clone(&calls[0]))));
        assert_eq!(calls.each_ref().map(Arc::strong_count), [1; 4]);
    }

    #[test]
    fn a_waker_that_panics_strands_nobody() {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Panics>) {
                std::panic::resume_unwind(Box::new("a waker that went wrong"));
            }
        }
        let (watchers, calls, _) = watched();
        assert!(watchers.note(&mut None, 2, &Waker::from(Arc::new(Panics))));
        let wake = || watchers.wake(4);
        assert!(catch_unwind(AssertUnwindSafe(wake)).is_err());
        assert_eq!(counts(&calls), [1, 1, 0, 0]);
        // What the end of the thread does.
        watchers.set_served(false);
        assert_eq!(counts(&calls), [1; 4]);
    }
}
