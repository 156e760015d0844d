//! `pagemark __broker`: the process that owns the store, and coordinates the group.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use pagemark::group::classic::{CommitRequest, MemberIdentity};
use pagemark::group::coordinator::{
    CoordinatorConfig, CoordinatorError, GroupDescription, PartitionCommit,
};
use pagemark::group::host::Host;
use pagemark::group::modern::{ConsumerGroupConfig, HeartbeatRequest, Partitions};
use pagemark::{Key, NextOffset, OffsetStore, Options, StateChange, StateOwner};

use super::wire::{
    Acks, Answer, Committed, GROUP, Group, Member, Offset, Opened, Order, PARTITIONS, Request,
    TOPIC, Word, leave, line, say,
};

/// Part of `pagemark tour`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    store: PathBuf,

    #[arg(long)]
    socket: PathBuf,

    #[arg(long)]
    session_timeout_ms: u32,

    #[arg(long)]
    heartbeat_interval_ms: u32,
}

/// What all connections share.
struct Broker {
    host: Host,
    /// Commits until the broker stops, so that it can be killed at a known point. Zero without such
    /// an order.
    commits_left: AtomicU64,
}

/// Opens the store, serves consumers, and obeys the orders on standard input until they end.
pub(crate) fn run(args: &Args) -> Result<()> {
    let store = Options::new().open(&args.store)?;
    let opened = Opened::from(store.recovery_report());
    let broker =
        Arc::new(Broker { host: coordinate(&store, args)?, commits_left: AtomicU64::new(0) });
    // One that was killed has left its socket behind.
    let _ = fs::remove_file(&args.socket);
    let listener = UnixListener::bind(&args.socket).context("the broker's socket")?;
    let server = Arc::clone(&broker);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let broker = Arc::clone(&server);
            // Whether a consumer died or its broker is closing: a connection just ends.
            thread::spawn(move || broker.serve(stream));
        }
    });
    say(&Word::Ready(opened));
    for order in io::stdin().lines() {
        match serde_json::from_str(&order?)? {
            Order::StopAfter(commits) => {
                broker.commits_left.store(commits, Ordering::Relaxed);
                say(&Word::Armed);
            }
            Order::End => {
                broker.host.stop();
                return Ok(store.close()?);
            }
            order => bail!("the broker does not know the order {order:?}"),
        }
    }
    leave()
}

/// Takes over what the store has of the group, and watches over its members.
fn coordinate(store: &OffsetStore, args: &Args) -> Result<Host> {
    let consumer = ConsumerGroupConfig::new()
        .session_timeout_ms(args.session_timeout_ms)
        .heartbeat_interval_ms(args.heartbeat_interval_ms);
    let host = Host::open(store.clone(), CoordinatorConfig::new().consumer(consumer))?;
    host.coordinator().set_topics(BTreeMap::from([(TOPIC.to_owned(), PARTITIONS)]));
    host.start_timer()?;
    Ok(host)
}

impl Broker {
    fn serve(&self, stream: UnixStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        while reader.read_line(&mut request)? > 0 {
            let answer = self.answer(serde_json::from_str(&request)?);
            let answer = answer.unwrap_or_else(|error| match error {
                CoordinatorError::Group(refusal) => Answer::Refused(refusal.code()),
                error => Answer::Failed(error.to_string()),
            });
            reader.get_mut().write_all(line(&answer)?.as_bytes())?;
            request.clear();
        }
        Ok(())
    }

    fn answer(&self, request: Request) -> Result<Answer, CoordinatorError> {
        match request {
            Request::Heartbeat { member, epoch, topics, rebalance_timeout_ms, owned } => {
                let mut heartbeat = HeartbeatRequest::new(member, epoch);
                if let Some(topics) = topics {
                    heartbeat = heartbeat.topics(topics);
                }
                if let Some(ms) = rebalance_timeout_ms {
                    heartbeat = heartbeat.rebalance_timeout_ms(ms);
                }
                if let Some(owned) = owned {
                    heartbeat = heartbeat.owned(partitions(owned));
                }
                self.heartbeat(&heartbeat)
            }
            Request::Fetch { member, epoch, partitions } => self.fetch(&member, epoch, &partitions),
            Request::Commit { member, epoch, offsets } => self.commit(&member, epoch, &offsets),
            Request::Describe => self.describe(),
        }
    }

