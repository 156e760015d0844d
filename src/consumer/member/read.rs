//! Reading: whose turn it is, and what becomes of a record.

use std::sync::Arc;

use super::log::{Read, RecordLog, RecordSource};
use super::{
    Consumer, ConsumerError, ConsumerListener, ConsumerPartition, GroupClient, PollResult,
};
use crate::consumer::acks::AckTracker;
use crate::consumer::commits::{AssignedPartition, CommitTarget, Committer};
use crate::consumer::position::Reset;
use crate::error::{ErrorKind, Result};
use crate::key::{LastProcessed, TopicPartition};

/// How many records of one partition are read before another one has its turn: Kafka's
/// `max.poll.records`.
const STREAK: u32 = 500;

/// A record and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerRecord<R> {
    /// Its partition.
    pub partition: Arc<TopicPartition>,
    /// Its offset.
    pub offset: i64,
    /// The leader epoch that it was read in, if the log has epochs.
    pub leader_epoch: Option<i32>,
    /// The record itself.
    pub record: R,
}

/// A partition that is read.
pub(super) struct Reading<L> {
    pub(super) partition: Arc<TopicPartition>,
    pub(super) log: L,
    pub(super) acks: Option<AckTracker>,
}

impl<L> Reading<L> {
    pub(super) fn handle<'a, T: CommitTarget>(
        &'a mut self,
        committer: &'a mut Committer<T>,
    ) -> Result<ConsumerPartition<'a>> {
        let assigned = committer.partition(&self.partition)?;
        Ok(ConsumerPartition::new(&self.partition, assigned, self.acks.as_mut()))
    }

    /// Lets the next commit take along what is complete out of order.
    pub(super) fn acknowledge<T: CommitTarget>(
        &mut self,
        committer: &mut Committer<T>,
        listener: &mut impl ConsumerListener,
    ) {
        let Some(acks) = self.acks.as_mut().filter(|acks| acks.is_changed()) else { return };
        // One that is lost is not committed any more.
        let Ok(mut assigned) = committer.partition(&self.partition) else { return };
        if let Err(error) = assigned.acknowledge(acks) {
            listener.failed(&ConsumerError::partition(&self.partition, error));
        }
    }
}

impl<G: GroupClient, S: RecordSource, L: ConsumerListener> Consumer<G, S, L> {
    pub(super) fn read_next(&mut self, now_ms: i64) -> PollResult<S> {
        if self.streak >= STREAK {
            self.pass_the_turn();
        }
        // Those that turn out to be lost go on the way.
        for _ in 0..self.readings.len() {
            self.turn = if self.turn < self.readings.len() { self.turn } else { 0 };
            match self.read_one(now_ms) {
                Ok(Some(record)) => {
                    self.streak += 1;
                    return Ok(Some(record));
                }
                Ok(None) => self.pass_the_turn(),
                Err(error) => {
                    self.pass_the_turn();
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    fn pass_the_turn(&mut self) {
        self.turn += 1;
        self.streak = 0;
    }

    /// Reads on in the partition whose turn it is.
    fn read_one(&mut self, now_ms: i64) -> PollResult<S> {
        let Some(reading) = self.readings.get_mut(self.turn) else { return Ok(None) };
        match reading.read(&mut self.committer, &mut self.listener, now_ms)? {
            Step::Record(record) => Ok(Some(record)),
            Step::Nothing => Ok(None),
            Step::Lost => {
                // The listener was told.
                let _ = self.sweep_lost();
                Ok(None)
            }
        }
    }
}

/// What came of reading a partition.
enum Step<R> {
    Record(ConsumerRecord<R>),
    Nothing,
    /// A commit has shown that it is somebody else's.
    Lost,
}

impl<L: RecordLog> Reading<L> {
    fn read<T: CommitTarget>(
        &mut self,
        committer: &mut Committer<T>,
        listener: &mut impl ConsumerListener,
        now_ms: i64,
    ) -> std::result::Result<Step<L::Record>, ConsumerError> {
        let Reading { partition, log, acks } = self;
        let Ok(mut assigned) = committer.partition(partition) else { return Ok(Step::Lost) };
        while !assigned.position().is_paused() {
            let read = log.read(assigned.position().next());
            match read.map_err(|error| ConsumerError::partition(partition, error))? {
                Read::End => break,
                Read::OutOfRange => {
                    let reset = reset(&mut assigned, acks.as_mut(), log, now_ms);
                    let reset =
                        reset.map_err(|error| ConsumerError::partition(partition, error))?;
                    // If there is none, the log has changed since.
                    let Some(reset) = reset else { break };
                    listener.reset(partition, &reset);
                }
                Read::Record { offset, leader_epoch, record } => {
                    let taken = hand_out(&mut assigned, acks.as_mut(), offset, leader_epoch);
                    match taken.map_err(|error| ConsumerError::partition(partition, error))? {
                        Some(true) => {
                            let partition = Arc::clone(partition);
                            let record = ConsumerRecord { partition, offset, leader_epoch, record };
                            return Ok(Step::Record(record));
                        }
                        Some(false) => {}
                        None => break,
                    }
                }
            }
        }
        Ok(Step::Nothing)
    }
}

/// Notes that a record is read, and says whether it is still to be processed; or `None` if it is too
/// early to read it.
fn hand_out(
    assigned: &mut AssignedPartition<'_>,
    acks: Option<&mut AckTracker>,
    offset: i64,
    leader_epoch: Option<i32>,
) -> Result<Option<bool>> {
    let is_new = match acks.map(|acks| acks.hand_out(offset)) {
        Some(Err(error)) if error.kind() == ErrorKind::BackPressure => return Ok(None),
        Some(is_new) => is_new?,
        None => true,
    };
    assigned.advance(LastProcessed(offset), leader_epoch)?;
    Ok(Some(is_new))
}

/// Goes where the policy says, with what is complete out of order.
fn reset<L: RecordLog>(
    assigned: &mut AssignedPartition<'_>,
    acks: Option<&mut AckTracker>,
    log: &L,
    now_ms: i64,
) -> std::result::Result<Option<Reset>, L::Error> {
    let before = assigned.position().next();
    let reset = assigned.check_range(log, now_ms)?;
    if let (Some(reset), Some(acks)) = (&reset, acks) {
        if reset.to > before {
            acks.skip_to(reset.to)?;
        } else {
            acks.rewind(reset.to)?;
        }
    }
    Ok(reset)
}
