//! Members of the newer protocol that fail at random, above a coordinator, a store and a disk that
//! do, too.

use std::collections::{BTreeMap, BTreeSet};

use pagemark::group::classic::{CommitRequest, MemberIdentity};
use pagemark::group::coordinator::{CoordinatorError, GroupDescription, PartitionCommit};
use pagemark::group::modern::{
    ConsumerGroupDescription, HeartbeatRequest, JOIN_EPOCH, LEAVE_EPOCH, Partitions,
};
use pagemark::testkit::Op;
use pagemark::{Key, NextOffset};

use super::host::Host;
use super::random::Random;

const GROUP: &str = "movers";

#[derive(Clone, Debug)]
struct Member {
    id: String,
    epoch: i32,
    /// What it uses, and what it was told to.
    owned: Partitions,
    told: Partitions,
    has_to_say_all: bool,
    is_silent: bool,
}

#[derive(Debug, Default)]
struct Seen {
    joins: u32,
    fenced: u32,
    accepted: u32,
    refused: u32,
    failed: u32,
    cuts: u32,
    moves: usize,
}

struct World {
    host: Host,
    random: Random,
    members: Vec<Member>,
    names: u32,
    partitions: i32,
    committed: BTreeMap<i32, NextOffset>,
    uncertain: BTreeMap<i32, BTreeSet<NextOffset>>,
    offsets: i64,
    seen: Seen,
}

impl World {
    fn new(seed: u64) -> World {
        let world = World {
            host: Host::new(seed, 0),
            random: Random::new(seed),
            members: Vec::new(),
            names: 0,
            partitions: 5,
            committed: BTreeMap::new(),
            uncertain: BTreeMap::new(),
            offsets: 0,
            seen: Seen::default(),
        };
        world.set_topics();
        world
    }

    fn set_topics(&self) {
        let topics = BTreeMap::from([("orders".to_owned(), self.partitions)]);
        self.host.coordinator().set_topics(topics);
    }

    fn step(&mut self) {
        match self.random.below(120) {
            0..=1 => {
                let at = self.host.disk().operations() + self.random.below(6) as u64;
                self.host.disk().freeze_at(at);
            }
            2 => {
                let kind = [Op::SyncFile, Op::Write][self.random.below(2)];
                self.host.disk().fail_nth(kind, 0, std::io::ErrorKind::Other);
            }
            3 => {
                self.host.hand_over().unwrap();
                self.set_topics();
            }
            _ => {}
        }
        match self.random.below(20) {
            0 if self.members.len() < 5 => self.start(),
            1 => self.host.jump([60_000, -3_600_000, 9_000, -9_000][self.random.below(4)]),
            2..=3 => {
                let ms = [1, 100, 2_000][self.random.below(3)];
                self.host.wait(ms);
            }
            4 if !self.members.is_empty() => {
                let at = self.random.below(self.members.len());
                self.members[at].is_silent ^= true;
            }
            5 if !self.members.is_empty() => self.leave(),
            6..=9 => self.commit(),
            _ if !self.members.is_empty() => {
                let at = self.random.below(self.members.len());
                self.beat(at);
            }
            _ => {}
        }
        if self.host.is_broken() {
            self.crash();
        }
        self.check();
    }

    fn crash(&mut self) {
        let is_power_cut = self.host.disk().is_frozen() || self.random.chance(50);
        let lots = self.random.below(1_000) as u64;
        self.host.crash(is_power_cut.then_some(lots));
        self.set_topics();
        self.seen.cuts += u32::from(is_power_cut);
    }

    fn start(&mut self) {
        self.names += 1;
        self.members.push(Member {
            id: format!("m{}", self.names),
            epoch: JOIN_EPOCH,
            owned: Partitions::new(),
            told: Partitions::new(),
            has_to_say_all: true,
            is_silent: false,
        });
    }

    fn leave(&mut self) {
        let at = self.random.below(self.members.len());
        let member = self.members.remove(at);
        let request = HeartbeatRequest::new(&member.id, LEAVE_EPOCH);
        let left = self.host.coordinator().consumer_heartbeat(self.host.now_ms(), GROUP, &request);
        assert!(left.is_err() || left.unwrap().member_epoch == LEAVE_EPOCH);
    }

