//! The public handle of a store. No logic: each call hands over to the engine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::CommitBatch;
use crate::care::{BackupReport, Progress};
use crate::engine::{self, Background, Engine};
use crate::error::Result;
use crate::io::Dir;
use crate::key::{Commit, CommittedOffset, Durability, Key, Receipt, Seq, TopicPartition};
use crate::options::Options;
use crate::report::{CompactionReport, ExpiryReport, RecoveryReport, Stats};
use crate::state::StateOwner;

mod durable;
mod slot;

pub use durable::Durable;
pub use slot::Slot;

/// An open store: the newest committed offset of every (group, topic, partition).
///
/// Handles are cheap to clone and all stand for the same store. Dropping the last one closes the
/// store as [`close`](OffsetStore::close) does, but has nobody to report a failure to.
///
/// Reads never wait for writers. Commits of one store are serialised for the time of a short memory
/// copy; synced commits of many threads share their flushes.
///
/// A store belongs to the process that opened it. A process that it forks must not use the handles
/// that it inherits; dropping them there does no harm.
#[derive(Clone, Debug)]
pub struct OffsetStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Arc<Engine>,
    background: Option<Background>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The threads end first: they hold the engine too.
        self.background = None;
        // Already closed, or nobody is left to be told.
        let _ = self.engine.close();
    }
}

