//! Why a coordinator did not do what it was asked.

use std::fmt;

use crate::error::{Error, ErrorKind};
use crate::group::GroupError;
use crate::group::claims::Fenced;
use crate::key::NextOffset;

/// Why a request came to nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CoordinatorError {
    /// The group refused it. Nothing has changed.
    Group(GroupError),
    /// The store could not take it, or holds something that no group has stored.
    Store(Error),
}

impl CoordinatorError {
    /// What a client is told: the refusal of the group, or that the coordinator is not available.
    pub fn group_error(&self) -> GroupError {
        match self {
            CoordinatorError::Group(error) => *error,
            CoordinatorError::Store(error) => match error.kind() {
                ErrorKind::InvalidArgument | ErrorKind::KeyTooLong => GroupError::InvalidRequest,
                _ => GroupError::CoordinatorNotAvailable,
            },
        }
    }
}

impl From<GroupError> for CoordinatorError {
    fn from(error: GroupError) -> CoordinatorError {
        CoordinatorError::Group(error)
    }
}

impl From<Error> for CoordinatorError {
    fn from(error: Error) -> CoordinatorError {
        CoordinatorError::Store(error)
    }
}

impl fmt::Display for CoordinatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoordinatorError::Group(error) => error.fmt(f),
            CoordinatorError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CoordinatorError {}

/// Why one partition of a request was left out. Its siblings are not concerned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PartitionRefusal {
    /// There is no such partition: Kafka's `UNKNOWN_TOPIC_OR_PARTITION`.
    UnknownPartition,
    /// The name or the value is outside of its limits, as metadata that is too long.
    Invalid(Error),
    /// The group refused it for this partition.
    Group(GroupError),
    /// Somebody else has the partition.
    Fenced(Box<Fenced>),
    /// The mode of the group or the commit itself does not let it take the place of this offset.
    Conflict {
        /// What is committed.
        committed: Option<NextOffset>,
    },
}

impl fmt::Display for PartitionRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartitionRefusal::UnknownPartition => f.write_str("there is no such partition"),
            PartitionRefusal::Invalid(error) => error.fmt(f),
            PartitionRefusal::Group(error) => error.fmt(f),
            PartitionRefusal::Fenced(fenced) => fenced.fmt(f),
            PartitionRefusal::Conflict { committed: Some(offset) } => {
                write!(f, "the offset would not follow on the committed one, which is {offset}")
            }
            PartitionRefusal::Conflict { committed: None } => {
                f.write_str("the offset would not follow on the committed one, as there is none")
            }
        }
    }
}

impl std::error::Error for PartitionRefusal {}
