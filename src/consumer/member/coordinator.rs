//! A coordinator in the same process.

use std::sync::Arc;

use super::client::{
    ClientError, GroupClient, Heartbeat, HeartbeatAnswer, MemberEpoch, StoredOffset,
};
use crate::consumer::commits::{CommitError, PartitionCommit, StoreDurable};
use crate::group::Coordinator;
use crate::group::classic::{CommitRequest, MemberIdentity};
use crate::group::coordinator::{self, CoordinatorError, PartitionRefusal};
use crate::group::modern::HeartbeatRequest;
use crate::key::{Durability, TopicPartition};
use crate::state::StateOwner;

/// A group of a [`Coordinator`] in the same process.
///
/// Somebody has to call [`Coordinator::tick`], so that members who are silent are removed: a
/// [`Host`](crate::group::host::Host) whose timer was started does. The times that consumers are given
/// must be those of one clock.
#[derive(Clone, Debug)]
pub struct CoordinatorClient {
    coordinator: Coordinator,
    group: String,
}

impl CoordinatorClient {
    /// Joins a coordinator and the name of a group.
    pub fn new(coordinator: Coordinator, group: impl Into<String>) -> CoordinatorClient {
        CoordinatorClient { coordinator, group: group.into() }
    }
}

impl GroupClient for CoordinatorClient {
    type Durable = StoreDurable;

    fn heartbeat(
        &self,
        now_ms: i64,
        heartbeat: &Heartbeat<'_>,
    ) -> Result<HeartbeatAnswer, ClientError> {
        let Heartbeat { member, topics, rebalance_timeout_ms, owned } = *heartbeat;
        let mut request = HeartbeatRequest::new(&member.id, member.epoch);
        if let Some(topics) = topics {
            request = request.topics(topics);
        }
        if let Some(ms) = rebalance_timeout_ms {
            request = request.rebalance_timeout_ms(ms);
        }
        if let Some(owned) = owned {
            request = request.owned(owned.clone());
        }
        let response = self.coordinator.consumer_heartbeat(now_ms, &self.group, &request);
        let response = response.map_err(client_error)?;
        Ok(HeartbeatAnswer {
            member_epoch: response.member_epoch,
            heartbeat_interval_ms: response.heartbeat_interval_ms,
            assignment: response.assignment,
        })
    }

    fn fetch(
        &self,
        now_ms: i64,
        member: &MemberEpoch,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<StoredOffset>>, ClientError> {
        let names: Vec<_> = partitions.iter().map(|of| (of.topic(), of.partition())).collect();
        let (coordinator, group) = (&self.coordinator, &self.group[..]);
        let found = coordinator.fetch(now_ms, group, Some(&member.id), member.epoch, &names);
        let found = found.map_err(client_error)?.into_iter().zip(names);
        let stored = found.map(|(found, (topic, partition))| {
            found.map(|found| StoredOffset {
                offset: found.offset(),
                leader_epoch: found.leader_epoch(),
                state: coordinator.store().state(group, StateOwner::Acks, topic, partition),
            })
        });
        Ok(stored.collect())
    }

    fn commit(
        &self,
        now_ms: i64,
        member: &MemberEpoch,
        commits: &[PartitionCommit<'_>],
    ) -> Result<StoreDurable, CommitError> {
        let by = CommitRequest {
            member: MemberIdentity::dynamic(&member.id),
            generation: member.epoch,
            is_transactional: false,
        };
        let offsets: Vec<_> = commits.iter().map(offset).collect();
        let (coordinator, group) = (&self.coordinator, &self.group);
        let taken = coordinator.commit_with(now_ms, group, &by, &offsets, Durability::Buffered);
        let taken = taken.map_err(|error| match error {
            CoordinatorError::Group(error) => CommitError::by_group(error, commits),
            CoordinatorError::Store(error) => CommitError::by_store(error),
        })?;
        let refused = commits.iter().zip(taken.partitions);
        let refused = refused.filter_map(|(of, result)| Some((of.partition, result.err()?)));
        if let Some(error) = refusal(refused) {
            return Err(error);
        }
        // A commit of nothing is as durable as what is there.
        let seq = taken.receipt.map_or(coordinator.store().durable_seq(), |taken| taken.seq());
        Ok(StoreDurable::new(coordinator.store().durable(seq)))
    }
}

fn offset<'a>(of: &PartitionCommit<'a>) -> coordinator::PartitionCommit<'a> {
    let &PartitionCommit { partition, commit, state } = of;
    let offset =
        coordinator::PartitionCommit::new(partition.topic(), partition.partition(), commit);
    match state {
        Some(change) => offset.state(change),
        None => offset,
    }
}

/// What to do about partitions that were refused. Somebody else's are given up first: then it shows
/// what comes of the others.
fn refusal<'a>(
    refused: impl Iterator<Item = (&'a TopicPartition, PartitionRefusal)>,
) -> Option<CommitError> {
    let (fenced, others): (Vec<_>, Vec<_>) =
        refused.partition(|(_, refusal)| matches!(refusal, PartitionRefusal::Fenced(_)));
    let lost = fenced.iter().map(|(partition, _)| (*partition).clone()).collect();
    if let Some((_, refusal)) = fenced.into_iter().next() {
        return Some(CommitError::Rejoin { lost, cause: Arc::new(refusal) });
    }
    let (_, refusal) = others.into_iter().next()?;
    Some(CommitError::Refused(Arc::new(refusal)))
}

fn client_error(error: CoordinatorError) -> ClientError {
    match error {
        CoordinatorError::Group(error) => ClientError::Refused(error),
        CoordinatorError::Store(error) => ClientError::NoAnswer(Arc::new(error)),
    }
}
