//! One partition after the other to one member after the other.

use std::collections::BTreeMap;

use super::roster::Roster;
use super::{Assignor, GroupAssignment, Subscription};
use crate::error::Result;

/// Deals all partitions of all topics to the members in turn, the same as Kafka's
/// `RoundRobinAssignor`.
///
/// A member whose turn it is but that does not subscribe to the topic is passed over. With equal
/// subscriptions no member gets two more than another. With unequal ones it can be many more:
///
/// ```
/// use std::collections::BTreeMap;
/// use pagemark::group::assign::{Assignor, RoundRobinAssignor, Subscription};
///
/// let topics = [("t0", 1), ("t1", 2), ("t2", 3)];
/// let topics: BTreeMap<String, i32> = topics.map(|(name, n)| (name.to_string(), n)).into();
/// let members = [
///     Subscription::new("c0", ["t0"]),
///     Subscription::new("c1", ["t0", "t1"]),
///     Subscription::new("c2", ["t0", "t1", "t2"]),
/// ];
/// let assignment = RoundRobinAssignor.assign(&members, &topics)?;
/// let counts: Vec<usize> = assignment.iter().map(|(_, partitions)| partitions.len()).collect();
/// assert_eq!(counts, [1, 1, 4]);
/// # Ok::<(), pagemark::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobinAssignor;

impl Assignor for RoundRobinAssignor {
    fn name(&self) -> &'static str {
        "roundrobin"
    }

    fn assign(
        &self,
        members: &[Subscription],
        partitions_per_topic: &BTreeMap<String, i32>,
    ) -> Result<GroupAssignment> {
        let roster = Roster::new(members, partitions_per_topic)?;
        let mut takers = Vec::new();
        let mut turn = 0;
        for topic in roster.topics() {
            for _ in topic.partitions.clone() {
                // The next subscriber from `turn` on, or else the first one.
                let place = topic.subscribers.partition_point(|&member| member < turn);
                let member = topic.subscribers[place % topic.subscribers.len()];
                takers.push(Some(member));
                turn = member + 1;
            }
        }
        Ok(roster.assignment(&takers))
    }
}
