//! Commits that end on other threads, under schedules that shuttle draws.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::shuttle::future::block_on;

use super::fake::position_at;
use super::*;
use crate::engine::shuttle::explore;
use crate::sync::{Mutex, thread};
use crate::testkit::SimDisk;
use crate::{Key, Options};

const HOUR: Duration = Duration::from_secs(3600);

/// A coordinator somewhere else: it takes commits, and another thread says what comes of them.
#[derive(Clone, Default)]
struct Remote {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<(i64, Arc<Mutex<Reply>>)>,
    stored: i64,
    fails: u32,
    is_over: bool,
}

#[derive(Default)]
struct Reply {
    result: Option<std::result::Result<(), CommitError>>,
    waker: Option<Waker>,
}

struct RemoteDurable(Arc<Mutex<Reply>>);

impl Future for RemoteDurable {
    type Output = std::result::Result<(), CommitError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut reply = self.0.lock().unwrap();
        reply.waker = Some(context.waker().clone());
        reply.result.clone().map_or(Poll::Pending, Poll::Ready)
    }
}

impl CommitTarget for Remote {
    type Durable = RemoteDurable;

    fn commit(
        &self,
        commits: &[PartitionCommit<'_>],
    ) -> std::result::Result<RemoteDurable, CommitError> {
        let reply = Arc::default();
        let mut inner = self.inner.lock().unwrap();
        inner.waiting.push_back((commits[0].commit.offset.0, Arc::clone(&reply)));
        Ok(RemoteDurable(reply))
    }
}

impl Remote {
    /// Answers until it is over: the first commits with failures.
    fn serve(&self) {
        loop {
            let mut inner = self.inner.lock().unwrap();
            if inner.is_over {
                break;
            }
            let next = inner.waiting.pop_front();
            let fails = inner.fails > 0;
            if let Some((offset, _)) = &next {
                inner.fails = inner.fails.saturating_sub(1);
                if !fails {
                    assert!(*offset > inner.stored, "{offset} behind {}", inner.stored);
                    inner.stored = *offset;
                }
            }
            drop(inner);
            let Some((_, reply)) = next else {
                thread::yield_now();
                continue;
            };
            let cause = Arc::new(Error::timeout("not now"));
            let mut reply = reply.lock().unwrap();
            reply.result = Some(if fails { Err(CommitError::RetryLater(cause)) } else { Ok(()) });
            let waker = reply.waker.take();
            drop(reply);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn done<T: CommitTarget>(committer: &mut Committer<T>, to: i64) {
    let mut partition = committer.partition(&tp()).unwrap();
    partition.advance(NextOffset(to), None).unwrap();
    partition.done(NextOffset(to)).unwrap();
}

/// Closes, however often the time runs out: what is reported then is what was done last.
fn close<T: CommitTarget>(committer: Committer<T>, last: i64) -> bool {
    match committer.close(HOUR) {
        Ok(()) => true,
        Err(left) => {
            assert_eq!(left.partitions().len(), 1);
            assert_eq!(left.partitions()[0].offset, NextOffset(last));
            assert!(matches!(left.partitions()[0].error, CommitError::RetryLater(_)), "{left}");
            false
        }
    }
}

/// The remote ends when the test says so, as a close that runs out of time leaves the rest to others.
#[test]
fn no_commit_is_lost_at_close() {
    explore(|| {
        let remote = Remote::default();
        remote.inner.lock().unwrap().fails = 1;
        let policy = CommitPolicy::automatic().retry_backoff(Duration::ZERO);
        let mut committer = Committer::new(remote.clone(), policy, 0);
        committer.assign(tp(), position_at(0)).unwrap();
        done(&mut committer, 1);
        let first = committer.commit_async();
        done(&mut committer, 2);
        let second = committer.commit_async();
        let server = {
            let remote = remote.clone();
            thread::spawn(move || remote.serve())
        };
        // Tasks on threads of their own, which move the line on, too.
        let waiters = [first, second].map(|receipt| thread::spawn(move || block_on(receipt)));
        done(&mut committer, 3);
        if close(committer, 3) {
            assert_eq!(remote.inner.lock().unwrap().stored, 3);
        }
        let [first, second] = waiters.map(|waiter| waiter.join().unwrap());
        let stored = remote.inner.lock().unwrap().stored;
        // The first answer was a failure.
        assert!(first.is_err());
        assert!(second.is_err() || stored >= 2);
        remote.inner.lock().unwrap().is_over = true;
        server.join().unwrap();
    });
}

/// The real store, whose own thread completes the commits.
#[test]
fn what_close_does_not_report_survives_a_power_cut() {
    explore(|| {
        let disk = SimDisk::new();
        let store = Options::new().open_in(disk.dir()).unwrap();
        let target = StoreTarget::new(store.clone(), "g");
        let mut committer = Committer::new(target, CommitPolicy::automatic(), 0);
        committer.assign(tp(), position_at(0)).unwrap();
        done(&mut committer, 1);
        let receipt = committer.commit_async();
        let waiter = {
            let disk = disk.clone();
            thread::spawn(move || {
                block_on(receipt).unwrap();
                assert!(survives(&disk) >= 1);
            })
        };
        done(&mut committer, 2);
        if close(committer, 2) {
            assert_eq!(survives(&disk), 2);
        }
        waiter.join().unwrap();
        drop(store);
        assert_eq!(survives(&disk), 2);
    });
}

/// The offset that a power cut leaves.
fn survives(disk: &SimDisk) -> i64 {
    let store = Options::new().background(false).open_in(disk.power_cut(0).dir()).unwrap();
    store.fetch(Key::new("g", "t", 0)).map_or(0, |found| found.offset().0)
}
