//! The processes of the tour: they are started, told what to do, listened to, and killed.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::failure::Failure;

/// So long without a word of any process means that the story hangs. Each says something within
/// seconds even on a very slow disk.
const SILENCE: Duration = Duration::from_secs(120);

/// One process, by the order in which they were started.
pub(super) type Actor = usize;

/// All processes. Those that still run when the stage is dropped are killed.
pub(super) struct Stage {
    actors: Vec<Running>,
    sender: Sender<Event>,
    events: Receiver<Event>,
    finished: BTreeSet<i32>,
}

struct Running {
    name: &'static str,
    process: process::Child,
    /// Whether its end is a part of the story.
    ended: bool,
}

/// A line that a process printed, or the end of its output.
struct Event {
    actor: Actor,
    line: Option<String>,
}

impl Stage {
    /// An empty stage.
    pub(super) fn new() -> Stage {
        let (sender, events) = mpsc::channel();
        Stage { actors: Vec::new(), sender, events, finished: BTreeSet::new() }
    }

    /// Starts this program again with other arguments.
    pub(super) fn start(&mut self, name: &'static str, arguments: &[&OsStr]) -> Result<Actor> {
        let program = env::current_exe().context("this program cannot be found")?;
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let output = process.stdout.take();
        let actor = self.actors.len();
        self.actors.push(Running { name, process, ended: false });
        let output = output.context("the process has no output")?;
        let sender = self.sender.clone();
        thread::spawn(move || {
            // A line that cannot be read is as good as the end, and nobody listening is the end.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(Event { actor, line: Some(line) }).is_err() {
                    return;
                }
            }
            let _ = sender.send(Event { actor, line: None });
        });
        Ok(actor)
    }

    /// The process id.
    pub(super) fn pid(&self, actor: Actor) -> u32 {
        self.actors.get(actor).map_or(0, |running| running.process.id())
    }

    /// Sends a process a line.
    pub(super) fn tell(&mut self, actor: Actor, line: &str) -> Result<()> {
        let running = self.running(actor)?;
        let name = running.name;
        let input = running.process.stdin.as_mut().context("the process takes no orders")?;
        input.write_all(format!("{line}\n").as_bytes()).with_context(|| format!("{name} is gone"))
    }

    /// Waits until a process says a word, and returns what follows it.
    pub(super) fn until(&mut self, actor: Actor, word: &str) -> Result<String> {
        loop {
            if let Some((from, line)) = self.next()? {
                return match line.strip_prefix(word) {
                    Some(rest) if from == actor => Ok(rest.trim_start().to_owned()),
                    _ => Err(self.unexpected(from, &line)),
                };
            }
        }
    }

    /// Waits until so many partitions are finished.
    pub(super) fn until_finished(&mut self, partitions: usize) -> Result<()> {
        while self.finished.len() < partitions {
            if let Some((from, line)) = self.next()? {
                return Err(self.unexpected(from, &line));
            }
        }
        Ok(())
    }

    /// Kills a process with SIGKILL, and waits until it is dead.
    pub(super) fn kill(&mut self, actor: Actor) -> Result<()> {
        let running = self.running(actor)?;
        running.ended = true;
        running.process.kill().with_context(|| format!("{} cannot be killed", running.name))?;
        running.process.wait()?;
        Ok(())
    }

    /// Tells a process to end, and waits until it has.
    pub(super) fn end(&mut self, actor: Actor, order: &str) -> Result<()> {
        self.tell(actor, order)?;
        let running = self.running(actor)?;
        running.ended = true;
        let status = running.process.wait()?;
        if !status.success() {
            bail!("{} failed at its end: {status}", running.name);
        }
        Ok(())
    }

    /// The next line that is more than a sign of progress, or `None` if it was just that.
    fn next(&mut self) -> Result<Option<(Actor, String)>> {
        let silent = || format!("no process has said a word for {} seconds", SILENCE.as_secs());
        let event = self.events.recv_timeout(SILENCE).with_context(silent)?;
        let Some(line) = event.line else {
            let running = self.running(event.actor)?;
            return if running.ended { Ok(None) } else { Err(running.obituary()) };
        };
        if let Some(partition) = line.strip_prefix("finished ") {
            self.finished.insert(partition.parse()?);
            return Ok(None);
        }
        Ok((line != "progress").then_some((event.actor, line)))
    }

    fn running(&mut self, actor: Actor) -> Result<&mut Running> {
        self.actors.get_mut(actor).context("there is no such process")
    }

    fn unexpected(&self, from: Actor, line: &str) -> anyhow::Error {
        let name = self.actors.get(from).map_or("a process", |running| running.name);
        anyhow!("{name} said {line:?}, which is not part of the story")
    }
}

impl Running {
    /// The error for an end that was not part of the story. The process has said why on standard
    /// error, and its exit code has the same meaning as this program's.
    fn obituary(&mut self) -> anyhow::Error {
        let name = self.name;
        match self.process.wait() {
            Ok(status) if status.code() == Some(3) => {
                Failure::Damage(format!("{name} found damage in the store")).into()
            }
            Ok(status) => anyhow!("{name} ended in the middle of the story: {status}"),
            Err(error) => {
                anyhow!(error).context(format!("{name} ended in the middle of the story"))
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for running in self.actors.iter_mut().filter(|running| !running.ended) {
            // It may have ended by itself, which is as good.
            let _ = running.process.kill();
            let _ = running.process.wait();
        }
    }
}
