//! Where records come from.

use std::error::Error as StdError;

use crate::consumer::position::LogBounds;
use crate::key::{NextOffset, TopicPartition};

/// Finds the logs that a consumer is to read.
///
/// A closure `FnMut(&TopicPartition) -> Result<L, L::Error>` is one.
pub trait RecordSource {
    /// The log of one partition.
    type Log: RecordLog;

    /// Opens the log of a partition that was assigned to the consumer. It is dropped when the
    /// partition is given away.
    fn open(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<Self::Log, <Self::Log as LogBounds>::Error>;
}

impl<L: RecordLog, F: FnMut(&TopicPartition) -> Result<L, L::Error>> RecordSource for F {
    type Log = L;

    fn open(&mut self, partition: &TopicPartition) -> Result<L, L::Error> {
        self(partition)
    }
}

/// A log that a consumer reads record by record: a file, a connection, a vector.
///
/// It may fetch many records at once and keep them, as a client of a broker does. It is then to look
/// whether `from` is what follows on the record before: a consumer that seeks reads elsewhere.
pub trait RecordLog: LogBounds<Error: Into<Box<dyn StdError + Send + Sync>>> {
    /// A record.
    type Record;

    /// Reads the first record whose offset is `from` or higher. It does not wait for one.
    fn read(&mut self, from: NextOffset) -> Result<Read<Self::Record>, Self::Error>;
}

/// What there is to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<R> {
    /// A record.
    Record {
        /// Its offset.
        offset: i64,
        /// The leader epoch that it was read in, if the log has epochs.
        leader_epoch: Option<i32>,
        /// The record itself.
        record: R,
    },
    /// Nothing yet: the log ends here.
    End,
    /// The offset is not in the log. Then the consumer's [`StartPolicy`](crate::consumer::StartPolicy)
    /// says where to go on.
    OutOfRange,
}
