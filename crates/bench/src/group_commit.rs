//! Group commit: one thread flushes for all that wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

/// Who flushes and who waits. Those whom the running flush covers wait apart from those whom the
/// next one will cover, so that the end of a flush wakes nobody in vain.
#[derive(Debug, Default)]
pub struct GroupCommit {
    state: Mutex<State>,
    done: [Condvar; 2],
    durable: AtomicU64,
    flushes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    flushing: bool,
    round: usize,
    target: u64,
}

impl GroupCommit {
    /// How many flushes there were.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Returns when everything up to `seq` is durable. `begin` takes what there is to flush and says
    /// up to where that is, `flush` makes it durable.
    pub fn wait<T>(&self, seq: u64, begin: impl Fn() -> (u64, T), flush: impl Fn(T)) {
        let mut state = self.state.lock().expect("no panic");
        loop {
            if self.durable.load(Ordering::Relaxed) >= seq {
                return;
            }
            if state.flushing {
                let round = state.round + usize::from(state.target < seq);
                state = self.done[round % 2].wait(state).expect("no panic");
                continue;
            }
            state.flushing = true;
            state.round += 1;
            let (target, work) = begin();
            state.target = target;
            drop(state);
            flush(work);
            self.flushes.fetch_add(1, Ordering::Relaxed);
            state = self.state.lock().expect("no panic");
            self.durable.store(target, Ordering::Relaxed);
            state.flushing = false;
            self.done[state.round % 2].notify_all();
            self.done[(state.round + 1) % 2].notify_one();
        }
    }
}
