//! Records that are waited for without a thread.

#[path = "support/hooked.rs"]
mod hooked;

use std::pin::Pin;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use hooked::Hooked;
use pagemark::testkit::SimDisk;
use pagemark::{Durability, ErrorKind, Key, NextOffset, OffsetStore, Options, Seq};

/// No flush comes by itself while a test runs.
const NEVER: Duration = Duration::from_secs(3600);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    let waker = Arc::new(Unpark(thread::current())).into();
    loop {
        match poll(&mut future, &waker) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn key() -> Key<'static> {
    Key::new("billing", "orders", 0)
}

fn commit(store: &OffsetStore, offset: i64) -> Seq {
    store.commit_with(key(), NextOffset(offset), Durability::Buffered).unwrap().seq()
}

#[test]
fn a_future_asks_for_its_flush() {
    let disk = SimDisk::new();
    let store = Options::new().flush_interval(NEVER).open_in(disk.dir()).unwrap();
    for offset in 1..=100 {
        let seq = commit(&store, offset);
        assert!(block_on(store.durable(seq)).unwrap() >= seq);
        let image = Options::new().background(false).open_in(disk.power_cut(0).dir()).unwrap();
        assert_eq!(image.fetch(key()).unwrap().offset(), NextOffset(offset));
    }
}

#[test]
fn without_background_threads_the_poll_flushes() {
    let disk = SimDisk::new();
    let store = Options::new().background(false).open_in(disk.dir()).unwrap();
    let seq = commit(&store, 1);
    let durable = poll(&mut store.durable(seq), Waker::noop());
    assert!(matches!(durable, Poll::Ready(Ok(durable)) if durable >= seq));
}

#[test]
fn a_record_that_will_not_come_is_an_error() {
    let disk = SimDisk::new();
    let store = Options::new().flush_interval(NEVER).open_in(disk.dir()).unwrap();
    let seq = commit(&store, 1);
    let other = Options::new().flush_interval(NEVER).open_in(SimDisk::new().dir()).unwrap();
    assert_eq!(block_on(other.durable(seq)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    disk.fail_from(pagemark::testkit::Op::SyncFile, 0, std::io::ErrorKind::Other);
    assert_eq!(block_on(store.durable(seq)).unwrap_err().kind(), ErrorKind::Poisoned);
}

/// Says which thread calls it.
struct Where(Sender<Option<String>>);

impl Wake for Where {
    fn wake(self: Arc<Where>) {
        self.0.send(thread::current().name().map(str::to_owned)).unwrap();
    }
}

/// Those who flush and compact hold what a close waits for, and wakers may close the store.
#[test]
fn one_thread_calls_wakers_whoever_flushes() {
    let disk = SimDisk::new();
    let store = Options::new().flush_interval(NEVER).open_in(disk.dir()).unwrap();
    let (sender, calls) = mpsc::channel();
    let waker = Arc::new(Where(sender)).into();
    for offset in 1..=50 {
        let mut durable = store.durable(commit(&store, offset));
        assert!(poll(&mut durable, &waker).is_pending());
        if offset % 2 == 0 {
            store.sync().unwrap();
        } else {
            store.compact().unwrap();
        }
        assert_eq!(calls.recv().unwrap().as_deref(), Some("pagemark-flush"));
        assert!(poll(&mut durable, &waker).is_ready());
    }
}

#[test]
fn a_future_that_is_dropped_leaves_no_waker_behind() {
    let gate = Arc::new(Mutex::new(()));
    let hold = Arc::clone(&gate);
    let dir = Hooked::new(SimDisk::new().dir(), move |_| drop(hold.lock().unwrap()));
    let store = Options::new().flush_interval(NEVER).open_in(dir).unwrap();
    let seq = commit(&store, 1);
    // The flush that the poll asks for does not come to its end.
    let held = gate.lock().unwrap();
    let unpark = Arc::new(Unpark(thread::current()));
    let mut durable = store.durable(seq);
    assert!(poll(&mut durable, &Arc::clone(&unpark).into()).is_pending());
    assert_eq!(Arc::strong_count(&unpark), 2);
    drop(durable);
    assert_eq!(Arc::strong_count(&unpark), 1);
    drop(held);
}

/// A task that takes the thread with it that wakes it.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Panics>) {
        std::panic::resume_unwind(Box::new("a waker that went wrong"));
    }
}

#[test]
fn where_the_thread_that_flushes_has_ended_the_polls_flush() {
    let disk = SimDisk::new();
    let store = Options::new().flush_interval(NEVER).open_in(disk.dir()).unwrap();
    let mut durable = store.durable(commit(&store, 1));
    assert!(poll(&mut durable, &Arc::new(Panics).into()).is_pending());
    for offset in 2..10 {
        let seq = commit(&store, offset);
        assert!(block_on(store.durable(seq)).unwrap() >= seq);
    }
}

/// What a task may come to when its executor is gone.
struct LastHandle {
    store: Mutex<Option<OffsetStore>>,
    closed: Sender<()>,
}

impl Wake for LastHandle {
    fn wake(self: Arc<LastHandle>) {
        drop(self.store.lock().unwrap().take());
        self.closed.send(()).unwrap();
    }
}

#[test]
fn the_last_handle_may_go_where_the_waker_is_called() {
    let disk = SimDisk::new();
    let store = Options::new().flush_interval(NEVER).open_in(disk.dir()).unwrap();
    let mut durable = store.durable(commit(&store, 1));
    let (closed, is_closed) = mpsc::channel();
    let waker = Arc::new(LastHandle { store: Mutex::new(Some(store)), closed }).into();
    while poll(&mut durable, &waker).is_pending() {
        is_closed.recv().unwrap();
    }
    let store = Options::new().background(false).open_in(disk.dir()).unwrap();
    assert!(store.recovery_report().clean);
    assert_eq!(store.fetch(key()).unwrap().offset(), NextOffset(1));
}
