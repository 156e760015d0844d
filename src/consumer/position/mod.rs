//! The read position of one assigned partition, and what of it is to be committed.

mod start;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use self::start::{LogBounds, Reset, ResetReason, StartPolicy};

use crate::error::{Error, Result};
use crate::key::{Commit, CommittedOffset, NextOffset};

/// How far a consumer has read a partition, and how far it is done with it.
///
/// Three offsets, each of them the next record: the **position** is the one to read, the **mark** the
/// one that may be committed, and the **committed offset** the one that the store is known to have.
/// Reading moves the position, [`mark`](Position::mark) the mark, and
/// [`confirm`](Position::confirm) says what was stored. Marks that come between two commits are
/// superseded by the last one: there is one commit for all of them.
///
/// The mark goes back in two ways only: by [`rewind`](Position::rewind), and by a [`Reset`] when it is
/// not in the log any more. [`seek`](Position::seek) moves the position alone.
///
/// ```
/// # use pagemark::consumer::LogBounds;
/// # struct Log;
/// # impl LogBounds for Log {
/// #     type Error = pagemark::Error;
/// #     fn earliest(&self) -> pagemark::Result<NextOffset> { Ok(NextOffset(7)) }
/// #     fn latest(&self) -> pagemark::Result<NextOffset> { Ok(NextOffset(90)) }
/// #     fn at_or_after(&self, _: i64) -> pagemark::Result<Option<NextOffset>> { Ok(None) }
/// # }
/// use pagemark::consumer::{Position, ResetReason, StartPolicy};
/// use pagemark::{Commit, LastProcessed, NextOffset};
///
/// // Nothing is committed, and the oldest record of `Log` is 7.
/// let (mut position, reset) = Position::assign(None, StartPolicy::Earliest, &Log, 0)?;
/// assert_eq!(reset.unwrap().reason, ResetReason::NoCommit);
/// assert_eq!(position.next(), NextOffset(7));
///
/// position.advance(LastProcessed(9), Some(4))?; // 7, 8 and 9 were read, in leader epoch 4
/// position.mark(LastProcessed(8))?; // and 7 and 8 are done
/// assert_eq!(position.to_commit(), Some(Commit::new(NextOffset(9)).leader_epoch(4)));
/// # Ok::<(), pagemark::Error>(())
/// ```
///
/// # Next to Kafka's consumer
///
/// The rules are those of `SubscriptionState` and `FetchCollector` of Kafka's client
/// (`org.apache.kafka.clients.consumer.internals`): a committed offset is where to start, the policy
/// stands in where there is none and where it is out of range, a pause survives a seek, and what an
/// assigned partition commits includes a start that the policy chose. Three things differ:
///
/// - A log is asked for its bounds when a partition is assigned, where Kafka learns of an offset that
///   is out of range from its first fetch.
/// - Kafka commits the position, and so also where a seek went. Here the mark is committed.
/// - The log is not validated by leader epoch (`OffsetsForLeaderEpoch`, KIP-320): a log that was
///   truncated and is longer again than the position is not noticed. The epoch is carried along, for
///   those who validate.
#[derive(Clone, Debug)]
pub struct Position {
    policy: StartPolicy,
    next: NextOffset,
    leader_epoch: Option<i32>,
    mark: Mark,
    committed: Option<NextOffset>,
    /// The leader epochs of the records that are read and not marked: each holds from its offset on.
    epochs: VecDeque<(NextOffset, Option<i32>)>,
    is_paused: bool,
}

/// What may be committed.
#[derive(Clone, Copy, Debug)]
struct Mark {
    offset: NextOffset,
    leader_epoch: Option<i32>,
}

impl Position {
    /// Begins with what was committed, or with what the policy says where nothing was, or nothing that
    /// is in the log. Then the [`Reset`] says so.
    ///
    /// `now_ms` is the time in milliseconds since the Unix epoch, which only
    /// [`StartPolicy::ByDuration`] asks for.
    pub fn assign<L: LogBounds>(
        committed: Option<&CommittedOffset>,
        policy: StartPolicy,
        log: &L,
        now_ms: i64,
    ) -> std::result::Result<(Position, Option<Reset>), L::Error> {
        let committed = committed.map(|found| (found.offset(), found.leader_epoch()));
        Position::begin(committed, policy, log, now_ms)
    }

    /// The same, of a committed offset and its leader epoch.
    pub(super) fn begin<L: LogBounds>(
        committed: Option<(NextOffset, Option<i32>)>,
        policy: StartPolicy,
        log: &L,
        now_ms: i64,
    ) -> std::result::Result<(Position, Option<Reset>), L::Error> {
        let Some((offset, leader_epoch)) = committed else {
            let reset = policy.reset(ResetReason::NoCommit, None, log, now_ms)?;
            return Ok((Position::at(reset.to, None, policy), Some(reset)));
        };
        let mut position = Position::at(offset, leader_epoch, policy);
        position.committed = Some(offset);
        let reset = position.check_range(log, now_ms)?;
        Ok((position, reset))
    }

    /// Begins where the caller says, if that is in the log: what is committed does not count.
    pub(super) fn begin_at<L: LogBounds>(
        start: NextOffset,
        policy: StartPolicy,
        log: &L,
        now_ms: i64,
    ) -> std::result::Result<(Position, Option<Reset>), L::Error> {
        let mut position = Position::at(checked(start)?, None, policy);
        let reset = position.check_range(log, now_ms)?;
        Ok((position, reset))
    }

    fn at(next: NextOffset, leader_epoch: Option<i32>, policy: StartPolicy) -> Position {
        Position {
            policy,
            next,
            leader_epoch,
            mark: Mark { offset: next, leader_epoch },
            committed: None,
            epochs: VecDeque::new(),
            is_paused: false,
        }
    }

