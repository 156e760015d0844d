//! The group, as a consumer in another process than its coordinator reaches it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;

use pagemark::consumer::{
    AckLimits, AckTracker, ClientError, CommitError, GroupClient, Heartbeat, HeartbeatAnswer,
    MemberEpoch, PartitionCommit, StoredOffset,
};
use pagemark::group::GroupError;
use pagemark::group::modern::Partitions;
use pagemark::{NextOffset, StateChange, TopicPartition};

use crate::tour::client::Client;
use crate::tour::journal::Writer;
use crate::tour::wire::{Acks, Answer, Committed, Offset, Request, TOPIC};

/// Asks the broker, and writes down which commits it has acknowledged.
pub(super) struct RemoteGroup<'a> {
    client: RefCell<Client>,
    journal: &'a RefCell<Writer>,
    /// The bytes that the broker keeps beside each offset.
    acks: RefCell<BTreeMap<i32, Vec<u8>>>,
}

impl<'a> RemoteGroup<'a> {
    pub(super) fn new(client: Client, journal: &'a RefCell<Writer>) -> RemoteGroup<'a> {
        RemoteGroup { client: RefCell::new(client), journal, acks: RefCell::default() }
    }

    fn ask(&self, request: &Request) -> Result<Answer, ClientError> {
        let answer = self.client.borrow_mut().ask(request);
        match answer.map_err(|lost| ClientError::NoAnswer(Arc::new(lost)))? {
            Answer::Refused(code) => match GroupError::from_code(code) {
                Some(error) => Err(error.into()),
                None => Err(unexpected(&Answer::Refused(code))),
            },
            answer => Ok(answer),
        }
    }

    /// Writes down what is complete now.
    fn note(&self, commits: &[PartitionCommit<'_>], ns: u64) -> io::Result<()> {
        let mut journal = self.journal.borrow_mut();
        for PartitionCommit { partition, commit, state, .. } in commits {
            let mut acks = self.acks.borrow_mut();
            let acks = acks.entry(partition.partition()).or_default();
            match *state {
                Some(StateChange::Put(bytes)) => *acks = bytes.to_vec(),
                Some(StateChange::Append(bytes)) => acks.extend(bytes),
                Some(StateChange::Delete) => acks.clear(),
                None => {}
            }
            let complete = complete(acks);
            journal.acknowledged(partition.partition(), commit.offset.0, &complete)?;
        }
        journal.committed(ns)
    }
}

impl GroupClient for RemoteGroup<'_> {
    type Durable = Ready<Result<(), CommitError>>;

    fn heartbeat(
        &self,
        _now_ms: i64,
        heartbeat: &Heartbeat<'_>,
    ) -> Result<HeartbeatAnswer, ClientError> {
        let request = Request::Heartbeat {
            member: heartbeat.member.id.clone(),
            epoch: heartbeat.member.epoch,
            topics: heartbeat.topics.map(<[String]>::to_vec),
            rebalance_timeout_ms: heartbeat.rebalance_timeout_ms,
            owned: heartbeat.owned.map(|owned| owned.iter().map(|(_, of)| of).collect()),
        };
        match self.ask(&request)? {
            Answer::Alive { epoch, interval_ms, assigned } => Ok(HeartbeatAnswer {
                member_epoch: epoch,
                heartbeat_interval_ms: interval_ms,
                assignment: assigned.map(partitions),
            }),
            other => Err(unexpected(&other)),
        }
    }

    fn fetch(
        &self,
        _now_ms: i64,
        member: &MemberEpoch,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<StoredOffset>>, ClientError> {
        let partitions: Vec<_> = partitions.iter().map(TopicPartition::partition).collect();
        let request = Request::Fetch {
            member: member.id.clone(),
            epoch: member.epoch,
            partitions: partitions.clone(),
        };
        let found = match self.ask(&request)? {
            Answer::Offsets(found) => found,
            other => return Err(unexpected(&other)),
        };
        for (partition, found) in partitions.iter().zip(&found) {
            let acks = found.as_ref().and_then(|found| found.acks.clone());
            self.acks.borrow_mut().insert(*partition, acks.unwrap_or_default());
        }
        let stored = |Committed { next, acks }| StoredOffset {
            offset: NextOffset(next),
            leader_epoch: None,
            state: acks,
        };
        Ok(found.into_iter().map(|found| found.map(stored)).collect())
    }

    fn commit(
        &self,
        _now_ms: i64,
        member: &MemberEpoch,
        commits: &[PartitionCommit<'_>],
    ) -> Result<Self::Durable, CommitError> {
        let request = Request::Commit {
            member: member.id.clone(),
            epoch: member.epoch,
            offsets: commits.iter().map(offset).collect(),
        };
        let answer = self.ask(&request).map_err(|error| match error {
            ClientError::Refused(error) => CommitError::by_group(error, commits),
            error => CommitError::RetryLater(Arc::new(error)),
        })?;
        let Answer::Done { ns } = answer else {
            return Err(CommitError::Stop(Arc::new(unexpected(&answer))));
        };
        let noted = self.note(commits, ns);
        Ok(ready(noted.map_err(|error| CommitError::Stop(Arc::new(error)))))
    }
}

/// What the bytes beside an offset say to be complete beyond it.
pub(super) fn complete(acks: &[u8]) -> Vec<std::ops::Range<i64>> {
    let acks = AckTracker::restore(acks, AckLimits::new());
    acks.map(|acks| acks.ranges().collect()).unwrap_or_default()
}

fn offset(of: &PartitionCommit<'_>) -> Offset {
    Offset {
        partition: of.partition.partition(),
        next: of.commit.offset.0,
        acks: of.state.map(|state| match state {
            StateChange::Put(bytes) => Acks::Put(bytes.to_vec()),
            StateChange::Append(bytes) => Acks::Append(bytes.to_vec()),
            StateChange::Delete => Acks::Delete,
        }),
    }
}

fn partitions(numbers: Vec<i32>) -> Partitions {
    let mut partitions = Partitions::new();
    for partition in numbers {
        partitions.insert(TOPIC, partition);
    }
    partitions
}

fn unexpected(answer: &Answer) -> ClientError {
    let what = format!("the broker answered {answer:?}");
    ClientError::NoAnswer(Arc::new(io::Error::other(what)))
}
