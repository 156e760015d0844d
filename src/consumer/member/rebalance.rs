//! Partitions that come and go.

use std::sync::Arc;

use super::log::RecordSource;
use super::read::Reading;
use super::{
    ClientError, Consumer, ConsumerError, ConsumerListener, GroupClient, HeartbeatAnswer,
    StoredOffset,
};
use crate::consumer::commits::{NotStored, acks_of};
use crate::consumer::position::{LogBounds, Position, Reset};
use crate::group::modern::Partitions;
use crate::group::{Advice, GroupError};
use crate::key::TopicPartition;

type Done = Result<(), ConsumerError>;

impl<G: GroupClient, S: RecordSource, L: ConsumerListener> Consumer<G, S, L> {
    /// Says and hears what is due. A hand-over takes two heartbeats: one that hears of it, and one
    /// that says that it is done.
    pub(super) fn beat(&mut self, now_ms: i64) -> Done {
        for _ in 0..2 {
            if !self.member.is_due(now_ms) {
                break;
            }
            match self.target.client().heartbeat(now_ms, &self.member.heartbeat()) {
                Ok(answer) => self.take(now_ms, answer),
                Err(error) => return self.take_refusal(now_ms, error),
            }
        }
        Ok(())
    }

    /// Finds out in which epoch it is, if an answer was lost. If that fails, its commits say why.
    pub(super) fn learn_epoch(&mut self, now_ms: i64) {
        if self.member.is_in_doubt()
            && let Ok(answer) = self.target.client().heartbeat(now_ms, &self.member.heartbeat())
        {
            self.member.me.epoch = answer.member_epoch;
            self.target.set_member(&self.member.me);
        }
    }

    fn take(&mut self, now_ms: i64, answer: HeartbeatAnswer) {
        if let Some(assignment) = &answer.assignment {
            let (revoked, added) = difference(&self.member.owned, assignment);
            if !revoked.is_empty() {
                // In the epoch before, in which its commits still pass.
                self.hand_over(&revoked);
            }
            self.waiting.extend(added);
            self.starts_at_ms = now_ms;
        }
        self.member.hear(now_ms, answer);
        self.target.set_member(&self.member.me);
    }

    fn take_refusal(&mut self, now_ms: i64, error: ClientError) -> Done {
        let backoff = self.options.commit.retry_backoff;
        let refusal = match error {
            ClientError::Refused(refusal) => refusal,
            ClientError::NoAnswer(cause) => {
                self.member.fail(now_ms, backoff);
                self.listener.failed(&ConsumerError::Unavailable(cause));
                return Ok(());
            }
        };
        let was_deleted = refusal == GroupError::GroupIdNotFound && self.member.is_member();
        match refusal.advice() {
            Advice::Stop if !was_deleted => {
                self.member.fail(now_ms, backoff);
                Err(ConsumerError::Refused(refusal))
            }
            Advice::Retry => {
                self.member.fail(now_ms, backoff);
                self.listener.failed(&ConsumerError::Unavailable(Arc::new(refusal)));
                Ok(())
            }
            Advice::Rejoin | Advice::Stop => {
                self.lose_all();
                self.member.end_life(now_ms, backoff);
                Ok(())
            }
        }
    }

    /// Gives partitions away that others wait for.
    fn hand_over(&mut self, revoked: &[TopicPartition]) {
        for partition in revoked {
            self.waiting.remove(partition);
            let Ok(at) = self.find(partition) else { continue };
            let reading = &mut self.readings[at];
            if let Ok(mut handle) = reading.handle(&mut self.committer) {
                self.listener.revoked(&mut handle);
            }
            reading.acknowledge(&mut self.committer, &mut self.listener);
        }
        let stored = self.committer.revoke(revoked, self.options.commit_timeout);
        self.readings.retain(|reading| !revoked.contains(&reading.partition));
        self.tell_unstored(&stored);
    }

    /// Gives everything up: the group has removed the member.
    fn lose_all(&mut self) {
        self.waiting.clear();
        let lost: Vec<_> = self.assigned().cloned().collect();
        // The listener was told.
        let _ = self.lose(&lost);
    }

    /// Gives up what a commit has shown to belong to others. The group believes it to be this
    /// member's, so nobody else gets it before a heartbeat has said otherwise. What was processed
    /// there and is not stored is an error.
    pub(super) fn sweep_lost(&mut self) -> Result<(), NotStored> {
        let Self { readings, committer, .. } = self;
        let is_lost = |reading: &&Reading<_>| committer.partition(&reading.partition).is_err();
        let lost: Vec<_> =
            readings.iter().filter(is_lost).map(|of| (*of.partition).clone()).collect();
        if lost.is_empty() {
            return Ok(());
        }
        self.member.hurry();
        self.lose(&lost)
    }