    fn heartbeat(&self, heartbeat: &HeartbeatRequest) -> Result<Answer, CoordinatorError> {
        let response =
            self.host.coordinator().consumer_heartbeat(self.host.now_ms(), GROUP, heartbeat)?;
        Ok(Answer::Alive {
            epoch: response.member_epoch,
            interval_ms: response.heartbeat_interval_ms,
            assigned: response.assignment.as_ref().map(numbers),
        })
    }

    fn fetch(
        &self,
        member: &str,
        epoch: i32,
        partitions: &[i32],
    ) -> Result<Answer, CoordinatorError> {
        let coordinator = self.host.coordinator();
        let names: Vec<_> = partitions.iter().map(|partition| (TOPIC, *partition)).collect();
        let now_ms = self.host.now_ms();
        let fetched = coordinator.fetch(now_ms, GROUP, Some(member), epoch, &names)?;
        let committed = partitions.iter().zip(fetched).map(|(partition, offset)| {
            let acks = coordinator.store().state(GROUP, StateOwner::Acks, TOPIC, *partition);
            Some(Committed { next: offset?.offset().0, acks })
        });
        Ok(Answer::Offsets(committed.collect()))
    }

    fn commit(
        &self,
        member: &str,
        epoch: i32,
        offsets: &[Offset],
    ) -> Result<Answer, CoordinatorError> {
        let member = MemberIdentity::dynamic(member);
        let by = CommitRequest { member, generation: epoch, is_transactional: false };
        let commits: Vec<_> = offsets.iter().map(partition_commit).collect();
        let begin = Instant::now();
        let results = self.host.coordinator().commit(self.host.now_ms(), GROUP, &by, &commits)?;
        let ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if let Some(refusal) = results.into_iter().find_map(Result::err) {
            return Ok(Answer::Failed(refusal.to_string()));
        }
        self.stop_if_ordered();
        Ok(Answer::Done { ns })
    }

    /// Waits for the kill, if its time has come: the commit is stored and not acknowledged.
    fn stop_if_ordered(&self) {
        let count = |left: u64| left.checked_sub(1);
        let left = self.commits_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        if left == Ok(1) {
            say(&Word::Stopped);
            loop {
                thread::park();
            }
        }
    }

    fn describe(&self) -> Result<Answer, CoordinatorError> {
        let coordinator = self.host.coordinator();
        let described = coordinator.describe(self.host.now_ms(), GROUP)?;
        let GroupDescription::Consumer(group) = described else {
            return Ok(Answer::Failed("the group has members of another protocol".into()));
        };
        let members = group.members.into_iter().map(|member| Member {
            id: member.member_id,
            epoch: member.member_epoch,
            partitions: numbers(&member.assigned),
        });
        let committed = |partition| coordinator.store().fetch(Key::new(GROUP, TOPIC, partition));
        Ok(Answer::Group(Group {
            epoch: group.group_epoch,
            members: members.collect(),
            committed: (0..PARTITIONS)
                .map(|partition| committed(partition).map(|found| found.offset().0))
                .collect(),
        }))
    }
}

fn numbers(partitions: &Partitions) -> Vec<i32> {
    partitions.iter().map(|(_, partition)| partition).collect()
}

fn partitions(numbers: Vec<i32>) -> Partitions {
    let mut partitions = Partitions::new();
    for partition in numbers {
        partitions.insert(TOPIC, partition);
    }
    partitions
}

fn partition_commit(offset: &Offset) -> PartitionCommit<'_> {
    let commit = PartitionCommit::new(TOPIC, offset.partition, NextOffset(offset.next));
    match &offset.acks {
        Some(Acks::Put(bytes)) => commit.state(StateChange::Put(bytes)),
        Some(Acks::Append(bytes)) => commit.state(StateChange::Append(bytes)),
        Some(Acks::Delete) => commit.state(StateChange::Delete),
        None => commit,
    }
}
