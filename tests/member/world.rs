//! A group of consumers, what can happen to them, and what must hold whatever does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pagemark::consumer::{
    AckLimits, CommitPolicy, Consumer, ConsumerListener, ConsumerOptions, ConsumerPartition,
    StartPolicy, Unstored,
};
use pagemark::group::Coordinator;
use pagemark::group::coordinator::CoordinatorConfig;
use pagemark::group::modern::ConsumerGroupConfig;
use pagemark::testkit::{Lots, SimDisk};
use pagemark::{Error, OffsetStore, TopicPartition};

use super::net::{Connection, Net};
use super::support::options;
use super::topic::{Log, TOPIC};

pub(crate) const SESSION_MS: u32 = 10_000;
pub(crate) const START_MS: i64 = 1_700_000_000_000;

type Source = Box<dyn FnMut(&TopicPartition) -> Result<Log, Error>>;

/// What a consumer was told during one call.
#[derive(Debug, Default)]
pub(crate) struct Told {
    assigned: Vec<i32>,
    revoked: Vec<i32>,
    lost: Vec<i32>,
    unstored: Vec<i32>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Listener(Rc<RefCell<Told>>);

impl ConsumerListener for Listener {
    fn assigned(&mut self, partition: &mut ConsumerPartition<'_>) {
        self.0.borrow_mut().assigned.push(partition.topic_partition().partition());
    }

    fn revoked(&mut self, partition: &mut ConsumerPartition<'_>) {
        self.0.borrow_mut().revoked.push(partition.topic_partition().partition());
    }

    fn lost(&mut self, partition: &TopicPartition) {
        self.0.borrow_mut().lost.push(partition.partition());
    }

    fn unstored(&mut self, unstored: &Unstored) {
        self.0.borrow_mut().unstored.push(unstored.partition.partition());
    }
}

/// A consumer and the program around it.
struct Worker {
    consumer: Consumer<Connection, Source, Listener>,
    connection: Connection,
    told: Listener,
    /// Handed out and not processed.
    todo: Vec<(Arc<TopicPartition>, i64)>,
    /// Processed since the partition was assigned, as the consumer has confirmed.
    done: BTreeMap<i32, BTreeSet<i64>>,
    hangs: bool,
}

/// What has happened in all histories, to see that they are worth something.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) delivered: u32,
    pub(crate) again: u32,
    pub(crate) zombie: u32,
    pub(crate) assigned: usize,
    pub(crate) revoked: usize,
    pub(crate) lost: usize,
    pub(crate) unstored: usize,
    pub(crate) fenced: u32,
    pub(crate) faults: u32,
    pub(crate) waited: u32,
    pub(crate) closed: u32,
    pub(crate) cuts: u32,
    pub(crate) beyond: u32,
}

impl Seen {
    pub(crate) fn add(&mut self, of: &Seen) {
        self.delivered += of.delivered;
        self.again += of.again;
        self.zombie += of.zombie;
        self.assigned += of.assigned;
        self.revoked += of.revoked;
        self.lost += of.lost;
        self.unstored += of.unstored;
        self.fenced += of.fenced;
        self.faults += of.faults;
        self.waited += of.waited;
        self.closed += of.closed;
        self.cuts += of.cuts;
        self.beyond += of.beyond;
    }
}

pub(crate) struct World {
    lots: Lots,
    disk: SimDisk,
    net: Rc<Net>,
    now_ms: i64,
    /// Whether records are processed in any order.
    is_mixed: bool,
    logs: Rc<RefCell<Vec<Log>>>,
    workers: Vec<Worker>,
    names: u32,
    processed: BTreeSet<(i32, i64)>,
    /// What is stored as processed, and survives everything.
    durable: BTreeSet<(i32, i64)>,
    seen: Seen,
}

