//! Automatic and manual commits of the partitions that one consumer has.

#[cfg(test)]
mod fake;
mod line;
#[cfg(test)]
mod model_tests;
mod partition;
mod policy;
mod receipt;
#[cfg(all(test, shuttle))]
mod shuttle;
mod store;
mod target;
#[cfg(test)]
mod tests;
mod track;
mod wait;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::partition::AssignedPartition;
pub use self::policy::CommitPolicy;
pub use self::receipt::CommitReceipt;
pub(super) use self::store::acks_of;
pub use self::store::{StoreDurable, StoreTarget};
pub use self::target::{Cause, CommitError, CommitTarget, PartitionCommit};

use self::line::{Lost, Outcome, Shared};
use self::partition::Assigned;
use self::policy::Schedule;
use self::track::Track;
use self::wait::Deadline;
use super::position::Position;
use crate::error::{Error, Result};
use crate::key::{NextOffset, TopicPartition};

/// Commits what a consumer has done: by itself, as its [`CommitPolicy`] says, and when it is asked to.
///
/// A committer has the [`Position`]s of the partitions that are assigned to one consumer. What was
/// marked as [done](AssignedPartition::done) is what a commit takes along, of all partitions at once and
/// all or none. There is no thread: [`tick`](Committer::tick), which belongs into the loop that reads,
/// commits when it is time, and whoever waits for a [`CommitReceipt`] moves on what is under way.
///
/// ```
/// use std::time::Duration;
///
/// use pagemark::consumer::{CommitPolicy, Committer, Position, StoreTarget};
/// # use pagemark::consumer::{LogBounds, StartPolicy};
/// use pagemark::{Key, LastProcessed, NextOffset, OffsetStore, TopicPartition};
/// # struct Log;
/// # impl LogBounds for Log {
/// #     type Error = pagemark::Error;
/// #     fn earliest(&self) -> pagemark::Result<NextOffset> { Ok(NextOffset(0)) }
/// #     fn latest(&self) -> pagemark::Result<NextOffset> { Ok(NextOffset(90)) }
/// #     fn at_or_after(&self, _: i64) -> pagemark::Result<Option<NextOffset>> { Ok(None) }
/// # }
///
/// # let dir = tempfile::tempdir()?;
/// let store = OffsetStore::open(dir.path())?;
/// let target = StoreTarget::new(store.clone(), "billing");
/// let mut committer = Committer::new(target, CommitPolicy::automatic(), 0);
///
/// let orders = TopicPartition::new("orders", 0);
/// let key = Key::new("billing", "orders", 0);
/// let committed = store.fetch(key);
/// let (position, _) = Position::assign(committed.as_ref(), StartPolicy::Earliest, &Log, 0)?;
/// committer.assign(orders.clone(), position)?;
///
/// for now_ms in [0, 2_000, 4_000] {
///     let mut orders = committer.partition(&orders)?;
///     let offset = orders.position().next().0; // poll the log for the record at it
///     orders.advance(LastProcessed(offset), None)?;
///     orders.done(LastProcessed(offset))?;
///     committer.tick(now_ms)?;
/// }
/// committer.close(Duration::from_secs(10))?;
/// assert_eq!(store.fetch(key).unwrap().offset(), NextOffset(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The order of commits
///
/// One commit is under way at a time. What is asked for meanwhile is one commit behind it, in which of
/// each partition the newest counts. So receipts are completed in the order in which they were asked
/// for, a target that fails and recovers never gets an older commit behind a newer one, and a committed
/// offset goes back only where [`rewind`](AssignedPartition::rewind) or a reset said so.
///
/// A commit that failed stays to be done. The next commit of any kind takes it along, in its newest
/// form.
///
/// # Next to Kafka's consumer
///
/// The rules are those of `ConsumerCoordinator` and `CommitRequestManager` of Kafka's client, but for:
///
/// - What is done is committed, where Kafka's auto-commit takes the position, done or not; and only what
///   has changed, where Kafka commits all assigned partitions each time.
/// - An automatic commit that fails is retried, as there, and `tick` says so, where Kafka logs it.
/// - A commit may be retried without harm, because nothing can overtake it. Still `commitAsync` makes one
///   attempt, as there, and the next commit is the second.
///
/// Dropping a committer gives the target what is to be committed, and waits for nothing. Only
/// [`close`](Committer::close) can tell what came of it.
pub struct Committer<T: CommitTarget> {
    shared: Arc<Shared<T>>,
    policy: CommitPolicy,
    schedule: Schedule,
    partitions: BTreeMap<TopicPartition, Assigned>,
    /// Offsets that were done since the last commit.
    done: u64,
    automatic: Option<CommitReceipt<T>>,
    /// What comes of the newest commit, while that is not known.
    newest: Option<Outcome>,
    /// What was done in partitions that the target said to belong to others.
    lost: BTreeMap<TopicPartition, Unstored>,
    is_closed: bool,
}

