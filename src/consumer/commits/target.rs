//! Where commits go, and what comes back from there.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::group::{Advice, GroupError};
use crate::key::{Commit, TopicPartition};
use crate::state::StateChange;

/// Where the commits of one group go: an [`OffsetStore`](crate::OffsetStore) with the name of a group
/// ([`StoreTarget`](super::StoreTarget)), or a coordinator that also asks who may commit.
///
/// A [`Committer`](super::Committer) has one commit under way at a time, so a target never sees two
/// that could overtake each other, until the committer is dropped: what is left then comes at once.
pub trait CommitTarget {
    /// Tells of a commit that was taken whether it became durable. It is dropped when nobody waits for
    /// it any more, which takes nothing back.
    type Durable: Future<Output = Result<(), CommitError>> + Unpin;

    /// Takes the commits of some partitions, all or none, without waiting until they are durable. No
    /// partition comes twice.
    fn commit(&self, commits: &[PartitionCommit<'_>]) -> Result<Self::Durable, CommitError>;
}

/// What is committed for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionCommit<'a> {
    /// Which partition.
    pub partition: &'a TopicPartition,
    /// The offset, the leader epoch and the metadata.
    pub commit: Commit<'a>,
    /// What to do with the bytes that are kept beside the offset, such as those of an
    /// [`AckTracker`](crate::consumer::AckTracker). It becomes durable with the offset or not at all.
    pub state: Option<StateChange<'a>>,
}

/// Why a commit failed, or rather what to do about it.
///
/// Whatever it says, the commit had no effect that a later commit of the same partitions could not
/// replace, or that of a later owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CommitError {
    /// It may succeed later as it is: no room, no connection, no coordinator yet.
    RetryLater(Cause),
    /// It will not succeed as it is, and others may: metadata that is too long.
    Refused(Cause),
    /// Others own these partitions now. They must not be committed before they are assigned again.
    Rejoin {
        /// Which partitions. What else was in the commit may be committed again.
        lost: Vec<TopicPartition>,
        /// What the target said.
        cause: Cause,
    },
    /// No commit will succeed any more: the store is poisoned or closed, the member is fenced off.
    Stop(Cause),
}

/// What a target said. It is shared by all who asked for the commit.
pub type Cause = Arc<dyn StdError + Send + Sync>;

impl CommitError {
    /// The same with the partitions, too, that were lost before, if it tells of lost ones.
    pub(super) fn with_lost_of(mut self, before: Option<CommitError>) -> CommitError {
        if let (CommitError::Rejoin { lost, .. }, Some(CommitError::Rejoin { lost: before, .. })) =
            (&mut self, before)
        {
            lost.extend(before);
        }
        self
    }

    /// What it means that a group refused these commits: as the [advice](GroupError::advice) says, and
    /// all of the partitions are lost to a member that has to join again. So they are to one whose
    /// group was deleted.
    pub fn by_group(error: GroupError, commits: &[PartitionCommit<'_>]) -> CommitError {
        let cause = Arc::new(error);
        match error.advice() {
            Advice::Retry => CommitError::RetryLater(cause),
            Advice::Stop if error != GroupError::GroupIdNotFound => CommitError::Stop(cause),
            Advice::Rejoin | Advice::Stop => {
                let lost = commits.iter().map(|of| of.partition.clone()).collect();
                CommitError::Rejoin { lost, cause }
            }
        }
    }

    /// What an error of the store means. A full disk and a quota are
    /// [`RetryLater`](CommitError::RetryLater); names, metadata and states that it does not take are
    /// [`Refused`](CommitError::Refused); everything else is [`Stop`](CommitError::Stop).
    pub(in crate::consumer) fn by_store(error: Error) -> CommitError {
        let kind = error.kind();
        let cause = Arc::new(error);
        match kind {
            ErrorKind::Full | ErrorKind::QuotaExceeded => CommitError::RetryLater(cause),
            ErrorKind::InvalidArgument
            | ErrorKind::KeyTooLong
            | ErrorKind::MetadataTooLarge
            | ErrorKind::StateTooLarge => CommitError::Refused(cause),
            _ => CommitError::Stop(cause),
        }
    }

    /// What the target said.
    pub fn cause(&self) -> &Cause {
        match self {
            CommitError::RetryLater(cause)
            | CommitError::Refused(cause)
            | CommitError::Rejoin { cause, .. }
            | CommitError::Stop(cause) => cause,
        }
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            CommitError::RetryLater(_) => "the commit may succeed later",
            CommitError::Refused(_) => "the commit was refused",
            CommitError::Rejoin { .. } => "partitions of the commit belong to others now",
            CommitError::Stop(_) => "no commit will succeed any more",
        };
        write!(f, "{what}: {}", self.cause())
    }
}

impl StdError for CommitError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&**self.cause())
    }
}
