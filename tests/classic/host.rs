//! A coordinator in memory: it stores records, lets effects out, and checks both after each step.

use std::collections::{BTreeMap, BTreeSet};

use pagemark::group::GroupError;
use pagemark::group::classic::{
    ClassicConfig, ClassicGroup, ClassicState, CommitRequest, Effect, JoinRequest, Joined,
    LeaveRequest, MemberIdentity, Protocol, Record, Reply, RequestId, Step, SyncRequest,
};
use pagemark::group::consumer_protocol::ConsumerSubscription;

pub(crate) const SESSION_MS: i32 = 10_000;
pub(crate) const REBALANCE_MS: i32 = 60_000;

/// What is stored: names and bytes, as in a store.
pub(crate) type States = BTreeMap<String, Vec<u8>>;

/// What becomes of a coordinator in its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Lives,
    /// It cannot store the records.
    CannotStore,
    /// It stores the records and lets no effect out.
    DiesWhenStored,
}

/// A group, what is stored of it, and the requests that wait for an answer.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) group: ClassicGroup,
    pub(crate) config: ClassicConfig,
    pub(crate) max_size: usize,
    pub(crate) states: States,
    pub(crate) now: i64,
    pub(crate) fate: Fate,
    pub(crate) waiting: BTreeSet<RequestId>,
    pub(crate) replies: BTreeMap<RequestId, Reply>,
    requests: u64,
    randomness: u128,
    /// Every record that was ever given out, in order.
    history: Vec<Record>,
}

pub(crate) fn decode(states: &States) -> Vec<Record> {
    states.iter().map(|(name, bytes)| Record::decode(name, bytes).unwrap()).collect()
}

pub(crate) fn store(states: &mut States, records: &[Record]) {
    for record in records {
        match record.value() {
            Some(bytes) => states.insert(record.name(), bytes),
            None => states.remove(&record.name()),
        };
    }
}

impl Host {
    pub(crate) fn new(config: ClassicConfig) -> Host {
        let now = 1_000_000;
        Host {
            group: ClassicGroup::open(config, [], now).unwrap(),
            config,
            max_size: usize::MAX,
            states: States::new(),
            now,
            fate: Fate::Lives,
            waiting: BTreeSet::new(),
            replies: BTreeMap::new(),
            requests: 0,
            randomness: 0,
            history: Vec::new(),
        }
    }

    /// Opens the group anew with a limit on its members.
    pub(crate) fn limit(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.config = self.config.max_size(max_size);
        self.restart();
    }