    fn lose(&mut self, lost: &[TopicPartition]) -> Result<(), NotStored> {
        let stored = self.committer.lose(lost);
        self.readings.retain(|reading| !lost.contains(&reading.partition));
        lost.iter().for_each(|partition| self.listener.lost(partition));
        self.tell_unstored(&stored);
        stored
    }

    fn tell_unstored(&mut self, stored: &Result<(), NotStored>) {
        for unstored in stored.as_ref().err().map_or(&[][..], NotStored::partitions) {
            self.listener.unstored(unstored);
        }
    }

    /// Begins to read what was assigned, as far as it can be.
    pub(super) fn start_waiting(&mut self, now_ms: i64) -> Done {
        let backoff = self.options.commit.retry_backoff;
        let next_ms = now_ms.saturating_add(i64::try_from(backoff.as_millis()).unwrap_or(i64::MAX));
        // A clock that was set back must not put it off.
        self.starts_at_ms = self.starts_at_ms.min(next_ms);
        if self.waiting.is_empty() || now_ms < self.starts_at_ms {
            return Ok(());
        }
        self.starts_at_ms = next_ms;
        // What is committed is not known before the commits of an earlier assignment are over.
        let committer = &mut self.committer;
        let ready: Vec<_> =
            self.waiting.iter().filter(|of| !committer.is_leaving(of)).cloned().collect();
        let found = match self.target.client().fetch(now_ms, &self.member.me, &ready) {
            Ok(found) => found,
            Err(error) => {
                // The next heartbeat says what is the matter.
                self.member.hurry();
                self.listener.failed(&ConsumerError::Unavailable(Arc::new(error)));
                return Ok(());
            }
        };
        let mut result = Ok(());
        for (partition, stored) in ready.into_iter().zip(found) {
            match self.start(now_ms, &partition, stored) {
                Ok(()) => drop(self.waiting.remove(&partition)),
                Err(error) if result.is_ok() => result = Err(error),
                Err(error) => self.listener.failed(&error),
            }
        }
        result
    }

    fn start(
        &mut self,
        now_ms: i64,
        partition: &TopicPartition,
        stored: Option<StoredOffset>,
    ) -> Done {
        let log = self
            .source
            .open(partition)
            .map_err(|error| ConsumerError::partition(partition, error))?;
        let (position, reset) = self
            .position(now_ms, partition, stored.as_ref(), &log)
            .map_err(|error| ConsumerError::partition(partition, error))?;
        let state = stored.and_then(|stored| stored.state);
        let acks = self.options.acks.map(|limits| acks_of(state.as_deref(), &position, limits));
        let failed = |error| ConsumerError::partition(partition, error);
        let acks = acks.transpose().map_err(failed)?;
        self.committer.assign(partition.clone(), position).map_err(failed)?;

        let reading = Reading { partition: Arc::new(partition.clone()), log, acks };
        let at = self.find(partition).unwrap_or_else(|at| at);
        self.readings.insert(at, reading);
        if let Some(reset) = reset {
            self.listener.reset(partition, &reset);
        }
        let mut handle = self.readings[at].handle(&mut self.committer).map_err(failed)?;
        self.listener.assigned(&mut handle);
        Ok(())
    }

    fn position(
        &mut self,
        now_ms: i64,
        partition: &TopicPartition,
        stored: Option<&StoredOffset>,
        log: &S::Log,
    ) -> Result<(Position, Option<Reset>), <S::Log as LogBounds>::Error> {
        let policy = self.options.start;
        match self.listener.start(partition, stored.map(|stored| stored.offset)) {
            Some(start) => Position::begin_at(start, policy, log, now_ms),
            None => {
                let committed = stored.map(|stored| (stored.offset, stored.leader_epoch));
                Position::begin(committed, policy, log, now_ms)
            }
        }
    }
}

/// What is only in the first, and what only in the second.
fn difference(
    before: &Partitions,
    after: &Partitions,
) -> (Vec<TopicPartition>, Vec<TopicPartition>) {
    let without = |left: &Partitions, right: &Partitions| {
        let only = left.iter().filter(|(topic, partition)| !right.contains(topic, *partition));
        only.map(|(topic, partition)| TopicPartition::new(topic, partition)).collect()
    };
    (without(before, after), without(after, before))
}
