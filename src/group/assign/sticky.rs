//! The most even assignment that moves the fewest partitions.

use std::collections::{BTreeMap, VecDeque};

use super::balance::{Arc, balance};
use super::roster::{Claim, Roster};
use super::{Assignor, GroupAssignment, Subscription};
use crate::error::Result;

/// Shares partitions as evenly as possible, and of all assignments that do picks one in which the most
/// partitions stay with their owners.
///
/// Both are what KIP-54 asks for, balance first. Kafka's `StickyAssignor` comes near it by heuristics
/// unless all subscriptions are equal. Here both hold exactly:
///
/// - No assignment is more even: no partition, and no chain of partitions of which each takes the
///   place of the next, can move from a member to one with at least two less. With equal
///   subscriptions no member has two more than another.
/// - No other assignment as even as this one leaves more partitions with their owners. In particular,
///   a balanced assignment stays as it is.
///
/// It is made for the eager protocol, in which members give up all that they own before a rebalance:
/// a partition may go straight from one member to another.
///
/// ```
/// use std::collections::BTreeMap;
/// use pagemark::group::assign::{Assignor, StickyAssignor, Subscription};
///
/// let topics = BTreeMap::from([("orders".to_string(), 7)]);
/// let member = |id: &str| Subscription::new(id, ["orders"]);
/// let before = StickyAssignor.assign(&[member("a"), member("b"), member("c")], &topics)?;
///
/// // B has left. The others keep what they have and share what was its.
/// let owned = |id| before.get(id).unwrap().to_vec();
/// let (a, c) = (member("a").owned(1, owned("a")), member("c").owned(1, owned("c")));
/// let after = StickyAssignor.assign(&[a, c], &topics)?;
/// for id in ["a", "c"] {
///     assert!(owned(id).iter().all(|partition| after.get(id).unwrap().contains(partition)));
/// }
/// # Ok::<(), pagemark::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StickyAssignor;

impl Assignor for StickyAssignor {
    fn name(&self) -> &'static str {
        "sticky"
    }

    fn assign(
        &self,
        members: &[Subscription],
        partitions_per_topic: &BTreeMap<String, i32>,
    ) -> Result<GroupAssignment> {
        let roster = Roster::new(members, partitions_per_topic)?;
        let takers = target(&roster, &roster.claims());
        Ok(roster.assignment(&takers))
    }
}

/// Who is to have each partition in the end: always somebody.
pub(super) fn target(roster: &Roster<'_>, claims: &[Claim]) -> Vec<Option<usize>> {
    let classes = classes(roster);
    let supply: Vec<usize> = classes.iter().map(Class::supply).collect();
    let (mut arcs, mut first_arcs) = (Vec::new(), Vec::new());
    for (i, class) in classes.iter().enumerate() {
        first_arcs.push(arcs.len());
        arcs.extend(class.arcs(i, claims));
    }
    balance(&supply, roster.member_count(), &mut arcs);
    let mut takers = vec![None; claims.len()];
    for (class, &first) in classes.iter().zip(&first_arcs) {
        let arcs = &arcs[first..first + class.subscribers.len()];
        class.deal(arcs, claims, &mut takers);
    }
    takers
}

/// All topics with the same subscribers. Who may have one of their partitions may have any of them.
struct Class<'a> {
    subscribers: &'a [usize],
    topics: Vec<std::ops::Range<usize>>,
}

fn classes<'a>(roster: &'a Roster<'_>) -> Vec<Class<'a>> {
    let mut classes: BTreeMap<&[usize], Vec<_>> = BTreeMap::new();
    for topic in roster.topics() {
        classes.entry(&topic.subscribers).or_default().push(topic.partitions.clone());
    }
    classes.into_iter().map(|(subscribers, topics)| Class { subscribers, topics }).collect()
}

impl Class<'_> {
    fn supply(&self) -> usize {
        self.topics.iter().map(|topic| topic.len()).sum()
    }

    fn partitions(&self) -> impl Iterator<Item = usize> {
        self.topics.iter().flat_map(|topic| topic.clone())
    }

    /// The place of a partition's owner among the subscribers, if it is one.
    fn owner(&self, claim: Claim) -> Option<usize> {
        match claim {
            Claim::Owned(member) => self.subscribers.binary_search(&member).ok(),
            Claim::Free | Claim::Contested => None,
        }
    }

    /// One arc for each subscriber.
    fn arcs(&self, class: usize, claims: &[Claim]) -> Vec<Arc> {
        let arc = |&member| Arc { class, member, owned: 0, flow: 0 };
        let mut arcs: Vec<Arc> = self.subscribers.iter().map(arc).collect();
        for owner in self.partitions().filter_map(|partition| self.owner(claims[partition])) {
            arcs[owner].owned += 1;
        }
        arcs
    }

    /// Gives each subscriber as many partitions as its arc says: first its own, then in turn what is
    /// left, so that nobody gets all of one topic.
    fn deal(&self, arcs: &[Arc], claims: &[Claim], takers: &mut [Option<usize>]) {
        let mut shares: Vec<usize> = arcs.iter().map(|arc| arc.flow).collect();
        let mut moving = Vec::new();
        for partition in self.partitions() {
            match self.owner(claims[partition]) {
                Some(owner) if shares[owner] > 0 => {
                    shares[owner] -= 1;
                    takers[partition] = Some(arcs[owner].member);
                }
                _ => moving.push(partition),
            }
        }
        let mut turns: VecDeque<usize> = (0..arcs.len()).filter(|&i| shares[i] > 0).collect();
        for partition in moving {
            let Some(turn) = turns.pop_front() else { break };
            takers[partition] = Some(arcs[turn].member);
            shares[turn] -= 1;
            if shares[turn] > 0 {
                turns.push_back(turn);
            }
        }
    }
}
