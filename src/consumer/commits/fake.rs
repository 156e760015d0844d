//! A target that stores in memory, and fails as it is told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::*;
use crate::consumer::{LogBounds, StartPolicy};
use crate::key::CommittedOffset;
use crate::state::StateChange;

#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    RetryLater,
    Refused,
    /// One of the partitions belongs to others.
    Lost(i32),
    Stop,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// Takes the commit, and says later what comes of it.
    Hold,
    /// Takes the commit and stores it.
    Store,
    /// Takes the commit, and it fails.
    Fail(Failure),
    /// Does not take it.
    Refuse(Failure),
}

/// A target that stores in memory and answers as it is told; without that it stores everything.
#[derive(Clone, Default)]
pub(super) struct FakeTarget {
    inner: Rc<RefCell<Inner>>,
}

type Ended = std::result::Result<(), CommitError>;

#[derive(Default)]
struct Inner {
    answers: VecDeque<Answer>,
    /// Whether the committer is gone, and does not wait any more for what is under way.
    is_given_up: bool,
    /// Whether nothing is held any more.
    at_once: bool,
    /// The commits that are under way, and what came of them.
    taken: BTreeMap<u64, (Vec<Taken>, Option<Ended>)>,
    stored: BTreeMap<i32, Stored>,
    /// The newest version that was given to the target, by partition.
    newest: BTreeMap<i32, u64>,
    lost: BTreeSet<i32>,
    has_refused: bool,
    has_stopped: bool,
    calls: Vec<Vec<(i32, i64)>>,
}

#[derive(Clone)]
struct Taken {
    partition: i32,
    offset: i64,
    epoch: Option<i32>,
    version: u64,
    state: Option<(bool, Vec<u8>)>,
}

#[derive(Clone, Default)]
pub(super) struct Stored {
    pub(super) offset: i64,
    pub(super) epoch: Option<i32>,
    pub(super) version: u64,
    state: Vec<u8>,
}

fn cause(text: &str) -> Cause {
    Arc::new(Error::invalid(text))
}

impl Inner {
    fn fail(&mut self, failure: Failure) -> CommitError {
        match failure {
            Failure::RetryLater => CommitError::RetryLater(cause("not now")),
            Failure::Refused => {
                self.has_refused = true;
                CommitError::Refused(cause("not so"))
            }
            Failure::Lost(p) => {
                self.lost.insert(p);
                let lost = vec![TopicPartition::new("t", p)];
                CommitError::Rejoin { lost, cause: cause("not yours") }
            }
            Failure::Stop => {
                self.has_stopped = true;
                CommitError::Stop(cause("never"))
            }
        }
    }

    fn store(&mut self, commits: Vec<Taken>) {
        for Taken { partition, offset, epoch, version, state } in commits {
            let stored = self.stored.entry(partition).or_default();
            (stored.offset, stored.epoch, stored.version) = (offset, epoch, version);
            if let Some((replaces, bytes)) = state {
                let kept = if replaces { 0 } else { stored.state.len() };
                stored.state.truncate(kept);
                stored.state.extend(bytes);
            }
        }
    }

    fn end(&mut self, id: u64, failure: Option<Failure>) {
        let result = failure.map_or(Ok(()), |failure| Err(self.fail(failure)));
        if let Some((commits, outcome @ None)) = self.taken.get_mut(&id) {
            let commits = std::mem::take(commits);
            *outcome = Some(result);
            if failure.is_none() {
                self.store(commits);
            }
        }
    }
}

impl FakeTarget {
    pub(super) fn answer_next(&self, answer: Answer) {
        self.inner.borrow_mut().answers.push_back(answer);
    }

    /// The committer is about to be dropped.
    pub(super) fn give_up(&self) {
        self.inner.borrow_mut().is_given_up = true;
    }

    /// From now on nothing is held, and after some failures all is stored.
    pub(super) fn answer_at_once(&self, failures: Vec<Failure>) {
        let mut inner = self.inner.borrow_mut();
        inner.at_once = true;
        inner.answers = failures.into_iter().map(Answer::Refuse).collect();
    }

    /// Ends what is held.
    pub(super) fn release(&self, failure: Option<Failure>) {
        let mut inner = self.inner.borrow_mut();
        let held = inner.taken.iter().find(|(_, (_, outcome))| outcome.is_none());
        if let Some(id) = held.map(|(id, _)| *id) {
            inner.end(id, failure);
        }
    }

