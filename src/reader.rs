//! The public handle of a reader. No logic: each call hands over to the engine.

use std::path::Path;
use std::sync::Arc;

use crate::dump::Change;
use crate::engine::Follower;
use crate::error::Result;
use crate::io::Dir;
use crate::io::disk::DiskDir;
use crate::key::{CommittedOffset, Key, Seq, TopicPartition};
use crate::options::{Environment, SystemEnvironment, WritePath};
use crate::report::Refreshed;
use crate::state::StateOwner;

/// A live, read-only view of a store, whether or not a process has it open.
///
/// A reader takes no lock, writes nothing, and the writer does not know of it: there may be any number
/// of them, in any process, in that of the writer too, and a directory that may only be read is
/// enough. It costs the writer nothing but that a file it has removed keeps its room on the disk while
/// a reader has it open, until the next [`refresh`](OffsetReader::refresh).
///
/// Between two refreshes the view stands still. After each it shows the state after some record of
/// the log and all before it, batches whole, and what was committed before the call is in it. While a
/// refresh runs, fetches go on; they may find some of the keys of a batch a moment before the others.
/// A key never goes back to an older value, with one exception: if the store lost its end, by a crash
/// of the system or a failed flush, so does the view.
///
/// Commits are seen as soon as they are in the log, which is before they are durable.
/// [`CommittedOffset::is_durable`] is true if the log states so as far as it was read: it may be true
/// late, and it is never true too early.
///
/// Handles are cheap to clone and all stand for the same view.
///
/// ```
/// use pagemark::{Key, NextOffset, OffsetReader, OffsetStore};
///
/// # let dir = tempfile::tempdir()?;
/// let store = OffsetStore::open(dir.path())?;
/// let key = Key::new("billing", "orders", 0);
/// store.commit(key, NextOffset(42))?;
///
/// let reader = OffsetReader::open(dir.path())?; // here, or in another process
/// assert_eq!(reader.fetch(key).unwrap().offset(), NextOffset(42));
///
/// store.commit(key, NextOffset(43))?;
/// reader.refresh()?;
/// assert_eq!(reader.fetch(key).unwrap().offset(), NextOffset(43));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct OffsetReader {
    follower: Arc<Follower>,
}

impl OffsetReader {
    /// Reads the store in `dir` as it is now.
    ///
    /// A torn tail, which a crash may have left, is no error: the view ends in front of it.
    ///
    /// # Errors
    ///
    /// `NotAStore` if there is no store, also if it is just being created; `Corrupt` if something that
    /// had been durable is damaged or missing; `UnsupportedVersion`; `Io`.
    pub fn open(dir: impl AsRef<Path>) -> Result<OffsetReader> {
        let dir = DiskDir::open(dir.as_ref(), false, WritePath::Pwrite)?;
        OffsetReader::follow(Arc::new(dir))
    }

    /// Reads the store in a directory of another kind, such as a simulated disk.
    ///
    /// # Errors
    ///
    /// As [`open`](OffsetReader::open).
    #[cfg(feature = "testkit")]
    pub fn open_in(dir: Arc<dyn crate::testkit::Dir>) -> Result<OffsetReader> {
        OffsetReader::follow(dir)
    }

    fn follow(dir: Arc<dyn Dir>) -> Result<OffsetReader> {
        let follower = Follower::open(dir, SystemEnvironment.random())?;
        Ok(OffsetReader { follower: Arc::new(follower) })
    }

    /// Brings the view up to the end of the log as it is now.
    ///
    /// It costs a look at the end of the log and what was written since. If a compaction has
    /// overtaken the view, the store is read anew, which takes as long as an open and the memory of a
    /// second view, and the view changes in one moment when that is done. Calls of several threads
    /// come one after the other.
    ///
    /// # Errors
    ///
    /// As [`open`](OffsetReader::open). The view stays, or has come a part of the way, and the next
    /// call reads the store anew.
    pub fn refresh(&self) -> Result<Refreshed> {
        self.follower.refresh(None)
    }

    /// [`refresh`](OffsetReader::refresh) that calls `visit` with each commit, delete and change of a
    /// state that it reads in the log, in the order of the log, with its seq: the changes of a batch have the same one.
    ///
    /// Fetches find a change at the latest when the call returns. No change is visited twice by calls
    /// that return. After [`restarted`](Refreshed::restarted) some may be missing: of what a snapshot
    /// stands for only the newest values are left, and those are not visited. `visit` must not refresh
    /// the same view; if it panics, the next call reads the store anew.
    ///
    /// ```
    /// use pagemark::dump::Change;
    /// use pagemark::{Key, NextOffset, OffsetReader, OffsetStore};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = OffsetStore::open(dir.path())?;
    /// let reader = OffsetReader::open(dir.path())?;
    /// store.commit(Key::new("billing", "orders", 0), NextOffset(42))?;
    /// let mut offsets = Vec::new();
    /// reader.refresh_with(|_, change| {
    ///     if let Change::Commit { offset, .. } = change {
    ///         offsets.push(*offset);
    ///     }
    /// })?;
    /// assert_eq!(offsets, [42]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`refresh`](OffsetReader::refresh).
    pub fn refresh_with(&self, mut visit: impl FnMut(Seq, &Change<'_>)) -> Result<Refreshed> {
        self.follower.refresh(Some(&mut visit))
    }

    /// The newest value of a key in the view, or `None` if it has none or is no valid key. Memory
    /// only, and never waits.
    pub fn fetch(&self, key: Key<'_>) -> Option<CommittedOffset> {
        self.follower.fetch(key)
    }

    /// The newest values of all keys of a group in the view, by topic and partition.
    pub fn fetch_group(&self, group: &str) -> Vec<(TopicPartition, CommittedOffset)> {
        let mut found = Vec::new();
        self.visit_group(group, |topic, partition, value| {
            found.push((TopicPartition::new(topic, partition), value.clone()));
        });
        found
    }

    /// Calls `visit` with what [`fetch_group`](OffsetReader::fetch_group) returns, in the same order,
    /// without allocating. `visit` may use the reader.
    pub fn visit_group(&self, group: &str, visit: impl FnMut(&str, i32, &CommittedOffset)) {
        self.follower.visit_group(group, visit);
    }

    /// The groups that have a value in the view, sorted.
    pub fn groups(&self) -> Vec<String> {
        self.follower.groups()
    }

    /// The bytes of a state of a group, or `None` if it has none of that owner, name and part. See
    /// [`OffsetStore::state`](crate::OffsetStore::state).
    pub fn state(&self, group: &str, owner: StateOwner, name: &str, part: i32) -> Option<Vec<u8>> {
        self.follower.state(group, owner, name, part)
    }

    /// Calls `visit` with the name, part and bytes of every state of a group that an owner has, sorted
    /// by name, then part. `visit` may use the reader.
    pub fn visit_states(
        &self,
        group: &str,
        owner: StateOwner,
        visit: impl FnMut(&str, i32, &[u8]),
    ) {
        self.follower.visit_states(group, owner, visit);
    }

    /// The groups that have a state of an owner, sorted.
    pub fn groups_with_state(&self, owner: StateOwner) -> Vec<String> {
        self.follower.groups_with_state(owner)
    }

    /// The last record of changes that the last refresh has come to; zero if there is none.
    pub fn last_seq(&self) -> Seq {
        Seq(self.follower.last_seq())
    }

    /// Everything at or below this seq survives power loss, as far as the log states it.
    pub fn durable_seq(&self) -> Seq {
        Seq(self.follower.durable())
    }
}
