//! Threads that are held up until another one waits for them, so that the order of what they do is
//! certain and not only likely. Whether a thread waits is asked of the kernel.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, Scope, current, scope, yield_now};

use pagemark::testkit::SimDisk;
use pagemark::{Commit, CommitBatch, Environment, ErrorKind, Key, NextOffset, OffsetStore};

use crate::hooked::{Call, Hooked};
use crate::support::{mix, observe, options};

/// Where the kernel says what a thread does.
#[derive(Debug)]
struct Watched(PathBuf);

impl Watched {
    /// The thread that calls this.
    fn this() -> Watched {
        let link = std::fs::read_link("/proc/thread-self").unwrap();
        Watched(Path::new("/proc").join(link).join("stat"))
    }

    /// Whether the thread sleeps.
    fn sleeps(&self) -> bool {
        // The state follows the name, which stands in brackets. The file goes with the thread.
        let stat = std::fs::read_to_string(&self.0).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|behind| behind.trim_start().starts_with('S'))
    }
}

/// Gives way until something is so.
fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        yield_now();
    }
}

/// Runs in a thread of its own until it has ended or waits for a lock. Returns whether it waits.
fn starts_to_wait<'scope>(
    threads: &'scope Scope<'scope, '_>,
    call: impl FnOnce() + Send + 'scope,
) -> bool {
    let (caller, ended) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
    let (this, end) = (Arc::clone(&caller), Arc::clone(&ended));
    threads.spawn(move || {
        this.set(Watched::this()).unwrap();
        call();
        end.store(true, Ordering::Release);
    });
    let has_ended = || ended.load(Ordering::Acquire);
    until(|| has_ended() || caller.get().is_some_and(Watched::sleeps));
    !has_ended()
}

/// A clock by which a sweep begins when a commit holds the log's lock, and by which that commit goes
/// on when the sweep waits for the lock.
#[derive(Debug, Default)]
struct Meeting {
    sweeper: OnceLock<Watched>,
    committing: AtomicBool,
    random: AtomicU64,
}

const SWEEPER: &str = "sweeper";

impl Environment for Meeting {
    /// Asked before the sweep looks for what is due.
    fn now_ms(&self) -> i64 {
        if current().name() == Some(SWEEPER) {
            self.sweeper.set(Watched::this()).unwrap();
            until(|| self.committing.load(Ordering::Acquire));
        }
        0
    }

    /// Asked under the log's lock when a segment is full.
    fn random(&self) -> u64 {
        if let Some(sweeper) = self.sweeper.get() {
            self.committing.store(true, Ordering::Release);
            until(|| sweeper.sleeps());
        }
        mix(self.random.fetch_add(1, Ordering::Relaxed))
    }
}

#[test]
fn what_is_due_no_more_when_the_sweep_gets_the_lock_is_not_deleted() {
    let meeting = Arc::new(Meeting::default());
    let store = options(1).environment(meeting.clone()).open_in(SimDisk::new().dir()).unwrap();
    let due = Commit::new(NextOffset(1)).expire_at_ms(0);
    // Two of them do not fit into a segment.
    let long = "m".repeat(4096);
    let filler = Commit::new(NextOffset(1)).metadata(&long);
    let mut batch = CommitBatch::new("g");
    batch.commit("filler", 0, filler).commit("filler", 1, filler);
    for (topic, partition) in [("t", 0), ("t", 1), ("t", 2), ("t", 3), ("u", 0)] {
        batch.commit(topic, partition, due);
    }
    store.commit_batch(&batch).unwrap();
    let report = scope(|threads| {
        let sweep = || store.expire().unwrap();
        let sweep = Builder::new().name(SWEEPER.into()).spawn_scoped(threads, sweep).unwrap();
        until(|| meeting.sweeper.get().is_some());
        batch.clear();
        batch.commit("filler", 0, filler).commit("filler", 1, filler);
        // A new value without an expiry, one that expires later, a delete, and a topic that ends.
        batch.commit("t", 0, NextOffset(2)).commit("t", 1, due.expire_at_ms(1));
        batch.delete("t", 3).delete("u", 0);
        store.commit_batch(&batch).unwrap();
        sweep.join().unwrap()
    });
    assert!(meeting.committing.load(Ordering::Relaxed), "the commit came in between");
    assert_eq!((report.visited, report.expired), (7, 1));
    let offset = |topic, partition| {
        store.fetch(Key::new("g", topic, partition)).map(|value| value.offset().0)
    };
    assert_eq!((offset("t", 0), offset("t", 1)), (Some(2), Some(1)));
    assert_eq!((offset("t", 2), offset("t", 3), offset("u", 0)), (None, None, None));
    let stats = store.stats();
    assert_eq!((stats.deletes, stats.expirations), (2, 1));
}

