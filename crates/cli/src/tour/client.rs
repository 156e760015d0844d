//! How the tour's processes talk to the broker: one line for each request and each answer, over a
//! Unix socket.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

/// The topic of the tour.
pub(super) const TOPIC: &str = "orders";
/// The group of the tour.
pub(super) const GROUP: &str = "tour";

/// The broker is gone. This is part of the story; every other error ends it.
#[derive(Debug)]
pub(super) struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection to the broker was lost")
    }
}

impl std::error::Error for Lost {}

/// A connection to the broker.
pub(super) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the broker that listens at `socket`.
    pub(super) fn connect(socket: &Path) -> Result<Client> {
        let stream = UnixStream::connect(socket).context("the broker cannot be reached")?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Commits the next offset of a partition, and returns the nanoseconds that the store took.
    pub(super) fn commit(&mut self, partition: i32, next: i64) -> Result<u64> {
        let answer = self.ask(&format!("commit {TOPIC} {partition} {next}\n"))?;
        match answer.strip_prefix("ok ").and_then(|ns| ns.parse().ok()) {
            Some(ns) => Ok(ns),
            None => bail!("the broker answered a commit with {answer:?}"),
        }
    }

    /// The committed offset of a partition.
    pub(super) fn fetch(&mut self, partition: i32) -> Result<Option<i64>> {
        let answer = self.ask(&format!("fetch {TOPIC} {partition}\n"))?;
        match answer.strip_prefix("offset ") {
            _ if answer == "none" => Ok(None),
            Some(offset) => Ok(Some(offset.parse().context("the broker sent no number")?)),
            None => bail!("the broker answered a fetch with {answer:?}"),
        }
    }

    fn ask(&mut self, request: &str) -> Result<String> {
        self.stream.get_mut().write_all(request.as_bytes()).map_err(lost)?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer).map_err(lost)?;
        // An answer that has no end was not finished when the broker died.
        answer.strip_suffix('\n').map(str::to_owned).ok_or_else(|| anyhow!(Lost))
    }
}

fn lost(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            Lost.into()
        }
        _ => anyhow!(error).context("the connection to the broker failed"),
    }
}
