//! Whether what a leader assigns can be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{ConsumerAssignment, ConsumerSubscription};
use crate::error::Error;
use crate::group::GroupError;
use crate::key::TopicPartition;

/// What is wrong with the assignments that a leader has brought.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AssignmentError {
    /// That of a member is none of Kafka's consumer protocol.
    Unreadable {
        /// Who would have got it.
        member_id: String,
        /// What is wrong with the bytes.
        error: Error,
    },
    /// A partition is given out twice, to two members or to one.
    PartitionTwice {
        /// The partition.
        partition: TopicPartition,
        /// Who would have got it.
        member_ids: [String; 2],
    },
    /// There is no such partition.
    UnknownPartition {
        /// The partition.
        partition: TopicPartition,
        /// Who would have got it.
        member_id: String,
    },
    /// No member reads the topic of the partition.
    NotSubscribed {
        /// The partition.
        partition: TopicPartition,
        /// Who would have got it.
        member_id: String,
    },
}

impl AssignmentError {
    /// What the leader is told.
    ///
    /// Kafka has no code for this. `INVALID_REQUEST` is what it has for a field with a value that it
    /// cannot have, and its consumer takes it for fatal: the program hears of it. After one that means
    /// joining again, the same leader would assign the same, for ever.
    pub fn group_error(&self) -> GroupError {
        GroupError::InvalidRequest
    }
}

impl fmt::Display for AssignmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AssignmentError::Unreadable { member_id, error } => {
                write!(f, "the assignment of {member_id:?} cannot be read: {error}")
            }
            AssignmentError::PartitionTwice { partition, member_ids: [one, other] } => {
                write!(f, "{partition} is assigned to {one:?} and to {other:?}")
            }
            AssignmentError::UnknownPartition { partition, member_id } => {
                write!(
                    f,
                    "{partition} is assigned to {member_id:?}, and there is no such partition"
                )
            }
            AssignmentError::NotSubscribed { partition, member_id } => {
                write!(f, "{partition} is assigned to {member_id:?}, and no member reads the topic")
            }
        }
    }
}

impl std::error::Error for AssignmentError {}

/// A member: its id, its subscription, and what its leader assigns to it.
pub(in crate::group) type Share<'a> = (&'a str, &'a [u8], &'a [u8]);

/// Whether each partition is given out once, exists, and is of a topic that somebody reads. Where it is
/// not known which topics there are, all exist; if a subscription cannot be read, somebody reads all.
pub(in crate::group) fn check_assignments(
    shares: &[Share<'_>],
    partitions_per_topic: Option<&BTreeMap<String, i32>>,
) -> Result<(), AssignmentError> {
    let topics = subscribed(shares);
    let is_read = |topic: &str| topics.as_ref().is_none_or(|topics| topics.contains(topic));
    let exists = |of: &TopicPartition| {
        let count = partitions_per_topic.map(|counts| counts.get(of.topic()).copied().unwrap_or(0));
        of.partition() >= 0 && count.is_none_or(|count| of.partition() < count)
    };
    let mut owners: BTreeMap<TopicPartition, &str> = BTreeMap::new();
    for (member_id, _, assignment) in shares {
        let own = || (*member_id).to_owned();
        let assignment = ConsumerAssignment::decode(assignment);
        let assignment =
            assignment.map_err(|error| AssignmentError::Unreadable { member_id: own(), error })?;
        for partition in assignment.partitions {
            if !exists(&partition) {
                return Err(AssignmentError::UnknownPartition { partition, member_id: own() });
            }
            if !is_read(partition.topic()) {
                return Err(AssignmentError::NotSubscribed { partition, member_id: own() });
            }
            if let Some(owner) = owners.insert(partition.clone(), member_id) {
                let member_ids = [owner.to_owned(), own()];
                return Err(AssignmentError::PartitionTwice { partition, member_ids });
            }
        }
    }
    Ok(())
}

/// All topics that are read, or `None` if that cannot be known.
fn subscribed(shares: &[Share<'_>]) -> Option<BTreeSet<String>> {
    let mut topics = BTreeSet::new();
    for (_, subscription, _) in shares {
        topics.extend(ConsumerSubscription::decode(subscription).ok()?.topics);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(alices: &[(&str, i32)], bobs: &[(&str, i32)]) -> [Vec<u8>; 2] {
        [alices, bobs].map(|share| {
            let partitions: Vec<_> =
                share.iter().map(|(topic, p)| TopicPartition::new(*topic, *p)).collect();
            ConsumerAssignment::new(&partitions).encode()
        })
    }

    fn check(assigned: &[Vec<u8>; 2]) -> Result<(), AssignmentError> {
        let read = ["orders", "refunds"].map(|topic| ConsumerSubscription::new([topic]).encode());
        let topics = ["orders", "refunds", "audit"].map(|topic| (topic.to_owned(), 2)).into();
        let shares = [("alice", &read[0][..], &assigned[0][..]), ("bob", &read[1], &assigned[1])];
        check_assignments(&shares, Some(&topics))
    }

    #[test]
    fn each_partition_is_given_out_once_is_there_and_is_read() {
        // Not everything has to be given out, and not only to who asked for the topic.
        assert!(check(&shares(&[("orders", 0), ("refunds", 1)], &[("orders", 1)])).is_ok());
        assert!(check(&shares(&[], &[])).is_ok());
        let told = |alices: &[_], bobs: &[_]| check(&shares(alices, bobs)).unwrap_err().to_string();
        assert_eq!(
            told(&[("orders", 1)], &[("orders", 0), ("orders", 1)]),
            "orders-1 is assigned to \"alice\" and to \"bob\""
        );
        assert_eq!(
            told(&[], &[("orders", 1), ("orders", 1)]),
            "orders-1 is assigned to \"bob\" and to \"bob\""
        );
        for partition in [("orders", 2), ("orders", -1), ("nothing", 0)] {
            let error = check(&shares(&[partition], &[])).unwrap_err();
            assert!(matches!(error, AssignmentError::UnknownPartition { .. }), "{error}");
        }
        assert_eq!(
            told(&[], &[("audit", 0)]),
            "audit-0 is assigned to \"bob\", and no member reads the topic"
        );
        let error = check(&[vec![0], Vec::new()]).unwrap_err();
        assert!(matches!(error, AssignmentError::Unreadable { .. }), "{error}");
        assert_eq!(error.group_error().name(), "INVALID_REQUEST");
    }

    #[test]
    fn what_is_not_known_is_not_refused() {
        let [assigned, _] = shares(&[("anything", 7)], &[]);
        assert!(check_assignments(&[("alice", b"?", &assigned)], None).is_ok());
        let topics = BTreeMap::new();
        assert!(check_assignments(&[("alice", b"?", &assigned)], Some(&topics)).is_err());
    }
}
