//! A group and its clients, what can happen to them, and what must hold whatever does.

use std::collections::BTreeSet;

use super::client::{Client, Life};
use super::support::mix;
use super::*;
use pagemark::group::modern::{ConsumerGroupState, Expiry, MemberState, ServerAssignor};

pub(super) const SESSION_MS: u32 = 10_000;
pub(super) const REBALANCE_MS: u32 = 4_000;
const HEARTBEAT_MS: i64 = 1_000;
const START_MS: i64 = 1_700_000_000_000;

/// What has happened in all histories, to see that they are worth something.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) joins: usize,
    pub(super) lost: usize,
    pub(super) unstored: usize,
    pub(super) late: usize,
    pub(super) fenced: usize,
    pub(super) waits: usize,
    pub(super) expired: usize,
    pub(super) revocations_expired: usize,
    pub(super) returns: usize,
    pub(super) unrevoked: usize,
    pub(super) unreleased: usize,
    pub(super) moves: usize,
    /// The most rounds of heartbeats that a hand-over took.
    pub(super) rounds: usize,
}

/// A heartbeat on its way for too long.
struct Copy {
    id: String,
    epoch: i32,
    request: HeartbeatRequest,
}

pub(super) struct World {
    random: u64,
    config: ConsumerGroupConfig,
    group: ConsumerGroup,
    stored: Stored,
    now_ms: i64,
    topics: Topics,
    pub(super) clients: Vec<Client>,
    /// Heartbeats that the network keeps a copy of.
    copies: Vec<Copy>,
    names: usize,
    epochs: (i32, i32),
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let range = seed.is_multiple_of(4);
        let config = ConsumerGroupConfig::new()
            .session_timeout_ms(SESSION_MS)
            .heartbeat_interval_ms(HEARTBEAT_MS as u32)
            .assignor(if range { ServerAssignor::Range } else { ServerAssignor::Uniform });
        World {
            random: seed,
            group: ConsumerGroup::open(config.clone(), [], 0).unwrap(),
            config,
            stored: Stored::default(),
            now_ms: START_MS,
            topics: topics(&[("a", 4), ("b", 3)]),
            clients: Vec::new(),
            copies: Vec::new(),
            names: 0,
            epochs: (0, 0),
        }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.random = mix(self.random.wrapping_add(0x9e37_79b9_7f4a_7c15));
        (self.random % below as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.pick(100) < percent
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("m{}", self.names)
    }

    fn some_topics(&mut self) -> Vec<String> {
        // The last one does not exist at first.
        let all: Vec<_> = ["a", "b", "c"].map(str::to_owned).into();
        match self.pick(3) {
            0 => all,
            1 => all[..1].to_vec(),
            _ => vec!["b".into()],
        }
    }

    fn client(&mut self, life: Life) -> Option<usize> {
        let those: Vec<usize> =
            (0..self.clients.len()).filter(|&i| self.clients[i].life == life).collect();
        let at = self.pick(those.len().max(1));
        those.get(at).copied()
    }

    /// Lets something happen, and looks.
    pub(super) fn disturb(&mut self, seen: &mut Seen) {
        match self.pick(100) {
            0..=7 => self.start(),
            8..=57 => {
                if let Some(at) = self.client(Life::Running) {
                    let (is_lost, is_stored) = (self.chance(15), !self.chance(3));
                    self.beat(at, is_lost, is_stored, seen);
                }
            }
            58..=69 => {
                let at = self.client(Life::Running);
                if let Some(client) = at.map(|at| &mut self.clients[at])
                    && !client.is_slow
                {
                    client.give_up();
                }
            }
            70..=73 => self.leave(seen),
            74..=75 => self.stop(Life::Gone),
            76..=77 => self.stop(Life::Hanging),
            78..=79 => {
                if let Some(at) = self.client(Life::Hanging) {
                    self.clients[at].life = Life::Running;
                }
            }
            80..=82 => self.subscribe_anew(),
            83..=84 => self.change_topics(),
            85..=88 => self.deliver_late(seen),
            89..=95 => {
                let ms = self.pick(3_000) as i64;
                self.pass(ms, seen);
            }
            96 => {
                let jumps = [-1_000_000_000, -5_000, 4_000, 9_000, i64::MIN / 2];
                let jump = jumps[self.pick(jumps.len())];
                self.pass(jump, seen);
            }
            97 => self.pass(i64::MAX / 4, seen),
            _ => self.restart(),
        }
        self.check();
    }

    fn start(&mut self) {
        if self.clients.iter().filter(|client| client.life != Life::Gone).count() >= 8 {
            return;
        }
        let instance = self.chance(40).then(|| format!("i{}", self.pick(3)));
        let (id, topics) = (self.name(), self.some_topics());
        let is_slow = self.chance(20);
        self.clients.push(Client { is_slow, ..Client::new(id, instance, topics) });
    }

