//! A group by member epochs, its clients, and what they were told.

mod client;

use std::collections::{BTreeMap, BTreeSet};

use self::client::{Client, Heartbeat, Life};
use super::{Change, Game, Input, JITTER_MS, LATE_MS, States, TOPICS, store};
use crate::Result;
use crate::group::modern::{
    ConsumerGroup, ConsumerGroupConfig, ConsumerGroupDescription, ConsumerGroupState, Expiry,
    HeartbeatResponse, JOIN_EPOCH, LEAVE_EPOCH, MemberState, Partitions, Record,
    STATIC_LEAVE_EPOCH, ServerAssignor,
};

const MEMBERS: [&str; 4] = ["a", "b", "c", ""];
const SESSION_MS: i64 = 45_000;
/// How often everybody speaks until all have what they shall have.
const MOST_ROUNDS: usize = 10;

pub(in crate::testkit) struct Modern {
    group: ConsumerGroup,
    /// Whether all that is stored was stored by the group.
    is_own: bool,
    /// Those who were ever members, by their ids.
    clients: BTreeMap<String, Client>,
    /// The numbers of partitions that the group was told last.
    topics: BTreeMap<String, i32>,
    /// The epochs of the group that were seen last.
    epochs: (i32, i32),
    /// The heartbeat that came in, the topics of that moment, and the answer to let out.
    underway: Option<(Heartbeat, BTreeMap<String, i32>, HeartbeatResponse)>,
    /// Who is removed when that is stored, or the whole group.
    removed: Vec<String>,
    is_deleted: bool,
    /// The group as it is stored.
    twin: Option<ConsumerGroup>,
    /// The newest time that the group was given.
    now_ms: i64,
}

impl Game for Modern {
    fn open(states: &States, now_ms: i64) -> Result<Modern> {
        let group = open(states, now_ms)?;
        let described = group.describe();
        let clients = described.members.iter().map(|of| (of.member_id.clone(), Client::of(of)));
        Ok(Modern {
            clients: clients.collect(),
            is_own: states.is_empty(),
            topics: BTreeMap::new(),
            epochs: (described.group_epoch, described.assignment_epoch),
            underway: None,
            removed: Vec::new(),
            is_deleted: false,
            twin: None,
            group,
            now_ms,
        })
    }

    fn play(&mut self, now_ms: i64, input: &mut Input<'_>) -> Vec<Change> {
        let records = match input.below(16) {
            0 => self.tick(now_ms),
            1 => {
                let deleted = self.group.delete();
                self.is_deleted = deleted.is_ok();
                deleted.unwrap_or_default()
            }
            _ => {
                let heartbeat = self.heartbeat(input);
                let topics = TOPICS.map(|topic| (topic.to_owned(), input.below(4) as i32 - 1));
                self.send(now_ms, heartbeat, BTreeMap::from(topics))
            }
        };
        changes(&records)
    }

    /// Members are what is stored of them, and they hear of it.
    fn let_out(&mut self, now_ms: i64) {
        self.take_effect();
        let Some((heartbeat, _, response)) = self.underway.take() else { return };
        let Some(client) = self.clients.get_mut(&heartbeat.id) else { return };
        client.hear(&response);
        if client.life != Life::Removed {
            self.expect_session(now_ms, &heartbeat.id);
        }
    }

    fn give_up(&mut self) {
        self.underway = None;
        self.removed.clear();
        self.is_deleted = false;
    }

    /// The group goes on with what is stored, and whoever waits for an answer does not get it.
    fn restart(&mut self, states: &States, now_ms: i64) {
        self.take_effect();
        if let Some((heartbeat, ..)) = self.underway.take() {
            self.clients.entry(heartbeat.id).or_default().misses();
        }
        let opened = open(states, now_ms);
        assert!(opened.is_ok(), "what is stored does not open: {opened:?}, {states:?}");
        self.group = opened.unwrap_or_else(|_| self.group.clone());
        self.now_ms = now_ms;
    }

