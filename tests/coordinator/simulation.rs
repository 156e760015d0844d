//! Members of the classic protocol that fail at random, above a coordinator, a store and a disk that
//! do, too.

use std::collections::{BTreeMap, BTreeSet};

use pagemark::group::classic::{ClassicState, CommitRequest, MemberIdentity};
use pagemark::group::coordinator::{Committer, CoordinatorError, PartitionCommit};
use pagemark::testkit::{Network, Op};
use pagemark::{ErrorKind, NextOffset, TopicPartition};

use super::clients::{Client, Phase, TOPICS, partitions_per_topic};
use super::host::{GROUP, Host};
use super::oracle::Oracle;
use super::random::Random;

/// What has happened in all histories, to see that they are worth something.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    accepted: u32,
    refused: u32,
    failed: u32,
    cuts: u32,
    failures: u32,
    hand_overs: u32,
    stale: u32,
}

struct World {
    host: Host,
    clients: Vec<Client>,
    oracle: Oracle,
    random: Random,
    /// Who members were once, with the handles that they commit with.
    old: Vec<(MemberIdentity, i32)>,
    committers: Vec<(MemberIdentity, i32, Committer)>,
    /// What each partition must show, and what else it may since a commit failed.
    committed: BTreeMap<TopicPartition, NextOffset>,
    uncertain: BTreeMap<TopicPartition, BTreeSet<NextOffset>>,
    offsets: i64,
    seen: Seen,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let delay = [0, 1, 3_000][random.below(3)];
        let names = ["d0", "d1", "s0", "s1"];
        let mut host = Host::new(seed, delay);
        host.set_network(Network {
            max_delay_ms: [0, 0, 5, 200][random.below(4)],
            lost_percent: [0, 5][random.below(2)],
        });
        World {
            host,
            clients: names.map(|name| Client::new(name.into())).into(),
            oracle: Oracle::default(),
            random,
            old: Vec::new(),
            committers: Vec::new(),
            committed: BTreeMap::new(),
            uncertain: BTreeMap::new(),
            offsets: 0,
            seen: Seen::default(),
        }
    }

    fn step(&mut self) {
        match self.random.below(400) {
            0..=2 => {
                let at = self.host.disk().operations() + self.random.below(6) as u64;
                self.host.disk().freeze_at(at);
            }
            3..=4 => {
                let kind = [Op::SyncFile, Op::Write][self.random.below(2)];
                let n = self.random.below(2) as u64;
                self.host.disk().fail_nth(kind, n, std::io::ErrorKind::Other);
                self.seen.failures += 1;
            }
            5 => {
                self.host.hand_over().unwrap();
                self.seen.hand_overs += 1;
            }
            6 => self.crash(),
            _ => {}
        }
        let at = self.random.below(self.clients.len());
        match self.random.below(24) {
            0 => self.host.jump([3_600_000, -3_600_000, 9_000, -9_000][self.random.below(4)]),
            1..=3 => {
                let ms = [1, 100, 2_000, 11_000][self.random.below(4)];
                self.host.wait(ms);
            }
            4 => self.clients[at].crash(),
            5 => self.leave(at),
            6 => self.start(at),
            7..=9 => self.commit_as_before(),
            10..=14 => self.commit(at),
            _ => self.clients[at].act(&mut self.host, &mut self.oracle),
        }
        self.remember(at);
        if self.host.is_broken() {
            self.crash();
        }
        self.look();
    }

    fn crash(&mut self) {
        let is_power_cut = self.host.disk().is_frozen() || self.random.chance(50);
        let lots = self.random.below(1_000) as u64;
        self.host.crash(is_power_cut.then_some(lots));
        self.committers.clear();
        self.seen.cuts += u32::from(is_power_cut);
    }

    fn start(&mut self, at: usize) {
        if self.clients[at].phase == Phase::Stopped {
            self.clients[at].phase = Phase::ToJoin;
        }
    }

    fn leave(&mut self, at: usize) {
        let identity = self.clients[at].identity();
        if !identity.member_id.is_empty() {
            self.host.leave(identity);
            self.clients[at].crash();
        }
    }

    fn remember(&mut self, at: usize) {
        let client = &self.clients[at];
        let known = (client.identity(), client.generation);
        if !client.member_id.is_empty() && client.generation >= 0 && !self.old.contains(&known) {
            self.old.push(known);
        }
    }

    fn commit(&mut self, at: usize) {
        let client = &self.clients[at];
        if client.phase == Phase::Working && !client.share.is_empty() {
            let (by, generation) = (client.identity(), client.generation);
            let share = client.share.clone();
            self.commit_as(by, generation, &share);
        }
    }

    /// A process that was away for a while goes on with what it was before.
    fn commit_as_before(&mut self) {
        if self.old.is_empty() {
            return;
        }
        let recent = self.old.len().saturating_sub(self.random.below(4) + 1);
        let at = [recent, self.random.below(self.old.len())][self.random.below(2)];
        let (by, generation) = self.old[at].clone();
        self.commit_as(by, generation, &[TopicPartition::new("orders", 0)]);
    }

    fn commit_as(&mut self, by: MemberIdentity, generation: i32, share: &[TopicPartition]) {
        self.offsets += 1;
        let offset = NextOffset(self.offsets);
        let is_by_handle = self.random.chance(50);
        let share = if is_by_handle { &share[..1] } else { share };
        let result = if is_by_handle {
            self.commit_by_handle(&by, generation, &share[0], offset)
        } else {
            let by = CommitRequest { member: by.clone(), generation, is_transactional: false };
            let commits: Vec<_> = share
                .iter()
                .map(|of| PartitionCommit::new(of.topic(), of.partition(), offset))
                .collect();
            let committed =
                self.host.coordinator().commit(self.host.now_ms(), GROUP, &by, &commits);
            committed.map(|each| each.into_iter().for_each(|one| one.unwrap()))
        };
        match result {
            Ok(()) => {
                self.oracle.saw_commit(&by, generation);
                self.seen.accepted += 1;
                for of in share {
                    self.committed.insert(of.clone(), offset);
                    self.uncertain.remove(of);
                }
            }
            Err(CoordinatorError::Group(_)) => self.seen.refused += 1,
            Err(CoordinatorError::Store(error)) if error.kind() == ErrorKind::Closed => {
                self.seen.stale += 1;
            }
            Err(_) => {
                self.seen.failed += 1;
                for of in share {
                    self.uncertain.entry(of.clone()).or_default().insert(offset);
                }
            }
        }
    }

    /// Handles are kept over rebalances and hand-overs.
    fn commit_by_handle(
        &mut self,
        by: &MemberIdentity,
        generation: i32,
        of: &TopicPartition,
        offset: NextOffset,
    ) -> Result<(), CoordinatorError> {
        let is_of =
            |(who, of, _): &&(MemberIdentity, i32, Committer)| who == by && *of == generation;
        let committer = match self.committers.iter().find(is_of) {
            Some((_, _, committer)) => committer.clone(),
            None => {
                let member = by.clone();
                let request = CommitRequest { member, generation, is_transactional: false };
                let committer = self.host.coordinator().committer(GROUP, request)?;
                self.committers.push((by.clone(), generation, committer.clone()));
                committer
            }
        };
        let slot = committer.slot(of.topic(), of.partition(), None).unwrap();
        let committed = slot.commit(self.host.now_ms(), offset);
        if matches!(&committed, Err(CoordinatorError::Store(e)) if e.kind() == ErrorKind::Closed) {
            self.committers.retain(|(who, of, _)| who != by || *of != generation);
        }
        committed.map(|one| {
            one.unwrap();
        })
    }

    /// The group has moved forward only, and partitions show what was committed.
    fn look(&mut self) {
        if let Some(described) = self.host.describe() {
            self.oracle.saw_group(&described);
        }
        for (topic, count) in TOPICS {
            for partition in 0..count {
                self.look_at(TopicPartition::new(topic, partition));
            }
        }
    }

    fn look_at(&mut self, of: TopicPartition) {
        let fetched = self.host.coordinator().fetch(
            self.host.now_ms(),
            GROUP,
            None,
            -1,
            &[(of.topic(), of.partition())],
        );
        let shown = fetched.unwrap()[0].as_ref().map(|value| value.offset());
        if shown == self.committed.get(&of).copied() {
            return;
        }
        let may_be =
            self.uncertain.get(&of).is_some_and(|set| set.iter().any(|o| shown == Some(*o)));
        assert!(may_be, "{of} shows {shown:?}, not {:?}", self.committed.get(&of));
        self.committed.extend(shown.map(|offset| (of, offset)));
    }

    /// Nothing fails any more: all who run get their shares, within the timeouts.
    fn settle(&mut self) {
        if self.host.is_broken() {
            self.crash();
        }
        // Faults that were planned and have not happened go with the disk.
        self.host.crash(None);
        self.host.set_network(Network::default());
        self.committers.clear();
        self.look();
        for _ in 0..400 {
            for at in 0..self.clients.len() {
                self.clients[at].act(&mut self.host, &mut self.oracle);
            }
            if self.is_settled() {
                return;
            }
            self.host.wait(500);
            self.look();
        }
        panic!("no end of {:?}\n{:#?}", self.host.describe(), self.clients);
    }

    fn is_settled(&self) -> bool {
        let running = self.clients.iter().filter(|client| client.phase != Phase::Stopped);
        let ids: BTreeSet<_> = running.clone().map(|client| &client.member_id).collect();
        let Some(group) = self.host.describe() else { return ids.is_empty() };
        let members: BTreeSet<_> = group.members.iter().map(|m| &m.member.member_id).collect();
        let work = |c: &Client| c.phase == Phase::Working && c.generation == group.generation;
        let state = if ids.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        group.state == state && ids == members && running.clone().all(work)
    }

    /// Each partition of a topic that somebody reads is read by one member.
    fn check_shares(&self) {
        let mut shared = Vec::new();
        let mut wanted = BTreeSet::new();
        for client in self.clients.iter().filter(|client| client.phase == Phase::Working) {
            wanted.extend(client.topics.iter().copied());
            shared.extend(&client.share);
        }
        let all: usize = wanted.iter().map(|topic| partitions_per_topic()[*topic] as usize).sum();
        let distinct: BTreeSet<_> = shared.iter().collect();
        assert_eq!((shared.len(), distinct.len()), (all, all), "{:#?}", self.clients);
    }
}

#[test]
fn a_coordinator_survives_members_disks_clocks_and_its_own_end() {
    let mut total = Seen::default();
    for seed in 0..200 {
        let mut world = World::new(seed);
        for _ in 0..3 {
            for _ in 0..200 {
                world.step();
            }
            world.settle();
            world.check_shares();
            assert!(!world.host.is_anybody_waiting());
        }
        let seen = world.seen;
        total.accepted += seen.accepted;
        total.refused += seen.refused;
        total.failed += seen.failed;
        total.cuts += seen.cuts;
        total.failures += seen.failures;
        total.hand_overs += seen.hand_overs;
        total.stale += seen.stale;
    }
    println!("{total:?}");
    // The worlds are not so broken that nothing happens in them.
    assert!(total.accepted > 1_000 && total.refused > 1_000 && total.failed > 50, "{total:?}");
    assert!(total.cuts > 500 && total.hand_overs > 200 && total.stale > 20, "{total:?}");
}
