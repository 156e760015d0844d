//! A coordinator on a disk that fails, its clock, and the answers that it gives.

use std::collections::{BTreeMap, BTreeSet};

use pagemark::group::classic::{
    ClassicConfig, ClassicDescription, JoinRequest, LeaveRequest, MemberIdentity, Protocol, Reply,
    RequestId, SyncRequest,
};
use pagemark::group::consumer_protocol::ConsumerSubscription;
use pagemark::group::coordinator::{
    Answers, CoordinatorConfig, CoordinatorError, GroupDescription, ListFilter, stored,
};
use pagemark::group::{Coordinator, GroupError};
use pagemark::testkit::SimDisk;
use pagemark::{Durability, OffsetReader, OffsetStore};

use super::support::options;

pub(crate) const SESSION_MS: i32 = 10_000;
pub(crate) const GROUP: &str = "readers";

/// One group of a coordinator, as its members reach it.
pub(crate) struct Group(pub(crate) Coordinator);

impl Group {
    pub(crate) fn heartbeat(
        &mut self,
        now: i64,
        member: &MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError> {
        let heard = self.0.heartbeat(now, GROUP, member, generation);
        heard.map_err(|error| error.group_error())
    }
}

pub(crate) struct Host {
    pub(crate) disk: SimDisk,
    pub(crate) store: OffsetStore,
    pub(crate) group: Group,
    pub(crate) now: i64,
    pub(crate) waiting: BTreeSet<RequestId>,
    pub(crate) replies: BTreeMap<RequestId, Reply>,
    requests: u64,
    lives: u64,
    seed: u64,
    delay_ms: i32,
}

pub(crate) fn config(delay_ms: i32) -> CoordinatorConfig {
    let classic = ClassicConfig::new().initial_rebalance_delay_ms(delay_ms);
    // Nobody in here assigns what cannot be.
    CoordinatorConfig::new().classic(classic).check_assignments(true)
}

pub(crate) fn open_store(disk: &SimDisk, seed: u64) -> pagemark::Result<OffsetStore> {
    options(seed).durability(Durability::Synced).open_in(disk.dir())
}

impl Host {
    pub(crate) fn new(seed: u64, delay_ms: i32) -> Host {
        let disk = SimDisk::new();
        let store = open_store(&disk, seed).unwrap();
        let now = 1_000_000;
        let coordinator = Coordinator::open(store.clone(), config(delay_ms), now).unwrap();
        Host {
            disk,
            store,
            group: Group(coordinator),
            now,
            waiting: BTreeSet::new(),
            replies: BTreeMap::new(),
            requests: 0,
            lives: 0,
            seed,
            delay_ms,
        }
    }

    pub(crate) fn coordinator(&self) -> &Coordinator {
        &self.group.0
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.requests += 1;
        self.waiting.insert(RequestId(self.requests));
        RequestId(self.requests)
    }

    fn take(&mut self, answers: Answers) {
        for effect in answers.effects {
            let was_waiting = self.waiting.remove(&effect.request);
            assert!(was_waiting, "{effect:?} is an answer to nobody");
            self.replies.insert(effect.request, effect.reply);
        }
    }

    pub(crate) fn join(&mut self, join: &JoinRequest) -> RequestId {
        let request = self.request();
        let join = JoinRequest { request, ..join.clone() };
        let random = u128::from(request.0);
        let answers = self.group.0.join(self.now, GROUP, join, random);
        self.take(answers);
        request
    }

    pub(crate) fn sync(
        &mut self,
        member: &MemberIdentity,
        generation: i32,
        assignments: &[(&str, &[u8])],
    ) -> RequestId {
        let request = self.request();
        let assignments = assignments.iter().map(|(id, bytes)| ((*id).into(), (*bytes).into()));
        let sync = SyncRequest {
            request,
            member: member.clone(),
            generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        };
        let answers = self.group.0.sync(self.now, GROUP, sync);
        self.take(answers);
        request
    }

