//! The line in which commits go to the target: one under way, and behind it what was asked for since.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::partition::Assigned;
use super::target::{CommitError, CommitTarget, PartitionCommit};
use super::track::Track;
use crate::key::TopicPartition;
use crate::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What came of a commit, for all who asked for it.
pub(super) type Outcome = Arc<OnceLock<Result<(), CommitError>>>;

/// A partition that was given up, how far its commits had come, and why.
pub(super) type Lost = (TopicPartition, Track, CommitError);

/// The line, and who is to be woken when it moves on. There is no thread that moves it: whoever waits
/// for a commit does, and whoever makes one.
pub(super) struct Shared<T: CommitTarget> {
    line: Mutex<Line<T>>,
    pub(super) bell: Arc<Bell>,
}

impl<T: CommitTarget> Shared<T> {
    pub(super) fn new(target: T) -> Shared<T> {
        Shared { line: Mutex::new(Line::new(target)), bell: Arc::default() }
    }

    /// A target that panics leaves a line in order: it is asked before anything is changed.
    pub(super) fn line(&self) -> MutexGuard<'_, Line<T>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the line on as far as it goes now.
    pub(super) fn advance(&self) {
        self.move_on(Line::advance);
    }

    /// Looks what came of what is under way, and gives the target nothing new.
    pub(super) fn look(&self) {
        self.move_on(Line::look);
    }

    fn move_on(&self, step: fn(&mut Line<T>, &mut Context<'_>) -> bool) {
        let waker = Waker::from(Arc::clone(&self.bell));
        let has_ended = step(&mut self.line(), &mut Context::from_waker(&waker));
        if has_ended {
            self.bell.wake_by_ref();
        }
    }

    /// Gives the target all that was asked for, without waiting for what is under way.
    pub(super) fn give_up(&self) {
        self.advance();
        if self.line().submit() {
            self.bell.wake_by_ref();
        }
    }
}

/// Those who asked for the same commit.
#[derive(Default)]
struct Asked {
    outcome: Outcome,
    /// Why it is not whole, whatever comes of the rest.
    error: Option<CommitError>,
}

impl Asked {
    fn end(self, result: Result<(), CommitError>) {
        // Nobody else sets it.
        let _ = self.outcome.set(self.error.map_or(result, Err));
    }
}

/// The commits of all partitions.
pub(super) struct Line<T: CommitTarget> {
    target: T,
    pub(super) tracks: BTreeMap<TopicPartition, Track>,
    /// What the target has taken, and who waits for it: one commit, until the line is given up.
    under_way: VecDeque<(T::Durable, Asked)>,
    /// Who waits for what was asked for since.
    next: Option<Asked>,
    /// Why nothing is committed any more.
    stopped: Option<CommitError>,
    /// The partitions that were given up, until the committer takes note.
    lost: Vec<Lost>,
    /// Those of them that had a commit under way, with what comes of it, until the committer takes
    /// note of that.
    pub(super) leaving: BTreeMap<TopicPartition, Outcome>,
}

impl<T: CommitTarget> Line<T> {
    fn new(target: T) -> Line<T> {
        let (tracks, under_way, lost, leaving) = Default::default();
        Line { target, tracks, under_way, next: None, stopped: None, lost, leaving }
    }

    /// Asks for commits, and says where to look for what comes of everything that was asked for.
    pub(super) fn ask(&mut self, partitions: &mut BTreeMap<TopicPartition, Assigned>) -> Outcome {
        for (partition, track) in &mut self.tracks {
            if let Some(assigned) = partitions.get_mut(partition)
                && (assigned.has_state() || track.lacks(&assigned.commit()))
            {
                track.ask(assigned.take());
            }
        }
        // What was done there meanwhile is not in the commit, and whoever asks has to hear of it.
        let lost = self.lost.iter().find(|(partition, ..)| partitions.contains_key(partition));
        if let Some(error) = lost.map(|(.., error)| error.clone()) {
            self.next.get_or_insert_default().error.get_or_insert(error);
        }
        self.join()
    }

    /// Asks once more for what failed.
    pub(super) fn ask_again(&mut self) -> Outcome {
        self.tracks.values_mut().for_each(Track::ask_again);
        self.join()
    }

    fn join(&mut self) -> Outcome {
        if self.has_next() {
            return Arc::clone(&self.next.get_or_insert_default().outcome);
        }
        let last = self.next.as_ref().or(self.under_way.back().map(|(_, asked)| asked));
        let outcome = last.map(|asked| Arc::clone(&asked.outcome)).unwrap_or_default();
        if last.is_none() {
            let _ = outcome.set(Ok(()));
        }
        outcome
    }

    fn has_next(&self) -> bool {
        self.tracks.values().any(|track| track.next.is_some())
    }