    fn beat(&mut self, at: usize) {
        let is_lost = self.random.chance(10);
        let member = &mut self.members[at];
        if member.is_silent {
            return;
        }
        // It stops using what it has to give up, and says so.
        member.owned = intersection(&member.owned, &member.told);
        let mut request =
            HeartbeatRequest::new(&member.id, member.epoch).owned(member.owned.clone());
        if member.has_to_say_all {
            request = request.topics(["orders"]).rebalance_timeout_ms(20_000);
        }
        let answer =
            self.host.coordinator().consumer_heartbeat(self.host.now_ms(), GROUP, &request);
        member.has_to_say_all = is_lost || answer.is_err();
        match answer {
            _ if is_lost => {}
            Ok(response) => {
                assert!(response.member_epoch >= member.epoch, "{member:?} {response:?}");
                self.seen.joins += u32::from(member.epoch == JOIN_EPOCH);
                member.epoch = response.member_epoch;
                if let Some(assignment) = response.assignment {
                    for (topic, partition) in assignment.iter() {
                        self.seen.moves += usize::from(member.owned.insert(topic, partition));
                    }
                    member.told = assignment;
                }
            }
            Err(CoordinatorError::Store(_)) => {}
            Err(CoordinatorError::Group(_)) => {
                self.seen.fenced += 1;
                self.names += 1;
                let id = format!("m{}", self.names);
                let none = Partitions::new();
                let (owned, told) = (none.clone(), none);
                *member = Member {
                    id,
                    epoch: JOIN_EPOCH,
                    owned,
                    told,
                    has_to_say_all: true,
                    is_silent: false,
                };
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A member commits all that it uses, silent or not.
    fn commit(&mut self) {
        if self.members.is_empty() {
            return;
        }
        let at = self.random.below(self.members.len());
        let Member { id, epoch, owned, .. } = self.members[at].clone();
        if owned.is_empty() {
            return;
        }
        self.offsets += 1;
        let offset = NextOffset(self.offsets);
        let member = MemberIdentity::dynamic(&id);
        let by = CommitRequest { member, generation: epoch, is_transactional: false };
        let commits: Vec<_> =
            owned.iter().map(|(topic, p)| PartitionCommit::new(topic, p, offset)).collect();
        let described = self.describe();
        let result = self.host.coordinator().commit(self.host.now_ms(), GROUP, &by, &commits);
        let partitions = owned.iter().map(|(_, partition)| partition);
        match result {
            Ok(_) => {
                self.seen.accepted += 1;
                let described = described.unwrap();
                let known = described.members.iter().find(|m| m.member_id == id).unwrap();
                assert_eq!(known.member_epoch, epoch, "{id} has committed");
                for partition in partitions {
                    let is_its = known.assigned.contains("orders", partition)
                        || known.revoking.contains("orders", partition);
                    assert!(is_its, "{id} has committed {partition}: {described:?}");
                    self.committed.insert(partition, offset);
                    self.uncertain.remove(&partition);
                }
            }
            Err(CoordinatorError::Group(_)) => self.seen.refused += 1,
            Err(_) => {
                self.seen.failed += 1;
                partitions.for_each(|p| {
                    self.uncertain.entry(p).or_default().insert(offset);
                });
            }
        }
    }

    fn describe(&self) -> Option<ConsumerGroupDescription> {
        match self.host.coordinator().describe(self.host.now_ms(), GROUP) {
            Ok(GroupDescription::Consumer(described)) => Some(described),
            _ => None,
        }
    }

    /// Partitions show what was committed; what a member was told stands, or it is none any more; and
    /// none of them is held twice.
    fn check(&mut self) {
        for partition in 0..self.partitions {
            let shown = self.host.store().fetch(Key::new(GROUP, "orders", partition));
            let shown = shown.map(|value| value.offset());
            if shown == self.committed.get(&partition).copied() {
                continue;
            }
            let may_be = self.uncertain.get(&partition);
            assert!(may_be.is_some_and(|set| set.iter().any(|offset| shown == Some(*offset))));
            self.committed.extend(shown.map(|offset| (partition, offset)));
        }
        let Some(group) = self.describe() else {
            assert!(self.members.iter().all(|member| member.epoch == JOIN_EPOCH));
            return;
        };
        let mut held = BTreeSet::new();
        for known in &group.members {
            for of in known.assigned.iter().chain(known.revoking.iter()) {
                assert!(held.insert(of), "{of:?} is held twice: {group:?}");
            }
        }
        for member in self.members.iter().filter(|member| member.epoch != JOIN_EPOCH) {
            let Some(known) = group.members.iter().find(|m| m.member_id == member.id) else {
                continue;
            };
            assert!(known.member_epoch >= member.epoch, "{member:?} {known:?}");
            for (topic, partition) in member.owned.iter() {
                let is_its = known.assigned.contains(topic, partition)
                    || known.revoking.contains(topic, partition);
                assert!(is_its, "{member:?} uses {partition}: {group:?}");
            }
        }
    }

    fn settle(&mut self) {
        self.host.crash(None);
        self.partitions += 1;
        self.set_topics();
        self.members.iter_mut().for_each(|member| {
            (member.is_silent, member.has_to_say_all) = (false, true);
        });
        for _ in 0..120 {
            for at in 0..self.members.len() {
                self.beat(at);
                self.check();
            }
            if self.is_settled() {
                return;
            }
            self.host.wait(1_000);
        }
        panic!("no end of {:?}\n{:#?}", self.describe(), self.members);
    }

    /// Each partition is used by one member, and everybody uses what they were told.
    fn is_settled(&self) -> bool {
        let used: usize = self.members.iter().map(|member| member.owned.len()).sum();
        let all = if self.members.is_empty() { 0 } else { self.partitions as usize };
        let known = self.describe().map_or(0, |group| group.members.len());
        used == all
            && known == self.members.len()
            && self.members.iter().all(|member| member.owned == member.told)
    }
}

fn intersection(one: &Partitions, other: &Partitions) -> Partitions {
    let mut both = Partitions::new();
    for (topic, partition) in one.iter().filter(|(topic, p)| other.contains(topic, *p)) {
        both.insert(topic, partition);
    }
    both
}

#[test]
fn what_a_member_was_told_stands_whatever_fails() {
    let mut total = Seen::default();
    for seed in 0..150 {
        let mut world = World::new(seed);
        for _ in 0..3 {
            (0..200).for_each(|_| world.step());
            world.settle();
        }
        let seen = world.seen;
        total.joins += seen.joins;
        total.fenced += seen.fenced;
        total.accepted += seen.accepted;
        total.refused += seen.refused;
        total.failed += seen.failed;
        total.cuts += seen.cuts;
        total.moves += seen.moves;
    }
    println!("{total:?}");
    let Seen { joins, fenced, accepted, refused, failed, cuts, moves } = total;
    assert!(joins > 500 && fenced > 100 && accepted > 1_000 && moves > 1_000);
    assert!(refused > 100 && failed > 20 && cuts > 300);
}