impl<T: CommitTarget> Committer<T> {
    /// A committer without partitions. The first interval begins at `now_ms`, in milliseconds of any
    /// clock that goes on like [`tick`](Committer::tick)'s.
    pub fn new(target: T, policy: CommitPolicy, now_ms: i64) -> Committer<T> {
        Committer {
            shared: Arc::new(Shared::new(target)),
            schedule: Schedule::new(&policy, now_ms),
            policy,
            partitions: BTreeMap::new(),
            done: 0,
            automatic: None,
            newest: None,
            lost: BTreeMap::new(),
            is_closed: false,
        }
    }

    /// Takes on a partition. If it is assigned already, only the position is replaced, and commits that
    /// are under way go on.
    ///
    /// Read what is committed right before this, with no other call of the committer in between.
    ///
    /// # Errors
    ///
    /// [`CommitUnderWay`](crate::ErrorKind::CommitUnderWay) if a commit of the partition was under way
    /// when it was given away, and was not known to be over when this was called: then it may be newer
    /// than what the position began with.
    pub fn assign(&mut self, partition: TopicPartition, position: Position) -> Result<()> {
        let is_leaving = self.shared.line().leaving.contains_key(&partition);
        // What was said before this does not count for it.
        self.shared.look();
        self.settle();
        if is_leaving {
            return Err(Error::commit_under_way(&partition));
        }
        self.lost.remove(&partition);
        let mut assigned = Assigned::new(position);
        let mut line = self.shared.line();
        line.tracks.entry(partition.clone()).or_insert_with(|| assigned.track());
        drop(line);
        self.partitions.insert(partition, assigned);
        Ok(())
    }

    /// Whether a commit of a partition that was given away is still under way. If not, what is
    /// committed may be read now.
    pub(in crate::consumer) fn is_leaving(&mut self, partition: &TopicPartition) -> bool {
        self.shared.look();
        self.settle();
        self.shared.line().leaving.contains_key(partition)
    }

