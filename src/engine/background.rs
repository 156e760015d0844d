//! The threads of an open store: one flushes at an interval, one prepares segments, one compacts.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::sync::thread::{self, Builder, JoinHandle};

use super::Engine;
use super::signal::Call;

/// Runs the threads until it is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    engine: Arc<Engine>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts the threads.
    pub(crate) fn start(engine: &Arc<Engine>) -> Result<Background> {
        let mut background =
            Background { engine: Arc::clone(engine), threads: Vec::with_capacity(3) };
        let serving = Serving::start(engine);
        background.spawn("pagemark-flush", move || flush_at_intervals(&serving.engine))?;
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
        self.engine.flushing.requests.stop();
        self.engine.spare.stop();
        self.engine.compaction.stop();
        let current = thread::current().id();
        // A waker that the flusher calls may drop the last handle: that thread ends a moment later.
        let others = self.threads.drain(..).filter(|thread| thread.thread().id() != current);
        for thread in others {
            // A panic in there was reported by the panic hook; the latch has its consequences.
            let _ = thread.join();
        }
    }
}

/// The promise to flush when asked, which ends with the thread, also by a panic.
struct Serving {
    engine: Arc<Engine>,
}

impl Serving {
    fn start(engine: &Arc<Engine>) -> Serving {
        engine.flushing.watchers.set_served(true);
        Serving { engine: Arc::clone(engine) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.engine.flushing.watchers.set_served(false);
    }
}

/// Flushes at intervals, and at once for those who wait without a thread.
fn flush_at_intervals(engine: &Engine) {
    loop {
        match engine.flushing.requests.wait_at_most(engine.options.flush_interval) {
            Call::Wanted => engine.flush_on_request(),
            // A failure closes the latch, which tells every caller; the next rounds do nothing.
            Call::Nothing if engine.latch.check().is_ok() => drop(engine.flush_or_mark()),
            Call::Nothing => {}
            Call::Stop => break,
        }
        engine.hand_on_numbers();
    }
}
