//! Threads that commit and wait, as the engine has them do it, with a number for a log.

use std::sync::Arc;

use super::*;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{model, thread};

#[derive(Default)]
struct Log {
    newest: Mutex<u64>,
    /// What a read finds, which takes no lock.
    shown: AtomicU64,
    durable: AtomicU64,
    flusher: Flusher,
}

impl Log {
    fn commit(&self) {
        let seq = self.append();
        let is_durable = || self.durable.load(Ordering::Acquire) >= seq;
        while !is_durable() {
            if let Turn::Flush(role) = self.flusher.take_or_wait(seq, None, is_durable) {
                let target = *self.newest.lock().unwrap();
                role.set_target(target);
                self.durable.store(target, Ordering::Release);
            }
        }
    }

    fn append(&self) -> u64 {
        let mut newest = self.newest.lock().unwrap();
        *newest += 1;
        self.shown.store(*newest, Ordering::Relaxed);
        *newest
    }
}

/// A thread that nobody wakes is a deadlock, which loom reports.
#[test]
fn nobody_is_stranded() {
    model(2, || {
        let log = Arc::new(Log::default());
        let threads = [0, 1].map(|_| {
            let log = Arc::clone(&log);
            thread::spawn(move || log.commit())
        });
        log.commit();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(log.durable.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn whoever_knows_what_is_durable_sees_it() {
    model(3, || {
        let log = Arc::new(Log::default());
        let reader = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                let durable = log.durable.load(Ordering::Acquire);
                assert!(log.shown.load(Ordering::Relaxed) >= durable);
                assert!(log.durable.load(Ordering::Acquire) >= durable);
            })
        };
        log.commit();
        log.commit();
        reader.join().unwrap();
    });
}