    /// Says whether anything came to its end.
    fn advance(&mut self, context: &mut Context<'_>) -> bool {
        let mut has_ended = false;
        loop {
            has_ended |= self.look(context);
            if !self.under_way.is_empty() || !self.submit() {
                return has_ended;
            }
            has_ended |= self.under_way.is_empty();
        }
    }

    /// Looks what came of what is under way, and says whether anything did.
    fn look(&mut self, context: &mut Context<'_>) -> bool {
        let mut has_ended = false;
        while let Some((durable, _)) = self.under_way.front_mut() {
            let Poll::Ready(result) = Pin::new(durable).poll(context) else { break };
            if let Some((_, asked)) = self.under_way.pop_front() {
                self.end(asked, result);
            }
            has_ended = true;
        }
        has_ended
    }

    /// Gives the target what is next, whether anything is under way or not. Says whether anybody had
    /// asked for it.
    fn submit(&mut self) -> bool {
        if self.next.is_none() {
            return false;
        }
        let commits: Vec<_> = self.tracks.iter().filter_map(next_commit).collect();
        let taken = match &self.stopped {
            // All of it belongs to others now.
            _ if commits.is_empty() => None,
            Some(error) => Some(Err(error.clone())),
            None => Some(self.target.commit(&commits)),
        };
        self.tracks.values_mut().for_each(Track::start);
        let asked = self.next.take().unwrap_or_default();
        match taken {
            Some(Ok(durable)) => self.under_way.push_back((durable, asked)),
            Some(Err(error)) => self.end(asked, Err(error)),
            None => asked.end(Ok(())),
        }
        true
    }

    fn end(&mut self, asked: Asked, result: Result<(), CommitError>) {
        match &result {
            Ok(()) => self.tracks.values_mut().for_each(Track::succeed),
            Err(error) => {
                self.tracks.values_mut().for_each(|track| track.fail(error));
                match error {
                    CommitError::Rejoin { lost, .. } => self.lose(lost, error),
                    CommitError::Stop(_) => drop(self.stopped.get_or_insert_with(|| error.clone())),
                    CommitError::RetryLater(_) | CommitError::Refused(_) => {}
                }
                // Those who asked since rely on what failed as much as on what they added. It is made
                // up for, but not any more where the line was given up.
                if self.next.is_some() {
                    self.tracks.values_mut().for_each(Track::ask_again);
                }
                for (_, asked) in &mut self.under_way {
                    asked.error.get_or_insert_with(|| error.clone());
                }
            }
        }
        asked.end(result);
    }

    /// Gives up partitions: nothing of them is given to the target any more.
    pub(super) fn lose(&mut self, partitions: &[TopicPartition], error: &CommitError) {
        for partition in partitions {
            let Some(track) = self.tracks.remove(partition) else { continue };
            let under_way = self.under_way.back_mut().filter(|_| track.under_way.is_some());
            if let Some((_, asked)) = &under_way {
                self.leaving.insert(partition.clone(), Arc::clone(&asked.outcome));
            }
            // Those who asked last rely on what is under way, too, and on what has just failed.
            let next = self.next.as_mut().filter(|_| track.unstored().is_some());
            for asked in next.into_iter().chain(under_way.map(|(_, asked)| asked)) {
                asked.error.get_or_insert_with(|| error.clone());
            }
            self.lost.push((partition.clone(), track, error.clone()));
        }
    }

    /// The partitions that were given up since the last call.
    pub(super) fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    /// Why nothing is committed any more.
    pub(super) fn stopped(&self) -> Option<&CommitError> {
        self.stopped.as_ref()
    }
}

fn next_commit<'a>(
    (partition, track): (&'a TopicPartition, &'a Track),
) -> Option<PartitionCommit<'a>> {
    let value = track.next.as_ref()?;
    Some(PartitionCommit { partition, commit: value.commit(), state: value.state.change() })
}

/// Wakes all tasks that wait for a commit: which of them is done shows when they look.
#[derive(Default)]
pub(super) struct Bell {
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    wakers: BTreeMap<u64, Waker>,
    count: u64,
}

impl Bell {
    /// Notes whom to wake. What was there before is dropped without the lock, as it may be anything.
    pub(super) fn sit(&self, seat: &mut Option<u64>, waker: &Waker) {
        let waker = waker.clone();
        let mut seats = self.seats();
        let seat = *seat.get_or_insert_with(|| {
            seats.count += 1;
            seats.count
        });
        let before = seats.wakers.insert(seat, waker);
        drop(seats);
        drop(before);
    }

    pub(super) fn leave(&self, seat: u64) {
        let waker = self.seats().wakers.remove(&seat);
        drop(waker);
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Bell>) {
        let wakers = std::mem::take(&mut self.seats().wakers);
        wakers.into_values().for_each(Waker::wake);
    }
}
