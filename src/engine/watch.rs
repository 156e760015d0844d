//! Watch: a record that is waited for without a thread.

use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::error::Result;

use super::Engine;

#[cfg(all(test, loom))]
mod loom;
mod watchers;

pub(super) use watchers::{Ticket, Watchers};

/// One who waits for a record.
#[derive(Debug)]
pub(crate) struct Watcher {
    engine: Arc<Engine>,
    seq: u64,
    ticket: Option<Ticket>,
}

impl Watcher {
    /// Looks whether the record is durable, and sees to it that the waker is called if it is not.
    ///
    /// The background flusher is asked to flush now. Without one, there is nobody to wait for: the
    /// caller becomes the flusher, as any other thread that waits.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Poll<Result<u64>> {
        let polled = self.look(waker);
        if polled.is_ready() {
            self.leave();
        }
        polled
    }

    fn look(&mut self, waker: &Waker) -> Poll<Result<u64>> {
        let engine = &self.engine;
        if engine.durable() < self.seq {
            engine.latch.check()?;
            engine.check_handed_out(self.seq)?;
            if engine.flushing.watchers.note(&mut self.ticket, self.seq, waker) {
                // Only now, so that the flush that is asked for finds the waker.
                engine.flushing.requests.want();
                return Poll::Pending;
            }
            engine.make_durable(self.seq, None)?;
        }
        Poll::Ready(Ok(engine.durable()))
    }

    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.engine.flushing.watchers.forget(ticket);
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Engine {
    /// Begins to wait for a record. Nothing happens before the first poll.
    pub(crate) fn watch(self: &Arc<Engine>, seq: u64) -> Watcher {
        Watcher { engine: Arc::clone(self), seq, ticket: None }
    }

    /// Makes everything durable for those who asked, and wakes them. If that fails, it wakes all, to
    /// find out why when they look.
    pub(super) fn flush_on_request(&self) {
        let last_seq = self.log().map(|log| log.last_seq());
        let flushed = last_seq.and_then(|seq| self.make_durable(seq, None));
        let covered = if flushed.is_ok() { self.durable() } else { u64::MAX };
        self.flushing.watchers.wake(covered);
    }
}
