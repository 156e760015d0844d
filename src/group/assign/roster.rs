//! The input of an assignment in order: members and topics by number instead of by name.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::{GroupAssignment, Subscription};
use crate::error::{Error, Result};
use crate::key::TopicPartition;

/// Members in the order of the rules, and the topics that have partitions and subscribers.
///
/// Partitions are numbered through, topic by topic, so that the order of the numbers is that of
/// [`TopicPartition`].
pub(super) struct Roster<'a> {
    members: Vec<&'a Subscription>,
    topics: Vec<Topic<'a>>,
}

/// A topic that somebody reads.
pub(super) struct Topic<'a> {
    name: &'a str,
    /// The numbers of its partitions.
    pub(super) partitions: Range<usize>,
    /// The members that subscribe to it, in order and each once.
    pub(super) subscribers: Vec<usize>,
}

/// What members say about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// No member claims it.
    Free,
    /// One member claims it in the newest generation in which it is claimed.
    Owned(usize),
    /// Several do.
    Contested,
}

impl<'a> Roster<'a> {
    pub(super) fn new(
        members: &'a [Subscription],
        partitions_per_topic: &BTreeMap<String, i32>,
    ) -> Result<Roster<'a>> {
        let mut members: Vec<&Subscription> = members.iter().collect();
        members.sort_by(|a, b| order(a, b));
        check_unique(&members)?;
        let topics = subscribed(&members, partitions_per_topic);
        Ok(Roster { members, topics })
    }

    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(super) fn topics(&self) -> &[Topic<'a>] {
        &self.topics
    }

    /// What members say about each partition.
    pub(super) fn claims(&self) -> Vec<Claim> {
        let count = self.topics.last().map_or(0, |topic| topic.partitions.end);
        let mut claims = vec![(Claim::Free, super::NO_GENERATION); count];
        for (member, subscription) in self.members.iter().enumerate() {
            for owned in &subscription.owned {
                let Some(partition) = self.number(owned) else { continue };
                let (claim, newest) = &mut claims[partition];
                let generation = subscription.generation;
                if *claim == Claim::Free || generation > *newest {
                    (*claim, *newest) = (Claim::Owned(member), generation);
                } else if generation == *newest && *claim != Claim::Owned(member) {
                    *claim = Claim::Contested;
                }
            }
        }
        claims.into_iter().map(|(claim, _)| claim).collect()
    }

    /// The number of a partition, unless nobody reads its topic or the topic has no such partition.
    fn number(&self, of: &TopicPartition) -> Option<usize> {
        let at = self.topics.binary_search_by(|topic| topic.name.cmp(of.topic())).ok()?;
        let partitions = self.topics[at].partitions.clone();
        let offset = usize::try_from(of.partition()).ok()?;
        (offset < partitions.len()).then_some(partitions.start + offset)
    }

    fn name(&self, partition: usize) -> TopicPartition {
        let at = self.topics.partition_point(|topic| topic.partitions.end <= partition);
        let topic = &self.topics[at];
        // The topic has as many partitions as an i32 can count.
        TopicPartition::new(topic.name, (partition - topic.partitions.start) as i32)
    }

    /// Turns who gets a partition, or whether nobody does yet, into an assignment. `takers` has an
    /// entry for each partition.
    pub(super) fn assignment(&self, takers: &[Option<usize>]) -> GroupAssignment {
        let mut shares = vec![Vec::new(); self.members.len()];
        let mut withheld = Vec::new();
        for (partition, taker) in takers.iter().enumerate() {
            taker.map_or(&mut withheld, |member| &mut shares[member]).push(self.name(partition));
        }
        let ids = self.members.iter().map(|member| member.member_id.clone());
        GroupAssignment { members: ids.zip(shares).collect(), withheld }
    }
}

/// The order of Kafka's `MemberInfo`: static members first.
fn order(a: &Subscription, b: &Subscription) -> Ordering {
    match (&a.group_instance_id, &b.group_instance_id) {
        (Some(a), Some(b)) => order_of_java(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => order_of_java(&a.member_id, &b.member_id),
    }
}

/// The order of Java's strings, which are UTF-16: beyond the basic plane it is not that of UTF-8.
fn order_of_java(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

fn check_unique(members: &[&Subscription]) -> Result<()> {
    let member_ids = members.iter().map(|member| &member.member_id[..]);
    let instance_ids = members.iter().filter_map(|member| member.group_instance_id.as_deref());
    for (what, mut ids) in [
        ("member id", member_ids.collect::<Vec<_>>()),
        ("group instance id", instance_ids.collect()),
    ] {
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::invalid(format!("two members have the {what} {:?}", pair[0])));
        }
    }
    Ok(())
}

/// The topics that exist and that somebody subscribes to.
fn subscribed<'a>(
    members: &[&'a Subscription],
    partitions_per_topic: &BTreeMap<String, i32>,
) -> Vec<Topic<'a>> {
    // Members name far more topics than there are, so finding one has to be fast.
    let mut subscribers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (member, subscription) in members.iter().enumerate() {
        for topic in &subscription.topics {
            let subscribers = subscribers.entry(topic).or_default();
            if subscribers.last() != Some(&member) {
                subscribers.push(member);
            }
        }
    }
    let mut subscribers: Vec<_> = subscribers.into_iter().collect();
    subscribers.sort_unstable_by_key(|&(name, _)| name);
    let mut topics: Vec<Topic<'a>> = Vec::new();
    for (name, subscribers) in subscribers {
        let count = partitions_per_topic.get(name).copied().unwrap_or(0);
        if count > 0 {
            let start = topics.last().map_or(0, |topic| topic.partitions.end);
            let partitions = start..start + count as usize;
            topics.push(Topic { name, partitions, subscribers });
        }
    }
    topics
}
