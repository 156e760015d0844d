//! The way to a coordinator, on which requests and answers are lost, and which sees every commit that
//! the coordinator has taken.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use pagemark::consumer::{
    ClientError, CommitError, CoordinatorClient, GroupClient, Heartbeat, HeartbeatAnswer,
    MemberEpoch, PartitionCommit, StoreDurable, StoredOffset,
};
use pagemark::group::Coordinator;
use pagemark::group::coordinator::GroupDescription;
use pagemark::group::modern::ConsumerGroupDescription;
use pagemark::testkit::Lots;
use pagemark::{Key, OffsetStore, TopicPartition};

use super::topic::TOPIC;

pub(crate) const GROUP: &str = "readers";

/// What the coordinator has taken for a partition, and how much of that is durable for certain.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) offsets: Vec<i64>,
    pub(crate) durable: usize,
}

pub(crate) struct Net {
    pub(crate) coordinator: RefCell<Coordinator>,
    /// Rises when the coordinator is another one.
    pub(crate) life: Cell<u32>,
    pub(crate) lots: RefCell<Lots>,
    /// How often in a hundred something is lost.
    pub(crate) faults: Cell<u64>,
    /// Whether nothing is said to be durable for now.
    pub(crate) holds: Cell<bool>,
    /// The heartbeat, of those to come, whose answer is lost.
    pub(crate) loses: Cell<Option<u32>>,
    pub(crate) taken: RefCell<BTreeMap<i32, History>>,
    pub(crate) fenced: Cell<u32>,
    pub(crate) lost: Cell<u32>,
    pub(crate) waited: Cell<u32>,
}

impl Net {
    pub(crate) fn new(coordinator: Coordinator, seed: u64) -> Rc<Net> {
        Rc::new(Net {
            coordinator: RefCell::new(coordinator),
            life: Cell::default(),
            lots: RefCell::new(Lots(seed)),
            faults: Cell::default(),
            holds: Cell::default(),
            loses: Cell::default(),
            taken: RefCell::default(),
            fenced: Cell::default(),
            lost: Cell::default(),
            waited: Cell::default(),
        })
    }

    pub(crate) fn store(&self) -> OffsetStore {
        self.coordinator.borrow().store().clone()
    }

    pub(crate) fn describe(&self, now_ms: i64) -> Option<ConsumerGroupDescription> {
        match self.coordinator.borrow().describe(now_ms, GROUP) {
            Ok(GroupDescription::Consumer(group)) => Some(group),
            _ => None,
        }
    }

    /// The committed offset that everybody sees.
    pub(crate) fn shown(&self, partition: i32) -> Option<i64> {
        self.store().fetch(Key::new(GROUP, TOPIC, partition)).map(|found| found.offset().0)
    }

    fn fails(&self) -> bool {
        let is_lost = self.lots.borrow_mut().below(100) < self.faults.get();
        self.lost.set(self.lost.get() + u32::from(is_lost));
        is_lost
    }
}

/// The connection of one consumer.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) net: Rc<Net>,
    /// Nothing gets through any more: its process is dead.
    pub(crate) is_cut: Rc<Cell<bool>>,
}

fn silence() -> Arc<io::Error> {
    Arc::new(io::Error::from(io::ErrorKind::TimedOut))
}

impl Connection {
    pub(crate) fn new(net: &Rc<Net>) -> Connection {
        Connection { net: Rc::clone(net), is_cut: Rc::default() }
    }

    fn client(&self) -> CoordinatorClient {
        CoordinatorClient::new(self.net.coordinator.borrow().clone(), GROUP)
    }

    /// Loses a request, or the answer to it.
    fn send<T>(&self, call: impl FnOnce() -> Result<T, ClientError>) -> Result<T, ClientError> {
        if self.is_cut.get() || self.net.fails() {
            return Err(ClientError::NoAnswer(silence()));
        }
        let answer = call()?;
        if self.net.fails() { Err(ClientError::NoAnswer(silence())) } else { Ok(answer) }
    }

    /// Looks whether those who were let commit are those whom the partitions belong to.
    fn check_owner(&self, now_ms: i64, member: &MemberEpoch, commits: &[PartitionCommit<'_>]) {
        let group = self.net.describe(now_ms).expect("there is a group");
        let owner = group.members.iter().find(|of| of.member_id == member.id);
        let owner = owner.unwrap_or_else(|| panic!("{member:?} is no member"));
        assert_eq!(owner.member_epoch, member.epoch, "its epoch is over");
        for PartitionCommit { partition: of, .. } in commits {
            let is_held = [&owner.assigned, &owner.revoking]
                .iter()
                .any(|held| held.contains(of.topic(), of.partition()));
            assert!(is_held, "{of} is not {member:?}'s: {group:?}");
        }
    }
}

impl GroupClient for Connection {
    type Durable = Delayed;

    fn heartbeat(
        &self,
        now_ms: i64,
        heartbeat: &Heartbeat<'_>,
    ) -> Result<HeartbeatAnswer, ClientError> {
        let answer = self.send(|| self.client().heartbeat(now_ms, heartbeat));
        let loses = self.net.loses.get();
        self.net.loses.set(loses.and_then(|more| more.checked_sub(1)));
        if loses == Some(0) { Err(ClientError::NoAnswer(silence())) } else { answer }
    }

    fn fetch(
        &self,
        now_ms: i64,
        member: &MemberEpoch,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<StoredOffset>>, ClientError> {
        self.send(|| self.client().fetch(now_ms, member, partitions))
    }

    fn commit(
        &self,
        now_ms: i64,
        member: &MemberEpoch,
        commits: &[PartitionCommit<'_>],
    ) -> Result<Delayed, CommitError> {
        let net = &self.net;
        if self.is_cut.get() || net.fails() {
            return Err(CommitError::RetryLater(silence()));
        }
        let durable = self.client().commit(now_ms, member, commits).inspect_err(|error| {
            let is_fenced = matches!(error, CommitError::Rejoin { .. });
            net.fenced.set(net.fenced.get() + u32::from(is_fenced));
        })?;
        self.check_owner(now_ms, member, commits);
        let mut covers = Vec::new();
        for PartitionCommit { partition, commit, .. } in commits {
            let mut taken = net.taken.borrow_mut();
            let history = taken.entry(partition.partition()).or_default();
            history.offsets.push(commit.offset.0);
            covers.push((partition.partition(), history.offsets.len()));
        }
        if net.fails() {
            return Err(CommitError::RetryLater(silence()));
        }
        let polls = if net.fails() { 3 } else { 0 };
        let (net, life) = (Rc::clone(net), net.life.get());
        Ok(Delayed { durable, net, life, covers, polls })
    }
}

/// A commit that says late that it is durable.
pub(crate) struct Delayed {
    durable: StoreDurable,
    net: Rc<Net>,
    life: u32,
    covers: Vec<(i32, usize)>,
    polls: u32,
}

impl Future for Delayed {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.life != self.net.life.get() {
            return Poll::Ready(Err(CommitError::RetryLater(silence())));
        }
        if self.polls > 0 || self.net.holds.get() {
            self.polls = self.polls.saturating_sub(1);
            self.net.waited.set(self.net.waited.get() + 1);
            return Poll::Pending;
        }
        let done = Pin::new(&mut self.durable).poll(context);
        if let Poll::Ready(Ok(())) = done {
            for (partition, count) in &self.covers {
                let mut taken = self.net.taken.borrow_mut();
                let history = taken.entry(*partition).or_default();
                history.durable = history.durable.max(*count);
            }
        }
        done
    }
}
