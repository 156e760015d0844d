//! Futures, with those who wait on threads, and what may happen to a store meanwhile.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};

use super::{World, explore};
use crate::Durability::{Buffered, Synced};
use crate::sync::thread;
use crate::testkit::Op;
use crate::{ErrorKind, OffsetStore, Result, Seq};

impl World {
    /// Commits, and waits as a task does. A wake-up that is lost is a deadlock.
    fn commit_and_await(&self, partition: i32, offset: i64) -> Result<Seq> {
        let seq = self.commit(partition, offset, Buffered)?;
        let durable = block_on(self.store.durable(seq))?;
        assert!(durable >= seq);
        self.is_durable(seq);
        Ok(seq)
    }
}

#[test]
fn a_future_is_woken_by_whoever_flushes() {
    explore(|| {
        let world = World::new(true);
        world.race(&[
            |world| {
                world.commit_and_await(0, 1).unwrap();
                world.commit_and_await(0, 2).unwrap();
            },
            |world| {
                world.commit_and_await(1, 3).unwrap();
            },
            |world| {
                world.commit(2, 4, Synced).unwrap();
            },
        ]);
        world.check();
    });
}

#[test]
fn a_future_that_is_dropped_takes_nobody_along() {
    explore(|| {
        let world = World::new(true);
        world.race(&[
            |world| {
                let seq = world.commit(0, 1, Buffered).unwrap();
                let mut durable = world.store.durable(seq);
                let poll_once =
                    poll_fn(|context| Poll::Ready(Pin::new(&mut durable).poll(context).is_ready()));
                if block_on(poll_once) {
                    world.is_durable(seq);
                }
            },
            |world| {
                world.commit_and_await(1, 2).unwrap();
            },
        ]);
        world.check();
    });
}

#[test]
fn every_future_of_a_store_that_is_closed_is_told() {
    explore(|| {
        let world = World::new(true);
        world.race(&[
            |world| {
                // What was committed before the close is durable behind it.
                if let Err(error) = world.commit_and_await(0, 1) {
                    assert_eq!(error.kind(), ErrorKind::Closed);
                }
            },
            |world| world.close().unwrap(),
        ]);
        world.check();
    });
}

#[test]
fn a_future_outlives_the_handles_of_its_store() {
    explore(|| {
        let world = World::new(true);
        let seq = world.commit(0, 1, Buffered).unwrap();
        let durable = world.store.durable(seq);
        let waiter = thread::spawn(move || block_on(durable));
        world.check();
        assert!(waiter.join().unwrap().unwrap() >= seq);
    });
}

/// A task that closes its store as soon as it is woken.
struct Closes(Mutex<Option<OffsetStore>>);

impl Wake for Closes {
    fn wake(self: Arc<Closes>) {
        let store = self.0.lock().unwrap().take();
        store.into_iter().for_each(|store| is_closed(store.close()));
    }
}

/// Whatever is done meanwhile has been done, or comes too late.
fn is_closed<T>(result: Result<T>) {
    if let Err(error) = result {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

/// What a close waits for must not wait for the waker.
#[test]
fn a_waker_may_close_the_store_while_others_compact_and_flush() {
    explore(|| {
        let world = World::new(true);
        world.race(&[
            |world| {
                let seq = world.commit(0, 1, Buffered).unwrap();
                let mut durable = pin!(world.store.durable(seq));
                let waker = Arc::new(Closes(Mutex::new(Some(world.store.clone())))).into();
                while durable.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                    thread::yield_now();
                }
                world.is_durable(seq);
            },
            |world| is_closed(world.store.compact()),
            |world| is_closed(world.commit(1, 2, Synced)),
        ]);
        world.check();
    });
}

#[test]
fn every_future_is_told_of_a_failed_flush() {
    explore(|| {
        let world = World::new(true);
        world.disk.fail_nth(Op::SyncFile, thread_rng().gen_range(0..3), io::ErrorKind::Other);
        fn commit_on(world: &World, partition: i32) {
            for offset in 0..2 {
                if let Err(error) = world.commit_and_await(partition, offset) {
                    assert!(
                        matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned),
                        "{error:?}"
                    );
                }
            }
        }
        world.race(&[
            |world| commit_on(world, 0),
            |world| commit_on(world, 1),
            |world| drop(world.commit(2, 1, Synced)),
        ]);
        world.check();
    });
}