/// A store on a disk that knows whether its directory is free, and panics when a free one is used.
/// On demand, the next commit panics under the log's lock.
struct Watchful {
    disk: SimDisk,
    store: OffsetStore,
    free: Arc<AtomicBool>,
    armed: Arc<AtomicBool>,
}

impl Watchful {
    fn open() -> Watchful {
        let disk = SimDisk::new();
        let (free, armed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_free, is_armed) = (Arc::clone(&free), Arc::clone(&armed));
        let dir = Hooked::new(disk.dir(), move |call| match call {
            Call::Unlock => is_free.store(true, Ordering::Release),
            Call::Write(..) if is_armed.swap(false, Ordering::AcqRel) => panic!("on purpose"),
            _ => assert!(!is_free.load(Ordering::Acquire), "{call:?} in a free directory"),
        });
        let store = options(1).open_in(dir).unwrap();
        for (topic, partition) in [("t", 0), ("u", 1)] {
            store.commit(Key::new("g", topic, partition), NextOffset(1)).unwrap();
        }
        Watchful { disk, store, free, armed }
    }

    fn is_free(&self) -> bool {
        self.free.load(Ordering::Acquire)
    }

    fn panic_under_the_lock(&self) {
        self.armed.store(true, Ordering::Release);
        let commit = || self.store.commit(Key::new("g", "t", 0), NextOffset(2));
        catch_unwind(AssertUnwindSafe(commit)).unwrap_err();
    }

    /// Closes the store, which fails, and frees the directory all the same.
    fn close(&self) {
        let error = self.store.clone().close().unwrap_err();
        assert!(error.to_string().contains("panicked while it appended"), "{error}");
        assert!(self.is_free());
    }

    /// Checks that nothing is lost that was committed.
    fn check_reopened(&self) {
        assert!(!self.disk.files().iter().any(|name| name.ends_with(".tmp")));
        let before = observe(&self.store);
        assert_eq!(before.offsets.len(), 2);
        assert_eq!(observe(&options(2).open_in(self.disk.dir()).unwrap()), before);
    }
}

#[test]
fn after_a_panic_the_directory_is_not_free_before_a_compaction_has_ended() {
    let watchful = Watchful::open();
    let compacted = scope(|threads| {
        let mut closing = false;
        watchful.store.compact_with(|_| {
            if std::mem::replace(&mut closing, true) {
                return;
            }
            watchful.panic_under_the_lock();
            let waits = starts_to_wait(threads, || watchful.close());
            assert!(waits && !watchful.is_free(), "the compaction is at work in the directory");
        })
    });
    assert_eq!(compacted.unwrap_err().kind(), ErrorKind::Closed);
    watchful.check_reopened();
}

#[test]
fn after_a_panic_the_prepared_segment_is_removed_before_the_directory_is_free() {
    let watchful = Watchful::open();
    // The second one finds everything sealed, and leaves the segment that it has prepared.
    watchful.store.backup_in(&SimDisk::new()).unwrap();
    watchful.store.backup_in(&SimDisk::new()).unwrap();
    assert!(watchful.disk.files().iter().any(|name| name.ends_with(".tmp")));
    watchful.panic_under_the_lock();
    watchful.close();
    watchful.check_reopened();
}

#[test]
fn commits_go_on_beside_a_backup_compactions_wait_and_a_close_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(1).open(dir.path().join("store")).unwrap();
    let key = Key::new("g", "t", 0);
    let first = store.commit(key, NextOffset(1)).unwrap().seq();
    let mut calls = 0;
    let report = scope(|threads| {
        store.backup_with(dir.path().join("first"), |_| {
            calls += 1;
            if calls == 1 {
                store.commit(key, NextOffset(2)).unwrap();
                assert_eq!(store.fetch(key).unwrap().offset(), NextOffset(2));
                let compact = || assert!(store.compact().is_ok());
                assert!(starts_to_wait(threads, compact));
            }
        })
    });
    assert_eq!(report.unwrap().seq, first);
    let copy = OffsetStore::open(dir.path().join("first")).unwrap();
    assert_eq!(copy.fetch(key).unwrap().offset(), NextOffset(1));
    let ended = scope(|threads| {
        store.backup_with(dir.path().join("second"), |_| {
            assert!(starts_to_wait(threads, || store.clone().close().unwrap()));
        })
    });
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed);
    let after = store.backup(dir.path().join("third")).unwrap_err();
    assert_eq!(after.kind(), ErrorKind::Closed);
}
