//! Groups whose members share partitions by member epochs: Kafka's "consumer" protocol (KIP-848).
//!
//! A member only ever sends heartbeats. The group decides who shall have what, tells each member with
//! the answers, and hands a partition over when its old owner has said that it gave it up, or is none
//! any more. Nobody stops for that who does not have to.
//!
//! [`ConsumerGroup`] is all of one group: a plain value that is called with a heartbeat and the time,
//! and says what to store and what to answer. It has no store, no thread, no clock and no randomness,
//! so the same calls have the same outcome.
//!
//! ```
//! use std::collections::BTreeMap;
//! use pagemark::group::modern::{ConsumerGroup, ConsumerGroupConfig, HeartbeatRequest, Partitions,
//!                               Record, JOIN_EPOCH};
//!
//! let topics = BTreeMap::from([("orders".to_string(), 2)]);
//! let mut group = ConsumerGroup::open(ConsumerGroupConfig::new(), [], 0)?;
//! let mut stored: BTreeMap<String, Vec<u8>> = BTreeMap::new(); // in the place of a store
//! let mut store = |records: Vec<Record>| for record in records {
//!     match record.value() {
//!         Some(value) => stored.insert(record.name(), value),
//!         None => stored.remove(&record.name()),
//!     };
//! };
//! let join = |id: &str| {
//!     let join = HeartbeatRequest::new(id, JOIN_EPOCH).topics(["orders"]);
//!     join.rebalance_timeout_ms(60_000).owned(Partitions::new())
//! };
//!
//! // Alice is alone and gets everything; then Bob joins.
//! let step = group.heartbeat(0, &join("alice"), &topics)?;
//! store(step.records); // before the answer is given
//! let alices = step.response.assignment.unwrap();
//! assert_eq!(alices.len(), 2);
//! let step = group.heartbeat(10, &join("bob"), &topics)?;
//! store(step.records);
//! assert!(step.response.assignment.unwrap().is_empty());
//!
//! // Alice is told to keep one partition only. She gives the other one up, and says so.
//! let step = group.heartbeat(20, &HeartbeatRequest::new("alice", 1), &topics)?;
//! store(step.records);
//! let kept = step.response.assignment.unwrap();
//! assert_eq!(kept.len(), 1);
//! let step = group.heartbeat(30, &HeartbeatRequest::new("alice", 1).owned(kept), &topics)?;
//! store(step.records);
//! assert_eq!(step.response.member_epoch, 2);
//! assert!(group.check_commit("alice", 1).is_err(), "her epoch is the second one now");
//!
//! // After a restart, Bob gets what she has given up.
//! let records = stored.iter().map(|(name, value)| Record::decode(name, value));
//! let records = records.collect::<Result<Vec<_>, _>>()?;
//! let mut group = ConsumerGroup::open(ConsumerGroupConfig::new(), records, 40)?;
//! let step = group.heartbeat(50, &HeartbeatRequest::new("bob", 2), &topics)?;
//! assert_eq!(step.response.assignment.unwrap().len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Three epochs
//!
//! - The **group epoch** rises with every change of the members, of what they subscribe to, and of how
//!   many partitions those topics have.
//! - The **assignment epoch** is the group epoch that the *target* assignment is made for: who shall
//!   have what. It is made by the assignor that most members ask for, with the next heartbeat.
//! - The **member epoch** is the assignment epoch that a member has arrived at. Heartbeats, commits and
//!   fetches of offsets carry it.
//!
//! # The way of a member
//!
//! | state | what the member has | what it waits for | its epoch |
//! |---|---|---|---|
//! | `Stable` | all that it shall have | | the one it arrived at |
//! | `UnrevokedPartitions` | too much | saying that it gave it up, for its rebalance timeout at most | the one before |
//! | `UnreleasedPartitions` | not all yet | others who still have to give up the rest | the one it arrived at |
//!
//! A partition is in the assignment of one member at most, and stays there until that member reports
//! without it **in the epoch that it is in**, leaves, or is removed for its silence. Commits of the
//! epoch before are refused from then on.
//!
//! # What a host does
//!
//! - It stores the records of a step as one atomic batch before it gives the answer. If that fails, it
//!   drops the group, opens it anew from what is stored, and answers with
//!   [`CoordinatorNotAvailable`](crate::group::GroupError::CoordinatorNotAvailable): the group is ahead
//!   of what is stored, and nobody has heard of it.
//! - It calls [`tick`](ConsumerGroup::tick) at [`next_deadline`](ConsumerGroup::next_deadline), which
//!   may change with every call.
//! - It asks [`check_commit`](ConsumerGroup::check_commit) before it commits for a member.
//! - It passes the heartbeats of one member on in the order in which they were sent. When a connection
//!   breaks, what is still to be read from it must not come after what the member sends on the next
//!   one: the owned partitions of an old heartbeat of the same epoch would be taken for the newest
//!   ones. One from an older epoch changes no assignment, but may bring back an older subscription.
//!
//! # What is as in Kafka, and what is not
//!
//! The rules are those of Kafka's `GroupMetadataManager` and `CurrentAssignmentBuilder`. Topics go by
//! their names, members bring their ids, subscriptions have [`MAX_SUBSCRIPTION_BYTES`] at most, and those
//! by regular expression and racks are left out. Four things differ:
//!
//! - A heartbeat of the epoch before is answered with what the member missed, and takes no further
//!   step: if it was not repeated but late, it can neither release what the member has got since nor
//!   give it anything that it does not hear of.
//! - A member that missed the answer with its new epoch may still own what it is to give up.
//! - A static member that missed the answer to its join may repeat it.
//! - A static member that is away commits nothing, also not with the epoch -2.
//!
//! A member that joins with the id of one that is there and has taken a further step is fenced until
//! the session of that one is over, as in Kafka. So an id is for one life of a process.

mod bytes;
mod changes;
mod config;
mod describe;
mod group;
mod member;
mod partitions;
mod reconcile;
mod record;
mod request;
mod state;
mod timers;

pub use config::{ConsumerGroupConfig, ServerAssignor};
pub use describe::{ConsumerGroupDescription, ConsumerGroupState, DescribedMember};
pub use group::{ConsumerGroup, Expired, Step};
pub use member::{CurrentAssignment, Member, MemberState};
pub use partitions::Partitions;
pub use record::{Epochs, Record};
pub use request::{
    HeartbeatRequest, HeartbeatResponse, JOIN_EPOCH, LEAVE_EPOCH, MAX_ID_BYTES,
    MAX_SUBSCRIPTION_BYTES, STATIC_LEAVE_EPOCH,
};
pub use timers::Expiry;
