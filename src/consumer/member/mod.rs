//! A consumer that is one member of a group.

mod client;
mod coordinator;
mod error;
mod life;
mod listener;
mod log;
mod memory;
mod options;
mod partition;
mod read;
mod rebalance;
mod target;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::client::{
    ClientError, GroupClient, Heartbeat, HeartbeatAnswer, MemberEpoch, StoredOffset,
};
pub use self::coordinator::CoordinatorClient;
pub use self::error::ConsumerError;
pub use self::listener::ConsumerListener;
pub use self::log::{Read, RecordLog, RecordSource};
pub use self::memory::MemoryLog;
pub use self::options::ConsumerOptions;
pub use self::partition::ConsumerPartition;
pub use self::read::ConsumerRecord;
pub use self::target::MemberTarget;

use self::life::Member;
use self::read::Reading;
use super::commits::{CommitError, CommitReceipt, Committer, NotStored};
use crate::error::{Error, Result};
use crate::key::TopicPartition;

/// One member of a group: it gets its share of the partitions, reads their records, and commits what
/// is done with them.
///
/// It puts together what this module has: a [`Position`](super::Position) for each partition, an
/// [`AckTracker`](super::AckTracker) if records are processed [out of
/// order](ConsumerOptions::out_of_order), a [`Committer`], and the member's side of the group protocol.
/// The records come from a [`RecordSource`], the group from a [`GroupClient`].
///
/// ```
/// use std::time::Duration;
///
/// use pagemark::consumer::{Consumer, ConsumerOptions, CoordinatorClient, MemoryLog, StartPolicy};
/// use pagemark::group::Coordinator;
/// use pagemark::group::coordinator::CoordinatorConfig;
/// use pagemark::{Key, NextOffset, OffsetStore, TopicPartition};
///
/// # let dir = tempfile::tempdir()?;
/// let store = OffsetStore::open(dir.path())?;
/// let coordinator = Coordinator::open(store.clone(), CoordinatorConfig::new(), 0)?;
/// coordinator.set_topics([("orders".to_string(), 2)].into());
/// let orders = [MemoryLog::new(), MemoryLog::new()];
/// orders[0].append(0, "created");
/// orders[1].append(0, "paid");
///
/// let logs = |partition: &TopicPartition| Ok(orders[partition.partition() as usize].clone());
/// let group = CoordinatorClient::new(coordinator, "billing");
/// let options = ConsumerOptions::new("4f1c").start(StartPolicy::Earliest);
/// let mut consumer = Consumer::new(group, logs, options, 0);
/// consumer.subscribe(["orders"]);
///
/// let mut seen = Vec::new();
/// while let Some(record) = consumer.poll(1_000)? {
///     seen.push(record.record);
///     consumer.processed(&record.partition, record.offset)?;
/// }
/// assert_eq!(seen, ["created", "paid"]);
/// consumer.close(2_000, Duration::from_secs(10))?;
/// assert_eq!(store.fetch(Key::new("billing", "orders", 1)).unwrap().offset(), NextOffset(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The loop
///
/// [`poll`](Consumer::poll) does everything: it sends heartbeats, takes partitions on and gives them
/// away, commits what is due, and returns the next record if there is one. Nothing happens between two
/// calls, as there is no thread, so call it at least as often as the group wants heartbeats, also when
/// there is nothing to read. A member that is silent for its session timeout is removed.
///
/// Time is given with each call, in milliseconds since the Unix epoch. It may jump: the consumer then
/// speaks earlier, not later. Only waits for commits have timeouts by the clock of the system.
///
/// # What is delivered
///
/// Each record at least once: a record that was not committed as processed is delivered again, to
/// whoever gets its partition. The [`ConsumerListener`] hears when partitions come and go. There are
/// two ways to lose one:
///
/// - It is **revoked**: the group wants it for somebody else, and waits. What is processed is committed
///   first, then it is handed over.
/// - It is **lost**: the group has removed the member. Nothing of it is committed any more, as its
///   commits are fenced; the consumer joins again, as a new member.
///
/// # Next to Kafka's consumer
///
/// The protocol is that of KIP-848, and the names are Kafka's where there is one. What differs:
///
/// - `poll` returns one record, and what is committed is what was [processed](Consumer::processed), not
///   what was returned.
/// - Offsets are fetched when a partition is assigned, not with the first poll behind a seek.
/// - What is tried again by itself is told to the listener, and not logged.
///
/// Dropping a consumer is a crash, but for what its [`Committer`] gives to the group at that moment: it
/// does not leave, and its partitions wait for its session timeout. [`close`](Consumer::close) leaves.
pub struct Consumer<G: GroupClient, S: RecordSource, L = ()> {
    member: Member,
    target: MemberTarget<G>,
    committer: Committer<MemberTarget<G>>,
    source: S,
    listener: L,
    options: ConsumerOptions,
    /// The partitions that are read, in order.
    readings: Vec<Reading<S::Log>>,
    /// Where in them it reads on, and how many records it has read there in a row.
    turn: usize,
    streak: u32,
    /// Those that are assigned and could not be started yet, and when to try that again.
    waiting: BTreeSet<TopicPartition>,
    starts_at_ms: i64,
}

