//! The story: a group of two consumers, and what it takes to lose none of its records when one of them,
//! the broker, and another one are killed.

mod acts;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pagemark::{Key, Options};

use super::client::Client;
use super::journal::Journal;
use super::judge::{Check, Death, Evidence, LateCommit, Offsets, Partition, count, judge};
use super::narrator::Narrator;
use super::stage::{Actor, Stage};
use super::wire::{Answer, GROUP, Group, Opened, PARTITIONS, Request, TOPIC};
use crate::random::Random;

/// What the story is played with.
pub(super) struct Plan {
    /// Records of each partition.
    pub(super) records: i64,
    /// Records of a consumer between two commits.
    pub(super) commit_every: i64,
    /// Decides the order of the records and the moments of the kills.
    pub(super) seed: u64,
    /// How long a member may be silent.
    pub(super) session_timeout: Duration,
}

impl Plan {
    /// Where the log ends in the second act, the third and the fourth.
    fn ends(&self) -> [i64; 3] {
        [self.records / 2, self.records * 3 / 4, self.records]
    }

    /// After how many of its records a consumer is killed: when it is between 30 % and 50 % through
    /// them.
    fn consumer_stops_after(&self, records: i64, random: &mut Random) -> u64 {
        let span = usize::try_from(records / 5).unwrap_or(0);
        (records * 3 / 10).unsigned_abs() + random.below(span) as u64
    }

    /// After how many commits of its act the broker is killed: before they are half through.
    fn broker_stops_after(&self, records: i64, random: &mut Random) -> u64 {
        let commits = usize::try_from(records / self.commit_every / 2).unwrap_or(0);
        1 + random.below(commits) as u64
    }
}

/// What the story came to.
pub(super) struct Outcome {
    /// The names of the consumers.
    pub(super) consumers: Vec<char>,
    pub(super) partitions: Vec<Partition>,
    pub(super) takeovers: Vec<Takeover>,
    pub(super) commits: u64,
    /// The mean time that the broker took for a commit.
    pub(super) mean_commit: Duration,
    pub(super) elapsed: Duration,
    pub(super) checks: Vec<Check>,
}

impl Outcome {
    /// What breaks the promise, a sentence each.
    pub(super) fn broken(&self) -> impl Iterator<Item = &str> {
        self.checks.iter().flat_map(|check| &check.broken).map(String::as_str)
    }
}

/// How a consumer took over from one that was killed.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Takeover {
    pub(super) killed: char,
    pub(super) heir: char,
    pub(super) partitions: Vec<i32>,
    /// From the kill until the heir went on.
    pub(super) seconds: f64,
    /// Records that were processed and not committed.
    pub(super) seen_twice: i64,
    /// Records beyond the committed offset that were finished and committed, and not handed out again.
    pub(super) finished_early: i64,
}

/// Plays the story in `dir`. The socket lies in a directory with a short name, because there is a
/// limit to it.
pub(super) fn play(
    plan: &Plan,
    dir: &Path,
    socket: &Path,
    narrator: &mut Narrator<'_>,
) -> Result<Outcome> {
    let mut story = Story {
        plan,
        dir,
        socket,
        stage: Stage::new(),
        broker: None,
        client: Client::new(socket),
        narrator,
        random: Random::new(plan.seed),
        log_end: 0,
        consumers: Vec::new(),
        deaths: Vec::new(),
        takeovers: Vec::new(),
        checks: Vec::new(),
    };
    let begin = Instant::now();
    story.opening();
    story.share()?;
    let late_commit = story.take_over()?;
    story.lose_the_broker()?;
    story.scatter()?;
    story.settle(&late_commit, begin.elapsed())
}

struct Story<'a, 'b> {
    plan: &'a Plan,
    dir: &'a Path,
    socket: &'a Path,
    stage: Stage,
    broker: Option<Actor>,
    /// The tour's own connection to the broker.
    client: Client,
    narrator: &'a mut Narrator<'b>,
    random: Random,
    /// Where each partition of the log ends.
    log_end: i64,
    consumers: Vec<Consumer>,
    deaths: Vec<Death>,
    takeovers: Vec<Takeover>,
    /// What was checked on the way.
    checks: Vec<Check>,
}

/// A consumer of the story, by its place among them.
type Who = usize;

struct Consumer {
    name: char,
    actor: Actor,
    journal: PathBuf,
}

/// Who a consumer takes itself for when it comes up.
struct Zombie {
    member: String,
    epoch: i32,
    /// What it commits late, as partitions and next offsets.
    late: Vec<(i32, i64)>,
}

impl Story<'_, '_> {
    fn start_broker(&mut self) -> Result<(Actor, Opened)> {
        let session = self.plan.session_timeout.as_millis();
        let (session, heartbeat) = (session.to_string(), (session / 10).to_string());
        let store = self.dir.join("store");
        let arguments = [
            OsStr::new("__broker"),
            OsStr::new("--store"),
            store.as_os_str(),
            OsStr::new("--socket"),
            self.socket.as_os_str(),
            OsStr::new("--session-timeout-ms"),
            OsStr::new(&session),
            OsStr::new("--heartbeat-interval-ms"),
            OsStr::new(&heartbeat),
        ];
        let actor = self.stage.start("the broker", &arguments)?;
        self.broker = Some(actor);
        self.client = Client::new(self.socket);
        let known = self.stage.until(actor, |known| known.opened.is_some())?;
        Ok((actor, known.opened.clone().context("the broker's report")?))
    }

