//! What consumers of Kafka tell each other through the classic protocol: subscriptions and assignments.
//!
//! To a group these are bytes that its members bring to their leader, and that the leader brings to
//! them. Kafka calls what is in them the consumer protocol, of which there are versions 0 to 3
//! (`ConsumerProtocolSubscription.json` and `ConsumerProtocolAssignment.json`). Together with the
//! [assignors](super::assign) this is what a leader needs:
//!
//! ```
//! use std::collections::BTreeMap;
//! use pagemark::TopicPartition;
//! use pagemark::group::assign::{Assignor, RangeAssignor};
//! use pagemark::group::consumer_protocol::{ConsumerAssignment, ConsumerSubscription};
//!
//! // From each member the leader gets its id and these bytes,
//! let alices = ConsumerSubscription::new(["orders"]).encode();
//! let members = [("alice", &alices), ("bob", &alices)];
//! let members: Result<Vec<_>, _> = members
//!     .iter()
//!     .map(|(id, bytes)| Ok(ConsumerSubscription::decode(bytes)?.of_member(*id)))
//!     .collect::<pagemark::Result<_>>();
//!
//! // and to each it gives these.
//! let topics = BTreeMap::from([("orders".to_string(), 2)]);
//! let assignment = RangeAssignor.assign(&members?, &topics)?;
//! let bobs = ConsumerAssignment::new(assignment.get("bob").unwrap()).encode();
//! let told = ConsumerAssignment::decode(&bobs)?;
//! assert_eq!(told.partitions, [TopicPartition::new("orders", 1)]);
//! # Ok::<(), pagemark::Error>(())
//! ```

mod bytes;
mod check;

pub(super) use check::check_assignments;

pub use check::AssignmentError;

use crate::group::assign;
use crate::key::TopicPartition;

/// What a member wants to read, and what it reads already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSubscription {
    /// The topics that it wants to read.
    pub topics: Vec<String>,
    /// What its assignor says in bytes of its own.
    pub user_data: Option<Vec<u8>>,
    /// What it owns; from version 1 on.
    pub owned: Vec<TopicPartition>,
    /// In which generation that was assigned to it, -1 if that is not known; from version 2 on.
    pub generation: i32,
    /// The rack that it is in; from version 3 on.
    pub rack: Option<String>,
}

impl ConsumerSubscription {
    /// A member that owns nothing yet.
    pub fn new<T: Into<String>>(topics: impl IntoIterator<Item = T>) -> ConsumerSubscription {
        ConsumerSubscription {
            topics: topics.into_iter().map(Into::into).collect(),
            user_data: None,
            owned: Vec::new(),
            generation: -1,
            rack: None,
        }
    }

    /// What an assignor is told of the member with this id.
    pub fn of_member(self, member_id: impl Into<String>) -> assign::Subscription {
        assign::Subscription::new(member_id, self.topics).owned(self.generation, self.owned)
    }
}

/// What a member gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerAssignment {
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
    /// What the assignor says in bytes of its own.
    pub user_data: Option<Vec<u8>>,
}

impl ConsumerAssignment {
    /// An assignment of these partitions.
    pub fn new(partitions: &[TopicPartition]) -> ConsumerAssignment {
        ConsumerAssignment { partitions: partitions.to_vec(), user_data: None }
    }
}