    /// The partitions that are assigned, in order.
    pub fn assigned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    /// An assigned partition: what to read from it, and what of it is done.
    ///
    /// # Errors
    ///
    /// [`NotAssigned`](crate::ErrorKind::NotAssigned) if it is not assigned, or not any more.
    pub fn partition(&mut self, partition: &TopicPartition) -> Result<AssignedPartition<'_>> {
        let done = &mut self.done;
        match self.partitions.get_mut(partition) {
            Some(assigned) => Ok(AssignedPartition::new(assigned, done)),
            None => Err(Error::not_assigned(partition)),
        }
    }

    /// Commits what the policy says to be due, and looks after what is under way. It never waits. Call
    /// it whenever the consumer has read something, and also when there was nothing to read.
    ///
    /// # Errors
    ///
    /// What came of an automatic commit. [`RetryLater`](CommitError::RetryLater) needs no answer: the
    /// commit is made again after the [backoff](CommitPolicy::retry_backoff).
    pub fn tick(&mut self, now_ms: i64) -> std::result::Result<(), CommitError> {
        let before = self.look_after(now_ms);
        if self.is_due(now_ms) {
            self.schedule = Schedule::new(&self.policy, now_ms);
            self.automatic = Some(self.commit_async());
            return before.and(self.look_after(now_ms));
        }
        before
    }

    /// Whether [`tick`](Committer::tick) would commit now: the moment to
    /// [acknowledge](AssignedPartition::acknowledge) what was completed out of order.
    pub fn is_due(&mut self, now_ms: i64) -> bool {
        self.automatic.is_none() && self.schedule.is_due(&self.policy, now_ms, self.done)
    }

    /// Moves on what is under way, and says what came of the automatic commit, if that is over.
    fn look_after(&mut self, now_ms: i64) -> std::result::Result<(), CommitError> {
        if self.newest.is_none() {
            return Ok(());
        }
        self.shared.advance();
        self.settle();
        self.newest.take_if(|newest| newest.get().is_some());
        self.end_automatic(now_ms)
    }

    fn end_automatic(&mut self, now_ms: i64) -> std::result::Result<(), CommitError> {
        let Some(result) = self.automatic.as_ref().and_then(CommitReceipt::outcome) else {
            return Ok(());
        };
        self.automatic = None;
        if result.is_err() {
            self.schedule.back_off(&self.policy, now_ms);
        }
        result
    }

    /// Asks for a commit of all that is done, in one attempt, and returns at once.
    ///
    /// If nothing is to be committed, the receipt is that of the last commit that is under way.
    pub fn commit_async(&mut self) -> CommitReceipt<T> {
        self.done = 0;
        let outcome = self.shared.line().ask(&mut self.partitions);
        self.receipt(outcome)
    }

    fn receipt(&mut self, outcome: Outcome) -> CommitReceipt<T> {
        self.newest = Some(Arc::clone(&outcome));
        self.shared.advance();
        self.settle();
        CommitReceipt::new(Arc::clone(&self.shared), outcome)
    }

    /// Commits all that is done, and returns when it and every commit before it is durable. What may
    /// succeed later is tried again until the time is over.
    ///
    /// # Errors
    ///
    /// What came of the last attempt; [`RetryLater`](CommitError::RetryLater) with an error of the kind
    /// [`Timeout`](crate::ErrorKind::Timeout) if it was not over in time. If the target gave partitions
    /// to others on the way and the rest is committed, [`Rejoin`](CommitError::Rejoin) with all of those.
    pub fn commit_sync(&mut self, timeout: Duration) -> std::result::Result<(), CommitError> {
        self.persist(Deadline::after(timeout), Self::commit_async)
    }

    /// Gives partitions away, after they were committed if the policy says so. What was asked for is
    /// waited for in any case. Those that are not assigned are left out: they were given away before.
    ///
    /// # Errors
    ///
    /// What of these partitions is not known to be stored. They are given away all the same.
    pub fn revoke(
        &mut self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> std::result::Result<(), NotStored> {
        // What came of it is seen partition by partition.
        let _ = self.drain(timeout, self.policy.on_revoke);
        let reason = self.reason();
        let mut left = self.give_up(partitions, &reason, self.policy.on_revoke);
        left.extend(partitions.iter().filter_map(|partition| self.lost.remove(partition)));
        NotStored::check(left)
    }

    /// Gives up partitions that belong to others already. Nothing of them is committed any more.
    ///
    /// # Errors
    ///
    /// What of these partitions is done, or was asked for, and is not known to be stored.
    pub fn lose(&mut self, partitions: &[TopicPartition]) -> std::result::Result<(), NotStored> {
        let cause = Arc::new(Error::fenced("the partitions were given to others"));
        let error = CommitError::Rejoin { lost: partitions.to_vec(), cause };
        self.shared.look();
        self.settle();
        let mut left = self.give_up(partitions, &error, self.policy.on_close);
        left.extend(partitions.iter().filter_map(|partition| self.lost.remove(partition)));
        self.shared.advance();
        NotStored::check(left)
    }

    /// Gives up partitions, and says what of them is not known to be stored.
    fn give_up(
        &mut self,
        partitions: &[TopicPartition],
        reason: &CommitError,
        all: bool,
    ) -> Vec<Unstored> {
        let mut line = self.shared.line();
        line.lose(partitions, reason);
        let lost = line.take_lost();
        drop(line);
        self.forget(lost, all)
    }

    fn forget(&mut self, lost: Vec<Lost>, all: bool) -> Vec<Unstored> {
        let unstored = |(partition, track, reason): Lost| {
            let assigned = self.partitions.remove(&partition)?;
            unstored(&partition, &assigned, &track, all, &reason)
        };
        lost.into_iter().filter_map(unstored).collect()
    }

    /// Ends the committer: commits all that is done, if the policy says so, tries again what failed,
    /// and waits until it is durable or the time is over.
    ///
    /// # Errors
    ///
    /// By partition, what was to be committed and is not known to be stored. What was under way when
    /// the time was over may still be.
    pub fn close(mut self, timeout: Duration) -> std::result::Result<(), NotStored> {
        self.is_closed = true;
        let _ = self.drain(timeout, self.policy.on_close);
        let reason = self.reason();
        let mut left: Vec<_> = std::mem::take(&mut self.lost).into_values().collect();
        for (partition, track) in &self.shared.line().tracks {
            if let Some(assigned) = self.partitions.get(partition) {
                left.extend(unstored(partition, assigned, track, self.policy.on_close, &reason));
            }
        }
        NotStored::check(left)
    }

    /// Waits for what was asked for and tries it again, together with all that is done if so wanted.
    fn drain(&mut self, timeout: Duration, all: bool) -> std::result::Result<(), CommitError> {
        let ask = if all { Self::commit_async } else { Self::ask_again };
        self.persist(Deadline::after(timeout), ask)
    }

    fn ask_again(&mut self) -> CommitReceipt<T> {
        let outcome = self.shared.line().ask_again();
        self.receipt(outcome)
    }

    /// Asks until it is done, for as long as there is hope and time.
    fn persist(
        &mut self,
        deadline: Deadline,
        ask: fn(&mut Self) -> CommitReceipt<T>,
    ) -> std::result::Result<(), CommitError> {
        let mut loss: Option<CommitError> = None;
        loop {
            let result = deadline.wait(&mut ask(self)).unwrap_or_else(|| Err(too_late()));
            self.settle();
            match result {
                Err(CommitError::RetryLater(_)) if deadline.pause(self.policy.retry_backoff) => {}
                // Without those that are lost, the rest may go. They are told of all the same.
                Err(error @ CommitError::Rejoin { .. })
                    if deadline.pause(self.policy.retry_backoff) =>
                {
                    loss = Some(error.with_lost_of(loss));
                }
                Err(error) => return Err(error.with_lost_of(loss)),
                Ok(()) => return loss.map_or(Ok(()), Err),
            }
        }
    }

    /// Takes note of what came of commits.
    fn settle(&mut self) {
        let mut line = self.shared.line();
        let lost = line.take_lost();
        line.leaving.retain(|_, outcome| outcome.get().is_none());
        for (partition, track) in &line.tracks {
            if let (Some(stored), Some(assigned)) =
                (&track.stored, self.partitions.get_mut(partition))
            {
                assigned.position.confirm(stored.commit());
            }
        }
        drop(line);
        for left in self.forget(lost, self.policy.on_close) {
            self.lost.insert(left.partition.clone(), left);
        }
    }

    /// Why something is not stored that did not fail itself.
    fn reason(&self) -> CommitError {
        self.shared.line().stopped().cloned().unwrap_or_else(too_late)
    }
}

