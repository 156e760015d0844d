//! Claims of partitions, and what may be done to the offsets of a group.

use std::sync::Arc;

use super::cell::{Held, MODE};
use super::commit::ByPartition;
use super::{Coordinator, CoordinatorError, PartitionCommit, PartitionRefusal};
use crate::batch::CommitBatch;
use crate::group::GroupError;
use crate::group::claims::{Claim, ClaimEpoch, Claimed, CommitMode, encode_claim, encode_mode};
use crate::key::{Key, TopicPartition, check_name};
use crate::state::StateOwner;

impl Coordinator {
    /// Takes partitions over, all or none: whoever had them is fenced from now on, and commits of
    /// them need the epoch that is returned. What is returned survives everything that happens later.
    ///
    /// Membership is not asked: an owner may be a member of the group or not.
    ///
    /// # Errors
    ///
    /// [`InvalidGroupId`](GroupError::InvalidGroupId);
    /// [`InvalidRequest`](GroupError::InvalidRequest) if a partition does not exist; those of
    /// [`OffsetStore::commit_batch`](crate::OffsetStore::commit_batch), `InvalidArgument` also for an
    /// owner without a name.
    pub fn claim(
        &self,
        now_ms: i64,
        group: &str,
        owner: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Claimed>, CoordinatorError> {
        check_name("owner", owner)?;
        for of in partitions {
            self.check_partition(Key::new(group, of.topic(), of.partition())).map_err(invalid)?;
        }
        let cell = self.cell(group)?;
        let mut held = self.lock(&cell, now_ms)?;
        let owner: Arc<str> = owner.into();
        let mut claimed = Vec::with_capacity(partitions.len());
        let mut batch = CommitBatch::new(group);
        for of in partitions {
            let before = held.claims.get(of.topic(), of.partition());
            let claim = self.next(before, Some(Arc::clone(&owner)));
            put(&mut batch, of.topic(), of.partition(), &claim);
            claimed.push((before.and_then(|claim| claim.owner.clone()), claim));
        }
        held.append(self.store(), &batch)?;
        let told = partitions.iter().zip(claimed).map(|(of, (before, claim))| {
            let epoch = claim.epoch;
            held.claims.put(of.topic(), of.partition(), claim);
            Claimed {
                partition: of.clone(),
                epoch,
                previous_owner: before.as_deref().map(str::to_owned),
                committed: self.store().fetch(Key::new(group, of.topic(), of.partition())),
            }
        });
        let told = told.collect();
        self.unlocked(held, Ok(told))
    }

    /// Gives claims up that are still the newest ones. From then on anyone may commit the partitions
    /// without a claim, or claim them.
    ///
    /// # Errors
    ///
    /// Those of [`claim`](Coordinator::claim). Of each partition the result says whether it was
    /// released: [`PartitionRefusal::Fenced`] if somebody else has it.
    pub fn release(
        &self,
        now_ms: i64,
        group: &str,
        claims: &[(TopicPartition, ClaimEpoch)],
    ) -> Result<ByPartition, CoordinatorError> {
        let cell = self.cell(group)?;
        let mut held = self.lock(&cell, now_ms)?;
        let mut batch = CommitBatch::new(group);
        let mut results = Vec::with_capacity(claims.len());
        for (of, epoch) in claims {
            let owned = self.check_owned(group, &held, of.topic(), of.partition(), Some(*epoch));
            if owned.is_ok() {
                let released = Claim { epoch: *epoch, owner: None };
                put(&mut batch, of.topic(), of.partition(), &released);
            }
            results.push(owned);
        }
        held.append(self.store(), &batch)?;
        for ((of, epoch), _) in claims.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
            held.claims.put(of.topic(), of.partition(), Claim { epoch: *epoch, owner: None });
        }
        self.unlocked(held, Ok(results))
    }

