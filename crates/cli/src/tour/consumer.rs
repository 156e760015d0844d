//! `pagemark __consumer`: one consumer of the group.
//!
//! It is a [`pagemark::consumer::Consumer`] in a process of its own: it processes records, which is to
//! write each into its journal, and commits every few of them.

mod log;
mod remote;
mod work;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pagemark::consumer::{
    AckLimits, CommitPolicy, Consumer as Member, ConsumerListener, ConsumerOptions,
    ConsumerPartition, StartPolicy,
};
use pagemark::group::GroupError;
use pagemark::{Environment, Error, SystemEnvironment, TopicPartition};

use self::log::Log;
use self::remote::RemoteGroup;
use self::work::Work;
use super::client::Client;
use super::journal::Writer;
use super::wire::{Answer, Offset, Order, Request, Start, TOPIC, Word, leave, say};

/// After so many records the tour is told that there is progress.
const PROGRESS: u64 = 1000;

/// How long to wait for an order or for the next record. Heartbeats are sent in between.
const PAUSE: Duration = Duration::from_millis(5);

/// How long a commit may take, with all of its attempts.
const PATIENCE: Duration = Duration::from_secs(10);

/// Part of `pagemark tour`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    socket: PathBuf,

    #[arg(long)]
    journal: PathBuf,

    /// The member id.
    #[arg(long)]
    member: String,

    #[arg(long)]
    commit_every: u64,

    #[arg(long)]
    seed: u64,

    /// Where each partition of the log ends at first.
    #[arg(long)]
    log_end: i64,

    /// The member that it takes itself for at first, with its epoch and what that did not commit.
    #[arg(long, requires_all = ["zombie_epoch", "late_commit"])]
    zombie_of: Option<String>,

    #[arg(long)]
    zombie_epoch: Option<i32>,

    #[arg(long, value_parser = parse_late, value_delimiter = ',')]
    late_commit: Vec<(i32, i64)>,
}

/// One partition of a late commit, as `partition:next`.
fn parse_late(text: &str) -> Result<(i32, i64)> {
    let (partition, next) = text.split_once(':').context("a late commit has two numbers")?;
    Ok((partition.parse()?, next.parse()?))
}

/// The partitions of the consumer, as they come and go.
#[derive(Default)]
struct News {
    owned: BTreeSet<i32>,
    begun: Vec<Start>,
    is_new: bool,
    is_lost: bool,
}

/// Writes down what happens to the partitions.
struct Listener<'a>(&'a RefCell<News>);

impl ConsumerListener for Listener<'_> {
    fn assigned(&mut self, of: &mut ConsumerPartition<'_>) {
        let mut news = self.0.borrow_mut();
        let partition = of.topic_partition().partition();
        let complete = of.acks().map(|acks| acks.ranges().collect());
        news.owned.insert(partition);
        news.begun.push(Start {
            partition,
            next: of.position().next().0,
            complete: complete.unwrap_or_default(),
        });
        news.is_new = true;
    }

    fn revoked(&mut self, of: &mut ConsumerPartition<'_>) {
        let mut news = self.0.borrow_mut();
        news.owned.remove(&of.topic_partition().partition());
        news.is_new = true;
    }

    fn lost(&mut self, _partition: &TopicPartition) {
        self.0.borrow_mut().is_lost = true;
    }
}

type Logs = Box<dyn FnMut(&TopicPartition) -> Result<Log, Error>>;

struct Consumer<'a> {
    args: &'a Args,
    member: Member<RemoteGroup<'a>, Logs, Listener<'a>>,
    journal: &'a RefCell<Writer>,
    news: &'a RefCell<News>,
    log_end: Rc<Cell<i64>>,
    work: Work,
    /// How many records are to be finished until it stops, if it is to.
    stops_after: Option<u64>,
    finished: u64,
    /// The ends of the log that the tour was told of, by partition.
    told: BTreeMap<i32, i64>,
}

/// Consumes until it is told to end, or until the tour is gone.
pub(crate) fn run(args: &Args) -> Result<()> {
    let journal = RefCell::new(Writer::create(&args.journal)?);
    let orders = listen();
    let mut client = Client::new(&args.socket);
    if let (Some(member), Some(epoch)) = (&args.zombie_of, args.zombie_epoch) {
        commit_late(args, &mut client, member, epoch, &journal)?;
    }
    let news = RefCell::default();
    let mut consumer = Consumer::new(args, client, &journal, &news);
    loop {
        let pause = if consumer.step()? { Duration::ZERO } else { PAUSE };
        let order = orders.recv_timeout(pause).ok();
        match order {
            Some(Order::LogEnds(end)) => consumer.log_end.set(end),
            Some(Order::Scatter) => consumer.work.scatter(),
            Some(Order::StopAfter(records)) => consumer.stops_after = Some(records),
            Some(Order::End) => return Ok(consumer.member.close(now_ms(), PATIENCE)?),
            None => {}
        }
    }
}

