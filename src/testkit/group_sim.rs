//! A coordinator of groups whose clock, network and machine are simulated.

use std::collections::{BTreeMap, BTreeSet};

use super::{FixedEnvironment, Lots, SimDisk, mix};
use crate::error::Result;
use crate::group::Coordinator;
use crate::group::classic::{
    Effect, JoinRequest, LeaveRequest, MemberIdentity, Reply, RequestId, SyncRequest,
};
use crate::group::coordinator::{Answers, CoordinatorConfig, Failure};
use crate::options::Options;
use crate::store::OffsetStore;

/// How requests and answers travel between members and their coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// How long one of them is on its way at most. With 0 they arrive at once.
    pub max_delay_ms: u64,
    /// How many of a hundred get lost.
    pub lost_percent: u64,
}

/// One process with a coordinator, for tests and simulations of members: on a [`SimDisk`], with a clock
/// that goes on when it is told to, and a network that is drawn from a seed. The same calls have the same
/// outcome.
///
/// Requests that are answered later go through the network: each is [waiting](GroupSim::is_waiting) until
/// it has its [reply](GroupSim::reply), or until it is lost, with a message or with the process. What is
/// answered at once, as a heartbeat or a commit, is asked of the [coordinator](GroupSim::coordinator).
///
/// It checks that each request that arrives has one answer at most.
///
/// ```
/// use pagemark::Options;
/// use pagemark::group::classic::{JoinRequest, Protocol, Reply, RequestId};
/// use pagemark::group::coordinator::CoordinatorConfig;
/// use pagemark::testkit::{GroupSim, Network};
///
/// let options = Options::new().background(false);
/// let mut sim = GroupSim::open(7, options, CoordinatorConfig::new())?;
/// sim.set_network(Network { max_delay_ms: 20, lost_percent: 0 });
/// let request = sim.join("billing", JoinRequest {
///     request: RequestId(0), // it gets a number
///     member_id: String::new(),
///     group_instance_id: Some("reader-1".into()),
///     client_id: "billing".into(),
///     client_host: "localhost".into(),
///     session_timeout_ms: 45_000,
///     rebalance_timeout_ms: 60_000,
///     protocol_type: "consumer".into(),
///     protocols: vec![Protocol { name: "range".into(), metadata: (*b"orders").into() }],
///     requires_member_id: true,
///     can_skip_assignment: true,
/// });
/// assert!(sim.is_waiting(request), "for others, and for the network");
/// sim.wait(3_000 + 40);
/// assert!(matches!(sim.reply(request), Some(Reply::Join(Ok(_)))));
/// sim.power_cut(1)?;
/// # Ok::<(), pagemark::Error>(())
/// ```
#[derive(Debug)]
pub struct GroupSim {
    disk: SimDisk,
    store: OffsetStore,
    coordinator: Coordinator,
    options: Options,
    config: CoordinatorConfig,
    seed: u64,
    lives: u64,
    now_ms: i64,
    network: Network,
    lots: Lots,
    requests: u64,
    /// What is on its way, by the time of its arrival. A lot decides between what arrives together.
    underway: BTreeMap<(i64, u64), Message>,
    /// Requests that have arrived and were not answered.
    asked: BTreeSet<RequestId>,
    /// Requests that somebody still waits for.
    waiting: BTreeSet<RequestId>,
    replies: BTreeMap<RequestId, Reply>,
    failures: Vec<Failure>,
}

#[derive(Debug)]
enum Message {
    Join(String, JoinRequest),
    Sync(String, SyncRequest),
    Leave(String, LeaveRequest),
    Answer(Effect),
}

impl Message {
    fn request(&self) -> RequestId {
        match self {
            Message::Join(_, join) => join.request,
            Message::Sync(_, sync) => sync.request,
            Message::Leave(_, leave) => leave.request,
            Message::Answer(effect) => effect.request,
        }
    }
}

impl GroupSim {
    /// Starts a coordinator on an empty disk. Everything that is drawn is drawn from the seed, the random
    /// numbers of the store among it.
    ///
    /// # Errors
    ///
    /// Those of [`Coordinator::open`].
    pub fn open(seed: u64, options: Options, config: CoordinatorConfig) -> Result<GroupSim> {
        let (disk, now_ms) = (SimDisk::new(), 1_000_000);
        let options_of_life = options.clone().environment(FixedEnvironment::new(seed));
        let store = options_of_life.open_in(disk.dir())?;
        let coordinator = Coordinator::open(store.clone(), config.clone(), now_ms)?;
        Ok(GroupSim {
            disk,
            store,
            coordinator,
            options,
            config,
            seed,
            lives: 0,
            now_ms,
            network: Network::default(),
            lots: Lots(mix(seed)),
            requests: 0,
            underway: BTreeMap::new(),
            asked: BTreeSet::new(),
            waiting: BTreeSet::new(),
            replies: BTreeMap::new(),
            failures: Vec::new(),
        })
    }

    /// The disk, to make it fail.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// The store of the coordinator.
    pub fn store(&self) -> &OffsetStore {
        &self.store
    }

    /// The coordinator, for everything that is answered at once.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// The time.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// How messages travel that are sent from now on.
    pub fn set_network(&mut self, network: Network) {
        self.network = network;
    }

    /// The groups that were given up since the last start, and why.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Whether somebody waits for the answer. A request that nobody waits for has its
    /// [reply](GroupSim::reply), or its connection broke.
    pub fn is_waiting(&self, request: RequestId) -> bool {
        self.waiting.contains(&request)
    }

    /// Whether anybody waits for an answer.
    pub fn is_anybody_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The answer to a request, once it has arrived.
    pub fn reply(&self, request: RequestId) -> Option<&Reply> {
        self.replies.get(&request)
    }

