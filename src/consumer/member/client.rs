//! The coordinator of a group, as its members call it.

use std::fmt;

use crate::consumer::commits::{Cause, CommitError, PartitionCommit};
use crate::group::GroupError;
use crate::group::modern::Partitions;
use crate::key::{NextOffset, TopicPartition};

/// The coordinator of one group, wherever it is: in this process
/// ([`CoordinatorClient`](super::CoordinatorClient)), or behind a connection.
///
/// It knows nothing of its own. Which member calls, in which epoch, and what it owns is the
/// [`Consumer`](super::Consumer)'s business and is in each call. So an implementation that talks to
/// another process sends what it is given and returns what comes back:
///
/// - A heartbeat becomes a [`HeartbeatRequest`](crate::group::modern::HeartbeatRequest) there, and its
///   response a [`HeartbeatAnswer`] here.
/// - A commit becomes a call of [`Coordinator::commit`](crate::group::Coordinator::commit), with the
///   epoch of the member as the generation. [`CommitError::by_group`] says what a refusal means.
///
/// What one member sends must arrive in the order in which it was sent, and nothing of a broken
/// connection after something of the next one: an older commit in the same epoch would take the place of
/// a newer one. What comes late from an earlier epoch is refused.
///
/// `now_ms` is the time that the consumer was given last. A coordinator elsewhere has its own.
pub trait GroupClient {
    /// Whether a commit that was taken became durable.
    type Durable: Future<Output = Result<(), CommitError>> + Unpin;

    /// Sends a heartbeat, and waits for the answer.
    fn heartbeat(
        &self,
        now_ms: i64,
        heartbeat: &Heartbeat<'_>,
    ) -> Result<HeartbeatAnswer, ClientError>;

    /// What is stored for partitions that the member was just assigned, in their order.
    fn fetch(
        &self,
        now_ms: i64,
        member: &MemberEpoch,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<StoredOffset>>, ClientError>;

    /// Takes the commits of some partitions, with the states beside them, if the member is in this
    /// epoch: as [`CommitTarget::commit`](crate::consumer::CommitTarget::commit).
    fn commit(
        &self,
        now_ms: i64,
        member: &MemberEpoch,
        commits: &[PartitionCommit<'_>],
    ) -> Result<Self::Durable, CommitError>;
}

/// A member in one of its epochs, which is what fences it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemberEpoch {
    /// The member id.
    pub id: String,
    /// The member epoch.
    pub epoch: i32,
}

/// All that a member says. What is not there is as it was.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Heartbeat<'a> {
    /// Who sends it. The epoch may be [`JOIN_EPOCH`](crate::group::modern::JOIN_EPOCH) or
    /// [`LEAVE_EPOCH`](crate::group::modern::LEAVE_EPOCH).
    pub member: &'a MemberEpoch,
    /// What it subscribes to.
    pub topics: Option<&'a [String]>,
    /// How long it takes at most to give partitions up.
    pub rebalance_timeout_ms: Option<u32>,
    /// What it owns.
    pub owned: Option<&'a Partitions>,
}

/// What a member hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// The epoch that the member is in now.
    pub member_epoch: i32,
    /// When to send the next heartbeat.
    pub heartbeat_interval_ms: u32,
    /// What the member may own from now on, if that may be news.
    pub assignment: Option<Partitions>,
}

/// What a group has stored for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOffset {
    /// The committed offset.
    pub offset: NextOffset,
    /// The leader epoch that was committed with it.
    pub leader_epoch: Option<i32>,
    /// The state beside it: what was completed out of order.
    pub state: Option<Vec<u8>>,
}

/// Why a coordinator did not do what a member asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The group refused it, and nothing has changed.
    Refused(GroupError),
    /// There was no answer. Whether it was done is not known.
    NoAnswer(Cause),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Refused(error) => error.fmt(f),
            ClientError::NoAnswer(cause) => write!(f, "the coordinator did not answer: {cause}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::Refused(error) => Some(error),
            ClientError::NoAnswer(cause) => Some(&**cause),
        }
    }
}

impl From<GroupError> for ClientError {
    fn from(error: GroupError) -> ClientError {
        ClientError::Refused(error)
    }
}