    pub(super) fn check_owned(
        &self,
        group: &str,
        held: &Held,
        topic: &str,
        partition: i32,
        epoch: Option<ClaimEpoch>,
    ) -> Result<(), PartitionRefusal> {
        if held.claims.is_owned_by(topic, partition, epoch) {
            return Ok(());
        }
        let committed = self.committed(Key::new(group, topic, partition));
        let fenced = held.claims.fenced(topic, partition, committed);
        Err(PartitionRefusal::Fenced(Box::new(fenced)))
    }

    /// Sets offsets whatever the mode of the group says, also backwards, and fences whoever has
    /// claimed the partitions: it is told the new offset with its next commit, and claims again. All
    /// or none.
    ///
    /// # Errors
    ///
    /// [`NonEmptyGroup`](GroupError::NonEmptyGroup) while the group has members, who would commit
    /// their own positions over it; [`InvalidRequest`](GroupError::InvalidRequest) if a partition
    /// does not exist; those of [`OffsetStore::commit_batch`](crate::OffsetStore::commit_batch).
    pub fn rewind(
        &self,
        now_ms: i64,
        group: &str,
        offsets: &[PartitionCommit<'_>],
    ) -> Result<(), CoordinatorError> {
        for of in offsets {
            self.check_partition(Key::new(group, of.topic, of.partition)).map_err(invalid)?;
        }
        let cell = self.cell(group)?;
        let mut held = self.lock(&cell, now_ms)?;
        if held.membership.has_members() {
            return self.unlocked(held, Err(GroupError::NonEmptyGroup.into()));
        }
        let mut batch = CommitBatch::new(group);
        let mut claims = Vec::with_capacity(offsets.len());
        for of in offsets {
            let mut commit = of.commit;
            commit.timestamp_ms.get_or_insert(now_ms);
            batch.commit(of.topic, of.partition, commit);
            let claim = self.next(held.claims.get(of.topic, of.partition), None);
            put(&mut batch, of.topic, of.partition, &claim);
            claims.push(claim);
        }
        held.append(self.store(), &batch)?;
        for (of, claim) in offsets.iter().zip(claims) {
            held.claims.put(of.topic, of.partition, claim);
        }
        self.unlocked(held, Ok(()))
    }

    /// Says which commits the group takes from now on. It is stored with the group.
    ///
    /// # Errors
    ///
    /// Those of [`claim`](Coordinator::claim).
    pub fn set_commit_mode(
        &self,
        now_ms: i64,
        group: &str,
        mode: CommitMode,
    ) -> Result<(), CoordinatorError> {
        let cell = self.cell(group)?;
        let mut held = self.lock(&cell, now_ms)?;
        let mut batch = CommitBatch::new(group);
        batch.put_state(StateOwner::Membership, MODE, 0, &encode_mode(mode));
        held.append(self.store(), &batch)?;
        held.claims.mode = mode;
        self.unlocked(held, Ok(()))
    }

    /// Which commits the group takes.
    ///
    /// # Errors
    ///
    /// Those of [`claim`](Coordinator::claim).
    pub fn commit_mode(&self, now_ms: i64, group: &str) -> Result<CommitMode, CoordinatorError> {
        let cell = self.cell(group)?;
        let held = self.lock(&cell, now_ms)?;
        let mode = held.claims.mode;
        self.unlocked(held, Ok(mode))
    }

    /// The claim that follows on one.
    ///
    /// It is a number of the store's history that no record has yet, so that it is higher than that of
    /// every claim before, those of a group among them that was deleted.
    fn next(&self, before: Option<&Claim>, owner: Option<Arc<str>>) -> Claim {
        let before = before.map_or(0, |claim| claim.epoch.0);
        let epoch = ClaimEpoch(self.store().durable_seq().get().max(before).saturating_add(1));
        Claim { epoch, owner }
    }
}

fn put(batch: &mut CommitBatch, topic: &str, partition: i32, claim: &Claim) {
    let bytes = encode_claim(claim.epoch, claim.owner.as_deref());
    batch.put_state(StateOwner::Claims, topic, partition, &bytes);
}

fn invalid(refusal: PartitionRefusal) -> CoordinatorError {
    match refusal {
        PartitionRefusal::Invalid(error) => error.into(),
        _ => GroupError::InvalidRequest.into(),
    }
}