    /// A number for a request that is made of the coordinator without the network. What it answers is to
    /// be [taken](GroupSim::take).
    pub fn request(&mut self) -> RequestId {
        let request = self.number();
        self.asked.insert(request);
        request
    }

    fn number(&mut self) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.waiting.insert(request);
        request
    }

    /// Sends [`Coordinator::join`], with a number for the request and a random one for the member.
    pub fn join(&mut self, group: &str, join: JoinRequest) -> RequestId {
        let request = self.number();
        self.send(Message::Join(group.to_owned(), JoinRequest { request, ..join }));
        request
    }

    /// Sends [`Coordinator::sync`], with a number for the request.
    pub fn sync(&mut self, group: &str, sync: SyncRequest) -> RequestId {
        let request = self.number();
        self.send(Message::Sync(group.to_owned(), SyncRequest { request, ..sync }));
        request
    }

    /// Sends [`Coordinator::leave`], with a number for the request.
    pub fn leave(&mut self, group: &str, members: Vec<MemberIdentity>) -> RequestId {
        let request = self.number();
        self.send(Message::Leave(group.to_owned(), LeaveRequest { request, members }));
        request
    }

    fn send(&mut self, message: Message) {
        if self.lots.below(100) < self.network.lost_percent {
            self.waiting.remove(&message.request());
            return;
        }
        match self.lots.below(self.network.max_delay_ms + 1) as i64 {
            0 => self.deliver(message),
            delay_ms => {
                let at = (self.now_ms.saturating_add(delay_ms), self.lots.draw());
                self.underway.insert(at, message);
            }
        }
    }

    fn deliver(&mut self, message: Message) {
        let answers = match message {
            Message::Answer(Effect { request, reply }) => {
                self.waiting.remove(&request);
                self.replies.insert(request, reply);
                return;
            }
            Message::Join(group, join) => {
                self.asked.insert(join.request);
                let random = u128::from(self.lots.draw()) << 64 | u128::from(join.request.0);
                self.coordinator.join(self.now_ms, &group, join, random)
            }
            Message::Sync(group, sync) => {
                self.asked.insert(sync.request);
                self.coordinator.sync(self.now_ms, &group, sync)
            }
            Message::Leave(group, leave) => {
                self.asked.insert(leave.request);
                self.coordinator.leave(self.now_ms, &group, leave)
            }
        };
        self.take(answers);
    }

    /// Sends answers to those who wait for them.
    ///
    /// # Panics
    ///
    /// If one is to a request that nobody has made, or to which there was another.
    pub fn take(&mut self, answers: Answers) {
        self.failures.extend(answers.failures);
        self.send_all(answers.effects);
    }

    fn send_all(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            assert!(self.asked.remove(&effect.request), "{effect:?} is an answer to nobody");
            self.send(Message::Answer(effect));
        }
    }

    /// Lets time go by: messages arrive, and what is due is done when it is due.
    pub fn wait(&mut self, ms: i64) {
        let end = self.now_ms.saturating_add(ms);
        loop {
            let arrival = self.underway.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.coordinator.next_deadline();
            let next = arrival.into_iter().chain(deadline).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now_ms = next.max(self.now_ms);
            match self.underway.pop_first() {
                Some((_, message)) if arrival <= Some(next) => self.deliver(message),
                other => {
                    self.underway.extend(other);
                    self.tick();
                }
            }
        }
        self.now_ms = end;
    }

    /// The clock is set.
    pub fn jump(&mut self, ms: i64) {
        self.now_ms = self.now_ms.saturating_add(ms);
        self.tick();
    }

    fn tick(&mut self) {
        let answers = self.coordinator.tick(self.now_ms);
        self.take(answers);
    }

    /// Whether the store takes no more changes: its machine has stopped, or a flush has failed. It flushes
    /// what was not, to see.
    pub fn is_broken(&self) -> bool {
        self.disk.is_frozen() || self.store.sync().is_err()
    }

    /// Another coordinator takes over in the same process.
    ///
    /// # Errors
    ///
    /// Those of [`Coordinator::open`].
    ///
    /// # Panics
    ///
    /// If the one before leaves a request without an answer that has arrived there.
    pub fn hand_over(&mut self) -> Result<()> {
        let effects = self.coordinator.stop();
        self.send_all(effects);
        assert!(self.asked.is_empty(), "{:?} were not answered", self.asked);
        self.start()
    }

    /// The process dies, and is started anew. Nobody waits any more: all connections are broken.
    ///
    /// # Errors
    ///
    /// Those of opening the store, and of [`Coordinator::open`].
    pub fn process_crash(&mut self) -> Result<()> {
        self.restart(self.disk.process_crash())
    }

    /// The machine loses power, and the process is started anew with what [`SimDisk::power_cut`] has left.
    ///
    /// # Errors
    ///
    /// Those of opening the store, and of [`Coordinator::open`].
    pub fn power_cut(&mut self, seed: u64) -> Result<()> {
        self.restart(self.disk.power_cut(seed))
    }

    fn restart(&mut self, disk: SimDisk) -> Result<()> {
        self.lives += 1;
        self.disk = disk;
        self.underway.clear();
        self.asked.clear();
        self.waiting.clear();
        let environment = FixedEnvironment::new(self.seed.wrapping_add(self.lives * 1_000));
        self.store = self.options.clone().environment(environment).open_in(self.disk.dir())?;
        self.start()
    }

    fn start(&mut self) -> Result<()> {
        self.failures.clear();
        let store = self.store.clone();
        self.coordinator = Coordinator::open(store, self.config.clone(), self.now_ms)?;
        Ok(())
    }
}
