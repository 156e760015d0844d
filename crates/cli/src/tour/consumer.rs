//! `pagemark __consumer`: one consumer of the group.
//!
//! It processes records, which is to write each into its journal, and commits every few of them. The
//! tour says on standard input which partitions it has and where each begins.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use anyhow::{Context, Result, bail};

use super::broker::say;
use super::client::{Client, Lost};
use super::journal::Writer;
use crate::random::Random;

/// After so many records the tour is told that there is progress.
const PROGRESS: u64 = 1000;

/// Part of `pagemark tour`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    journal: PathBuf,

    #[arg(long)]
    records: i64,

    #[arg(long)]
    commit_every: i64,

    #[arg(long)]
    seed: u64,

    /// Stop after so many records, before the next commit, and wait for the end.
    #[arg(long)]
    stop_after: Option<u64>,
}

/// What the tour says to a consumer.
enum Order {
    Connect(PathBuf),
    /// Partitions and where each begins. They come all at once, so that the order of a consumer's
    /// records depends on the seed alone.
    Assign(Vec<(i32, i64)>),
    Finish,
}

impl Order {
    fn parse(line: &str) -> Result<Order> {
        if let Some(socket) = line.strip_prefix("connect ") {
            return Ok(Order::Connect(socket.into()));
        }
        if let Some(starts) = line.strip_prefix("assign ") {
            return Ok(Order::Assign(starts.split(' ').map(parse_start).collect::<Result<_>>()?));
        }
        match line {
            "finish" => Ok(Order::Finish),
            _ => bail!("the consumer does not know the order {line:?}"),
        }
    }
}

/// One partition of an assignment, as `partition:start`.
fn parse_start(text: &str) -> Result<(i32, i64)> {
    let (partition, start) = text.split_once(':').context("an assignment has two numbers")?;
    Ok((partition.parse()?, start.parse()?))
}

/// A partition that the consumer has.
struct Assigned {
    partition: i32,
    /// The next record to process.
    next: i64,
    /// The next offset that was acknowledged, or where the consumer began.
    committed: i64,
}

struct Consumer<'a> {
    args: &'a Args,
    journal: Writer,
    broker: Option<Client>,
    assigned: Vec<Assigned>,
    random: Random,
    processed: u64,
}

/// Consumes until it is told to finish, or until the tour is gone.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut consumer = Consumer {
        args,
        journal: Writer::create(&args.journal)?,
        broker: None,
        assigned: Vec::new(),
        random: Random::new(args.seed),
        processed: 0,
    };
    let orders = listen();
    loop {
        // New orders come first; without anything to do there is time to wait for one.
        let order = match consumer.assigned.is_empty() {
            true => Some(orders.recv().context("the tour is gone")??),
            false => match orders.try_recv() {
                Ok(order) => Some(order?),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => bail!("the tour is gone"),
            },
        };
        match order {
            Some(Order::Connect(socket)) => consumer.connect(&socket)?,
            Some(Order::Assign(starts)) => consumer.assign(&starts)?,
            Some(Order::Finish) => return Ok(()),
            None => consumer.step(&orders)?,
        }
    }
}

/// Reads the orders on a thread of its own, so that the consumer can look for one without waiting.
fn listen() -> Receiver<Result<Order>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lines() {
            let order = line.map_err(anyhow::Error::from).and_then(|line| Order::parse(&line));
            if sender.send(order).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Consumer<'_> {
    fn connect(&mut self, socket: &Path) -> Result<()> {
        self.broker = Some(Client::connect(socket)?);
        Ok(())
    }

    fn assign(&mut self, starts: &[(i32, i64)]) -> Result<()> {
        // Given before the broker died, and received after: it is void like the others.
        if self.broker.is_none() {
            return Ok(());
        }
        for &(partition, start) in starts {
            if start >= self.args.records {
                say(&format!("finished {partition}"))?;
            } else {
                self.assigned.push(Assigned { partition, next: start, committed: start });
            }
        }
        Ok(())
    }

    /// Processes one record of one partition, and commits if it is time to.
    fn step(&mut self, orders: &Receiver<Result<Order>>) -> Result<()> {
        let at = self.random.below(self.assigned.len());
        let Some(assigned) = self.assigned.get_mut(at) else { return Ok(()) };
        self.journal.processed(assigned.partition, assigned.next)?;
        assigned.next += 1;
        self.processed += 1;
        if self.processed.is_multiple_of(PROGRESS) {
            say("progress")?;
        }
        if self.args.stop_after == Some(self.processed) {
            say(&format!("stopped {}", self.processed))?;
            // Nobody sends an order anymore: what comes is the kill, or the end of the tour.
            let _ = orders.recv();
            bail!("the tour is gone");
        }
        let finished = assigned.next == self.args.records;
        if finished || assigned.next - assigned.committed >= self.args.commit_every {
            self.commit(at, finished)?;
        }
        Ok(())
    }

    fn commit(&mut self, at: usize, finished: bool) -> Result<()> {
        let (Some(assigned), Some(broker)) = (self.assigned.get_mut(at), &mut self.broker) else {
            bail!("the consumer was not told where the broker is");
        };
        let (partition, next) = (assigned.partition, assigned.next);
        match broker.commit(partition, next) {
            Ok(ns) => {
                self.journal.acknowledged(partition, next, ns)?;
                assigned.committed = next;
                if finished {
                    self.assigned.swap_remove(at);
                    say(&format!("finished {partition}"))?;
                }
                Ok(())
            }
            // What was assigned is void: the store knows where to go on.
            Err(error) if error.is::<Lost>() => {
                self.broker = None;
                self.assigned.clear();
                say("lost")
            }
            Err(error) => Err(error),
        }
    }
}
