//! Partition assignment: the rules of Kafka's documentation, and what is promised of each assignor
//! against oracles that know nothing of how it works.

mod support;

#[path = "assign/input.rs"]
mod input;
#[path = "assign/measured.rs"]
mod measured;
#[path = "assign/oracle.rs"]
mod oracle;
#[path = "assign/properties.rs"]
mod properties;
#[path = "assign/vectors.rs"]
mod vectors;

use std::collections::BTreeMap;

use pagemark::TopicPartition;
use pagemark::group::assign::{
    Assignor, CooperativeStickyAssignor, GroupAssignment, RangeAssignor, RoundRobinAssignor,
    StickyAssignor, Subscription,
};

/// The numbers of partitions by topic.
type Topics = BTreeMap<String, i32>;

const ALL: [&dyn Assignor; 4] =
    [&RangeAssignor, &RoundRobinAssignor, &StickyAssignor, &CooperativeStickyAssignor];

/// A member as a test sees it: a subscription cannot be read.
#[derive(Clone, Debug)]
struct Member {
    id: String,
    instance_id: Option<String>,
    topics: Vec<String>,
    owned: Vec<TopicPartition>,
    generation: i32,
}

impl Member {
    fn new(id: &str, topics: &[&str]) -> Member {
        Member {
            id: id.to_owned(),
            instance_id: None,
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            owned: Vec::new(),
            generation: -1,
        }
    }

    fn instance(self, id: &str) -> Member {
        Member { instance_id: Some(id.to_owned()), ..self }
    }

    /// `partitions` in the notation of [`partitions`].
    fn owns(self, generation: i32, names: &str) -> Member {
        Member { owned: partitions(names), generation, ..self }
    }

    fn subscription(&self) -> Subscription {
        let subscription = Subscription::new(&self.id, &self.topics);
        let subscription = subscription.owned(self.generation, self.owned.iter().cloned());
        match &self.instance_id {
            Some(instance_id) => subscription.group_instance_id(instance_id),
            None => subscription,
        }
    }
}

fn topics(list: &[(&str, i32)]) -> Topics {
    list.iter().map(|&(name, partitions)| (name.to_owned(), partitions)).collect()
}

/// Reads partitions as their `Display` writes them, with spaces between: `t0-0 t0-1`.
fn partitions(names: &str) -> Vec<TopicPartition> {
    let read = |name: &str| {
        let (topic, partition) = name.rsplit_once('-').unwrap();
        TopicPartition::new(topic, partition.parse().unwrap())
    };
    names.split_whitespace().map(read).collect()
}

fn assign(assignor: &dyn Assignor, members: &[Member], topics: &Topics) -> GroupAssignment {
    let members: Vec<Subscription> = members.iter().map(Member::subscription).collect();
    assignor.assign(&members, topics).unwrap()
}

/// An assignment as lines of `member: partitions`, sorted by member.
fn shown(assignment: &GroupAssignment) -> Vec<String> {
    let line = |(member, partitions): (&str, &[TopicPartition])| {
        partitions.iter().fold(format!("{member}:"), |line, name| format!("{line} {name}"))
    };
    assignment.iter().map(line).collect()
}

/// The members as they are after a round: each owns what it was assigned.
fn after(members: &[Member], assignment: &GroupAssignment, generation: i32) -> Vec<Member> {
    let own = |member: &Member| {
        let owned = assignment.get(&member.id).unwrap().to_vec();
        Member { owned, generation, ..member.clone() }
    };
    members.iter().map(own).collect()
}
