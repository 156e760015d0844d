//! The vocabulary of the store: keys, offsets, commits and what comes back for them.
//!
//! Nothing here knows of bytes, files or locks. Limits are checked where a value is used, so that
//! building one is always cheap and never fails.

use std::fmt;

use crate::error::{Error, Result};

/// The longest group or topic name, in bytes of UTF-8: what a Kafka `string` field can carry.
pub const MAX_NAME_BYTES: usize = 32_767;

/// What an offset is stored under: a consumer group, a topic, and a partition of it.
///
/// A key borrows its names and is `Copy`. It is checked when it is used: both names must have 1 to
/// [`MAX_NAME_BYTES`] bytes and the partition must not be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<'a> {
    group: &'a str,
    topic: &'a str,
    partition: i32,
}

impl<'a> Key<'a> {
    /// Names a key. Nothing is checked yet.
    pub const fn new(group: &'a str, topic: &'a str, partition: i32) -> Key<'a> {
        Key { group, topic, partition }
    }

    /// The consumer group.
    pub const fn group(&self) -> &'a str {
        self.group
    }

    /// The topic.
    pub const fn topic(&self) -> &'a str {
        self.topic
    }

    /// The partition of the topic.
    pub const fn partition(&self) -> i32 {
        self.partition
    }

    /// Checks the limits that every stored key keeps.
    pub(crate) fn check(&self) -> Result<()> {
        check_name("group", self.group)?;
        check_name("topic", self.topic)?;
        check_partition(self.partition)
    }
}

/// Checks one name against the limits of Kafka's `string`.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("the {what} name is empty")));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::key_too_long(what, name.len()));
    }
    Ok(())
}

/// Checks that a partition is one that Kafka could have.
pub(crate) fn check_partition(partition: i32) -> Result<()> {
    if partition < 0 {
        return Err(Error::invalid(format!("partition {partition} is negative")));
    }
    Ok(())
}

/// A topic and one of its partitions, as [`OffsetStore::fetch_group`](crate::OffsetStore::fetch_group)
/// returns them. Orders by topic, then partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    topic: String,
    partition: i32,
}

impl TopicPartition {
    /// Joins a topic and a partition.
    pub fn new(topic: impl Into<String>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition of the topic.
    pub fn partition(&self) -> i32 {
        self.partition
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The offset of the **next** record to read: what Kafka commits, and what this store keeps.
///
/// A consumer that has processed the records 0 to 3 commits `NextOffset(4)`. Those who count the
/// last processed record instead use [`LastProcessed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextOffset(pub i64);

/// The offset of the last record that was processed, one less than the [`NextOffset`] it stands for.
///
/// `LastProcessed(-1)` says that nothing was processed yet and converts to `NextOffset(0)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LastProcessed(pub i64);

impl From<LastProcessed> for NextOffset {
    /// The one place where the one is added. There is no record after `i64::MAX`: that conversion
    /// gives a negative offset, which every commit refuses.
    fn from(last: LastProcessed) -> NextOffset {
        NextOffset(last.0.wrapping_add(1))
    }
}

impl fmt::Display for NextOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The value that a commit gives to a key: the next offset, and what Kafka keeps beside it.
///
/// Without [`timestamp_ms`](Commit::timestamp_ms) the store's clock gives the commit timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit<'a> {
    /// The next offset.
    pub offset: NextOffset,
    /// The leader epoch of the last record that was read, if it is known.
    pub leader_epoch: Option<i32>,
    /// The free text that is kept with the offset.
    pub metadata: &'a str,
    /// When it is committed, in milliseconds since the Unix epoch, unless that is when it is stored.
    pub timestamp_ms: Option<i64>,
    /// When the value may go, in milliseconds since the Unix epoch, if it may.
    pub expire_at_ms: Option<i64>,
}

impl<'a> Commit<'a> {
    /// A commit of `offset` with no leader epoch, no metadata, no expiry, and the time at which it is
    /// stored.
    pub const fn new(offset: NextOffset) -> Commit<'a> {
        Commit { offset, leader_epoch: None, metadata: "", timestamp_ms: None, expire_at_ms: None }
    }

    /// Sets the leader epoch of the last record that was read. It must not be negative.
    pub const fn leader_epoch(mut self, leader_epoch: i32) -> Commit<'a> {
        self.leader_epoch = Some(leader_epoch);
        self
    }

