//! The threads of an open store: one flushes at an interval, one prepares segments.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::error::{Error, Result};

use super::Engine;

/// Runs the threads until it is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    engine: Arc<Engine>,
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Background {
    /// Starts the threads.
    pub(crate) fn start(engine: &Arc<Engine>) -> Result<Background> {
        let mut background = Background {
            engine: Arc::clone(engine),
            stop: Arc::default(),
            threads: Vec::with_capacity(2),
        };
        let (flusher, stop) = (Arc::clone(engine), Arc::clone(&background.stop));
        background.spawn("pagemark-flush", move || flush_at_intervals(&flusher, &stop))?;
        let spare = Arc::clone(&engine.spare);
        background.spawn("pagemark-prepare", move || spare.serve())?;
        Ok(background)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = Builder::new().name(name.into()).spawn(body).map_err(|error| {
            Error::io("start a background thread", self.engine.dir.path(), error)
        })?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *self.stop.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        self.engine.spare.stop();
        for thread in self.threads.drain(..) {
            // A panic in there was reported by the panic hook; the latch has its consequences.
            let _ = thread.join();
        }
    }
}

fn flush_at_intervals(engine: &Engine, stop: &Stop) {
    let mut asked = stop.asked.lock().unwrap_or_else(PoisonError::into_inner);
    while !*asked {
        let interval = engine.options.flush_interval;
        let (guard, wait) =
            stop.changed.wait_timeout(asked, interval).unwrap_or_else(PoisonError::into_inner);
        asked = guard;
        if wait.timed_out() && !*asked {
            drop(asked);
            // A failure closes the latch, which tells every caller; the next rounds do nothing.
            if engine.latch.check().is_ok() {
                let _ = engine.flush_or_mark();
            }
            asked = stop.asked.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }
}