    fn check(&mut self, states: &States, now_ms: i64) {
        let group = self.group.describe();
        let reopened = open(states, now_ms);
        assert!(reopened.is_ok(), "what is stored does not open: {reopened:?}, {states:?}");
        if group.state == ConsumerGroupState::Dead {
            assert!(states.is_empty(), "{states:?} are of no group");
            self.twin = None;
            return;
        }
        self.twin = reopened.ok();
        let stored = self.twin.as_ref().map(ConsumerGroup::describe);
        assert_eq!(stored.as_ref(), Some(&group), "a group comes back as it was");
        let epochs = (group.group_epoch, group.assignment_epoch);
        let goes_on = epochs.0 >= self.epochs.0 && epochs.1 >= self.epochs.1;
        assert!(goes_on && epochs.1 <= epochs.0, "{epochs:?} after {:?}", self.epochs);
        self.epochs = epochs;
        let (mut held, mut targeted) = (Partitions::new(), Partitions::new());
        let mut instances = BTreeSet::new();
        for member in &group.members {
            let mut all = member.assigned.iter().chain(member.revoking.iter());
            assert!(all.all(|(topic, partition)| held.insert(topic, partition)), "held twice");
            let mut all = member.target.iter();
            let is_new = |(topic, partition)| targeted.insert(topic, partition);
            assert!(all.all(is_new) || !self.is_own, "{group:?} gives twice");
            let is_one = member.group_instance_id.as_ref().is_none_or(|id| instances.insert(id));
            assert!(is_one, "{group:?} has two of one");
            assert!(member.member_epoch <= group.assignment_epoch, "{member:?} is ahead");
        }
        for (id, client) in &mut self.clients {
            let member = group.members.iter().find(|member| member.member_id == *id);
            client.is_at(member.map(|member| member.member_epoch));
            client.check(id, &self.group, member);
        }
        if self.is_own && group.state == ConsumerGroupState::Stable {
            self.expect_owners(&group);
        }
    }

    /// Everybody who is a member sends heartbeats, all of them heard.
    fn calm_down(&mut self, states: &mut States, now_ms: i64) {
        if !self.is_own || self.group.state() == ConsumerGroupState::Dead {
            return;
        }
        let now_ms = now_ms.min(LATE_MS);
        for _ in 0..MOST_ROUNDS {
            for id in self.clients.keys().cloned().collect::<Vec<_>>() {
                let heartbeat = self.clients.get_mut(&id).and_then(|client| client.next(&id));
                let Some(heartbeat) = heartbeat else { continue };
                let records = self.send(now_ms, heartbeat, self.topics.clone());
                assert!(self.underway.is_some(), "{:?} is refused", self.clients.get(&id));
                store(states, changes(&records));
                self.let_out(now_ms);
                self.check(states, now_ms);
            }
        }
        let group = self.group.describe();
        let is_over =
            [ConsumerGroupState::Stable, ConsumerGroupState::Empty].contains(&group.state);
        assert!(is_over, "it does not end: {group:?}");
        for member in &group.members {
            let client = self.clients.get(&member.member_id);
            let owned = client.map(|client| &client.owned);
            assert_eq!(owned, Some(&member.assigned), "{client:?} in {group:?}");
        }
    }
}

fn open(states: &States, now_ms: i64) -> Result<ConsumerGroup> {
    let mut records = Vec::new();
    for (name, value) in states {
        let record = Record::decode(name, value)?;
        assert_eq!((&record.name(), record.value().as_ref()), (name, Some(value)));
        records.push(record);
    }
    ConsumerGroup::open(ConsumerGroupConfig::new().max_size(3), records, now_ms)
}

/// Why a member is removed if nobody says anything until then.
fn expiry(group: &ConsumerGroup, then_ms: i64, id: &str) -> Option<Expiry> {
    let expired = group.clone().tick(then_ms);
    let expired = expired.members.into_iter().find(|(of, _)| of == id)?;
    Some(expired.1)
}

