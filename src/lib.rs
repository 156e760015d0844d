#![doc = include_str!("../README.md")]

mod batch;
pub mod dump;
mod engine;
mod error;
mod format;
mod index;
mod io;
mod key;
mod options;
mod report;
mod segment;
mod store;

pub use batch::CommitBatch;
pub use error::{Error, ErrorKind, Result};
pub use key::{
    Commit, CommittedOffset, Durability, Key, LastProcessed, MAX_NAME_BYTES, NextOffset, Receipt,
    Seq, TopicPartition,
};
pub use options::{
    Environment, MAX_METADATA_BYTES, MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, Options,
    SystemEnvironment, WritePath,
};
pub use report::{Cut, RecoveryReport, Stats};
pub use store::{OffsetStore, Slot};

/// A simulated disk, and the seam between the engine and a disk, for tests of what a crash leaves
/// behind. Behind the feature `testkit`; its names may change in any version.
#[cfg(feature = "testkit")]
pub mod testkit {
    pub use crate::io::sim::{Op, SimDisk};
    pub use crate::io::{Access, Dir, DirLock, SegmentFile};
}
