#![doc = include_str!("../README.md")]

mod batch;
mod care;
pub mod consumer;
pub mod dump;
mod engine;
mod error;
mod format;
pub mod group;
mod histogram;
mod index;
mod io;
mod key;
mod observe;
mod options;
mod reader;
mod report;
mod segment;
mod state;
mod store;
mod sync;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use batch::CommitBatch;
pub use care::{
    BackupReport, Finding, FindingKind, Gap, Progress, SalvageReport, SalvagedKey, SalvagedState,
    Severity, Verdict, VerifyReport, salvage, salvage_with, verify, verify_with,
};
pub use error::{Error, ErrorKind, Result};
pub use histogram::Histogram;
pub use key::{
    Commit, CommittedOffset, Durability, Key, LastProcessed, MAX_NAME_BYTES, NextOffset, Receipt,
    Seq, TopicPartition,
};
pub use options::{
    Environment, MAX_METADATA_BYTES, MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, Options,
    SystemEnvironment, WritePath,
};
pub use reader::OffsetReader;
pub use report::{
    CompactionReport, CompactionStats, Cut, ExpiryReport, RecoveryReport, Refreshed, Stats,
};
pub use state::{MAX_STATE_BYTES, StateChange, StateOwner};
pub use store::{Durable, OffsetStore, Slot};

/// The examples of the documents, so that they are compiled and run.
#[cfg(doctest)]
mod docs {
    #[doc = include_str!("../docs/architecture.md")]
    struct Architecture;
    #[doc = include_str!("../docs/benchmarks.md")]
    struct Benchmarks;
    #[doc = include_str!("../docs/guides/coordinator.md")]
    struct Coordinator;
    #[doc = include_str!("../docs/durability.md")]
    struct Durability;
    #[doc = include_str!("../docs/format.md")]
    struct Format;
    #[doc = include_str!("../docs/guides/commits.md")]
    struct GuideCommits;
    #[doc = include_str!("../docs/kafka.md")]
    struct Kafka;
    #[doc = include_str!("../docs/guides/delivery.md")]
    struct GuideDelivery;
    #[doc = include_str!("../docs/guides/resume.md")]
    struct GuideResume;
    #[doc = include_str!("../docs/observability.md")]
    struct Observability;
    #[doc = include_str!("../docs/operations.md")]
    struct Operations;
    #[doc = include_str!("../docs/testing.md")]
    struct Testing;
    #[doc = include_str!("../docs/testing-heavy.md")]
    struct TestingHeavy;
}