fn open(disk: &SimDisk, seed: u64, now_ms: i64) -> (OffsetStore, Coordinator) {
    let store = options(seed).open_in(disk.dir()).unwrap();
    let group = ConsumerGroupConfig::new();
    let group = group.session_timeout_ms(SESSION_MS).heartbeat_interval_ms(1_000);
    let config = CoordinatorConfig::new().consumer(group);
    let coordinator = Coordinator::open(store.clone(), config, now_ms).unwrap();
    (store, coordinator)
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let disk = SimDisk::new();
        let (_, coordinator) = open(&disk, seed, START_MS);
        let world = World {
            lots: Lots(seed.wrapping_mul(1 << 32)),
            net: Net::new(coordinator, !seed << 32),
            disk,
            now_ms: START_MS,
            is_mixed: seed.is_multiple_of(2),
            logs: Rc::new(RefCell::new((0..3).map(|_| Log::default()).collect())),
            workers: Vec::new(),
            names: 0,
            processed: BTreeSet::new(),
            durable: BTreeSet::new(),
            seen: Seen::default(),
        };
        world.set_topics();
        world.net.faults.set([0, 3, 10][(seed % 3) as usize]);
        world
    }

    fn below(&mut self, limit: usize) -> usize {
        self.lots.below(limit as u64) as usize
    }

    fn set_topics(&self) {
        let partitions = self.logs.borrow().len() as i32;
        let topics = BTreeMap::from([(TOPIC.to_owned(), partitions)]);
        self.net.coordinator.borrow().set_topics(topics);
    }

    /// Lets something happen, and looks.
    pub(crate) fn disturb(&mut self) {
        let at = self.below(self.workers.len().max(1));
        match self.below(200) {
            0..=7 => self.start(),
            8..=79 => self.poll(at),
            80..=139 => self.process(at),
            140..=145 => self.commit_sync(at),
            146..=148 => {
                self.with(at, |worker| drop(worker.consumer.commit_async()));
            }
            149..=150 => self.close(at),
            151 => self.crash(at),
            152..=153 => {
                self.with(at, |worker| worker.hangs = !worker.hangs);
            }
            154..=179 => {
                let logs = self.logs.borrow().len();
                let log = self.below(logs);
                let hole = if self.below(4) == 0 { self.below(3) } else { 0 };
                self.logs.borrow()[log].append(hole as i64);
            }
            180..=193 => {
                let ms = self.below(2_000) as i64;
                self.pass(ms);
            }
            194..=195 => {
                let jumps = [-1_000_000_000, -5_000, 4_000, 9_000, 20_000, 1_000_000_000];
                let jump = jumps[self.below(jumps.len())];
                self.pass(jump);
            }
            196 if self.logs.borrow().len() < 5 => {
                self.logs.borrow_mut().push(Log::default());
                self.set_topics();
            }
            197 => self.reopen(SimDisk::process_crash),
            198 => {
                let seed = self.lots.draw();
                self.reopen(|disk| disk.power_cut(seed));
            }
            _ => {}
        }
        self.check();
    }

    fn with(&mut self, at: usize, act: impl FnOnce(&mut Worker)) {
        if let Some(worker) = self.workers.get_mut(at) {
            act(worker);
            self.hear(at);
        }
    }

    fn start(&mut self) {
        if self.workers.len() >= 4 {
            return;
        }
        self.names += 1;
        let policy = CommitPolicy::automatic().interval(Duration::from_secs(3));
        let mut options = ConsumerOptions::new(format!("c{}", self.names))
            .start(StartPolicy::Earliest)
            .commit(policy.every(20))
            .rebalance_timeout(Duration::from_secs(60))
            .commit_timeout(Duration::ZERO);
        if self.is_mixed {
            options = options.out_of_order(AckLimits::new().max_span(30));
        }
        let logs = Rc::clone(&self.logs);
        let source: Source = Box::new(move |of| Ok(logs.borrow()[of.partition() as usize].clone()));
        let (connection, told) = (Connection::new(&self.net), Listener::default());
        let listener = told.clone();
        let mut consumer =
            Consumer::with_listener(connection.clone(), source, options, listener, self.now_ms);
        consumer.subscribe([TOPIC]);
        let (todo, done) = (Vec::new(), BTreeMap::new());
        self.workers.push(Worker { consumer, connection, told, todo, done, hangs: false });
    }

    fn poll(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let Some(worker) = self.workers.get_mut(at).filter(|worker| !worker.hangs) else { return };
        let polled = worker.consumer.poll(now_ms).unwrap();
        self.hear(at);
        let Some(record) = polled else { return };
        let worker = &mut self.workers[at];
        let id = (record.partition.partition(), record.offset);
        worker.todo.push((record.partition, record.offset));
        let member = worker.consumer.member();
        let group = self.net.describe(now_ms);
        let is_member =
            group.is_some_and(|group| group.members.iter().any(|of| of.member_id == member.id));
        if is_member {
            assert!(!self.durable.contains(&id), "{id:?} was stored as processed");
        } else {
            // The group has removed it, and it could not be told yet.
            self.seen.zombie += 1;
        }
        self.seen.delivered += 1;
        self.seen.again += u32::from(self.processed.contains(&id));
    }

    /// Processes a record: any one, or the oldest of its partition.
    fn process(&mut self, at: usize) {
        let Some(count) = self.workers.get(at).map(|worker| worker.todo.len()) else { return };
        if count == 0 {
            return;
        }
        let mut pick = self.below(count);
        let worker = &mut self.workers[at];
        if !self.is_mixed {
            let of = worker.todo[pick].0.partition();
            pick = worker.todo.iter().position(|(this, _)| this.partition() == of).unwrap();
        }
        let (partition, offset) = worker.todo.remove(pick);
        self.processed.insert((partition.partition(), offset));
        if worker.consumer.processed(&partition, offset).is_ok() {
            worker.done.entry(partition.partition()).or_default().insert(offset);
        }
        self.hear(at);
    }

    fn commit_sync(&mut self, at: usize) {
        let Some(worker) = self.workers.get_mut(at) else { return };
        let result = worker.consumer.commit_sync(Duration::ZERO);
        self.hear(at);
        if result.is_ok() {
            self.store_all(at);
        }
    }

    /// All that was confirmed is said to be durable.
    fn store_all(&mut self, at: usize) {
        for (partition, offsets) in &self.workers[at].done {
            self.durable.extend(offsets.iter().map(|offset| (*partition, *offset)));
        }
    }

    fn close(&mut self, at: usize) {
        if at >= self.workers.len() {
            return;
        }
        let worker = self.workers.remove(at);
        if worker.consumer.close(self.now_ms, Duration::ZERO).is_ok() {
            self.seen.closed += 1;
            for (partition, offsets) in worker.done {
                self.durable.extend(offsets.into_iter().map(|offset| (partition, offset)));
            }
        }
    }

    fn crash(&mut self, at: usize) {
        if at < self.workers.len() {
            self.workers[at].connection.is_cut.set(true);
            drop(self.workers.remove(at));
        }
    }

    /// Takes note of what a consumer was told.
    fn hear(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let told = mem::take(&mut *worker.told.0.borrow_mut());
        self.seen.assigned += told.assigned.len();
        self.seen.revoked += told.revoked.len();
        self.seen.lost += told.lost.len();
        self.seen.unstored += told.unstored.len();
        for partition in told.revoked.iter().chain(&told.lost) {
            let done = worker.done.remove(partition).unwrap_or_default();
            if told.revoked.contains(partition) && !told.unstored.contains(partition) {
                self.durable.extend(done.iter().map(|offset| (*partition, *offset)));
            }
            // Some programs finish what they have begun.
            if self.lots.below(3) > 0 {
                worker.todo.retain(|(of, _)| of.partition() != *partition);
            }
        }
    }

    /// Time goes on, or jumps, and what is due is done.
    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        let coordinator = self.net.coordinator.borrow();
        assert!(coordinator.tick(self.now_ms).failures.is_empty());
    }

    /// The coordinator fails, and another one takes over what is left on the disk.
    fn reopen(&mut self, fail: impl FnOnce(&SimDisk) -> SimDisk) {
        self.seen.cuts += 1;
        self.disk = fail(&self.disk);
        let (_, coordinator) = open(&self.disk, self.lots.draw(), self.now_ms);
        *self.net.coordinator.borrow_mut() = coordinator;
        self.net.life.set(self.net.life.get() + 1);
        self.set_topics();
        for (partition, history) in self.net.taken.borrow_mut().iter_mut() {
            let shown = self.net.shown(*partition);
            let kept = match shown {
                None => 0,
                Some(shown) => {
                    let found = history.offsets.iter().rposition(|offset| *offset == shown);
                    found.expect("it was committed once") + 1
                }
            };
            assert!(kept >= history.durable, "{partition}: {shown:?} of {history:?}");
            history.offsets.truncate(kept);
            history.durable = kept;
        }
    }

    fn check(&mut self) {
        for (partition, log) in self.logs.borrow().iter().enumerate() {
            let partition = partition as i32;
            let shown = self.net.shown(partition);
            let taken = self.net.taken.borrow();
            let newest = taken.get(&partition).and_then(|history| history.offsets.last().copied());
            assert_eq!(shown, newest, "of {partition} is shown what was let pass last");
            let below = log.offsets().into_iter().filter(|offset| *offset < shown.unwrap_or(0));
            for offset in below {
                assert!(self.processed.contains(&(partition, offset)), "{partition} {offset}");
            }
        }
        let beyond = self.durable.iter().filter(|(partition, offset)| {
            self.net.shown(*partition).is_none_or(|shown| *offset >= shown)
        });
        self.seen.beyond += u32::from(beyond.count() > 0);
    }

    /// Nothing fails any more: all is processed soon, and committed to the end.
    pub(crate) fn finish(mut self) -> Seen {
        self.net.faults.set(0);
        self.workers.iter_mut().for_each(|worker| worker.hangs = false);
        if self.workers.is_empty() {
            self.start();
        }
        let mut rounds = 0;
        while !self.is_finished() {
            rounds += 1;
            assert!(rounds < 300, "it does not end: {:?}", self.net.describe(self.now_ms));
            for at in 0..self.workers.len() {
                for _ in 0..20 {
                    self.poll(at);
                }
                while !self.workers[at].todo.is_empty() {
                    self.process(at);
                }
                self.check();
            }
            self.pass(500);
        }
        while !self.workers.is_empty() {
            let closed = self.seen.closed;
            self.close(0);
            assert_eq!(self.seen.closed, closed + 1, "nothing is in the way of a close");
        }
        self.check();
        let Seen { fenced, faults, waited, .. } = &mut self.seen;
        (*fenced, *faults, *waited) =
            (self.net.fenced.get(), self.net.lost.get(), self.net.waited.get());
        self.seen
    }

    fn is_finished(&self) -> bool {
        self.logs.borrow().iter().enumerate().all(|(partition, log)| {
            let partition = partition as i32;
            let is_processed = |offset| self.processed.contains(&(partition, offset));
            let committed = self.net.shown(partition);
            log.offsets().into_iter().all(is_processed) && committed == Some(log.end())
        })
    }
}