    /// A number for a request that is about to be made.
    pub(crate) fn request(&mut self) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.waiting.insert(request);
        request
    }

    /// Stores the records, then lets the effects out, unless it fails in between.
    pub(crate) fn take(&mut self, step: Step) {
        let fate = std::mem::replace(&mut self.fate, Fate::Lives);
        if fate == Fate::CannotStore {
            return self.give_up(step);
        }
        store(&mut self.states, &step.records);
        self.history.extend(step.records);
        if fate == Fate::DiesWhenStored {
            return self.restart();
        }
        self.check_reopened();
        self.let_out(step.effects);
    }

    /// A step whose records could not be stored: everyone is answered, and all begins anew.
    fn give_up(&mut self, step: Step) {
        let group = self.group.clone();
        self.let_out(group.abandon(step.effects));
        assert!(self.waiting.is_empty(), "{:?} got no answer", self.waiting);
        self.restart();
    }

    fn let_out(&mut self, effects: Vec<Effect>) {
        for Effect { request, reply } in effects {
            assert!(self.waiting.remove(&request), "{request:?} is answered twice: {reply:?}");
            self.replies.insert(request, reply);
        }
    }

    /// What comes back after a restart is what the live group stands for.
    fn check_reopened(&self) {
        let reopened = self.reopened(decode(&self.states)).describe();
        let live = self.group.describe();
        match live.state {
            ClassicState::Stable if live.members.len() <= self.max_size => {
                assert_eq!(reopened, live);
            }
            ClassicState::Dead => assert!(self.states.is_empty()),
            _ => {
                assert_eq!(reopened.generation, live.generation);
                assert_ne!(reopened.state, ClassicState::CompletingRebalance);
                let ids: BTreeSet<_> = live.members.iter().map(|member| &member.member).collect();
                assert!(reopened.members.iter().all(|member| ids.contains(&member.member)));
            }
        }
    }

    fn reopened(&self, records: Vec<Record>) -> ClassicGroup {
        ClassicGroup::open(self.config, records, self.now).unwrap()
    }

    /// The coordinator is started anew from what is stored. Requests that waited are lost.
    pub(crate) fn restart(&mut self) {
        self.group = self.reopened(decode(&self.states));
        let from_history = self.reopened(self.history.clone());
        assert_eq!(self.group.describe(), from_history.describe(), "bytes and history differ");
        self.waiting.clear();
    }

    /// Lets time go by, and does what is due when it is due.
    pub(crate) fn wait(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(deadline) = self.group.next_deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now, "what was due stays due");
            self.now = deadline;
            let step = self.group.tick(self.now);
            self.take(step);
        }
        self.now = end;
    }

    /// The clock is set.
    pub(crate) fn jump(&mut self, ms: i64) {
        self.now += ms;
        let step = self.group.tick(self.now);
        self.take(step);
    }

    pub(crate) fn join(&mut self, join: &JoinRequest) -> RequestId {
        let request = self.request();
        self.randomness += 1;
        let step =
            self.group.join(self.now, JoinRequest { request, ..join.clone() }, self.randomness);
        self.take(step);
        request
    }

    /// The first step of a new dynamic member.
    pub(crate) fn ask_for_an_id(&mut self) -> String {
        let request = self.join(&join(""));
        match self.replies.get(&request) {
            Some(Reply::Join(Err(refusal))) if refusal.error == GroupError::MemberIdRequired => {
                refusal.member_id.clone()
            }
            reply => panic!("{reply:?}"),
        }
    }

    /// The two steps of a new dynamic member: returns its id, and the second request.
    pub(crate) fn join_as_new(&mut self, join: &JoinRequest) -> (String, RequestId) {
        let member_id = self.ask_for_an_id();
        let request = self.join(&JoinRequest { member_id: member_id.clone(), ..join.clone() });
        (member_id, request)
    }

    pub(crate) fn sync(
        &mut self,
        member: &MemberIdentity,
        generation: i32,
        assignments: &[(&str, &[u8])],
    ) -> RequestId {
        let request = self.request();
        let assignments = assignments.iter().map(|(id, bytes)| ((*id).into(), (*bytes).into()));
        let step = self.group.sync(
            self.now,
            SyncRequest {
                request,
                member: member.clone(),
                generation,
                protocol_type: None,
                protocol: None,
                assignments: assignments.collect(),
            },
        );
        self.take(step);
        request
    }

    pub(crate) fn leave(&mut self, members: &[MemberIdentity]) -> Vec<Result<(), GroupError>> {
        let request = self.request();
        let step = self.group.leave(self.now, LeaveRequest { request, members: members.to_vec() });
        self.take(step);
        match &self.replies[&request] {
            Reply::Leave(Ok(left)) => left.iter().map(|left| left.result).collect(),
            Reply::Leave(Err(error)) => vec![Err(*error); members.len()],
            reply => panic!("{reply:?}"),
        }
    }

    pub(crate) fn heartbeat(&mut self, member: &MemberIdentity) -> Result<(), GroupError> {
        let generation = self.group.generation();
        self.heartbeat_of(member, generation)
    }

    pub(crate) fn heartbeat_of(
        &mut self,
        member: &MemberIdentity,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.group.heartbeat(self.now, member, generation)
    }

    pub(crate) fn is_waiting(&self, request: RequestId) -> bool {
        self.waiting.contains(&request)
    }

    pub(crate) fn reply(&self, request: RequestId) -> Option<&Reply> {
        self.replies.get(&request)
    }

    pub(crate) fn commit(
        &mut self,
        member: &MemberIdentity,
        generation: i32,
        is_transactional: bool,
    ) -> Result<(), GroupError> {
        let commit = CommitRequest { member: member.clone(), generation, is_transactional };
        self.group.check_commit(self.now, &commit)
    }

    /// What the members of the newest generation were told, if the request was answered with it.
    pub(crate) fn joined(&self, request: RequestId) -> &Joined {
        match self.replies.get(&request) {
            Some(Reply::Join(Ok(joined))) => joined,
            reply => panic!("{reply:?}"),
        }
    }

    /// Why a request was refused, or `None` if it was not, or not yet.
    pub(crate) fn refusal(&self, request: RequestId) -> Option<GroupError> {
        match self.replies.get(&request)? {
            Reply::Join(Err(refusal)) => Some(refusal.error),
            Reply::Sync(Err(error)) | Reply::Leave(Err(error)) => Some(*error),
            _ => None,
        }
    }

    pub(crate) fn assignment(&self, request: RequestId) -> &[u8] {
        match self.replies.get(&request) {
            Some(Reply::Sync(Ok(synced))) => &synced.assignment,
            reply => panic!("{reply:?}"),
        }
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
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", &["orders"])],
        requires_member_id: true,
        can_skip_assignment: true,
    }
}

pub(crate) fn join_static(member_id: &str, instance_id: &str) -> JoinRequest {
    JoinRequest { group_instance_id: Some(instance_id.into()), ..join(member_id) }
}

/// A protocol with a subscription in the bytes of Kafka's consumers.
pub(crate) fn protocol(name: &str, topics: &[&str]) -> Protocol {
    let metadata = ConsumerSubscription::new(topics.iter().copied()).encode();
    Protocol { name: name.into(), metadata: metadata.into() }
}