    /// All that is stored of a partition.
    pub(super) fn value(&self, partition: i32) -> Stored {
        self.inner.borrow().stored.get(&partition).cloned().unwrap_or_default()
    }

    pub(super) fn stored(&self, partition: i32) -> (i64, u64, Vec<u8>) {
        let stored = self.value(partition);
        (stored.offset, stored.version, stored.state)
    }

    /// Somebody reads what is stored, and goes on from there.
    pub(super) fn assigned(&self, partition: i32) {
        let mut inner = self.inner.borrow_mut();
        inner.lost.remove(&partition);
        inner.newest.remove(&partition);
    }

    /// Whether it may still store something for a partition.
    pub(super) fn holds(&self, partition: i32) -> bool {
        let inner = self.inner.borrow();
        let mut held = inner.taken.values().filter(|(_, outcome)| outcome.is_none());
        held.any(|(commits, _)| commits.iter().any(|taken| taken.partition == partition))
    }

    pub(super) fn was_lost(&self, partition: i32) -> bool {
        self.inner.borrow().lost.contains(&partition)
    }

    pub(super) fn has_refused(&self) -> bool {
        self.inner.borrow().has_refused
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.inner.borrow().has_stopped
    }

    pub(super) fn calls(&self) -> Vec<Vec<(i32, i64)>> {
        std::mem::take(&mut self.inner.borrow_mut().calls)
    }
}

impl CommitTarget for FakeTarget {
    type Durable = FakeDurable;

    fn commit(
        &self,
        commits: &[PartitionCommit<'_>],
    ) -> std::result::Result<FakeDurable, CommitError> {
        if std::thread::panicking() {
            // A test has failed, and drops its committer.
            return Err(CommitError::RetryLater(cause("not now")));
        }
        let mut inner = self.inner.borrow_mut();
        assert!(!commits.is_empty() && !inner.has_stopped);
        let is_idle = inner.taken.values().all(|(_, outcome)| outcome.is_some());
        assert!(is_idle || inner.is_given_up, "one at a time");
        let taken: Vec<Taken> = commits
            .iter()
            .map(|PartitionCommit { partition, commit, state }| Taken {
                partition: partition.partition(),
                offset: commit.offset.0,
                epoch: commit.leader_epoch,
                version: commit.metadata.parse().unwrap_or(0),
                state: state.map(|change| match change {
                    StateChange::Put(bytes) => (true, bytes.to_vec()),
                    StateChange::Append(bytes) => (false, bytes.to_vec()),
                    StateChange::Delete => unreachable!("nobody can ask for it"),
                }),
            })
            .collect();
        for Taken { partition, version, .. } in &taken {
            assert!(!inner.lost.contains(partition), "committed although it was lost");
            let newest = inner.newest.entry(*partition).or_default();
            assert!(*version >= *newest, "{version} of {partition} comes behind {newest}");
            *newest = *version;
        }
        inner.calls.push(taken.iter().map(|taken| (taken.partition, taken.offset)).collect());
        let id = inner.taken.len() as u64;
        let answer = inner.answers.pop_front().unwrap_or(Answer::Store);
        if let Answer::Refuse(failure) = answer {
            return Err(inner.fail(failure));
        }
        inner.taken.insert(id, (taken, None));
        match answer {
            Answer::Hold if !inner.at_once => {}
            Answer::Fail(failure) => inner.end(id, Some(failure)),
            _ => inner.end(id, None),
        }
        Ok(FakeDurable { inner: Rc::clone(&self.inner), id })
    }
}

pub(super) struct FakeDurable {
    inner: Rc<RefCell<Inner>>,
    id: u64,
}

impl Future for FakeDurable {
    type Output = std::result::Result<(), CommitError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.inner.borrow().taken[&self.id].1 {
            Some(result) => Poll::Ready(result.clone()),
            None => Poll::Pending,
        }
    }
}

struct Endless;

impl LogBounds for Endless {
    type Error = Error;

    fn earliest(&self) -> Result<NextOffset> {
        Ok(NextOffset(0))
    }

    fn latest(&self) -> Result<NextOffset> {
        Ok(NextOffset(i64::MAX))
    }

    fn at_or_after(&self, _: i64) -> Result<Option<NextOffset>> {
        Ok(None)
    }
}

/// The position behind a committed offset.
pub(super) fn position_at(offset: i64) -> Position {
    let committed = CommittedOffset { offset: NextOffset(offset), ..Default::default() };
    Position::assign(Some(&committed), StartPolicy::Earliest, &Endless, 0).unwrap().0
}