    /// A heartbeat, its step, and its answer, as far as they come.
    fn beat(&mut self, at: usize, is_lost: bool, is_stored: bool, seen: &mut Seen) {
        let says_owned = self.chance(30);
        let request = self.clients[at].request(says_owned);
        let answer = self.send(&request, is_stored);
        self.copy(at, self.clients[at].epoch, request);
        let Some(answer) = answer else {
            seen.unstored += 1;
            self.clients[at].has_to_say_all = true;
            return;
        };
        if answer.is_ok() {
            // Whatever the client hears of it, it is a member now.
            self.clients[at].is_removed = false;
        }
        if is_lost {
            seen.lost += 1;
            self.clients[at].has_to_say_all = true;
            return;
        }
        match answer {
            Ok(step) => {
                let client = &mut self.clients[at];
                seen.joins += usize::from(client.epoch == JOIN_EPOCH);
                let before = client.owned.len();
                client.hear(&step.response);
                seen.moves += client.owned.len() - before;
                let members = self.group.describe().members;
                let member = members.iter().find(|m| m.member_id == client.id).unwrap();
                assert_eq!(member.member_epoch, client.epoch);
                assert_eq!(member.assigned, client.told, "{client:?}");
                seen.unrevoked += usize::from(member.state == MemberState::UnrevokedPartitions);
                seen.unreleased += usize::from(member.state == MemberState::UnreleasedPartitions);
            }
            Err(error) => {
                let waits = error == GroupError::UnreleasedInstanceId;
                *(if waits { &mut seen.waits } else { &mut seen.fenced }) += 1;
                let new_id = self.chance(50).then(|| self.name());
                self.clients[at].refused(error, new_id);
            }
        }
    }

    /// Gives the group a heartbeat. The same one to what its records make of it has to come to the
    /// same. `None` if the step could not be stored.
    fn send(
        &mut self,
        request: &HeartbeatRequest,
        is_stored: bool,
    ) -> Option<Result<Step, GroupError>> {
        let mut twin = self.stored.open(&self.config, self.now_ms);
        let answer = self.group.heartbeat(self.now_ms, request, &self.topics);
        assert_eq!(twin.heartbeat(self.now_ms, request, &self.topics), answer, "{request:?}");
        let Ok(step) = &answer else { return Some(answer) };
        let names: BTreeSet<String> = step.records.iter().map(Record::name).collect();
        assert_eq!(names.len(), step.records.len(), "one record for each state");
        if step.records.is_empty() || is_stored {
            self.stored.take(&step.records);
            return Some(answer);
        }
        self.restart();
        None
    }

    fn restart(&mut self) {
        let live = self.group.describe();
        self.group = self.stored.open(&self.config, self.now_ms);
        // After a step that was not stored, the group was ahead.
        assert!(self.group.describe().group_epoch <= live.group_epoch);
    }

    fn leave(&mut self, seen: &mut Seen) {
        let Some(at) = self.client(Life::Running) else { return };
        let is_for_a_while = self.clients[at].instance.is_some() && self.chance(70);
        let epoch = if is_for_a_while { STATIC_LEAVE_EPOCH } else { LEAVE_EPOCH };
        // It stops using its partitions first.
        self.clients[at].forget();
        self.clients[at].life = Life::Gone;
        let request = self.clients[at].bare(epoch);
        let answer = self.send(&request, true);
        if is_for_a_while && matches!(answer, Some(Ok(_))) {
            seen.returns += 1;
            let (id, instance) = (self.name(), self.clients[at].instance.clone());
            let topics = self.clients[at].topics.clone();
            self.clients.push(Client::new(id, instance, topics));
        }
        self.copy(at, epoch, request);
        self.clients[at].is_removed = true;
    }

    fn copy(&mut self, at: usize, epoch: i32, request: HeartbeatRequest) {
        self.copies.push(Copy { id: self.clients[at].id.clone(), epoch, request });
        if self.copies.len() > 50 {
            self.copies.remove(0);
        }
    }

    fn stop(&mut self, life: Life) {
        let Some(at) = self.client(Life::Running) else { return };
        self.clients[at].life = life;
        if life == Life::Gone {
            self.clients[at].forget();
        }
    }

    fn subscribe_anew(&mut self) {
        let topics = self.some_topics();
        if let Some(at) = self.client(Life::Running) {
            self.clients[at].topics = topics;
            self.clients[at].has_to_say_all = true;
        }
    }

    fn change_topics(&mut self) {
        let name = ["a", "b", "c"][self.pick(3)];
        if self.chance(10) {
            self.topics.remove(name);
        } else {
            let more = self.pick(3) as i32;
            let size = self.topics.entry(name.into()).or_default();
            *size = (*size + more).min(12);
        }
    }

    /// A copy of a heartbeat arrives late. Its answer goes to nobody.
    fn deliver_late(&mut self, seen: &mut Seen) {
        if self.copies.is_empty() {
            return;
        }
        let at = self.pick(self.copies.len());
        let copy = self.copies.remove(at);
        // The promise of the host: none comes behind a later one of the same epoch.
        let is_newest = |client: &Client| {
            client.id == copy.id && client.epoch == copy.epoch && client.life != Life::Gone
        };
        if !self.clients.iter().any(is_newest) {
            seen.late += 1;
            let _ = self.send(&copy.request, true);
        }
    }

