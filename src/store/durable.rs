//! A record that is waited for by a future.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::engine::Watcher;
use crate::error::Result;
use crate::key::Seq;

/// What [`OffsetStore::durable`](super::OffsetStore::durable) returns: a future of the durable seq.
#[derive(Debug)]
#[must_use = "nobody asks for a flush before it is polled"]
pub struct Durable {
    pub(super) watcher: Watcher,
}

impl Future for Durable {
    type Output = Result<Seq>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Seq>> {
        self.watcher.poll(context.waker()).map_ok(Seq)
    }
}
