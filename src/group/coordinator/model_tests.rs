//! Deadlines in their order against a look at every group.

use super::cell::{Cell, Membership};
use super::{Coordinator, CoordinatorConfig};
use crate::group::CLOCK_JITTER_MS;
use crate::group::classic::{
    ClassicConfig, CommitRequest, Effect, JoinRefusal, JoinRequest, LeaveRequest, MemberIdentity,
    Protocol, Reply, RequestId,
};
use crate::group::modern::{HeartbeatRequest, JOIN_EPOCH, Partitions};
use crate::testkit::{FixedEnvironment, SimDisk, mix};
use crate::{Durability, Options};

fn coordinator() -> Coordinator {
    let options = Options::new().segment_size(64 << 10).background(false);
    let options = options.durability(Durability::Buffered).environment(FixedEnvironment::new(1));
    let store = options.open_in(SimDisk::new().dir()).unwrap();
    let classic = ClassicConfig::new().initial_rebalance_delay_ms(3_000);
    Coordinator::open(store, CoordinatorConfig::new().classic(classic), 0).unwrap()
}

struct World {
    coordinator: Coordinator,
    random: u64,
    now: i64,
    requests: u64,
    /// Classic members, by group.
    members: Vec<(String, MemberIdentity)>,
    set_backs: u32,
    removals: u32,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            coordinator: coordinator(),
            random: mix(seed),
            now: 1_000_000,
            requests: 0,
            members: Vec::new(),
            set_backs: 0,
            removals: 0,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = mix(self.random);
        self.random % limit
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn step(&mut self) {
        let group = format!("g{}", self.below(6));
        match self.below(16) {
            0..=1 => self.join(&group, String::new()),
            2 => {
                let id = format!("m{}", self.below(3));
                let join = HeartbeatRequest::new(&id, JOIN_EPOCH).topics(["t"]);
                let join = join.rebalance_timeout_ms(20_000).owned(Partitions::new());
                let _ = self.coordinator.consumer_heartbeat(self.now, &group, &join);
            }
            3 if !self.members.is_empty() => self.leave(),
            4..=6 if !self.members.is_empty() => {
                let at = self.below(self.members.len() as u64) as usize;
                let (group, member) = self.members[at].clone();
                let generation = self.below(3) as i32;
                let _ = self.coordinator.heartbeat(self.now, &group, &member, generation);
            }
            7 => {
                let member = MemberIdentity::default();
                let by = CommitRequest { member, generation: -1, is_transactional: false };
                let _ = self.coordinator.commit(self.now, &group, &by, &[]);
            }
            8 => {
                let by = [3_600_000, -3_600_000, 900, -900, -1_100][self.below(5) as usize];
                self.set_backs += u32::from(by < -1_000);
                self.now += by;
            }
            9..=12 => self.now += [1, 200, 3_000, 11_000][self.below(4) as usize],
            13 => self.now = self.coordinator.next_deadline().unwrap_or(self.now),
            _ => self.tick(),
        }
        assert_eq!(
            self.coordinator.next_deadline(),
            self.deadlines().into_iter().min(),
            "at {}",
            self.now
        );
    }

