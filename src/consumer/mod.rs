//! What a consumer needs beside its store: how far it has read, what of it is done, and what to commit.
//!
//! No thread, no clock, no randomness. Two pieces are plain values that know of no store; each belongs
//! to one assigned partition and is dropped when the partition is given away.
//!
//! - [`Position`] has the read position against the committed offset: where to start, what to do when
//!   the offset is not in the log any more, and whether there is anything to commit.
//! - [`AckTracker`] has the records that were handed out and are completed out of order, and derives
//!   the watermark, which is what may be committed.
//!
//! The third commits what they say:
//!
//! - [`Committer`] has all partitions of one consumer and makes commits of them, by itself or when it
//!   is asked to. Where they go is a [`CommitTarget`]: a store, or a coordinator in front of one.
//!
//! And the fourth puts all of them together:
//!
//! - [`Consumer`] is one member of a group: it reads the partitions that the group assigns to it, and
//!   commits what is processed. If you look for Kafka's consumer, begin there.
//!
//! ```
//! use pagemark::consumer::{AckLimits, AckTracker, LogBounds, Position, StartPolicy};
//! use pagemark::{Error, Key, NextOffset, OffsetStore};
//!
//! /// The log that is read: here one of five records.
//! struct Log;
//!
//! impl LogBounds for Log {
//!     type Error = Error;
//!
//!     fn earliest(&self) -> Result<NextOffset, Error> {
//!         Ok(NextOffset(0))
//!     }
//!
//!     fn latest(&self) -> Result<NextOffset, Error> {
//!         Ok(NextOffset(5))
//!     }
//!
//!     fn at_or_after(&self, _timestamp_ms: i64) -> Result<Option<NextOffset>, Error> {
//!         Ok(None)
//!     }
//! }
//!
//! # let dir = tempfile::tempdir()?;
//! let store = OffsetStore::open(dir.path())?;
//! let key = Key::new("billing", "orders", 0);
//!
//! let committed = store.fetch(key);
//! let (mut position, _) = Position::assign(committed.as_ref(), StartPolicy::Earliest, &Log, 0)?;
//! let mut acks = AckTracker::new(position.next(), AckLimits::new())?;
//!
//! for offset in 0..3 {
//!     acks.hand_out(offset)?;
//!     position.advance(NextOffset(offset + 1), None)?;
//! }
//! acks.complete(0)?;
//! acks.complete(2)?; // and 1 is still in the works
//!
//! position.mark(acks.watermark())?;
//! if let Some(commit) = position.to_commit() {
//!     store.commit(key, commit)?;
//!     position.confirm(commit);
//! }
//! assert_eq!(store.fetch(key).unwrap().offset(), NextOffset(1));
//! assert!(position.to_commit().is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod acks;
mod commits;
mod member;
mod position;

pub use acks::{AckLimits, AckTracker, DELTAS_PER_STATE};
pub use commits::{
    AssignedPartition, Cause, CommitError, CommitPolicy, CommitReceipt, CommitTarget, Committer,
    NotStored, PartitionCommit, StoreDurable, StoreTarget, Unstored,
};
pub use member::{
    ClientError, Consumer, ConsumerError, ConsumerListener, ConsumerOptions, ConsumerPartition,
    ConsumerRecord, CoordinatorClient, GroupClient, Heartbeat, HeartbeatAnswer, MemberEpoch,
    MemberTarget, MemoryLog, PollResult, Read, RecordLog, RecordSource, StoredOffset,
};
pub use position::{LogBounds, Position, Reset, ResetReason, StartPolicy};