    /// Time goes on, or jumps, and what is due is done.
    fn pass(&mut self, ms: i64, seen: &mut Seen) {
        self.now_ms = self.now_ms.saturating_add(ms);
        let expired = self.group.tick(self.now_ms);
        self.stored.take(&expired.records);
        for (id, expiry) in expired.members {
            let is_session = expiry == Expiry::Session;
            *(if is_session { &mut seen.expired } else { &mut seen.revocations_expired }) += 1;
            for client in self.clients.iter_mut().filter(|client| client.id == id) {
                client.is_removed = true;
            }
        }
        assert!(self.group.next_deadline().is_none_or(|deadline| deadline >= self.now_ms));
    }

    fn check(&mut self) {
        let group = self.group.describe();
        let twin = self.stored.open(&self.config, self.now_ms).describe();
        assert_eq!(twin, group, "what is stored is what is shown");
        let epochs = (group.group_epoch, group.assignment_epoch);
        assert!(epochs.0 >= self.epochs.0 && epochs.1 >= self.epochs.1, "{epochs:?}");
        self.epochs = epochs;

        let mut given = BTreeSet::new();
        let mut targeted = BTreeSet::new();
        for member in &group.members {
            assert!(member.member_epoch <= group.assignment_epoch);
            for partition in member.assigned.iter().chain(member.revoking.iter()) {
                assert!(given.insert(partition), "{partition:?} is held twice: {group:?}");
            }
            assert!(member.target.iter().all(|partition| targeted.insert(partition)));
        }
        for client in &self.clients {
            let passes = self.group.check_commit(&client.id, client.epoch).is_ok();
            if client.is_removed {
                // It is somebody else's, maybe, and the client does not know that yet.
                assert!(!passes || client.owned.is_empty(), "{client:?} in {group:?}");
                continue;
            }
            for (topic, partition) in client.owned.iter() {
                let owner = self.group.owner(topic, partition);
                assert_eq!(owner, Some(&client.id[..]), "{topic}-{partition}: {client:?}");
            }
        }
    }

    /// Nothing happens any more but heartbeats: all is settled soon, and everything has an owner.
    pub(super) fn calm_down(&mut self, seen: &mut Seen) {
        while let Some(at) = self.client(Life::Hanging) {
            self.clients[at].life = Life::Running;
        }
        self.copies.clear();
        self.pass(START_MS.saturating_sub(self.now_ms), seen);
        // A late heartbeat may have brought back an older subscription.
        self.clients.iter_mut().for_each(|client| client.has_to_say_all = true);
        // Everybody who is gone without a word is removed, and those who wait for that are in.
        for _ in 0..i64::from(2 * SESSION_MS) / HEARTBEAT_MS {
            self.round(seen);
        }
        let mut rounds = 0;
        while !self.is_settled() {
            self.round(seen);
            rounds += 1;
            assert!(rounds < 10, "it does not end: {:?} {:?}", self.group.describe(), self.clients);
        }
        // One more partition, and the hand-over that it takes.
        *self.topics.entry("a".into()).or_default() += 1;
        for needed in 1.. {
            self.round(seen);
            if self.is_settled() {
                seen.rounds = seen.rounds.max(needed);
                break;
            }
            assert!(needed < 10, "it does not end: {:?}", self.group.describe());
        }
    }

    fn round(&mut self, seen: &mut Seen) {
        for at in 0..self.clients.len() {
            if self.clients[at].life == Life::Running {
                self.beat(at, false, true, seen);
                self.clients[at].give_up();
                self.check();
            }
        }
        self.pass(HEARTBEAT_MS, seen);
        self.check();
    }

    fn is_settled(&self) -> bool {
        let running = || self.clients.iter().filter(|client| client.life == Life::Running);
        let members = || running().filter(|client| client.epoch != JOIN_EPOCH);
        // Two processes with one group instance id: one of them waits for ever, and reads nothing.
        let waits = |client: &Client| {
            client.instance.is_some() && members().any(|other| other.instance == client.instance)
        };
        let group = self.group.describe();
        let known: BTreeSet<&str> = group.members.iter().map(|m| &m.member_id[..]).collect();
        let is_all_read = self.topics.iter().all(|(topic, size)| {
            let is_read = members().any(|client| client.topics.contains(topic));
            let is_owned = |partition| members().any(|c| c.owned.contains(topic, partition));
            (0..*size).all(|partition| is_owned(partition) == is_read)
        });
        matches!(group.state, ConsumerGroupState::Stable | ConsumerGroupState::Empty)
            && known == members().map(|client| &client.id[..]).collect()
            && members().all(|client| client.owned == client.told)
            && running().all(|client| client.epoch != JOIN_EPOCH || waits(client))
            && is_all_read
    }
}
