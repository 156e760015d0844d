//! The threads of an open store: one flushes at an interval, one prepares segments, one compacts.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::sync::thread::{Builder, JoinHandle};

use super::Engine;
use super::signal::Signal;

/// Runs the threads until it is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    engine: Arc<Engine>,
    /// Stops the flusher.
    stop: Arc<Signal>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts the threads.
    pub(crate) fn start(engine: &Arc<Engine>) -> Result<Background> {
        let mut background = Background {
            engine: Arc::clone(engine),
            stop: Arc::default(),
            threads: Vec::with_capacity(3),
        };
        let (flusher, stop) = (Arc::clone(engine), Arc::clone(&background.stop));
        background.spawn("pagemark-flush", move || flush_at_intervals(&flusher, &stop))?;
        let spare = Arc::clone(&engine.spare);
        background.spawn("pagemark-prepare", move || spare.serve())?;
        if engine.options.auto_compact {
            let compactor = Arc::clone(engine);
            background.spawn("pagemark-compact", move || compactor.compact_when_wanted())?;
        }
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
        self.stop.stop();
        self.engine.spare.stop();
        self.engine.compaction.stop();
        for thread in self.threads.drain(..) {
            // A panic in there was reported by the panic hook; the latch has its consequences.
            let _ = thread.join();
        }
    }
}

fn flush_at_intervals(engine: &Engine, stop: &Signal) {
    while stop.pause(engine.options.flush_interval) {
        // A failure closes the latch, which tells every caller; the next rounds do nothing.
        if engine.latch.check().is_ok() {
            let _ = engine.flush_or_mark();
        }
        engine.hand_on_numbers();
    }
}