    /// Starts the next consumer, under the next letter.
    fn start_consumer(&mut self, zombie: Option<&Zombie>) -> Result<Who> {
        let who = self.consumers.len();
        let name = char::from(b"ABC"[who]);
        let journal = self.dir.join(format!("journal-{}", name.to_ascii_lowercase()));
        let seed = (self.plan.seed ^ ((who as u64) << 32)).to_string();
        let (member, every) = (name.to_string(), self.plan.commit_every.to_string());
        let end = self.log_end.to_string();
        let mut options = vec![("--member", member), ("--commit-every", every), ("--seed", seed)];
        options.push(("--log-end", end));
        if let Some(Zombie { member, epoch, late }) = zombie {
            let late: Vec<_> = late.iter().map(|(of, next)| format!("{of}:{next}")).collect();
            options.push(("--zombie-of", member.clone()));
            options.push(("--zombie-epoch", epoch.to_string()));
            options.push(("--late-commit", late.join(",")));
        }
        let mut arguments = vec![OsStr::new("__consumer"), OsStr::new("--socket")];
        arguments.extend([self.socket.as_os_str(), OsStr::new("--journal"), journal.as_os_str()]);
        for (name, value) in &options {
            arguments.extend([OsStr::new(name), OsStr::new(value)]);
        }
        let actor = self.stage.start(&format!("consumer {name}"), &arguments)?;
        self.consumers.push(Consumer { name, actor, journal });
        Ok(who)
    }

    fn name(&self, who: Who) -> char {
        self.consumers[who].name
    }

    fn actor(&self, who: Who) -> Actor {
        self.consumers[who].actor
    }

    fn pid(&self, who: Who) -> u32 {
        self.stage.pid(self.actor(who))
    }

    /// Waits until a consumer owns so many partitions.
    fn until_owns(&mut self, who: Who, partitions: usize) -> Result<()> {
        let actor = self.actor(who);
        self.stage.until(actor, |known| known.owns.len() == partitions).map(drop)
    }

    /// Waits until consumers are through with all that they own, up to an end of the log.
    fn until_through(&mut self, who: &[Who], end: i64) -> Result<()> {
        for who in who {
            let actor = self.actor(*who);
            self.stage.until(actor, |known| {
                known.owns.iter().all(|partition| known.at_end.get(partition) == Some(&end))
            })?;
        }
        Ok(())
    }

    /// The group as the broker has it.
    fn group(&mut self) -> Result<Group> {
        match self.client.ask(&Request::Describe)? {
            Answer::Group(group) => Ok(group),
            other => bail!("the broker answered {other:?} to a look at the group"),
        }
    }

    fn journal(&self, who: Who) -> Result<Journal> {
        Journal::read(&self.consumers[who].journal)
    }

    fn journals(&self) -> Result<Vec<(char, Journal)>> {
        let read = |who| Ok((self.name(who), self.journal(who)?));
        (0..self.consumers.len()).map(read).collect()
    }

    /// Opens the store once more, in this process, and counts.
    fn settle(self, late_commit: &LateCommit, elapsed: Duration) -> Result<Outcome> {
        let store = Options::new().create_if_missing(false).open(self.dir.join("store"))?;
        let mut committed = Offsets::new();
        for partition in 0..PARTITIONS {
            if let Some(value) = store.fetch(Key::new(GROUP, TOPIC, partition)) {
                committed.insert(partition, value.offset().0);
            }
        }
        store.close()?;
        let journals = self.journals()?;
        let evidence = Evidence {
            records: self.plan.records,
            journals: &journals,
            deaths: &self.deaths,
            late_commit,
            committed: &committed,
        };
        let partitions = count(&evidence);
        let mut checks = judge(&evidence, &partitions);
        checks.extend(self.checks);
        let commits: u64 = journals.iter().map(|(_, journal)| journal.commits).sum();
        let commit_ns: u64 = journals.iter().map(|(_, journal)| journal.commit_ns).sum();
        Ok(Outcome {
            consumers: journals.iter().map(|(name, _)| *name).collect(),
            partitions,
            takeovers: self.takeovers,
            commits,
            mean_commit: Duration::from_nanos(commit_ns / commits.max(1)),
            elapsed,
            checks,
        })
    }
}

fn offsets(group: &Group) -> Offsets {
    let committed = (0..).zip(&group.committed);
    committed.filter_map(|(partition, offset)| Some((partition, (*offset)?))).collect()
}

/// Who has what, as in `epoch 2   A: 0 1   B: 2 3`.
fn who_has_what(group: &Group) -> String {
    let members = group.members.iter().map(|member| match member.partitions.as_slice() {
        [] => format!("   {}: none", member.id),
        partitions => format!("   {}: {}", member.id, numbers(partitions)),
    });
    format!("epoch {}{}", group.epoch, members.collect::<String>())
}

/// Numbers with blanks between them.
pub(super) fn numbers(numbers: &[i32]) -> String {
    numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(" ")
}