impl<T: CommitTarget> Drop for Committer<T> {
    fn drop(&mut self) {
        if self.is_closed {
            return;
        }
        if self.policy.on_close {
            drop(self.commit_async());
        } else {
            drop(self.ask_again());
        }
        self.shared.give_up();
    }
}

impl<T: CommitTarget> fmt::Debug for Committer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer")
            .field("policy", &self.policy)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// What of a partition is not known to be stored: all that is done, or what was asked for.
fn unstored(
    partition: &TopicPartition,
    assigned: &Assigned,
    track: &Track,
    all: bool,
    reason: &CommitError,
) -> Option<Unstored> {
    let asked = track.unstored();
    let done = assigned.commit();
    let is_stored = track.has_stored(&done) && !assigned.has_state();
    let offset = match asked {
        _ if all && !is_stored => done.offset,
        Some((value, _)) => value.offset,
        None => return None,
    };
    let error = asked.and_then(|(_, error)| error).unwrap_or(reason).clone();
    Some(Unstored { partition: partition.clone(), offset, error })
}

fn too_late() -> CommitError {
    CommitError::RetryLater(Arc::new(Error::timeout("the commit was not over in time")))
}

/// An offset that was to be committed and is not known to be stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unstored {
    /// The partition.
    pub partition: TopicPartition,
    /// What was to be committed.
    pub offset: NextOffset,
    /// Why it is not, as far as is known.
    pub error: CommitError,
}

/// What a committer could not store of the partitions that it gave away, in their order.
#[derive(Clone, Debug)]
pub struct NotStored {
    partitions: Vec<Unstored>,
}

impl NotStored {
    fn check(mut partitions: Vec<Unstored>) -> std::result::Result<(), NotStored> {
        partitions.sort_by(|a, b| a.partition.cmp(&b.partition));
        if partitions.is_empty() { Ok(()) } else { Err(NotStored { partitions }) }
    }

    /// Partition by partition, in order.
    pub fn partitions(&self) -> &[Unstored] {
        &self.partitions
    }
}

impl fmt::Display for NotStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not known to be stored:")?;
        for (i, Unstored { partition, offset, error }) in self.partitions.iter().enumerate() {
            let separator = if i > 0 { ";" } else { "" };
            write!(f, "{separator} {partition} at {offset} ({error})")?;
        }
        Ok(())
    }
}

impl std::error::Error for NotStored {}
