//! Groups whose members, coordinators and clocks fail at random, from seeds.

use std::collections::BTreeSet;

use pagemark::group::classic::{
    ClassicConfig, ClassicState, CommitRequest, MemberIdentity, RequestId, SyncRequest,
};

use super::clients::{Client, Phase, TOPICS, partitions_per_topic};
use super::host::{Fate, Host};
use super::oracle::Oracle;
use super::random::Random;

struct World {
    host: Host,
    clients: Vec<Client>,
    oracle: Oracle,
    random: Random,
    /// Who members were once: processes that do not know that they are replaced use it.
    old: Vec<(MemberIdentity, i32)>,
    /// How often a commit was accepted and refused, and how often all have had their shares.
    accepted: u32,
    refused: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let delay = [0, 1, 3_000][random.below(3)];
        let names = ["d0", "d1", "d2", "s0", "s1", "s2"];
        World {
            host: Host::new(ClassicConfig::new().initial_rebalance_delay_ms(delay)),
            clients: names.map(|name| Client::new(name.into())).into(),
            oracle: Oracle::default(),
            random,
            old: Vec::new(),
            accepted: 0,
            refused: 0,
        }
    }

    fn step(&mut self) {
        let fault = self.random.below(40);
        if fault < 2 {
            self.host.fate = [Fate::CannotStore, Fate::DiesWhenStored][fault];
        }
        let at = self.random.below(self.clients.len());
        match self.random.below(24) {
            0 => self.host.restart(),
            1 => self.host.jump([3_600_000, -3_600_000, 9_000, -9_000][self.random.below(4)]),
            2..=4 => {
                let ms = [1, 100, 2_000, 11_000][self.random.below(4)];
                self.host.wait(ms);
            }
            5 => self.clients[at].crash(),
            6 => self.leave(at),
            7 => self.change(at),
            8 => self.start(at),
            9..=11 => self.use_old_credentials(),
            12..=14 => self.commit(at),
            _ => self.clients[at].act(&mut self.host, &mut self.oracle),
        }
        self.remember(at);
        self.oracle.saw_group(&self.host.group.describe());
    }

    fn start(&mut self, at: usize) {
        if self.clients[at].phase == Phase::Stopped {
            self.clients[at].phase = Phase::ToJoin;
        }
    }

    fn leave(&mut self, at: usize) {
        let identity = self.clients[at].identity();
        if !identity.member_id.is_empty() {
            let request = self.host.request();
            let members = vec![identity];
            let step = self
                .host
                .group
                .leave(self.host.now, pagemark::group::classic::LeaveRequest { request, members });
            self.host.take(step);
            self.clients[at].crash();
        }
    }

    /// A member reads other topics, or has other assignors. All keep one in common.
    fn change(&mut self, at: usize) {
        if !matches!(self.clients[at].phase, Phase::Stopped | Phase::ToJoin | Phase::Working) {
            return;
        }
        let topics = TOPICS.map(|(topic, _)| topic);
        let count = 1 + self.random.below(topics.len());
        self.clients[at].topics = topics[..count].to_vec();
        let choices: [&[&str]; 4] =
            [&["range"], &["sticky", "range"], &["range", "roundrobin"], &["roundrobin", "range"]];
        self.clients[at].protocols = choices[self.random.below(4)].to_vec();
        if self.clients[at].phase == Phase::Working {
            self.clients[at].phase = Phase::ToJoin;
        }
    }

    fn remember(&mut self, at: usize) {
        let client = &self.clients[at];
        let known = (client.identity(), client.generation);
        if !client.member_id.is_empty() && !self.old.contains(&known) {
            self.old.push(known);
        }
    }

    /// A process that was away for a while goes on with what it was before.
    fn use_old_credentials(&mut self) {
        if self.old.is_empty() {
            return;
        }
        // Half of the time one of the last, which may still be right.
        let recent = self.old.len().saturating_sub(self.random.below(4) + 1);
        let at = [recent, self.random.below(self.old.len())][self.random.below(2)];
        let (member, generation) = self.old[at].clone();
        match self.random.below(3) {
            0 => {
                let request = self.host.request();
                let stolen = TOPICS.map(|(topic, _)| format!("{topic}:0")).join(",");
                let assignments = vec![(member.member_id.clone(), stolen.into_bytes().into())];
                self.sync_as(request, member, generation, assignments);
            }
            1 => drop(self.host.group.heartbeat(self.host.now, &member, generation)),
            _ => self.commit_as(member, generation),
        }
    }

    fn sync_as(
        &mut self,
        request: RequestId,
        member: MemberIdentity,
        generation: i32,
        assignments: Vec<(String, std::sync::Arc<[u8]>)>,
    ) {
        // A real leader is believed whatever it assigns, so only others try.
        if self.host.group.describe().leader.as_ref() == Some(&member.member_id) {
            self.host.waiting.remove(&request);
            return;
        }
        let (protocol_type, protocol) = (None, None);
        let sync =
            SyncRequest { request, member, generation, protocol_type, protocol, assignments };
        let step = self.host.group.sync(self.host.now, sync);
        self.host.take(step);
    }

    fn commit(&mut self, at: usize) {
        if self.clients[at].phase == Phase::Working {
            self.commit_as(self.clients[at].identity(), self.clients[at].generation);
        }
    }

    fn commit_as(&mut self, member: MemberIdentity, generation: i32) {
        if generation < 0 {
            return;
        }
        self.oracle.saw_group(&self.host.group.describe());
        let commit = CommitRequest { member, generation, is_transactional: false };
        match self.host.group.check_commit(self.host.now, &commit) {
            Ok(()) => {
                self.oracle.saw_commit(&commit.member, generation);
                self.accepted += 1;
            }
            Err(_) => self.refused += 1,
        }
    }

    /// Nothing fails any more: all who run get their shares, within the timeouts.
    fn settle(&mut self) {
        self.host.fate = Fate::Lives;
        for _ in 0..400 {
            for at in 0..self.clients.len() {
                self.clients[at].act(&mut self.host, &mut self.oracle);
            }
            if self.is_settled() {
                return;
            }
            self.host.wait(500);
            self.oracle.saw_group(&self.host.group.describe());
        }
        panic!("no end of {:?}\n{:#?}", self.host.group.describe(), self.clients);
    }

    fn is_settled(&self) -> bool {
        let group = self.host.group.describe();
        let running = self.clients.iter().filter(|client| client.phase != Phase::Stopped);
        let ids: BTreeSet<_> = running.clone().map(|client| &client.member_id).collect();
        let members: BTreeSet<_> = group.members.iter().map(|m| &m.member.member_id).collect();
        let work = |c: &Client| c.phase == Phase::Working && c.generation == group.generation;
        let state = if ids.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        group.state == state && ids == members && running.clone().all(work)
    }

    /// Each partition of a topic that somebody reads is read by one member, who asked for it.
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

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    for round in 0..4 {
        for _ in 0..120 {
            world.step();
        }
        world.settle();
        world.check_shares();
        assert!(world.host.waiting.is_empty(), "round {round}: {:?}", world.host.waiting);
    }
    world
}

#[test]
fn a_group_survives_its_members_its_coordinators_and_its_clocks() {
    let (mut accepted, mut refused, mut generations) = (0, 0, 0);
    for seed in 0..600 {
        let world = run(seed);
        accepted += world.accepted;
        refused += world.refused;
        generations += world.host.group.generation();
    }
    println!("{accepted} commits accepted, {refused} refused, {generations} generations");
    // The worlds are not so broken that nothing happens in them.
    assert!(accepted > 1_000 && refused > 1_000 && generations > 3_000);
}
