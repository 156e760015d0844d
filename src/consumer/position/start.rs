//! Where to start when no committed offset says so.

use std::time::Duration;

use crate::error::Error;
use crate::key::NextOffset;

/// Where to start where nothing was committed, or nothing that is in the log: Kafka's
/// `auto.offset.reset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartPolicy {
    /// The oldest record of the log.
    Earliest,
    /// The end of the log: records that are written from now on.
    #[default]
    Latest,
    /// Nowhere: [`ErrorKind::NoOffset`](crate::ErrorKind::NoOffset) or
    /// [`ErrorKind::OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) leave it to the caller.
    None,
    /// The first record with this timestamp, in milliseconds since the Unix epoch, or a later one; the
    /// end of the log if there is none, as in `kafka-consumer-groups --to-datetime`.
    At(i64),
    /// The same for a timestamp that lies as long ago: `by_duration` of Kafka 4.0 (KIP-1106).
    ByDuration(Duration),
}

/// What a log says about itself. It is asked when a partition is assigned or a position was refused,
/// not for every record.
pub trait LogBounds {
    /// Why the log could not say. It can also carry what this crate has to say.
    type Error: From<Error>;

    /// The offset of the oldest record, or the end of an empty log.
    fn earliest(&self) -> Result<NextOffset, Self::Error>;

    /// The offset at which reading ends: where the next record will be, or for those who read
    /// committed records only, the last stable offset.
    fn latest(&self) -> Result<NextOffset, Self::Error>;

    /// The offset of the first record with this timestamp or a later one, if there is one.
    fn at_or_after(&self, timestamp_ms: i64) -> Result<Option<NextOffset>, Self::Error>;
}

/// A position that the [`StartPolicy`] chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reset {
    /// Why it had to.
    pub reason: ResetReason,
    /// The position before, if there was one.
    pub from: Option<NextOffset>,
    /// The position now.
    pub to: NextOffset,
}

/// Why a [`StartPolicy`] was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetReason {
    /// Nothing was committed.
    NoCommit,
    /// The record is gone: the log begins later. The records in between were never read.
    BelowStart,
    /// The log ends earlier: it lost its end, or is another one.
    BeyondEnd,
}

impl StartPolicy {
    /// Asks the log where to go.
    pub(super) fn reset<L: LogBounds>(
        self,
        reason: ResetReason,
        from: Option<NextOffset>,
        log: &L,
        now_ms: i64,
    ) -> Result<Reset, L::Error> {
        let to = match self {
            StartPolicy::Earliest => log.earliest()?,
            StartPolicy::Latest => log.latest()?,
            StartPolicy::None => return Err(refusal(reason, from).into()),
            StartPolicy::At(timestamp_ms) => at_or_latest(log, timestamp_ms)?,
            StartPolicy::ByDuration(duration) => {
                let ago_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                at_or_latest(log, now_ms.saturating_sub(ago_ms))?
            }
        };
        Ok(Reset { reason, from, to: super::checked(to)? })
    }
}

fn at_or_latest<L: LogBounds>(log: &L, timestamp_ms: i64) -> Result<NextOffset, L::Error> {
    log.at_or_after(timestamp_ms)?.map_or_else(|| log.latest(), Ok)
}

fn refusal(reason: ResetReason, from: Option<NextOffset>) -> Error {
    match (reason, from) {
        (ResetReason::BelowStart, Some(from)) => {
            Error::out_of_range(format!("offset {from} is below the start of the log"))
        }
        (ResetReason::BeyondEnd, Some(from)) => {
            Error::out_of_range(format!("offset {from} is beyond the end of the log"))
        }
        _ => Error::no_offset("nothing was committed, and the policy is not to guess"),
    }
}
