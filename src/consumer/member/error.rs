//! Why a consumer could not go on.

use std::error::Error as StdError;
use std::fmt;

use crate::consumer::commits::{Cause, CommitError};
use crate::group::GroupError;
use crate::key::TopicPartition;

/// Why a consumer could not do something. Calling it again is never wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConsumerError {
    /// A partition could not be opened or read, or nothing says where to start it. Others are read.
    Partition {
        /// Which one.
        partition: TopicPartition,
        /// What the log said, or this crate, whose [`Error`](crate::Error) it is then.
        cause: Cause,
    },
    /// The group refused the member, and will until somebody changes something.
    Refused(GroupError),
    /// The coordinator cannot be reached, or cannot answer at the moment.
    Unavailable(Cause),
    /// A commit failed.
    Commit(CommitError),
}

impl ConsumerError {
    pub(super) fn partition(
        partition: &TopicPartition,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> ConsumerError {
        ConsumerError::Partition { partition: partition.clone(), cause: Cause::from(cause.into()) }
    }
}

impl fmt::Display for ConsumerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConsumerError::Partition { partition, cause } => {
                write!(f, "{partition} cannot be read: {cause}")
            }
            ConsumerError::Refused(error) => error.fmt(f),
            ConsumerError::Unavailable(cause) => {
                write!(f, "the coordinator is not available: {cause}")
            }
            ConsumerError::Commit(error) => error.fmt(f),
        }
    }
}

impl StdError for ConsumerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            ConsumerError::Partition { cause, .. } | ConsumerError::Unavailable(cause) => {
                Some(&**cause)
            }
            ConsumerError::Refused(error) => Some(error),
            ConsumerError::Commit(error) => Some(error),
        }
    }
}
