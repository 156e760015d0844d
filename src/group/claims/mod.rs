//! Who may commit for a partition, whatever the group protocol says.
//!
//! Kafka fences by member and generation, for all partitions at once. A **claim** fences one partition:
//! whoever claims it gets an epoch that is higher than all before, and commits of every earlier epoch
//! are refused from then on. The [`CommitMode`] of a group says what a commit that is not refused may
//! do to the offset.
//!
//! Claims are made and checked by the [`Coordinator`](super::Coordinator); this module has what they
//! are.

mod bytes;
mod table;

use std::fmt;

pub(crate) use bytes::{decode_claim, decode_mode, encode_claim, encode_mode};
pub(crate) use table::{Claim, Claims};

use crate::key::{CommittedOffset, NextOffset, TopicPartition};

/// The number of a claim. Of two claims of a partition the higher one is the newer, also if the group
/// was deleted in between and made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimEpoch(pub u64);

impl fmt::Display for ClaimEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What commits of a group may do to an offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CommitMode {
    /// The latest commit counts, also when its offset is lower: Kafka's rule.
    #[default]
    Free,
    /// An offset never goes back, unless it is [rewound](super::Coordinator::rewind).
    Monotonic,
    /// A commit names the offset that it takes the place of, and is refused if there is another.
    CompareAndSet,
}

/// What a commit expects to find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Replaces {
    /// Whatever there is. Groups in [`CommitMode::CompareAndSet`] refuse it.
    #[default]
    Anything,
    /// No committed offset.
    Nothing,
    /// This committed offset.
    Offset(NextOffset),
}

/// A partition that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The partition.
    pub partition: TopicPartition,
    /// What commits have to carry from now on.
    pub epoch: ClaimEpoch,
    /// Who had it before.
    pub previous_owner: Option<String>,
    /// Where to go on. No older owner changes it any more.
    pub committed: Option<CommittedOffset>,
}

/// Who has a partition instead, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The owner now, or `None` if the claim was released, rewound or deleted.
    pub owner: Option<String>,
    /// The epoch of the newest claim, or `None` if there is none.
    pub epoch: Option<ClaimEpoch>,
    /// The committed offset now.
    pub committed: Option<NextOffset>,
}

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.owner, self.epoch) {
            (Some(owner), Some(epoch)) => {
                write!(f, "{owner:?} owns the partition in epoch {epoch}")?
            }
            (None, Some(epoch)) => write!(f, "nobody owns the partition since epoch {epoch}")?,
            (_, None) => f.write_str("nobody has claimed the partition")?,
        }
        match self.committed {
            Some(offset) => write!(f, ", and offset {offset} is committed"),
            None => f.write_str(", and nothing is committed"),
        }
    }
}
