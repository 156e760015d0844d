//! What the processes of the tour say to each other: a line of JSON for everything.
//!
//! Consumers ask the broker over a Unix socket. The tour directs both over their standard input, and
//! hears of what they do on their standard output.

use std::io::{self, Write};
use std::ops::Range;
use std::process;

use pagemark::RecoveryReport;
use serde::{Deserialize, Serialize};

/// The topic of the tour.
pub(super) const TOPIC: &str = "orders";
/// Its partitions.
pub(super) const PARTITIONS: i32 = 4;
/// The group of the tour.
pub(super) const GROUP: &str = "tour";

/// What the broker is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// A member is there. What it leaves out is as it was.
    Heartbeat {
        member: String,
        epoch: i32,
        topics: Option<Vec<String>>,
        rebalance_timeout_ms: Option<u32>,
        owned: Option<Vec<i32>>,
    },
    /// A member reads what is committed.
    Fetch { member: String, epoch: i32, partitions: Vec<i32> },
    /// A member commits.
    Commit { member: String, epoch: i32, offsets: Vec<Offset> },
    /// Somebody looks at the group from outside.
    Describe,
}

/// What the broker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// To a heartbeat.
    Alive { epoch: i32, interval_ms: u32, assigned: Option<Vec<i32>> },
    /// To a fetch: what is committed for each partition.
    Offsets(Vec<Option<Committed>>),
    /// To a commit: the nanoseconds that it took the broker.
    Done { ns: u64 },
    /// To a look from outside.
    Group(Group),
    /// The group refuses, under Kafka's number of the error.
    Refused(i16),
    /// The broker could not do it.
    Failed(String),
}

/// What is committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offset {
    pub(super) partition: i32,
    pub(super) next: i64,
    /// What happens to the bytes that are kept beside the offset.
    pub(super) acks: Option<Acks>,
}

/// A change of the bytes that say what is complete beyond the offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Acks {
    Put(Vec<u8>),
    Append(Vec<u8>),
    Delete,
}

/// What is committed, as it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Committed {
    pub(super) next: i64,
    pub(super) acks: Option<Vec<u8>>,
}

/// The group at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) epoch: i32,
    /// By member id.
    pub(super) members: Vec<Member>,
    /// The committed offset of each partition.
    pub(super) committed: Vec<Option<i64>>,
}

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) epoch: i32,
    pub(super) partitions: Vec<i32>,
}

/// What the tour tells a process to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// To a consumer: each partition of the log ends here now.
    LogEnds(i64),
    /// To a consumer: let the records that come from now on finish in any order.
    Scatter,
    /// Be there to be killed after so many records, or after so many commits, from now on: a consumer
    /// before it commits them, the broker before it answers the last one.
    StopAfter(u64),
    /// Come to an orderly end.
    End,
}

/// What a process tells the tour.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// The broker has opened the store and listens.
    Ready(Opened),
    /// The broker has taken the order to stop.
    Armed,
    /// It is there to be killed.
    Stopped,
    /// A consumer owns these partitions now, and has begun to read those that are new to it.
    Owns { partitions: Vec<i32>, begun: Vec<Start> },
    /// Everything of a partition is processed and committed up to this end of the log.
    AtEnd { partition: i32, end: i64 },
    /// A zombie has its answer to the late commit.
    CameLate,
    /// A consumer is still at work.
    Progress,
}

/// Where a consumer begins to read a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) partition: i32,
    /// The committed offset.
    pub(super) next: i64,
    /// What was completed beyond it, and is not handed out again.
    pub(super) complete: Vec<Range<i64>>,
}

/// What opening the store came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Opened {
    /// Whether it was created.
    pub(super) created: bool,
    /// Whether it had been closed in order.
    pub(super) clean: bool,
    /// Records that were read.
    pub(super) records: u64,
    /// Commits that were replayed.
    pub(super) changes: u64,
    /// Bytes of a torn tail that were cut off.
    pub(super) cut_bytes: u64,
    /// Milliseconds that it took.
    pub(super) elapsed_ms: u64,
}

impl From<&RecoveryReport> for Opened {
    fn from(report: &RecoveryReport) -> Opened {
        Opened {
            created: report.created,
            clean: report.clean,
            records: report.records,
            changes: report.changes,
            cut_bytes: report.cut.as_ref().map_or(0, |cut| cut.bytes),
            elapsed_ms: report.elapsed_ms,
        }
    }
}

/// One line for anything of the above.
pub(super) fn line(of: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(of)? + "\n")
}

/// Tells the tour something.
pub(super) fn say(word: &Word) {
    let mut out = io::stdout().lock();
    let said = line(word).and_then(|line| out.write_all(line.as_bytes()));
    if said.and_then(|()| out.flush()).is_err() {
        leave();
    }
}

/// Ends a process of a tour that is gone. Nobody is left to be told why.
pub(super) fn leave() -> ! {
    process::exit(1)
}