    /// Sets the free text that is kept with the offset, at most
    /// [`Options::max_metadata_bytes`](crate::Options::max_metadata_bytes) bytes of it.
    pub const fn metadata(mut self, metadata: &'a str) -> Commit<'a> {
        self.metadata = metadata;
        self
    }

    /// Sets the commit timestamp, in milliseconds since the Unix epoch.
    pub const fn timestamp_ms(mut self, timestamp_ms: i64) -> Commit<'a> {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Sets the time at which the value may go, in milliseconds since the Unix epoch; any number, also
    /// one in the past. It belongs to this commit: the next commit of the key brings its own or none.
    ///
    /// Nothing goes by itself: [`OffsetStore::expire`](crate::OffsetStore::expire) deletes what is
    /// due. This is Kafka's `expireTimestamp`, which version 1 of its `OffsetCommitValue` stores for
    /// clients that bring a retention time of their own (`RetentionTimeMs` of `OffsetCommit` 2 to 4,
    /// taken out of the protocol by KIP-211).
    pub const fn expire_at_ms(mut self, expire_at_ms: i64) -> Commit<'a> {
        self.expire_at_ms = Some(expire_at_ms);
        self
    }

    /// Checks the limits that every stored value keeps.
    pub(crate) fn check(&self, max_metadata_bytes: usize) -> Result<()> {
        if self.offset.0 < 0 {
            return Err(Error::invalid(format!("offset {} is negative", self.offset.0)));
        }
        if let Some(epoch) = self.leader_epoch
            && epoch < 0
        {
            return Err(Error::invalid(format!("leader epoch {epoch} is negative")));
        }
        if self.metadata.len() > max_metadata_bytes {
            return Err(Error::metadata_too_large(self.metadata.len(), max_metadata_bytes));
        }
        Ok(())
    }
}

impl From<NextOffset> for Commit<'_> {
    fn from(offset: NextOffset) -> Self {
        Commit::new(offset)
    }
}

impl From<LastProcessed> for Commit<'_> {
    fn from(last: LastProcessed) -> Self {
        Commit::new(last.into())
    }
}

/// Position of a record in the history of the store.
///
/// Strictly rising and never used twice, also across crashes: of two values of a key the one with
/// the higher seq is the newer. It is not gapless: after an unclean stop the store skips ahead, past
/// every seq that it may have handed out and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub(crate) u64);

impl Seq {
    /// The seq as a number. Zero stands for "before the first record".
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a commit or a delete returns: where in the history it stands.
///
/// Hand the seq to [`OffsetStore::wait_durable`](crate::OffsetStore::wait_durable) to wait until a
/// buffered commit survives power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) seq: Seq,
}

impl Receipt {
    /// The seq of the record.
    pub const fn seq(&self) -> Seq {
        self.seq
    }
}

/// The newest committed value of a key, as `fetch` returns it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommittedOffset {
    pub(crate) offset: NextOffset,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) metadata: String,
    pub(crate) commit_timestamp_ms: i64,
    pub(crate) expire_at_ms: Option<i64>,
    pub(crate) seq: Seq,
    pub(crate) durable: bool,
}

impl CommittedOffset {
    /// The next record to read.
    pub fn offset(&self) -> NextOffset {
        self.offset
    }

    /// The leader epoch that was committed with the offset, if any.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }

    /// The text that was committed with the offset; empty if there was none.
    pub fn metadata(&self) -> &str {
        &self.metadata
    }

    /// When it was committed, in milliseconds since the Unix epoch.
    pub fn commit_timestamp_ms(&self) -> i64 {
        self.commit_timestamp_ms
    }

    /// When it may go, in milliseconds since the Unix epoch, if its commit said so. A value that is
    /// due is shown until [`OffsetStore::expire`](crate::OffsetStore::expire) deletes it.
    pub fn expire_at_ms(&self) -> Option<i64> {
        self.expire_at_ms
    }

    /// What it was set to.
    pub(crate) fn content(&self) -> Content<'_> {
        Content {
            offset: self.offset.0,
            leader_epoch: self.leader_epoch,
            timestamp_ms: self.commit_timestamp_ms,
            expire_at_ms: self.expire_at_ms,
            metadata: &self.metadata,
        }
    }

    /// Where in the history of the store this value stands.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Whether this value survived power loss already when it was fetched.
    pub fn is_durable(&self) -> bool {
        self.durable
    }
}

/// What a commit sets a key to: all of a value but its seq, which the log gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content<'a> {
    /// The next offset, not negative.
    pub(crate) offset: i64,
    /// The leader epoch, if there is one: not negative.
    pub(crate) leader_epoch: Option<i32>,
    /// The commit timestamp, any number.
    pub(crate) timestamp_ms: i64,
    /// When the value may go, any number.
    pub(crate) expire_at_ms: Option<i64>,
    /// The metadata, at most 65,535 bytes.
    pub(crate) metadata: &'a str,
}

/// What a commit promises when it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Survives the death of the process at any instruction. Power loss costs at most what was
    /// committed within the [flush interval](crate::Options::flush_interval), newest first.
    Buffered,
    /// Survives power loss and kernel panic: the call returns after the flush that covers it.
    #[default]
    Synced,
}
