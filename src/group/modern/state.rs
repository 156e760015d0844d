//! The durable part of a group: what its records say, and what follows from them.

use std::collections::BTreeMap;

use super::config::ServerAssignor;
use super::member::{CurrentAssignment, Member};
use super::partitions::Partitions;
use super::record::{Epochs, Record};
use crate::error::{Error, Result};

/// All that outlives a restart. Only [`apply`](Durable::apply) changes it, in a running group and when
/// one is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Durable {
    pub(super) epochs: Epochs,
    pub(super) topics: BTreeMap<String, i32>,
    pub(super) members: BTreeMap<String, Member>,
    pub(super) targets: BTreeMap<String, Partitions>,
    pub(super) current: BTreeMap<String, CurrentAssignment>,
    /// The member with each group instance id.
    instances: BTreeMap<String, String>,
    /// How many members subscribe to each topic.
    subscribers: BTreeMap<String, usize>,
    /// The member that may own each partition, by topic and partition.
    holders: BTreeMap<String, BTreeMap<i32, String>>,
}

impl Durable {
    /// Takes a record over. Records of different names may come in any order.
    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::Epochs(epochs) => self.epochs = epochs.unwrap_or_default(),
            Record::Topics(topics) => self.topics = topics.clone().unwrap_or_default(),
            Record::Member(id, member) => self.apply_member(id, member.as_ref()),
            Record::Target(id, target) => put(&mut self.targets, id, target.as_ref()),
            Record::Current(id, current) => self.apply_current(id, current.as_ref()),
        }
    }

    fn apply_member(&mut self, id: &str, member: Option<&Member>) {
        if let Some(before) = self.members.get(id) {
            for topic in &before.topics {
                if let Some(count) = self.subscribers.get_mut(topic) {
                    *count -= 1;
                    if *count == 0 {
                        self.subscribers.remove(topic);
                    }
                }
            }
            if let Some(instance) = &before.group_instance_id
                && self.instances.get(instance).is_some_and(|of| of == id)
            {
                self.instances.remove(instance);
            }
        }
        if let Some(member) = member {
            for topic in &member.topics {
                *self.subscribers.entry(topic.clone()).or_default() += 1;
            }
            if let Some(instance) = &member.group_instance_id {
                self.instances.insert(instance.clone(), id.to_owned());
            }
        }
        put(&mut self.members, id, member);
    }

    fn apply_current(&mut self, id: &str, current: Option<&CurrentAssignment>) {
        if let Some(before) = self.current.get(id) {
            for (topic, partition) in before.held() {
                let Some(holders) = self.holders.get_mut(topic) else { continue };
                // It may be that of a member that took this one's place, whose record came first.
                if holders.get(&partition).is_some_and(|holder| holder == id) {
                    holders.remove(&partition);
                }
                if holders.is_empty() {
                    self.holders.remove(topic);
                }
            }
        }
        for (topic, partition) in current.iter().flat_map(|current| current.held()) {
            let holders = match self.holders.get_mut(topic) {
                Some(holders) => holders,
                None => self.holders.entry(topic.to_owned()).or_default(),
            };
            holders.insert(partition, id.to_owned());
        }
        put(&mut self.current, id, current);
    }

    /// Whether the records make up a group. Those of a group that ran always do.
    pub(super) fn check(&self) -> Result<()> {
        let is_whole = self.members.keys().eq(self.current.keys())
            && self.members.keys().eq(self.targets.keys());
        if !is_whole {
            return Err(Error::corrupt("a member of which not all three states are there"));
        }
        let held: usize = self.current.values().map(|current| current.held().count()).sum();
        if held != self.holders.values().map(BTreeMap::len).sum::<usize>() {
            return Err(Error::corrupt("a partition that two members of a group own"));
        }
        let static_members = self.members.values().filter(|m| m.group_instance_id.is_some());
        if static_members.count() != self.instances.len() {
            return Err(Error::corrupt("a group instance id that two members of a group have"));
        }
        if self.current.values().any(|current| current.epoch > self.epochs.assignment) {
            return Err(Error::corrupt("a member that is ahead of its group"));
        }
        Ok(())
    }

    /// The member with a group instance id.
    pub(super) fn static_member(&self, instance: &str) -> Option<&str> {
        self.instances.get(instance).map(String::as_str)
    }

    /// The assignor that most members ask for, and of as many the first one.
    pub(super) fn preferred_assignor(&self) -> Option<ServerAssignor> {
        let votes = |of: &ServerAssignor| {
            self.members.values().filter(|member| member.assignor == Some(*of)).count()
        };
        let all = ServerAssignor::ALL.into_iter().rev();
        all.filter(|assignor| votes(assignor) > 0).max_by_key(votes)
    }

    /// The member that may own a partition: it was told so and has not said that it gave it up.
    pub(super) fn holder(&self, topic: &str, partition: i32) -> Option<&str> {
        self.holders.get(topic)?.get(&partition).map(String::as_str)
    }

    /// Whether a member subscribes to a topic.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribers.contains_key(topic)
    }

    /// Those of the topics that members subscribe to and that have partitions.
    pub(super) fn subscribed<'a>(
        &'a self,
        topics: &'a BTreeMap<String, i32>,
    ) -> impl Iterator<Item = (&'a String, &'a i32)> {
        let partitions = |topic| topics.get(topic).filter(|partitions| **partitions > 0);
        self.subscribers.keys().filter_map(move |topic| Some((topic, partitions(topic)?)))
    }
}

fn put<T: Clone>(map: &mut BTreeMap<String, T>, id: &str, value: Option<&T>) {
    match value {
        Some(value) => map.insert(id.to_owned(), value.clone()),
        None => map.remove(id),
    };
}
