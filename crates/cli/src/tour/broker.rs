//! `pagemark __broker`: the process that owns the store and answers the consumers.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use pagemark::{Key, NextOffset, OffsetStore, Options, RecoveryReport};
use serde::{Deserialize, Serialize};

use super::client::GROUP;
use crate::commands::commit::Level;

/// Part of `pagemark tour`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    store: PathBuf,

    #[arg(long)]
    socket: PathBuf,

    #[arg(long)]
    durability: Level,
}

/// What opening the store came to, as the broker tells the tour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Opened {
    /// Whether it was created.
    pub(super) created: bool,
    /// Whether it had been closed in order.
    pub(super) clean: bool,
    /// Segments that were read.
    pub(super) segments: u64,
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
            segments: report.segments,
            records: report.records,
            changes: report.changes,
            cut_bytes: report.cut.as_ref().map_or(0, |cut| cut.bytes),
            elapsed_ms: report.elapsed_ms,
        }
    }
}

/// What all connections share.
struct Broker {
    store: OffsetStore,
    /// Commits until the broker stops, so that it can be killed at a known point. Without such an
    /// order it never gets there.
    commits_left: AtomicI64,
}

/// Opens the store, serves consumers, and obeys the orders on standard input until they end.
pub(crate) fn run(args: &Args) -> Result<()> {
    let store = Options::new().durability(args.durability.durability()).open(&args.store)?;
    let opened = serde_json::to_string(&Opened::from(store.recovery_report()))?;
    let listener = UnixListener::bind(&args.socket).context("the broker's socket")?;
    let broker = Arc::new(Broker { store, commits_left: AtomicI64::new(i64::MAX) });
    let server = Arc::clone(&broker);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let broker = Arc::clone(&server);
            // Whether a consumer died or its broker is closing: a connection just ends.
            thread::spawn(move || broker.serve(stream));
        }
    });
    say(&format!("ready {opened}"))?;
    for order in io::stdin().lines() {
        let order = order?;
        if let Some(commits) = order.strip_prefix("stop-after ") {
            broker.commits_left.store(commits.parse()?, Ordering::Relaxed);
            say("armed")?;
        } else if order == "close" {
            broker.store.clone().close()?;
            return say("closed");
        } else {
            bail!("the broker does not know the order {order:?}");
        }
    }
    bail!("the tour is gone")
}

/// Tells the tour something.
pub(super) fn say(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.context("the tour is gone")
}

impl Broker {
    fn serve(&self, stream: UnixStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        while reader.read_line(&mut request)? > 0 {
            let answer = self.answer(request.trim_end());
            let answer = answer.unwrap_or_else(|error| format!("error {error}"));
            reader.get_mut().write_all(format!("{answer}\n").as_bytes())?;
            request.clear();
        }
        Ok(())
    }

    fn answer(&self, request: &str) -> Result<String> {
        let words: Vec<&str> = request.split(' ').collect();
        match words.as_slice() {
            ["commit", topic, partition, next] => {
                let key = Key::new(GROUP, topic, partition.parse()?);
                let next = NextOffset(next.parse()?);
                let begin = Instant::now();
                self.store.commit(key, next)?;
                let ns = begin.elapsed().as_nanos();
                self.stop_if_ordered()?;
                Ok(format!("ok {ns}"))
            }
            ["fetch", topic, partition] => {
                let value = self.store.fetch(Key::new(GROUP, topic, partition.parse()?));
                Ok(value.map_or("none".into(), |value| format!("offset {}", value.offset())))
            }
            _ => bail!("unknown request {request:?}"),
        }
    }

    /// Waits for the kill, if its time has come: the commit is stored and not acknowledged.
    fn stop_if_ordered(&self) -> Result<()> {
        if self.commits_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            say("stopped")?;
            loop {
                thread::park();
            }
        }
        Ok(())
    }
}
