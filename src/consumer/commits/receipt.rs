//! What comes of a commit, for the one who asked for it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::line::{Outcome, Shared};
use super::target::{CommitError, CommitTarget};
use super::wait::Deadline;

/// What a commit was answered with: a future of what comes of it, to be awaited, waited for, looked at,
/// or dropped.
///
/// Receipts of one committer are completed in the order in which they were asked for, all those
/// together whose commits became one. Whoever waits for one moves all of them on; the thread of the
/// committer may do something else, or be gone.
#[must_use = "a commit that fails says so here only"]
pub struct CommitReceipt<T: CommitTarget> {
    shared: Arc<Shared<T>>,
    outcome: Outcome,
    seat: Option<u64>,
}

impl<T: CommitTarget> CommitReceipt<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, outcome: Outcome) -> CommitReceipt<T> {
        CommitReceipt { shared, outcome, seat: None }
    }

    /// What came of it, or `None` if that is not known yet.
    pub fn outcome(&self) -> Option<Result<(), CommitError>> {
        self.outcome.get().cloned()
    }

    /// Waits, and returns `None` if the time was over first.
    pub fn wait(&mut self, timeout: Duration) -> Option<Result<(), CommitError>> {
        Deadline::after(timeout).wait(self)
    }

    fn leave(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.shared.bell.leave(seat);
        }
    }
}

impl<T: CommitTarget> Future for CommitReceipt<T> {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.outcome.get().is_none() {
            // First, so that what happens from here on is heard.
            this.shared.bell.sit(&mut this.seat, context.waker());
            this.shared.advance();
        }
        let Some(result) = this.outcome() else { return Poll::Pending };
        this.leave();
        Poll::Ready(result)
    }
}

impl<T: CommitTarget> Drop for CommitReceipt<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<T: CommitTarget> fmt::Debug for CommitReceipt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitReceipt").field("outcome", &self.outcome()).finish_non_exhaustive()
    }
}