impl OffsetStore {
    /// Opens the store in `dir` with the default [`Options`], and creates it if there is none.
    ///
    /// # Errors
    ///
    /// As [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<OffsetStore> {
        Options::new().open(dir)
    }

    pub(crate) fn open_in(dir: Arc<dyn Dir>, options: &Options) -> Result<OffsetStore> {
        let engine = Arc::new(engine::open(dir, options)?);
        let mut inner = Inner { engine, background: None };
        if options.background {
            inner.background = Some(Background::start(&inner.engine)?);
        }
        Ok(OffsetStore { inner: Arc::new(inner) })
    }

    fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// How the store was opened, as far as those who build on it have to know.
    pub(crate) fn options(&self) -> &Options {
        self.engine().options()
    }

    /// Sets the value of a key, with the store's default durability.
    ///
    /// The latest commit of a key counts, also when its offset is lower: resets are commits too.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLong` and `MetadataTooLarge` for a key or value outside of its
    /// limits; `QuotaExceeded` for a new key that the options leave no room for; `Full` if there is
    /// no room on the device, which may be tried again; `Poisoned` after an earlier
    /// failure; `Io` and `Closed`. After an error of the flush (`Io`, `Poisoned`) the commit may or
    /// may not survive; after any other error it had no effect.
    pub fn commit<'a>(&self, key: Key<'_>, commit: impl Into<Commit<'a>>) -> Result<Receipt> {
        self.commit_with(key, commit, self.engine().options().durability)
    }

    /// [`commit`](OffsetStore::commit) with a durability of its own.
    pub fn commit_with<'a>(
        &self,
        key: Key<'_>,
        commit: impl Into<Commit<'a>>,
        durability: Durability,
    ) -> Result<Receipt> {
        self.engine().commit(key, commit.into(), durability)
    }

    /// Makes all changes of a batch, or none, with the store's default durability.
    ///
    /// All or none holds across crashes. A reader that runs at the same time may see some of the
    /// keys a moment before the others.
    ///
    /// # Errors
    ///
    /// As [`commit`](OffsetStore::commit); `InvalidArgument` also if the batch does not fit into a
    /// segment; `StateTooLarge`.
    pub fn commit_batch(&self, batch: &CommitBatch) -> Result<Receipt> {
        self.commit_batch_with(batch, self.engine().options().durability)
    }

    /// [`commit_batch`](OffsetStore::commit_batch) with a durability of its own.
    pub fn commit_batch_with(
        &self,
        batch: &CommitBatch,
        durability: Durability,
    ) -> Result<Receipt> {
        self.engine().commit_batch(batch, durability)
    }

    /// The newest committed value of a key, or `None` if it has none or is no valid key.
    ///
    /// It may not be durable yet, which [`CommittedOffset::is_durable`] tells.
    pub fn fetch(&self, key: Key<'_>) -> Option<CommittedOffset> {
        self.engine().fetch(key)
    }

    /// The newest values of all keys of a group, by topic and partition.
    pub fn fetch_group(&self, group: &str) -> Vec<(TopicPartition, CommittedOffset)> {
        let mut found = Vec::new();
        self.visit_group(group, |topic, partition, value| {
            found.push((TopicPartition::new(topic, partition), value.clone()));
        });
        found
    }

    /// Calls `visit` with what [`fetch_group`](OffsetStore::fetch_group) returns, in the same order,
    /// without allocating. `visit` may use the store.
    pub fn visit_group(&self, group: &str, visit: impl FnMut(&str, i32, &CommittedOffset)) {
        self.engine().visit_group(group, visit);
    }

    /// The groups that have a value, sorted.
    pub fn groups(&self) -> Vec<String> {
        self.engine().groups()
    }

    /// The bytes of a state of a group, or `None` if it has none of that owner, name and part.
    ///
    /// A state is what a program keeps for a group beside its offsets, under the same promises. Its
    /// changes are part of a [`CommitBatch`], so they take effect with the offsets in it or not at all.
    /// It has at most [`MAX_STATE_BYTES`](crate::MAX_STATE_BYTES) bytes and lives in memory as a whole;
    /// reading it copies it. States go with [`delete_group`](OffsetStore::delete_group), and with no
    /// other delete of keys. A group that has states only is not among the
    /// [`groups`](OffsetStore::groups).
    ///
    /// ```
    /// use pagemark::{CommitBatch, NextOffset, OffsetStore, StateOwner};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = OffsetStore::open(dir.path())?;
    /// let mut batch = CommitBatch::new("billing");
    /// batch.commit("orders", 0, NextOffset(42));
    /// batch.append_state(StateOwner::Application, "totals", 0, b"+7");
    /// store.commit_batch(&batch)?;
    /// store.commit_batch(&batch)?;
    /// let totals = store.state("billing", StateOwner::Application, "totals", 0);
    /// assert_eq!(totals.as_deref(), Some(&b"+7+7"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(&self, group: &str, owner: StateOwner, name: &str, part: i32) -> Option<Vec<u8>> {
        self.engine().state(group, owner, name, part)
    }

    /// Calls `visit` with the name, part and bytes of every state of a group that an owner has, sorted
    /// by name, then part. `visit` may use the store.
    pub fn visit_states(
        &self,
        group: &str,
        owner: StateOwner,
        visit: impl FnMut(&str, i32, &[u8]),
    ) {
        self.engine().visit_states(group, owner, visit);
    }

    /// The groups that have a state of an owner, sorted.
    pub fn groups_with_state(&self, owner: StateOwner) -> Vec<String> {
        self.engine().groups_with_state(owner)
    }

    /// Resolves a key once, for many commits and fetches that then need no look-up.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` and `KeyTooLong` for a key outside of its limits.
    pub fn slot(&self, key: Key<'_>) -> Result<Slot> {
        let topic = self.engine().slot(key)?;
        Ok(Slot { inner: Arc::clone(&self.inner), topic, partition: key.partition() })
    }

    /// Deletes the value of a key. A key without a value is no error.
    ///
    /// Deletes are as durable as the store's default, and stay deleted.
    ///
    /// # Errors
    ///
    /// As [`commit`](OffsetStore::commit).
    pub fn delete(&self, key: Key<'_>) -> Result<Receipt> {
        self.engine().delete(key)
    }

    /// Deletes the values of all partitions of a topic in a group, in one step.
    ///
    /// # Errors
    ///
    /// As [`delete`](OffsetStore::delete).
    pub fn delete_topic(&self, group: &str, topic: &str) -> Result<Receipt> {
        self.engine().delete_topic(group, topic)
    }

    /// Deletes all values and all [states](OffsetStore::state) of a group, in one step.
    ///
    /// # Errors
    ///
    /// As [`delete`](OffsetStore::delete); `InvalidArgument` also if the group has so many topics
    /// or states that naming them does not fit into a segment.
    pub fn delete_group(&self, group: &str) -> Result<Receipt> {
        self.engine().delete_group(group)
    }

    /// What [`expire`](OffsetStore::expire) would delete now: group, key and value of everything that
    /// is due, sorted. Nothing is changed.
    pub fn expired(&self) -> Vec<(String, TopicPartition, CommittedOffset)> {
        self.engine().expired()
    }

    /// Deletes every value whose time has come: [`Commit::expire_at_ms`] is now, by the clock of the
    /// options, or before.
    ///
    /// The store never does this by itself: call it at an interval of your choice (Kafka's is
    /// `offsets.retention.check.interval.ms`, ten minutes). It looks at every key; commits and reads
    /// go on meanwhile. A value that is replaced meanwhile goes only if the new one is due, too. What
    /// is due goes group by group, in several steps, as Kafka's coordinator writes its tombstones
    /// (`GroupCoordinatorShard.cleanupGroupMetadata`); of two keys one may be gone and the other not
    /// yet. The boundary is Kafka's too: a value is due in the millisecond that it names
    /// (`OffsetExpirationConditionImpl`).
    ///
    /// What is deleted is as durable as any [`delete`](OffsetStore::delete) when this returns, and
    /// stays deleted.
    ///
    /// ```
    /// use pagemark::{Commit, Key, NextOffset, OffsetStore};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = OffsetStore::open(dir.path().join("offsets"))?;
    /// let commit = Commit::new(NextOffset(42));
    /// store.commit(Key::new("billing", "orders", 0), commit.expire_at_ms(1_000_000_000_000))?;
    /// store.commit(Key::new("billing", "orders", 1), commit)?;
    /// assert_eq!(store.expired().len(), 1); // due since 2001
    /// assert_eq!(store.expire()?.expired, 1);
    /// assert!(store.fetch(Key::new("billing", "orders", 0)).is_none());
    /// assert!(store.fetch(Key::new("billing", "orders", 1)).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`delete`](OffsetStore::delete). What was deleted before the error stays deleted; the rest
    /// is still there, and still due.
    pub fn expire(&self) -> Result<ExpiryReport> {
        self.engine().expire()
    }

    /// Makes everything that was committed before the call durable, and returns up to where the
    /// store is durable now.
    ///
    /// # Errors
    ///
    /// `Io` if the flush fails, `Poisoned` after an earlier failure.
    pub fn sync(&self) -> Result<Seq> {
        self.engine().sync().map(Seq)
    }

    /// Everything at or below this seq survives power loss.
    pub fn durable_seq(&self) -> Seq {
        Seq(self.engine().durable())
    }

    /// Waits until the record with this seq survives power loss, flushing if nobody else does.
    ///
    /// # Errors
    ///
    /// `Timeout` if another thread's flush took longer than `timeout`; `InvalidArgument` for a seq
    /// that this store has not handed out; as [`sync`](OffsetStore::sync) otherwise.
    pub fn wait_durable(&self, seq: Seq, timeout: Option<Duration>) -> Result<()> {
        self.engine().wait_durable(seq.0, timeout)
    }

    /// A future that is ready when the record with this seq survives power loss, on any executor or
    /// none: it takes no thread of its own.
    ///
    /// Its first poll asks the store's background thread to flush now, not only after the
    /// [flush interval](Options::flush_interval), and one flush serves all who asked before it began.
    /// That thread calls the waker when the record is durable, and when the store fails or is closed.
    /// It holds no lock then, so a waker may call the store, or drop it, but it keeps other futures
    /// waiting. In a store without [background threads](Options::background) nobody else would flush:
    /// there the poll itself does, and takes as long as that takes.
    ///
    /// The future does not keep its store open: when the last handle is dropped, the record is durable.
    /// A future that is dropped leaves nothing behind.
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::sync::Arc;
    /// use std::task::{Context, Poll, Wake};
    /// use std::thread::{self, Thread};
    ///
    /// use pagemark::{Durability, Key, NextOffset, OffsetStore};
    ///
    /// /// What an executor does, for one task.
    /// fn block_on<F: Future>(future: F) -> F::Output {
    ///     struct Unpark(Thread);
    ///     impl Wake for Unpark {
    ///         fn wake(self: Arc<Self>) {
    ///             self.0.unpark();
    ///         }
    ///     }
    ///     let waker = Arc::new(Unpark(thread::current())).into();
    ///     let mut future = pin!(future);
    ///     loop {
    ///         match future.as_mut().poll(&mut Context::from_waker(&waker)) {
    ///             Poll::Ready(output) => return output,
    ///             Poll::Pending => thread::park(),
    ///         }
    ///     }
    /// }
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = OffsetStore::open(dir.path())?;
    /// let key = Key::new("billing", "orders", 0);
    /// let seq = store.commit_with(key, NextOffset(42), Durability::Buffered)?.seq();
    /// assert!(block_on(store.durable(seq))? >= seq);
    /// assert!(store.fetch(key).unwrap().is_durable());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// It resolves to `InvalidArgument` for a seq that this store has not handed out, and to the errors
    /// of [`sync`](OffsetStore::sync) otherwise. What it resolves to is the durable seq by then.
    pub fn durable(&self, seq: Seq) -> Durable {
        Durable { watcher: self.inner.engine.watch(seq.0) }
    }

    /// Replaces the log up to now by a snapshot: one file with the newest value of every live key.
    ///
    /// The store does this by itself, in the background, when its log has grown to half the size of
    /// what lives in it. Commits and reads go on meanwhile, and everything that was committed before
    /// the call is durable when it returns. If there is nothing to compact, nothing is done.
    ///
    /// # Errors
    ///
    /// `Full` if there is no room for the snapshot, `Io`, `Corrupt` if what was written differs from
    /// memory when it is read back. The log stays as it is then, and nothing is lost. `Closed` if the
    /// store is closed meanwhile, `Poisoned` after an earlier failure.
    pub fn compact(&self) -> Result<CompactionReport> {
        self.compact_with(|_| {})
    }

    /// [`compact`](OffsetStore::compact) that tells how far it has come.
    ///
    /// `progress` runs while no compaction, backup or close of this store can: it must not ask for one.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn compact_with(&self, mut progress: impl FnMut(Progress)) -> Result<CompactionReport> {
        self.engine().compact(&mut progress)
    }

    /// Copies the store as it is now into `dest`: a directory that can be opened as a store.
    ///
    /// `dest` is new or has an earlier backup of this store, of which files that have not changed are
    /// kept and not copied again. Commits and reads go on meanwhile, compactions wait. Every byte is
    /// checked while it is copied, so damage is an error and never part of a backup. The copy has the
    /// id of this store: it is the same store at an earlier time. Opened, it counts as a store that
    /// was not closed in order, and skips the seqs that this one may have handed out since.
    ///
    /// If it is interrupted, `dest` shows the moment of the earlier backup, that of the new one, or one
    /// in between, or is refused by `open` as damaged until the next backup into it is done.
    ///
    /// # Errors
    ///
    /// `WrongStore` if `dest` holds another store, or a backup that was opened since and has a history
    /// of its own; `Locked` if it is open; `InvalidArgument` if it lies in this store's directory;
    /// `Corrupt` if this store is damaged; `Full`, `Io`; `Closed`, `Poisoned`.
    pub fn backup(&self, dest: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_with(dest, |_| {})
    }

    /// [`backup`](OffsetStore::backup) that tells how far it has come.
    ///
    /// `progress` runs while no compaction, backup or close of this store can: it must not ask for one.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn backup_with(
        &self,
        dest: impl AsRef<Path>,
        mut progress: impl FnMut(Progress),
    ) -> Result<BackupReport> {
        let dest = self.engine().destination(dest.as_ref())?;
        self.engine().backup(&dest, &mut progress)
    }

    /// [`backup`](OffsetStore::backup) into a directory of another kind.
    ///
    /// # Errors
    ///
    /// As there.
    #[cfg(feature = "testkit")]
    pub fn backup_in(&self, dest: &dyn Dir) -> Result<BackupReport> {
        self.engine().backup(dest, &mut |_| {})
    }

    /// The numbers of this moment.
    pub fn stats(&self) -> Stats {
        self.engine().stats()
    }

    /// What opening the store came to.
    pub fn recovery_report(&self) -> &RecoveryReport {
        self.engine().report()
    }

    /// Makes everything durable, marks the store as closed in order, and frees the directory.
    ///
    /// Other handles of the store go on reading from memory; their commits fail with `Closed`. A log
    /// that takes longer to read than a snapshot of what lives in it is compacted first, unless the
    /// options say otherwise, so that the next open is fast. A store that is dropped without this call
    /// is closed, too, but not compacted.
    ///
    /// # Errors
    ///
    /// What went wrong with the last flush, `Poisoned` after an earlier failure, `Closed` if another
    /// handle has closed the store. The directory is free in any case.
    pub fn close(self) -> Result<()> {
        self.engine().close()
    }
}