    fn join(&mut self, group: &str, member_id: String) {
        let is_static = self.below(2) == 0;
        let join = JoinRequest {
            request: self.request(),
            member_id,
            group_instance_id: is_static.then(|| format!("i{}", self.below(3))),
            client_id: "c".into(),
            client_host: "h".into(),
            session_timeout_ms: 6_000 + self.below(5_000) as i32,
            rebalance_timeout_ms: 5_000,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: "range".into(), metadata: [].into() }],
            requires_member_id: true,
            can_skip_assignment: true,
        };
        let random = u128::from(join.request.0);
        let answers = self.coordinator.join(self.now, group, join.clone(), random);
        for effect in answers.effects {
            if let Reply::Join(Err(JoinRefusal { member_id, .. })) = effect.reply
                && !member_id.is_empty()
                && effect.request == join.request
            {
                let join = JoinRequest { request: self.request(), member_id, ..join.clone() };
                drop(self.coordinator.join(self.now, group, join, random));
            }
        }
        self.look_for_members(group);
    }

    fn look_for_members(&mut self, group: &str) {
        if let Ok(super::GroupDescription::Classic(of)) = self.coordinator.describe(self.now, group)
        {
            self.members.retain(|(name, _)| name != group);
            self.members.extend(of.members.into_iter().map(|m| (group.to_owned(), m.member)));
        }
    }

    fn leave(&mut self) {
        let at = self.below(self.members.len() as u64) as usize;
        let (group, member) = self.members.remove(at);
        let leave = LeaveRequest { request: self.request(), members: vec![member] };
        drop(self.coordinator.leave(self.now, &group, leave));
    }

    fn deadlines(&self) -> Vec<i64> {
        let deadline = |cell: &_| self.coordinator.lock_as_it_is(cell).membership.next_deadline();
        self.coordinator.groups().all().iter().filter_map(deadline).collect()
    }

    /// Goes on to a moment with no deadline right behind it. The clock of a group may be ahead by what
    /// counts as no setting: it would find early what others find due in time.
    fn pass_what_is_close(&mut self) {
        let is_close = |now: i64, at: &i64| (now + 1..=now + CLOCK_JITTER_MS).contains(at);
        while let Some(at) = self.deadlines().into_iter().find(|at| is_close(self.now, at)) {
            self.now = at;
        }
    }

    /// A tick does what a tick of every group does.
    fn tick(&mut self) {
        self.pass_what_is_close();
        let cells = self.coordinator.groups().all();
        let (mut effects, mut expected) = (Vec::new(), Vec::new());
        for cell in &cells {
            expected.push(self.ticked(cell, &mut effects));
        }
        let mut told = self.coordinator.tick(self.now);
        let by_request = |effect: &Effect| effect.request;
        told.effects.sort_by_key(by_request);
        effects.sort_by_key(by_request);
        assert!(told.failures.is_empty());
        assert_eq!(told.effects, effects);
        let is = |cell| self.look(&self.coordinator.lock_as_it_is(cell).membership);
        let found: Vec<_> = cells.iter().map(is).collect();
        assert_eq!(found, expected, "at {}", self.now);
    }

    fn ticked(&mut self, cell: &std::sync::Arc<Cell>, effects: &mut Vec<Effect>) -> String {
        let mut copy = match &self.coordinator.lock_as_it_is(cell).membership {
            Membership::Classic(group) => Membership::Classic(group.clone()),
            Membership::Consumer(group) => Membership::Consumer(group.clone()),
            Membership::Nobody | Membership::Unloaded => Membership::Nobody,
        };
        match &mut copy {
            Membership::Classic(group) => effects.extend(group.tick(self.now).effects),
            Membership::Consumer(group) => {
                self.removals += group.tick(self.now).members.len() as u32;
            }
            Membership::Nobody | Membership::Unloaded => {}
        }
        copy.forget_if_unused();
        self.look(&copy)
    }

    fn look(&self, membership: &Membership) -> String {
        let next = membership.next_deadline();
        match membership {
            Membership::Classic(group) => format!("{next:?} {:?}", group.describe()),
            Membership::Consumer(group) => format!("{next:?} {:?}", group.describe()),
            Membership::Nobody | Membership::Unloaded => String::new(),
        }
    }
}

#[test]
fn a_tick_of_what_is_due_is_a_tick_of_every_group() {
    let (mut set_backs, mut removals) = (0, 0);
    for seed in 0..60 {
        let mut world = World::new(seed);
        (0..400).for_each(|_| world.step());
        (set_backs, removals) = (set_backs + world.set_backs, removals + world.removals);
    }
    assert!(set_backs > 100 && removals > 100, "{set_backs} {removals}");
}

#[test]
fn names_that_were_asked_for_once_do_not_stay() {
    let coordinator = coordinator();
    let member = MemberIdentity::default();
    let by = CommitRequest { member, generation: -1, is_transactional: false };
    let kept = coordinator.committer("kept", by.clone()).unwrap();
    for name in 0..1_000 {
        drop(coordinator.commit(0, &format!("g{name}"), &by, &[]).unwrap());
        assert!(coordinator.groups().names().count() <= 64);
    }
    // Whoever has a handle to a group has the one that others find.
    let slot = kept.slot("t", 0, None).unwrap();
    slot.commit(0, crate::NextOffset(1)).unwrap().unwrap();
    let join = HeartbeatRequest::new("m", JOIN_EPOCH).topics(["t"]);
    let join = join.rebalance_timeout_ms(20_000).owned(Partitions::new());
    coordinator.consumer_heartbeat(0, "kept", &join).unwrap();
    assert!(slot.commit(0, crate::NextOffset(2)).is_err());
}
