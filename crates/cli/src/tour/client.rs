//! A connection to the broker.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::wire::{Answer, Request, line};

/// A connection to the broker, which is made anew when it was lost.
pub(super) struct Client {
    socket: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

/// The broker is not there, or died before it answered.
#[derive(Debug)]
pub(super) struct Lost(io::Error);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the broker cannot be reached: {}", self.0)
    }
}

impl std::error::Error for Lost {}

impl Client {
    /// A client of the broker that listens at `socket`, now or later.
    pub(super) fn new(socket: &Path) -> Client {
        Client { socket: socket.to_owned(), stream: None }
    }

    /// Asks, and waits for the answer. After a failure nobody knows whether the broker has done it;
    /// the next question makes a new connection.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Answer, Lost> {
        let answer = self.exchange(request);
        if answer.is_err() {
            self.stream = None;
        }
        answer.map_err(Lost)
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Answer> {
        if self.stream.is_none() {
            self.stream = Some(BufReader::new(UnixStream::connect(&self.socket)?));
        }
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        stream.get_mut().write_all(line(request)?.as_bytes())?;
        let mut answer = String::new();
        stream.read_line(&mut answer)?;
        // One that has no end was not finished when the broker died.
        let answer = answer.strip_suffix('\n').ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_str(answer)?)
    }
}
