//! A future, the thread that flushes for it, and others that flush, with a number for a log.

use std::task::Wake;
use std::time::Duration;

use super::super::flusher::{Flusher, Turn};
use super::super::signal::{Call, Signal};
use super::*;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, model, thread};

#[derive(Default)]
struct Log {
    newest: Mutex<u64>,
    durable: AtomicU64,
    flusher: Flusher,
    requests: Signal,
    watchers: Watchers,
}

/// What wakes a task that has a thread of its own.
#[derive(Default)]
struct Bell {
    has_rung: Mutex<bool>,
    rings: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        *self.has_rung.lock().unwrap() = true;
        self.rings.notify_one();
    }
}

impl Log {
    fn append(&self) -> u64 {
        let mut newest = self.newest.lock().unwrap();
        *newest += 1;
        *newest
    }

    fn commit(&self) {
        self.make_durable(self.append());
    }

    fn make_durable(&self, seq: u64) {
        let is_durable = || self.durable.load(Ordering::Acquire) >= seq;
        while !is_durable() {
            if let Turn::Flush(role) = self.flusher.take_or_wait(seq, None, is_durable) {
                let target = *self.newest.lock().unwrap();
                role.set_target(target);
                self.durable.store(target, Ordering::Release);
            }
        }
    }

    /// As `Watcher::poll` and an executor do it.
    fn commit_and_await(&self) {
        let (seq, bell, mut ticket) = (self.append(), Arc::new(Bell::default()), None);
        let waker = Waker::from(Arc::clone(&bell));
        while self.durable.load(Ordering::Acquire) < seq {
            if !self.watchers.note(&mut ticket, seq, &waker) {
                return self.make_durable(seq);
            }
            self.requests.want();
            let has_not_rung = |has_rung: &mut bool| !std::mem::take(has_rung);
            drop(bell.rings.wait_while(bell.has_rung.lock().unwrap(), has_not_rung).unwrap());
        }
    }

    /// As the background flusher does it.
    fn serve(&self) {
        self.watchers.set_served(true);
        while self.requests.wait_at_most(Duration::MAX) == Call::Wanted {
            let newest = *self.newest.lock().unwrap();
            self.make_durable(newest);
            self.watchers.wake(self.durable.load(Ordering::Acquire));
        }
        self.watchers.set_served(false);
    }
}

fn spawn(log: &Arc<Log>, body: fn(&Log)) -> thread::JoinHandle<()> {
    let log = Arc::clone(log);
    thread::spawn(move || body(&log))
}

/// A wake-up that is lost is a deadlock, which loom reports.
#[test]
fn no_future_is_stranded() {
    model(2, || {
        let log = Arc::new(Log::default());
        let (server, committer) = (spawn(&log, Log::serve), spawn(&log, Log::commit));
        log.commit_and_await();
        committer.join().unwrap();
        log.requests.stop();
        server.join().unwrap();
    });
}

#[test]
fn no_future_is_stranded_by_the_end_of_the_thread_that_serves() {
    model(2, || {
        let log = Arc::new(Log::default());
        let (server, waiter) = (spawn(&log, Log::serve), spawn(&log, Log::commit_and_await));
        log.requests.stop();
        waiter.join().unwrap();
        server.join().unwrap();
    });
}
