//! Neighbouring partitions of each topic for each member.

use std::collections::BTreeMap;

use super::roster::Roster;
use super::{Assignor, GroupAssignment, Subscription};
use crate::error::Result;

/// Gives each subscriber of a topic a run of neighbouring partitions of it, the same as Kafka's
/// `RangeAssignor`.
///
/// The partitions of a topic are divided by its subscribers, in their order. If they do not divide
/// evenly, the first members get one more, and the same ones for each topic: with many topics of few
/// partitions they have far more to do than the others. In return, topics with equal numbers of
/// partitions and subscribers are shared alike, so that a join of them by partition finds both sides
/// at one member.
///
/// ```
/// use std::collections::BTreeMap;
/// use pagemark::TopicPartition;
/// use pagemark::group::assign::{Assignor, RangeAssignor, Subscription};
///
/// let topics = BTreeMap::from([("t0".to_string(), 3), ("t1".to_string(), 3)]);
/// let members = ["c0", "c1"].map(|id| Subscription::new(id, ["t0", "t1"]));
/// let assignment = RangeAssignor.assign(&members, &topics)?;
/// let last = [TopicPartition::new("t0", 2), TopicPartition::new("t1", 2)];
/// assert_eq!(assignment.get("c1"), Some(&last[..]));
/// # Ok::<(), pagemark::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RangeAssignor;

impl Assignor for RangeAssignor {
    fn name(&self) -> &'static str {
        "range"
    }

    fn assign(
        &self,
        members: &[Subscription],
        partitions_per_topic: &BTreeMap<String, i32>,
    ) -> Result<GroupAssignment> {
        let roster = Roster::new(members, partitions_per_topic)?;
        let mut takers = Vec::new();
        for topic in roster.topics() {
            let share = topic.partitions.len() / topic.subscribers.len();
            let with_one_more = topic.partitions.len() % topic.subscribers.len();
            for (place, &member) in topic.subscribers.iter().enumerate() {
                let share = share + usize::from(place < with_one_more);
                takers.resize(takers.len() + share, Some(member));
            }
        }
        Ok(roster.assignment(&takers))
    }
}
