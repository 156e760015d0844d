//! Every record of one segment or snapshot, for people who want to look inside.
//!
//! A dump reads a file as it is, of an open store too, and changes nothing. It says what stands
//! there, not what of it counts: that is for recovery to decide.
//!
//! ```
//! use pagemark::dump::{Body, dump};
//! use pagemark::{Key, NextOffset, OffsetStore};
//!
//! # let dir = tempfile::tempdir()?;
//! let store = OffsetStore::open(dir.path())?;
//! store.commit(Key::new("billing", "orders", 0), NextOffset(42))?;
//! let mut batches = 0;
//! dump(&dir.path().join("00000000000000000001.log"), |record| {
//!     batches += u32::from(matches!(record.body, Body::Batch(_)));
//! })?;
//! assert_eq!(batches, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;

use crate::engine;
use crate::error::Result;
use crate::state::StateChange;

/// What a file is, and how far it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// `segment` or `snapshot`.
    pub kind: &'static str,
    /// The store that the file belongs to.
    pub store_id: u128,
    /// The random number that is part of every checksum in the file.
    pub salt: u64,
    /// The session that created the file.
    pub epoch: u32,
    /// The size of the file in bytes.
    pub size: u64,
    /// What the file states to be durable; the newest statement first.
    pub marks: Vec<Mark>,
    /// The number of records.
    pub records: u64,
    /// Where the readable part ends.
    pub end: u64,
    /// How it ends.
    pub ending: Ending,
}

/// A statement about durability.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mark {
    /// `open`, `sealed` or `closed`.
    pub state: &'static str,
    /// The session that made it.
    pub epoch: u32,
    /// All records below this position are durable.
    pub position: u64,
    /// The last durable seq.
    pub durable_seq: u64,
}

/// How the readable part of a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a seal: the file takes no more records.
    Sealed,
    /// With nothing but zeros behind it.
    Blank,
    /// With bytes that are no record: a torn tail or damage.
    Broken,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<'a> {
    /// Where it stands in the file.
    pub position: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Its seq, or, for a record that takes none, the next one.
    pub seq: u64,
    /// The seq that was durable when it was written, if it says so.
    pub durable_seq: Option<u64>,
    /// What it says.
    pub body: Body<'a>,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body<'a> {
    /// The first record of a segment.
    Start {
        /// The seq of its first data record.
        first_seq: u64,
        /// What short timestamps count from.
        base_timestamp_ms: i64,
    },
    /// A later session goes on here.
    Open {
        /// The session.
        epoch: u32,
        /// The seq that it begins with.
        next_seq: u64,
    },
    /// A group and topic get a small id in this segment.
    Name {
        /// The id.
        id: u32,
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// Changes that take effect all or none.
    Batch(Vec<Change<'a>>),
    /// The last record of a segment or snapshot.
    Seal {
        /// The seq that the next segment begins with, at the earliest.
        next_seq: u64,
    },
    /// The first record of a snapshot.
    Base {
        /// The last data record that the snapshot covers.
        last_seq: u64,
        /// The seq that the log goes on with behind it, at the earliest.
        next_seq: u64,
        /// What short timestamps count from.
        base_timestamp_ms: i64,
    },
    /// Values of one topic in a snapshot, each with the seq that it was committed with.
    Values(Vec<(u64, Change<'a>)>),
    /// A state in a snapshot, as a [put](StateChange::Put) with the seq of its newest change.
    State(u64, Change<'a>),
    /// A kind that this version does not know.
    Unknown {
        /// The kind.
        kind: u8,
    },
    /// A right checksum over a body that makes no sense.
    Malformed {
        /// The kind.
        kind: u8,
    },
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<'a> {
    /// The value of a key was set.
    Commit {
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: i32,
        /// The next offset.
        offset: i64,
        /// The leader epoch.
        leader_epoch: Option<i32>,
        /// The commit timestamp.
        timestamp_ms: i64,
        /// When the value may go, if the commit said so.
        expire_at_ms: Option<i64>,
        /// The metadata.
        metadata: &'a str,
    },
    /// The value of a key was deleted.
    Delete {
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: i32,
    },
    /// The values of all partitions of a topic were deleted.
    DeleteTopic {
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// A state of a group was changed.
    State {
        /// The group.
        group: &'a str,
        /// The [number](crate::StateOwner::number) of its owner, which may be one that only a later
        /// version knows.
        owner: u8,
        /// Its name.
        name: &'a str,
        /// Its part.
        part: i32,
        /// What happened to it.
        change: StateChange<'a>,
    },
}

/// Reads the segment or snapshot at `path` and calls `visit` with each record, in order.
///
/// # Errors
///
/// `NotAStore`, `Corrupt` or `UnsupportedVersion` if the file's header is not one that this
/// version reads; `Io`. A broken record is no error: it is where the dump ends.
pub fn dump(path: &Path, visit: impl FnMut(&Record<'_>)) -> Result<Summary> {
    engine::dump(path, visit)
}