    /// The next record to read.
    pub fn next(&self) -> NextOffset {
        self.next
    }

    /// The leader epoch of the last record that was read, or of the committed offset before that.
    /// Nothing is known of it behind a seek, a rewind or a reset.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }

    /// What the store is known to have.
    pub fn committed(&self) -> Option<NextOffset> {
        self.committed
    }

    /// Notes that all records below `to` were read, the last ones in `leader_epoch`. The position does
    /// not go back in this way.
    pub fn advance(&mut self, to: impl Into<NextOffset>, leader_epoch: Option<i32>) -> Result<()> {
        let to = checked(to.into())?;
        if to < self.next {
            let message = format!("{to} is behind the position {}: seek or rewind", self.next);
            return Err(Error::invalid(message));
        }
        if to > self.next {
            self.note_epoch(leader_epoch);
            self.next = to;
            self.leader_epoch = leader_epoch;
        }
        Ok(())
    }

    /// Notes that all records below `done` are done and may be committed, and says whether that is
    /// more than before. Less than before changes nothing.
    ///
    /// [`AckTracker::watermark`](super::AckTracker::watermark) is what to mark where records are
    /// completed out of order. What was not read cannot be done: a mark ahead of the position is
    /// refused.
    pub fn mark(&mut self, done: impl Into<NextOffset>) -> Result<bool> {
        let offset = checked(done.into())?;
        if offset <= self.mark.offset {
            return Ok(false);
        }
        if offset > self.next {
            let message = format!("{offset} is ahead of the position {}", self.next);
            return Err(Error::ahead_of_position(message));
        }
        while self.epochs.get(1).is_some_and(|(from, _)| *from < offset) {
            self.epochs.pop_front();
        }
        let leader_epoch = self.epochs.front().and_then(|(_, epoch)| *epoch);
        self.mark = Mark { offset, leader_epoch };
        Ok(true)
    }

    /// What may be committed, whether the store has it or not.
    pub fn marked(&self) -> Commit<'static> {
        let commit = Commit::new(self.mark.offset);
        self.mark.leader_epoch.map_or(commit, |epoch| commit.leader_epoch(epoch))
    }

    /// What is to be committed, if the store does not have it already.
    ///
    /// A start that the policy chose is to be committed, too, as Kafka's auto-commit does: otherwise
    /// [`StartPolicy::Latest`] would skip, after a restart, what was written meanwhile.
    pub fn to_commit(&self) -> Option<Commit<'static>> {
        (self.committed != Some(self.mark.offset)).then(|| self.marked())
    }

    /// Notes what the store has accepted. Commits are confirmed in the order in which they were made;
    /// one that failed is not, and what it said is still to be committed.
    pub fn confirm(&mut self, commit: Commit<'_>) {
        self.committed = Some(commit.offset);
    }

    /// Moves the position, back or forth, and nothing else: what is to be committed stays.
    pub fn seek(&mut self, to: impl Into<NextOffset>) -> Result<()> {
        let to = checked(to.into())?;
        if to > self.next {
            self.note_epoch(None);
        }
        self.go_to(to);
        Ok(())
    }

    /// Goes back, with all that is behind `to` to be done once more: also the mark, and with the next
    /// commit the committed offset. It never goes forward.
    ///
    /// Rewind the [`AckTracker`](super::AckTracker::rewind) of the partition with it.
    pub fn rewind(&mut self, to: impl Into<NextOffset>) -> Result<()> {
        let to = checked(to.into())?;
        if to > self.next {
            let message = format!("{to} is ahead of {}: a rewind only goes back", self.next);
            return Err(Error::invalid(message));
        }
        self.go_to(to);
        if to < self.mark.offset {
            self.mark = Mark { offset: to, leader_epoch: None };
        }
        Ok(())
    }

    /// Says that nothing is to be read for now. The position stays, and may be moved.
    pub fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Ends a [`pause`](Position::pause).
    pub fn resume(&mut self) {
        self.is_paused = false;
    }

    /// Whether reading is paused.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Looks whether the position is in the log, and goes where the policy says if it is not: what to
    /// call when a read was refused for its offset. In case of an error nothing changed.
    ///
    /// The end of the log, where the next record will be, is in it. The mark goes along if it is not
    /// in the log either.
    pub fn check_range<L: LogBounds>(
        &mut self,
        log: &L,
        now_ms: i64,
    ) -> std::result::Result<Option<Reset>, L::Error> {
        let bounds = log.earliest()?..=log.latest()?;
        if bounds.contains(&self.next) {
            return Ok(None);
        }
        let is_below = self.next < *bounds.start();
        let reason = if is_below { ResetReason::BelowStart } else { ResetReason::BeyondEnd };
        let reset = self.policy.reset(reason, Some(self.next), log, now_ms)?;
        self.go_to(reset.to);
        if !bounds.contains(&self.mark.offset) {
            self.mark = Mark { offset: reset.to, leader_epoch: None };
        }
        Ok(Some(reset))
    }

    fn go_to(&mut self, to: NextOffset) {
        self.epochs.retain(|(from, _)| *from < to);
        self.next = to;
        self.leader_epoch = None;
    }

    /// Notes the epoch of the records from the position on.
    fn note_epoch(&mut self, leader_epoch: Option<i32>) {
        if self.epochs.back().is_none_or(|(_, epoch)| *epoch != leader_epoch) {
            self.epochs.push_back((self.next, leader_epoch));
        }
    }
}

fn checked(offset: NextOffset) -> Result<NextOffset> {
    if offset.0 < 0 {
        return Err(Error::invalid(format!("offset {offset} is negative")));
    }
    Ok(offset)
}
