//! What one heartbeat changes, piece by piece.

use std::collections::BTreeMap;

use super::config::ServerAssignor;
use super::member::{CurrentAssignment, Member};
use super::partitions::Partitions;
use super::reconcile::{Target, reconcile};
use super::record::{Epochs, Record};
use super::request::HeartbeatRequest;
use super::state::Durable;
use crate::group::assign::Subscription;

/// The changes of one step: applied as they are made, so that the next piece sees them, and collected
/// to be stored as one batch, one for each state.
pub(super) struct Changes<'a> {
    pub(super) durable: &'a mut Durable,
    records: BTreeMap<String, Record>,
}

impl<'a> Changes<'a> {
    pub(super) fn of(durable: &'a mut Durable) -> Changes<'a> {
        Changes { durable, records: BTreeMap::new() }
    }

    pub(super) fn into_records(self) -> Vec<Record> {
        self.records.into_values().collect()
    }

    pub(super) fn put(&mut self, record: Record) {
        self.durable.apply(&record);
        self.records.insert(record.name(), record);
    }

    /// Gives a member that is away a new member id, with all that is kept for it.
    pub(super) fn replace(&mut self, away: &str, id: &str) -> CurrentAssignment {
        let member = self.durable.members.get(away).cloned();
        let target = self.durable.targets.get(away).cloned();
        let assigned = self.durable.current.get(away).map(|current| current.assigned.clone());
        if away != id {
            self.remove(away);
        }
        let current = CurrentAssignment::joining(assigned.unwrap_or_default());
        self.put(Record::Member(id.to_owned(), member));
        self.put(Record::Target(id.to_owned(), target));
        self.put(Record::Current(id.to_owned(), Some(current.clone())));
        current
    }

    fn remove(&mut self, id: &str) {
        self.put(Record::Current(id.to_owned(), None));
        self.put(Record::Target(id.to_owned(), None));
        self.put(Record::Member(id.to_owned(), None));
    }

    /// Removes members for good. Their partitions are free at once; who gets them is decided with the
    /// next heartbeat.
    pub(super) fn remove_members<'m>(&mut self, ids: impl IntoIterator<Item = &'m str>) {
        for id in ids {
            self.remove(id);
        }
        let topics = self.durable.topics.clone();
        self.update_topics(&topics);
        self.raise_epoch();
    }

    /// Takes over what a member says about itself, and returns whether that is another subscription
    /// than before.
    pub(super) fn update_member(&mut self, request: &HeartbeatRequest) -> bool {
        let before = self.durable.members.get(&request.member_id);
        if before.is_some_and(|before| before.knows(request)) {
            return false;
        }
        let after = Member::after(before, request);
        let is_other = before.is_none_or(|before| before.topics != after.topics);
        self.put(Record::Member(request.member_id.clone(), Some(after)));
        is_other
    }

    /// Takes over the numbers of partitions of the topics that are read, and returns whether they
    /// are others than before.
    pub(super) fn update_topics(&mut self, topics: &BTreeMap<String, i32>) -> bool {
        if self.durable.subscribed(topics).eq(&self.durable.topics) {
            return false;
        }
        let read = self.durable.subscribed(topics);
        let read: BTreeMap<_, _> = read.map(|(topic, count)| (topic.clone(), *count)).collect();
        self.put(Record::Topics((!read.is_empty()).then_some(read)));
        true
    }

    pub(super) fn raise_epoch(&mut self) {
        let epochs = self.durable.epochs;
        let group = epochs.group.saturating_add(1);
        self.put(Record::Epochs(Some(Epochs { group, ..epochs })));
    }

    /// Decides who shall have what, if that was not decided for the epoch of the group.
    pub(super) fn update_targets(&mut self, default: ServerAssignor) {
        let Epochs { group, assignment } = self.durable.epochs;
        if group == assignment {
            return;
        }
        let members = self.durable.members.iter();
        let subscriptions: Vec<_> =
            members.map(|(id, member)| self.subscription(id, member)).collect();
        let rules = self.durable.preferred_assignor().unwrap_or(default).rules();
        // The ids of members are unique, so there is nothing that an assignor could refuse. If one
        // did, all members would keep what they have, in a group that is assigning.
        let Ok(shares) = rules.assign(&subscriptions, &self.durable.topics) else { return };
        for (id, share) in shares.iter() {
            let target: Partitions = share.iter().collect();
            if self.durable.targets.get(id) != Some(&target) {
                self.put(Record::Target(id.to_owned(), Some(target)));
            }
        }
        self.put(Record::Epochs(Some(Epochs { group, assignment: group })));
    }

    /// A member as an assignor sees it. What is sticky is the target, which members are on their way
    /// to already.
    fn subscription(&self, id: &str, member: &Member) -> Subscription {
        let target = self.durable.targets.get(id);
        let owned = target.map(Partitions::to_vec).unwrap_or_default();
        let subscription = Subscription::new(id, &member.topics).owned(0, owned);
        match &member.group_instance_id {
            Some(instance) => subscription.group_instance_id(instance),
            None => subscription,
        }
    }

    /// Takes the next step of a member towards its target, if it speaks in the epoch that it is in.
    ///
    /// One that missed an answer gets that answer first. Then a heartbeat that comes late, from an
    /// epoch before, moves nothing that the member would not hear of.
    pub(super) fn reconcile(
        &mut self,
        before: &CurrentAssignment,
        request: &HeartbeatRequest,
    ) -> CurrentAssignment {
        if request.member_epoch != before.epoch {
            return before.clone();
        }
        let id = &request.member_id;
        let durable = &*self.durable;
        let none = Partitions::new();
        let target = Target {
            epoch: durable.epochs.assignment,
            partitions: durable.targets.get(id).unwrap_or(&none),
        };
        let after = reconcile(before, target, request.owned.as_ref(), |topic, partition| {
            durable.holder(topic, partition).is_some_and(|holder| holder != id)
        });
        if durable.current.get(id) != Some(&after) {
            self.put(Record::Current(id.clone(), Some(after.clone())));
        }
        after
    }
}
