//! The processes of the tour: they are started, told what to do, listened to, and killed.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::wire::{Opened, Order, Start, Word, line};
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
}

struct Running {
    name: String,
    process: process::Child,
    /// Whether its end is a part of the story.
    ended: bool,
    known: Known,
}

/// What a process has said so far.
#[derive(Default)]
pub(super) struct Known {
    /// What the broker's store came to when it was opened.
    pub(super) opened: Option<Opened>,
    /// Whether the broker is to stop.
    pub(super) is_armed: bool,
    /// Whether it waits to be killed.
    pub(super) has_stopped: bool,
    /// The partitions that a consumer owns.
    pub(super) owns: BTreeSet<i32>,
    /// Where it began to read them, and when it said so last.
    pub(super) begun: BTreeMap<i32, Start>,
    pub(super) begun_at: Option<Instant>,
    /// The end of the log up to which it is through, by partition.
    pub(super) at_end: BTreeMap<i32, i64>,
    /// Whether a zombie has its answer to the late commit.
    pub(super) came_late: bool,
}

/// A line that a process printed, or the end of its output.
struct Event {
    actor: Actor,
    line: Option<String>,
    at: Instant,
}

impl Stage {
    /// An empty stage.
    pub(super) fn new() -> Stage {
        let (sender, events) = mpsc::channel();
        Stage { actors: Vec::new(), sender, events }
    }

    /// Starts this program again with other arguments.
    pub(super) fn start(&mut self, name: &str, arguments: &[&OsStr]) -> Result<Actor> {
        let program = env::current_exe().context("this program cannot be found")?;
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let output = process.stdout.take();
        let actor = self.actors.len();
        let (name, known) = (name.to_owned(), Known::default());
        self.actors.push(Running { name, process, ended: false, known });
        let output = output.context("the process has no output")?;
        let sender = self.sender.clone();
        thread::spawn(move || {
            let send = |line| sender.send(Event { actor, line, at: Instant::now() });
            // A line that cannot be read is as good as the end, and nobody listening is the end.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send(Some(line)).is_err() {
                    return;
                }
            }
            let _ = send(None);
        });
        Ok(actor)
    }

    /// The process id.
    pub(super) fn pid(&self, actor: Actor) -> u32 {
        self.actors.get(actor).map_or(0, |running| running.process.id())
    }

    /// Gives a process an order.
    pub(super) fn tell(&mut self, actor: Actor, order: &Order) -> Result<()> {
        let running = self.running(actor)?;
        let input = running.process.stdin.as_mut().context("the process takes no orders")?;
        let told = line(order).and_then(|line| input.write_all(line.as_bytes()));
        told.with_context(|| format!("{} is gone", running.name))
    }

    /// What a process has said so far.
    pub(super) fn known(&mut self, actor: Actor) -> Result<&mut Known> {
        Ok(&mut self.running(actor)?.known)
    }

    /// Listens until something holds of what a process has said.
    pub(super) fn until(
        &mut self,
        actor: Actor,
        holds: impl Fn(&Known) -> bool,
    ) -> Result<&mut Known> {
        while !holds(self.known(actor)?) {
            self.listen()?;
        }
        self.known(actor)
    }

    /// Kills a process with SIGKILL, and waits until it is dead. Returns when that was.
    pub(super) fn kill(&mut self, actor: Actor) -> Result<Instant> {
        let running = self.running(actor)?;
        running.ended = true;
        let at = Instant::now();
        running.process.kill().with_context(|| format!("{} cannot be killed", running.name))?;
        running.process.wait()?;
        Ok(at)
    }

    /// Tells a process to end, and waits until it has.
    pub(super) fn end(&mut self, actor: Actor) -> Result<()> {
        self.tell(actor, &Order::End)?;
        let running = self.running(actor)?;
        running.ended = true;
        let status = running.process.wait()?;
        if !status.success() {
            bail!("{} failed at its end: {status}", running.name);
        }
        Ok(())
    }

    /// Takes note of the next word.
    fn listen(&mut self) -> Result<()> {
        let silent = || format!("no process has said a word for {} seconds", SILENCE.as_secs());
        let Event { actor, line, at } = self.events.recv_timeout(SILENCE).with_context(silent)?;
        let running = self.running(actor)?;
        let Some(line) = line else {
            return if running.ended { Ok(()) } else { Err(running.obituary()) };
        };
        let word = serde_json::from_str(&line);
        running.known.note(word.with_context(|| format!("{} said {line:?}", running.name))?, at);
        Ok(())
    }

    fn running(&mut self, actor: Actor) -> Result<&mut Running> {
        self.actors.get_mut(actor).context("there is no such process")
    }
}

impl Known {
    fn note(&mut self, word: Word, at: Instant) {
        match word {
            Word::Ready(opened) => self.opened = Some(opened),
            Word::Armed => self.is_armed = true,
            Word::Stopped => self.has_stopped = true,
            Word::Owns { partitions, begun } => {
                self.owns = BTreeSet::from_iter(partitions);
                if !begun.is_empty() {
                    self.begun_at = Some(at);
                }
                self.begun.extend(begun.into_iter().map(|start| (start.partition, start)));
            }
            Word::AtEnd { partition, end } => {
                self.at_end.insert(partition, end);
            }
            Word::CameLate => self.came_late = true,
            Word::Progress => {}
        }
    }
}

impl Running {
    /// The error for an end that was not part of the story. The process has said why on standard
    /// error, and its exit code has the same meaning as this program's.
    fn obituary(&mut self) -> anyhow::Error {
        let name = &self.name;
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
