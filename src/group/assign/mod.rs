//! Partition assignment: which member of a group reads which partitions.
//!
//! An [`Assignor`] is a pure function of the members' subscriptions and the numbers of partitions.
//! It has no clock, no random numbers and no memory: the same input in any order of the members gives
//! the same assignment. What a sticky assignor wants to know about the past, the members bring with
//! them, as they do in Kafka.
//!
//! | assignor | balance | moves when the group changes | source of its rules |
//! |---|---|---|---|
//! | [`RangeAssignor`] | within one partition for each topic | many | Kafka's class of that name |
//! | [`RoundRobinAssignor`] | within one if all subscriptions are equal | most | Kafka's class of that name |
//! | [`StickyAssignor`] | the best that there is | the fewest of all balanced assignments | KIP-54 |
//! | [`CooperativeStickyAssignor`] | the same, after two rounds | the same, each given up first | KIP-429 |
//!
//! ```
//! use std::collections::BTreeMap;
//! use pagemark::TopicPartition;
//! use pagemark::group::assign::{Assignor, CooperativeStickyAssignor, Subscription};
//!
//! let topics = BTreeMap::from([("orders".to_string(), 4)]);
//! let orders = |partitions: &[i32]| -> Vec<_> {
//!     partitions.iter().map(|&partition| TopicPartition::new("orders", partition)).collect()
//! };
//!
//! // Alice has read all partitions since generation 1, and Bob joins.
//! let alice = Subscription::new("alice", ["orders"]).owned(1, orders(&[0, 1, 2, 3]));
//! let bob = Subscription::new("bob", ["orders"]);
//! let first = CooperativeStickyAssignor.assign(&[alice, bob], &topics)?;
//! assert_eq!(first.get("alice"), Some(&orders(&[0, 1])[..]));
//! assert_eq!(first.get("bob"), Some(&[][..]));
//! assert_eq!(first.withheld(), orders(&[2, 3])); // Bob's, once Alice has given them up
//!
//! let alice = Subscription::new("alice", ["orders"]).owned(2, orders(&[0, 1]));
//! let bob = Subscription::new("bob", ["orders"]).owned(2, []);
//! let second = CooperativeStickyAssignor.assign(&[alice, bob], &topics)?;
//! assert_eq!(second.get("bob"), Some(&orders(&[2, 3])[..]));
//! assert!(second.withheld().is_empty());
//! # Ok::<(), pagemark::Error>(())
//! ```
//!
//! # What all of them do alike
//!
//! - Members are put in the order of Kafka's `AbstractPartitionAssignor.MemberInfo`: first those with a
//!   group instance id, by that id, then the others by member id. So a static member (KIP-345) that
//!   restarts under a new member id keeps its place.
//! - A topic without partitions, or one that the caller does not list, is left out, and so is a topic
//!   that nobody subscribes to. A member without any topic gets an empty assignment. A topic that a
//!   member names twice counts once.
//! - Two members with one member id or one group instance id are an error of kind
//!   [`InvalidArgument`](crate::ErrorKind::InvalidArgument). A coordinator never lets that happen, and
//!   every answer to it would be a guess.
//!
//! # What counts as owned
//!
//! The sticky assignors look at what members say that they own, as Kafka's `AbstractStickyAssignor`
//! does:
//!
//! - Of several members that claim a partition, the one of the newest generation owns it. A member that
//!   missed a rebalance has been fenced since and does not know it yet.
//! - If several claim it in the same generation, nobody owns it, since no rule could say who is right.
//! - What no longer exists, or belongs to a topic that its owner no longer subscribes to, is not kept.
//!
//! Racks (KIP-881) are left out: offsets and groups live on one machine here, and no replica is nearer
//! than another.

mod balance;
mod cooperative;
mod range;
mod roster;
mod round_robin;
mod sticky;

use std::collections::BTreeMap;

use crate::error::Result;
use crate::key::TopicPartition;

pub use cooperative::CooperativeStickyAssignor;
pub use range::RangeAssignor;
pub use round_robin::RoundRobinAssignor;
pub use sticky::StickyAssignor;

/// The generation of a member that never was in one, as in Kafka.
const NO_GENERATION: i32 = -1;

/// A way to share partitions among the members of a group.
pub trait Assignor {
    /// The name under which members of a group agree on an assignor, the same as in Kafka.
    fn name(&self) -> &'static str;

    /// Shares the partitions of the topics among the members that subscribe to them.
    ///
    /// `partitions_per_topic` has the number of partitions of each topic that exists; topics that no
    /// member subscribes to may be among them. Time and memory grow with the number of partitions.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if two members have the same member id
    /// or the same group instance id.
    fn assign(
        &self,
        members: &[Subscription],
        partitions_per_topic: &BTreeMap<String, i32>,
    ) -> Result<GroupAssignment>;
}

/// A member of a group: who it is, what it wants to read, and what it reads already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    member_id: String,
    group_instance_id: Option<String>,
    topics: Vec<String>,
    owned: Vec<TopicPartition>,
    generation: i32,
}

impl Subscription {
    /// A member that subscribes to `topics` and owns nothing yet.
    pub fn new<T: Into<String>>(
        member_id: impl Into<String>,
        topics: impl IntoIterator<Item = T>,
    ) -> Subscription {
        Subscription {
            member_id: member_id.into(),
            group_instance_id: None,
            topics: topics.into_iter().map(Into::into).collect(),
            owned: Vec::new(),
            generation: NO_GENERATION,
        }
    }

    /// Makes it a static member (KIP-345): one that stays the same member through restarts.
    pub fn group_instance_id(mut self, group_instance_id: impl Into<String>) -> Subscription {
        self.group_instance_id = Some(group_instance_id.into());
        self
    }

    /// Says what the member owns, and in which generation of the group that was assigned to it.
    ///
    /// Kafka's `StickyAssignor` sends both as user data, its cooperative one in the subscription
    /// (KIP-792). A generation that is not known is -1 there, which is older than every other one.
    pub fn owned(
        mut self,
        generation: i32,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Subscription {
        self.generation = generation;
        self.owned = partitions.into_iter().collect();
        self
    }
}

/// What each member of a group gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupAssignment {
    members: BTreeMap<String, Vec<TopicPartition>>,
    withheld: Vec<TopicPartition>,
}

impl GroupAssignment {
    /// What a member gets, sorted; `None` if there is no such member.
    pub fn get(&self, member_id: &str) -> Option<&[TopicPartition]> {
        self.members.get(member_id).map(Vec::as_slice)
    }

    /// All members, sorted by member id, each with what it gets.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[TopicPartition])> {
        self.members.iter().map(|(member_id, partitions)| (&member_id[..], &partitions[..]))
    }

    /// The partitions that nobody gets yet because their owners have to give them up first, sorted.
    ///
    /// Only [`CooperativeStickyAssignor`] withholds partitions. If there are any, another round is
    /// due as soon as the members have given up what they were not assigned again.
    pub fn withheld(&self) -> &[TopicPartition] {
        &self.withheld
    }
}