fn changes(records: &[Record]) -> Vec<Change> {
    let changes: Vec<Change> =
        records.iter().map(|record| (record.name(), record.value())).collect();
    let names: BTreeSet<&String> = changes.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), changes.len(), "one record for each state: {records:?}");
    changes
}

impl Modern {
    /// A heartbeat of somebody, mostly one that fits what the member was told.
    fn heartbeat(&self, input: &mut Input<'_>) -> Heartbeat {
        let id = input.pick(MEMBERS);
        let client = self.clients.get(id);
        let told = client.map_or(JOIN_EPOCH, |client| client.epoch);
        let epochs = [told, told, told, told.saturating_sub(1)];
        let others = [JOIN_EPOCH, LEAVE_EPOCH, STATIC_LEAVE_EPOCH, i32::MAX];
        let epoch = if input.below(2) == 0 { input.pick(epochs) } else { input.pick(others) };
        let mut heartbeat = Heartbeat::new(id, epoch);
        let instance = client.and_then(|client| client.instance.as_deref());
        let instance = if input.below(3) == 0 { Some(input.pick(MEMBERS)) } else { instance };
        if let Some(instance) = instance {
            heartbeat = heartbeat.of_instance(instance);
        }
        if epoch == JOIN_EPOCH || input.below(4) == 0 {
            let timeout_ms = input.pick([20_000, 0, u32::MAX]);
            heartbeat = heartbeat.reading(input.topics(), timeout_ms);
        }
        if input.below(4) == 0 {
            let assignor = input.pick([ServerAssignor::Uniform, ServerAssignor::Range]);
            heartbeat = heartbeat.with(|of| of.assignor(assignor));
        }
        match (input.below(4), client) {
            (0, _) if epoch != JOIN_EPOCH => heartbeat,
            (1, Some(client)) => heartbeat.owning(client.told.clone()),
            (2, Some(client)) => heartbeat.owning(client.owned.clone()),
            _ => heartbeat.owning(Partitions::new()),
        }
    }

    /// Gives the group a heartbeat. The same one to what is stored of the group comes to the same.
    fn send(
        &mut self,
        now_ms: i64,
        heartbeat: Heartbeat,
        topics: BTreeMap<String, i32>,
    ) -> Vec<Record> {
        if let Some(client) = self.clients.get_mut(&heartbeat.id) {
            client.says(&heartbeat);
        }
        let (group, before) = (self.group.clone(), self.group.describe());
        let deadline = self.group.next_deadline();
        let is_later = (self.now_ms..LATE_MS).contains(&now_ms);
        let answer = self.group.heartbeat(now_ms, &heartbeat.request, &topics);
        if let Some(mut twin) = self.twin.take() {
            let same = twin.heartbeat(now_ms, &heartbeat.request, &topics);
            assert_eq!(same, answer, "{heartbeat:?} to what is stored");
        }
        self.now_ms = now_ms;
        let member = before.members.iter().find(|member| member.member_id == heartbeat.id);
        let Ok(step) = answer else {
            assert_eq!(self.group.describe(), before, "a refusal changes nothing");
            if is_later && deadline.is_some_and(|deadline| deadline > now_ms) {
                let after = self.group.next_deadline();
                assert_eq!(after, deadline, "a refusal is no sign of life");
            }
            return Vec::new();
        };
        let nobody = Client::default();
        let client = self.clients.get(&heartbeat.id).unwrap_or(&nobody);
        client.expect_accepted(&heartbeat, member);
        if heartbeat.epoch > JOIN_EPOCH && heartbeat.timeout_ms.is_none() {
            self.expect_revocation(&group, now_ms, &heartbeat.id);
        }
        let records = step.records.clone();
        self.underway = Some((heartbeat, topics, step.response));
        records
    }