/// Reads the orders on a thread of its own, so that the consumer can look for one without waiting.
fn listen() -> Receiver<Order> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            let Ok(order) = serde_json::from_str(&line) else { break };
            let is_last = matches!(order, Order::End);
            if sender.send(order).is_err() || is_last {
                return;
            }
        }
        // Whatever the consumer waits for.
        leave();
    });
    receiver
}

fn now_ms() -> i64 {
    SystemEnvironment.now_ms()
}

/// What a process does that was paused, or restored from an image, and does not know that the group
/// went on without it.
fn commit_late(
    args: &Args,
    client: &mut Client,
    member: &str,
    epoch: i32,
    journal: &RefCell<Writer>,
) -> Result<()> {
    let offset = |&(partition, next): &(i32, i64)| Offset { partition, next, acks: None };
    let offsets = args.late_commit.iter().map(offset).collect();
    match client.ask(&Request::Commit { member: member.to_owned(), epoch, offsets })? {
        Answer::Done { .. } => {}
        Answer::Refused(code) => {
            let name = GroupError::from_code(code).map_or("unknown", GroupError::name);
            journal.borrow_mut().refused(name)?;
        }
        other => bail!("the broker answered {other:?} to a late commit"),
    }
    say(&Word::CameLate);
    Ok(())
}

impl<'a> Consumer<'a> {
    fn new(
        args: &'a Args,
        client: Client,
        journal: &'a RefCell<Writer>,
        news: &'a RefCell<News>,
    ) -> Consumer<'a> {
        let log_end = Rc::new(Cell::new(args.log_end));
        let end = Rc::clone(&log_end);
        let logs: Logs = Box::new(move |_| Ok(Log::new(&end)));
        let options = ConsumerOptions::new(&args.member)
            .start(StartPolicy::Earliest)
            .commit(CommitPolicy::manual().on_revoke(true).on_close(true))
            .out_of_order(AckLimits::new());
        let group = RemoteGroup::new(client, journal);
        let mut member = Member::with_listener(group, logs, options, Listener(news), now_ms());
        member.subscribe([TOPIC]);
        Consumer {
            args,
            member,
            journal,
            news,
            log_end,
            work: Work::new(args.seed),
            stops_after: None,
            finished: 0,
            told: BTreeMap::new(),
        }
    }

    /// Takes on a record, finishes another one, and says whether there is more to do.
    fn step(&mut self) -> Result<bool> {
        let record = self.member.poll(now_ms())?;
        self.tell_news()?;
        if let Some(record) = record {
            self.work.add((record.partition, record.offset));
        }
        let is_at_end = self.has_read_all()?;
        if let Some((partition, offset)) = self.work.finish(is_at_end) {
            self.finish(&partition, offset)?;
        }
        if !is_at_end || !self.work.is_empty() {
            return Ok(true);
        }
        self.come_to_the_end()?;
        Ok(false)
    }

    fn finish(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        self.journal.borrow_mut().processed(partition.partition(), offset)?;
        self.member.processed(partition, offset)?;
        self.finished += 1;
        if self.finished.is_multiple_of(PROGRESS) {
            say(&Word::Progress);
        }
        self.stop_if_ordered();
        if self.finished.is_multiple_of(self.args.commit_every) {
            self.member.commit_sync(PATIENCE)?;
        }
        Ok(())
    }

    /// Waits for the kill, if its time has come: what is processed is not committed yet.
    fn stop_if_ordered(&mut self) {
        self.stops_after = self.stops_after.map(|records| records - 1);
        if self.stops_after == Some(0) {
            say(&Word::Stopped);
            loop {
                thread::park();
            }
        }
    }

    /// Tells the tour which partitions have come and gone.
    fn tell_news(&mut self) -> Result<()> {
        let mut news = self.news.borrow_mut();
        if news.is_lost {
            bail!(
                "the group has removed member {}, which did not get to send a heartbeat in time: \
                 this machine is too busy for a short session timeout, and --slow has a longer one",
                self.args.member
            );
        }
        if news.is_new {
            news.is_new = false;
            self.told.retain(|partition, _| news.owned.contains(partition));
            let begun = std::mem::take(&mut news.begun);
            say(&Word::Owns { partitions: news.owned.iter().copied().collect(), begun });
        }
        Ok(())
    }

    fn assigned(&self) -> Vec<TopicPartition> {
        self.member.assigned().cloned().collect()
    }

    /// Whether it has read all that there is in its partitions.
    fn has_read_all(&mut self) -> Result<bool> {
        for partition in self.assigned() {
            if self.member.partition(&partition)?.position().next().0 < self.log_end.get() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Commits what is not yet, and tells the tour which partitions are through.
    fn come_to_the_end(&mut self) -> Result<()> {
        let end = self.log_end.get();
        for partition in self.assigned() {
            let number = partition.partition();
            if self.told.get(&number) == Some(&end) {
                continue;
            }
            if self.member.partition(&partition)?.position().to_commit().is_some() {
                self.member.commit_sync(PATIENCE)?;
            }
            self.told.insert(number, end);
            say(&Word::AtEnd { partition: number, end });
        }
        Ok(())
    }
}
