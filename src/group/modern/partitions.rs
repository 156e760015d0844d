//! Sets of partitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::key::TopicPartition;

/// A set of partitions, sorted by topic and partition. Each topic is named once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions(BTreeMap<String, BTreeSet<i32>>);

impl Partitions {
    /// A set of none.
    pub fn new() -> Partitions {
        Partitions::default()
    }

    /// Adds a partition, and says whether it is new.
    pub fn insert(&mut self, topic: &str, partition: i32) -> bool {
        match self.0.get_mut(topic) {
            Some(partitions) => partitions.insert(partition),
            None => self.0.insert(topic.to_owned(), BTreeSet::from([partition])).is_none(),
        }
    }

    /// Whether a partition is among them.
    pub fn contains(&self, topic: &str, partition: i32) -> bool {
        self.0.get(topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32)> {
        self.topics().flat_map(|(topic, partitions)| partitions.iter().map(move |p| (topic, *p)))
    }

    /// The topics, in order, each with its partitions.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (&str, &BTreeSet<i32>)> {
        self.0.iter().map(|(topic, partitions)| (&topic[..], partitions))
    }

    pub(super) fn to_vec(&self) -> Vec<TopicPartition> {
        self.iter().map(|(topic, partition)| TopicPartition::new(topic, partition)).collect()
    }

    /// Whether both have a partition.
    pub(super) fn intersects(&self, other: &Partitions) -> bool {
        self.iter().any(|(topic, partition)| other.contains(topic, partition))
    }

    /// Those that `is_left` holds for, and the others.
    pub(super) fn split(&self, is_left: impl Fn(&str, i32) -> bool) -> (Partitions, Partitions) {
        let (mut left, mut right) = (Partitions::new(), Partitions::new());
        for (topic, partition) in self.iter() {
            let side = if is_left(topic, partition) { &mut left } else { &mut right };
            side.insert(topic, partition);
        }
        (left, right)
    }
}

impl<'a> FromIterator<&'a TopicPartition> for Partitions {
    fn from_iter<I: IntoIterator<Item = &'a TopicPartition>>(partitions: I) -> Partitions {
        let mut set = Partitions::new();
        for partition in partitions {
            set.insert(partition.topic(), partition.partition());
        }
        set
    }
}