    pub(crate) fn leave(&mut self, member: MemberIdentity) -> RequestId {
        let request = self.request();
        let leave = LeaveRequest { request, members: vec![member] };
        let answers = self.group.0.leave(self.now, GROUP, leave);
        self.take(answers);
        request
    }

    pub(crate) fn jump(&mut self, ms: i64) {
        self.now += ms;
        let answers = self.group.0.tick(self.now);
        self.take(answers);
    }

    /// Lets time go by, and does what is due when it is due.
    pub(crate) fn wait(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(deadline) = self.coordinator().next_deadline().filter(|at| *at <= end) {
            self.now = deadline.max(self.now);
            self.jump(0);
            if self.is_broken() {
                break;
            }
        }
        self.now = end;
    }

    pub(crate) fn describe(&self) -> Option<ClassicDescription> {
        match self.coordinator().describe(self.now, GROUP) {
            Ok(GroupDescription::Classic(described)) => Some(described),
            Err(CoordinatorError::Group(GroupError::GroupIdNotFound)) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the store takes no more changes.
    pub(crate) fn is_broken(&self) -> bool {
        self.disk.is_frozen() || self.store.sync().is_err()
    }

    /// Another coordinator takes over in the same process.
    pub(crate) fn hand_over(&mut self) {
        for effect in self.group.0.stop() {
            assert!(self.waiting.remove(&effect.request), "{effect:?}");
            self.replies.insert(effect.request, effect.reply);
        }
        assert!(self.waiting.is_empty(), "{:?} were not answered", self.waiting);
        let opened = Coordinator::open(self.store.clone(), config(self.delay_ms), self.now);
        self.group = Group(opened.unwrap());
    }

    /// The process or the machine dies, and comes back with what the disk holds.
    pub(crate) fn crash(&mut self, power_cut: Option<u64>) {
        self.disk = match power_cut {
            Some(lots) => self.disk.power_cut(lots),
            None => self.disk.process_crash(),
        };
        self.lives += 1;
        self.waiting.clear();
        self.store = open_store(&self.disk, self.seed + self.lives * 1_000).unwrap();
        let opened = Coordinator::open(self.store.clone(), config(self.delay_ms), self.now);
        self.group = Group(opened.unwrap());
        self.check_stored();
    }

    /// Whoever only reads the store finds the groups that a coordinator finds which takes it over.
    fn check_stored(&self) {
        let reader = OffsetReader::open_in(self.disk.dir()).unwrap();
        let listed = self.coordinator().list(self.now, &ListFilter::default()).unwrap();
        let mut found = Vec::new();
        for group in stored::groups(&reader) {
            let Some(group_as_stored) = stored::describe(&reader, &group).unwrap() else {
                continue;
            };
            let mut described = self.coordinator().describe(self.now, &group).unwrap();
            if let GroupDescription::Classic(classic) = &mut described
                && classic.protocol_type.is_none()
            {
                // It begins when it is asked for, as nothing is stored of it.
                classic.state_since_ms = 0;
            }
            assert_eq!(group_as_stored.description, described, "{group}");
            let mode = self.coordinator().commit_mode(self.now, &group).unwrap();
            assert_eq!(group_as_stored.commit_mode, mode, "{group}");
            found.push(group);
        }
        assert_eq!(found, listed.into_iter().map(|group| group.group).collect::<Vec<_>>());
    }
}

/// A join of a consumer with one topic.
pub(crate) fn join(member_id: &str) -> JoinRequest {
    JoinRequest {
        request: RequestId(0),
        member_id: member_id.into(),
        group_instance_id: None,
        client_id: "client".into(),
        client_host: "host".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", &["orders"])],
        requires_member_id: true,
        can_skip_assignment: true,
    }
}

/// A protocol with a subscription in the bytes of Kafka's consumers.
pub(crate) fn protocol(name: &str, topics: &[&str]) -> Protocol {
    let metadata = ConsumerSubscription::new(topics.iter().copied()).encode();
    Protocol { name: name.into(), metadata: metadata.into() }
}