    /// Does what is due when it is due.
    fn tick(&mut self, now_ms: i64) -> Vec<Record> {
        let due = self.group.next_deadline().unwrap_or(now_ms).max(now_ms);
        let expired = self.group.tick(due);
        self.now_ms = due;
        let next = self.group.next_deadline();
        assert!(next.is_none_or(|next| next > due || due >= LATE_MS), "what was due stays due");
        self.removed = expired.members.into_iter().map(|(id, _)| id).collect();
        expired.records
    }

    /// What was decided is stored, so that it is what is, whoever hears of it.
    fn take_effect(&mut self) {
        for id in std::mem::take(&mut self.removed) {
            self.clients.entry(id).or_default().life = Life::Removed;
        }
        if std::mem::take(&mut self.is_deleted) {
            self.epochs = (0, 0);
        }
        let Some((heartbeat, topics, _)) = &self.underway else { return };
        if heartbeat.epoch >= JOIN_EPOCH {
            self.topics.clone_from(topics);
        }
        let client = self.clients.entry(heartbeat.id.clone()).or_default();
        client.is_in(heartbeat);
        let Some(instance) = client.instance.clone() else { return };
        for (id, other) in &mut self.clients {
            if *id != heartbeat.id && other.instance.as_ref() == Some(&instance) {
                other.life = Life::Removed;
            }
        }
    }

    /// Whoever was heard of stays for its session and no longer; not even that long if it does not give
    /// up in time what it has to.
    fn expect_session(&self, now_ms: i64, id: &str) {
        if now_ms >= LATE_MS {
            return;
        }
        let group = self.group.describe();
        let member = group.members.iter().find(|member| member.member_id == id);
        let has_to_revoke = member.is_some_and(|of| of.state == MemberState::UnrevokedPartitions);
        let timeout_ms = self.clients.get(id).and_then(|client| client.timeout_ms);
        let timeout_ms = timeout_ms.map(i64::from).filter(|_| has_to_revoke);
        let is_removed = |after_ms| expiry(&self.group, now_ms + after_ms, id).is_some();
        assert!(has_to_revoke || !is_removed(SESSION_MS - 1), "{id:?} was heard and is removed");
        let over = timeout_ms.unwrap_or(SESSION_MS).min(SESSION_MS) + JITTER_MS;
        assert!(is_removed(over), "{id:?} is silent and stays");
    }

    /// A member that is late to give something up does not get more time by saying that it is there.
    fn expect_revocation(&self, before: &ConsumerGroup, now_ms: i64, id: &str) {
        let timeout_ms = self.clients.get(id).and_then(|client| client.timeout_ms);
        let Some(timeout_ms) = timeout_ms.map(i64::from).filter(|ms| *ms < SESSION_MS) else {
            return;
        };
        let held = |group: &ConsumerGroup| {
            let members = group.describe().members.into_iter();
            let member = members.filter(|of| of.state == MemberState::UnrevokedPartitions);
            let mut member = member.filter(|of| of.member_id == id);
            member.next().map(|member| (member.assigned, member.revoking))
        };
        let is_as_before = held(before).is_some_and(|was| held(&self.group) == Some(was));
        if is_as_before && now_ms < LATE_MS {
            let in_time = now_ms + timeout_ms - 1;
            if expiry(before, in_time, id) == Some(Expiry::Revocation) {
                assert!(expiry(&self.group, in_time, id).is_some(), "{id:?} gets more time");
            }
        }
    }

    /// When all is settled, everything that somebody reads is somebody's who does.
    fn expect_owners(&self, group: &ConsumerGroupDescription) {
        let read: BTreeSet<&String> = group.members.iter().flat_map(|of| &of.topics).collect();
        for topic in read {
            for partition in 0..self.topics.get(topic).copied().unwrap_or(0) {
                let owner = self.group.owner(topic, partition);
                let owner = group.members.iter().find(|of| Some(&of.member_id[..]) == owner);
                let is_read = owner.is_some_and(|owner| owner.topics.contains(topic));
                assert!(is_read, "{topic}-{partition} is {owner:?}'s in {group:?}");
            }
        }
    }
}