impl<G: GroupClient, S: RecordSource> Consumer<G, S> {
    /// A consumer that is no member of the group yet. The first commit interval begins at `now_ms`.
    pub fn new(client: G, source: S, options: ConsumerOptions, now_ms: i64) -> Consumer<G, S> {
        Consumer::with_listener(client, source, options, (), now_ms)
    }
}

impl<G: GroupClient, S: RecordSource, L: ConsumerListener> Consumer<G, S, L> {
    /// The same with a listener.
    pub fn with_listener(
        client: G,
        source: S,
        options: ConsumerOptions,
        listener: L,
        now_ms: i64,
    ) -> Consumer<G, S, L> {
        let member = Member::new(options.member_id.clone(), options.rebalance_timeout, now_ms);
        let target = MemberTarget::new(client, member.me.clone(), now_ms);
        Consumer {
            member,
            committer: Committer::new(target.clone(), options.commit.clone(), now_ms),
            target,
            source,
            listener,
            options,
            readings: Vec::new(),
            turn: 0,
            streak: 0,
            waiting: BTreeSet::new(),
            starts_at_ms: now_ms,
        }
    }

    /// Says which topics it wants a share of. It joins the group with the next
    /// [`poll`](Consumer::poll), or tells it, and hands over what it does not want any more.
    pub fn subscribe<T: Into<String>>(&mut self, topics: impl IntoIterator<Item = T>) {
        self.member.subscribe(topics.into_iter().map(Into::into).collect());
    }

    /// The next record, or `None` if there is none at the moment. It does not wait for one.
    ///
    /// The group is asked and told what is due first, and the policy's commits are made, so this has
    /// to be called also when records are not wanted: [pause](ConsumerPartition::pause) the partitions
    /// then. While the gaps between processed records are as [wide](super::AckLimits) as they may
    /// be, nothing more is read of a partition.
    ///
    /// # Errors
    ///
    /// What only the program or its operator can do something about. Call it again to go on: with
    /// other partitions if one could not be read.
    pub fn poll(&mut self, now_ms: i64) -> PollResult<S> {
        self.target.set_now(now_ms);
        self.beat(now_ms)?;
        self.commit_what_is_due(now_ms)?;
        self.start_waiting(now_ms)?;
        self.read_next(now_ms)
    }

    /// Notes that a record is processed: [`ConsumerPartition::processed`].
    ///
    /// # Errors
    ///
    /// As there; [`NotAssigned`](crate::ErrorKind::NotAssigned) if the partition was given away or
    /// lost meanwhile. Then the record is delivered again, to its new owner.
    pub fn processed(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        self.partition(partition)?.processed(offset)
    }

    /// The partitions that are assigned and were started, in order.
    pub fn assigned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.readings.iter().map(|reading| &*reading.partition)
    }

    /// An assigned partition: to look at, seek, pause, and say what of it is processed.
    ///
    /// # Errors
    ///
    /// [`NotAssigned`](crate::ErrorKind::NotAssigned) if it is not, or not any more.
    pub fn partition(&mut self, partition: &TopicPartition) -> Result<ConsumerPartition<'_>> {
        match self.find(partition) {
            Ok(at) => self.readings[at].handle(&mut self.committer),
            Err(_) => Err(Error::not_assigned(partition)),
        }
    }

    /// Who it is in the group. The epoch is 0 while it is no member.
    pub fn member(&self) -> &MemberEpoch {
        &self.member.me
    }

    /// Commits all that is processed, and returns when it and every commit before it is durable. What
    /// may succeed later is tried again until the time is over.
    ///
    /// # Errors
    ///
    /// As [`Committer::commit_sync`]. What [`CommitError::Rejoin`] says to be lost was told to the
    /// listener, too.
    pub fn commit_sync(&mut self, timeout: Duration) -> std::result::Result<(), CommitError> {
        self.acknowledge();
        let result = self.committer.commit_sync(timeout);
        // The result and the listener tell of it.
        let _ = self.sweep_lost();
        result
    }

    /// Asks for a commit of all that is processed, in one attempt, and returns at once.
    pub fn commit_async(&mut self) -> CommitReceipt<MemberTarget<G>> {
        self.acknowledge();
        self.committer.commit_async()
    }

    /// Gives all partitions away, after a last commit if the policy says so, and leaves the group.
    ///
    /// # Errors
    ///
    /// By partition, what was processed and is not known to be stored. It has left all the same.
    pub fn close(mut self, now_ms: i64, timeout: Duration) -> std::result::Result<(), NotStored> {
        self.target.set_now(now_ms);
        self.learn_epoch(now_ms);
        for reading in &mut self.readings {
            match reading.handle(&mut self.committer) {
                Ok(mut partition) => self.listener.revoked(&mut partition),
                Err(_) => self.listener.lost(&reading.partition),
            }
        }
        self.acknowledge();
        let closed = self.committer.close(timeout);
        if self.member.is_member() {
            let member = self.member.farewell();
            let heartbeat = Heartbeat {
                member: &member,
                topics: None,
                rebalance_timeout_ms: None,
                owned: None,
            };
            if let Err(error) = self.target.client().heartbeat(now_ms, &heartbeat) {
                self.listener.failed(&ConsumerError::Unavailable(Arc::new(error)));
            }
        }
        closed
    }

    fn commit_what_is_due(&mut self, now_ms: i64) -> std::result::Result<(), ConsumerError> {
        if self.committer.is_due(now_ms) {
            self.acknowledge();
        }
        match self.committer.tick(now_ms) {
            Ok(()) => Ok(()),
            Err(error @ CommitError::Stop(_)) => Err(ConsumerError::Commit(error)),
            Err(error) => {
                self.listener.failed(&ConsumerError::Commit(error));
                // The listener was told.
                let _ = self.sweep_lost();
                Ok(())
            }
        }
    }

    /// Lets the next commit take along what is complete out of order.
    fn acknowledge(&mut self) {
        for reading in &mut self.readings {
            reading.acknowledge(&mut self.committer, &mut self.listener);
        }
    }

    /// Where a partition is among those that are read, or would be.
    fn find(&self, partition: &TopicPartition) -> std::result::Result<usize, usize> {
        self.readings.binary_search_by(|reading| (*reading.partition).cmp(partition))
    }
}

/// What a poll returns: a record with what the log of the source has.
pub type PollResult<S> = std::result::Result<
    Option<ConsumerRecord<<<S as RecordSource>::Log as RecordLog>::Record>>,
    ConsumerError,
>;

impl<G: GroupClient, S: RecordSource, L> fmt::Debug for Consumer<G, S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("member", &self.member)
            .field("committer", &self.committer)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}
