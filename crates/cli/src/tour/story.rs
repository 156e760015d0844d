//! The story, once, at one durability: two consumers, the death of one, the death of the store's own
//! process, and what is left at the end.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pagemark::{Key, Options};

use super::broker::Opened;
use super::client::{Client, GROUP, TOPIC};
use super::journal::Journal;
use super::judge::{Committed, Evidence, Partition, judge, lost_commits};
use super::narrator::Narrator;
use super::stage::{Actor, Stage};
use crate::commands::commit::Level;
use crate::random::Random;

/// The partitions of the topic. Consumer A begins with the first half, B with the second.
pub(super) const PARTITIONS: i32 = 4;
const HALF: i32 = PARTITIONS / 2;

/// What the story is played with, the same for both durabilities.
pub(super) struct Plan {
    /// Records of each partition.
    pub(super) records: i64,
    /// Records of a partition between two commits.
    pub(super) commit_every: i64,
    /// Decides the order of the records and the moments of the kills.
    pub(super) seed: u64,
}

impl Plan {
    /// After how many records of its own consumer A is killed: when it is between 30 % and 50 %
    /// through its two partitions.
    fn consumer_stops_after(&self, random: &mut Random) -> u64 {
        let (own, span) = (2 * self.records, self.records * 2 / 5);
        let records = own * 3 / 10 + random.below(usize::try_from(span).unwrap_or(0)) as i64;
        records.max(1).unsigned_abs()
    }

    /// After how many commits behind the takeover the broker is killed. At least the records of one
    /// partition are left then, so that half of their commits are sure to come.
    fn broker_stops_after(&self, random: &mut Random) -> i64 {
        let sure = (self.records / self.commit_every / 2).max(1);
        1 + random.below(usize::try_from(sure).unwrap_or(1)) as i64
    }
}

/// What a run came to.
pub(super) struct Run {
    pub(super) level: Level,
    pub(super) partitions: Vec<Partition>,
    pub(super) commits: u64,
    pub(super) elapsed: Duration,
    /// The mean time that the store took for a commit.
    pub(super) mean_commit: Duration,
    /// What reopening the store came to after the kill, and after the end.
    pub(super) reopened: [Opened; 2],
    /// What breaks the promise, one sentence each.
    pub(super) broken: Vec<String>,
}

/// The files of a run.
struct Files {
    store: PathBuf,
    journals: [PathBuf; 2],
    /// One for each life of the broker.
    sockets: [PathBuf; 2],
}

/// Plays the story in `dir`, which is new. Sockets lie in a directory with a short name, because
/// there is a limit to it.
pub(super) fn play(
    plan: &Plan,
    level: Level,
    dir: &Path,
    sockets: &Path,
    narrator: &mut Narrator<'_>,
) -> Result<Run> {
    fs::create_dir(dir).with_context(|| format!("{} cannot be created", dir.display()))?;
    let socket = |life: u32| sockets.join(format!("{}-{life}", level.name()));
    let files = Files {
        store: dir.join("store"),
        journals: [dir.join("journal-a"), dir.join("journal-b")],
        sockets: [socket(1), socket(2)],
    };
    let mut random = Random::new(plan.seed);
    let begin = Instant::now();
    let mut story = Story { plan, level, files, stage: Stage::new(), narrator, broken: Vec::new() };
    let reopened = story.tell(&mut random)?;
    let elapsed = begin.elapsed();
    story.settle(elapsed, reopened)
}

struct Story<'a, 'b> {
    plan: &'a Plan,
    level: Level,
    files: Files,
    stage: Stage,
    narrator: &'a mut Narrator<'b>,
    broken: Vec<String>,
}

impl Story<'_, '_> {
    /// Everything up to the orderly end, and what reopening after the kill came to.
    fn tell(&mut self, random: &mut Random) -> Result<Opened> {
        let (broker, opened) = self.start_broker(0)?;
        self.say(format!(
            "the broker, process {}, {} in {}",
            self.stage.pid(broker),
            if opened.created { "creates a store" } else { "opens the store" },
            self.files.store.display()
        ));
        let mut client = Client::connect(&self.files.sockets[0])?;
        let stop_after = self.plan.consumer_stops_after(random);
        let a = self.start_consumer("consumer A", 0, Some(stop_after))?;
        let b = self.start_consumer("consumer B", 1, None)?;
        for (name, actor, partitions) in [("A", a, 0..HALF), ("B", b, HALF..PARTITIONS)] {
            self.stage.tell(actor, &format!("connect {}", self.files.sockets[0].display()))?;
            let starts = self.assign(actor, partitions, &mut client)?;
            let pid = self.stage.pid(actor);
            self.say(format!("consumer {name}, process {pid}, gets {starts}"));
        }
        self.take_over(a, b, broker, random, &mut client)?;
        let (broker, opened) = self.kill_broker(broker, b)?;
        self.stage.until_finished(PARTITIONS as usize)?;
        self.say("all partitions are finished; consumer B and the broker end in order".into());
        self.stage.end(b, "finish")?;
        self.stage.end(broker, "close")?;
        Ok(opened)
    }

    /// Consumer A dies between processing and committing, and B takes over.
    fn take_over(
        &mut self,
        a: Actor,
        b: Actor,
        broker: Actor,
        random: &mut Random,
        client: &mut Client,
    ) -> Result<()> {
        let processed = self.stage.until(a, "stopped")?;
        self.stage.kill(a)?;
        self.say(format!(
            "SIGKILL to consumer A: it has processed {processed} records, and is not through with \
             committing them"
        ));
        let journal = Journal::read(&self.files.journals[0])?;
        let committed = fetch(client, 0..HALF)?;
        for partition in 0..HALF {
            let done = journal.processed.get(&partition).map_or(0, Vec::len);
            let next = committed.get(&partition).copied().unwrap_or(0);
            self.say(format!(
                "  partition {partition}: {done} processed, committed offset {next}; B will see {} \
                 again",
                done as i64 - next
            ));
        }
        self.check([&journal, &Journal::default()], &committed, "the death of consumer A");
        // The order to stop is given before B gets more to do, so that it cannot come too late.
        let commits = self.plan.broker_stops_after(random);
        self.stage.tell(broker, &format!("stop-after {commits}"))?;
        self.stage.until(broker, "armed")?;
        let starts = self.assign(b, 0..HALF, client)?;
        self.say(format!("consumer B takes over {starts}"));
        Ok(())
    }

    /// The broker dies after it has stored a commit and before it has said so. It is started again
    /// on the same directory.
    fn kill_broker(&mut self, broker: Actor, b: Actor) -> Result<(Actor, Opened)> {
        self.stage.until(broker, "stopped")?;
        self.stage.kill(broker)?;
        self.say("SIGKILL to the broker: it has stored a commit, and not answered it yet".into());
        self.stage.until(b, "lost")?;
        let (broker, opened) = self.start_broker(1)?;
        let pid = self.stage.pid(broker);
        self.say(format!(
            "the broker, now process {pid}, opens the store again: {}",
            tell(&opened)
        ));
        let journals = self.journals()?;
        let mut client = Client::connect(&self.files.sockets[1])?;
        let committed = fetch(&mut client, 0..PARTITIONS)?;
        self.check([&journals[0], &journals[1]], &committed, "the death of the broker");
        self.stage.tell(b, &format!("connect {}", self.files.sockets[1].display()))?;
        let starts = self.assign(b, 0..PARTITIONS, &mut client)?;
        self.say(format!("consumer B goes on with {starts}"));
        Ok((broker, opened))
    }

    /// Opens the store once more, in this process, and counts.
    fn settle(mut self, elapsed: Duration, reopened: Opened) -> Result<Run> {
        let store = Options::new().create_if_missing(false).open(&self.files.store)?;
        let last = Opened::from(store.recovery_report());
        let mut committed = Committed::new();
        for partition in 0..PARTITIONS {
            if let Some(value) = store.fetch(Key::new(GROUP, TOPIC, partition)) {
                committed.insert(partition, value.offset().0);
            }
        }
        store.close()?;
        self.say(format!("this process opens the store to count: {}", tell(&last)));
        let journals = self.journals()?;
        let (partitions, broken) = judge(&Evidence {
            records: self.plan.records,
            partitions: PARTITIONS,
            commit_every: self.plan.commit_every,
            journals: [&journals[0], &journals[1]],
            committed: &committed,
        });
        self.broken.extend(broken);
        let commits = journals[0].commits + journals[1].commits;
        let commit_ns = journals[0].commit_ns + journals[1].commit_ns;
        Ok(Run {
            level: self.level,
            partitions,
            commits,
            elapsed,
            mean_commit: Duration::from_nanos(commit_ns / commits.max(1)),
            reopened: [reopened, last],
            broken: self.broken,
        })
    }

    fn say(&mut self, line: String) {
        self.narrator.event(&line);
    }

    fn start_broker(&mut self, life: usize) -> Result<(Actor, Opened)> {
        let broker = self.stage.start(
            "the broker",
            &[
                OsStr::new("__broker"),
                OsStr::new("--store"),
                self.files.store.as_os_str(),
                OsStr::new("--socket"),
                self.files.sockets[life].as_os_str(),
                OsStr::new("--durability"),
                OsStr::new(self.level.name()),
            ],
        )?;
        let opened = self.stage.until(broker, "ready")?;
        Ok((broker, serde_json::from_str(&opened).context("the broker's report")?))
    }

    fn start_consumer(&mut self, name: &'static str, at: u64, stop: Option<u64>) -> Result<Actor> {
        let journal = &self.files.journals[at as usize];
        let seed = (self.plan.seed ^ (at << 32)).to_string();
        let (records, every) = (self.plan.records.to_string(), self.plan.commit_every.to_string());
        let stop = stop.map(|stop| stop.to_string());
        let mut arguments = vec![OsStr::new("__consumer"), OsStr::new("--journal")];
        arguments.push(journal.as_os_str());
        let named = [("--records", &records), ("--commit-every", &every), ("--seed", &seed)];
        for (name, value) in
            named.into_iter().chain(stop.as_ref().map(|stop| ("--stop-after", stop)))
        {
            arguments.extend([OsStr::new(name), OsStr::new(value)]);
        }
        self.stage.start(name, &arguments)
    }

    /// Gives a consumer partitions, each from its committed offset on, and describes them.
    fn assign(
        &mut self,
        consumer: Actor,
        partitions: std::ops::Range<i32>,
        client: &mut Client,
    ) -> Result<String> {
        let committed = fetch(client, partitions.clone())?;
        let (mut order, mut names, mut starts) = (String::from("assign"), Vec::new(), Vec::new());
        for partition in partitions {
            // Without a committed offset a consumer begins with the first record.
            let start = committed.get(&partition).copied().unwrap_or(0);
            order.push_str(&format!(" {partition}:{start}"));
            names.push(partition.to_string());
            starts.push(start.to_string());
        }
        self.stage.tell(consumer, &order)?;
        Ok(format!("partitions {} from offsets {}", names.join(", "), starts.join(", ")))
    }

    fn journals(&self) -> Result<[Journal; 2]> {
        let [a, b] = &self.files.journals;
        Ok([Journal::read(a)?, Journal::read(b)?])
    }

    /// Checks right after a death that nothing acknowledged is missing. The story goes on in any
    /// case, so that the tables show what became of it.
    fn check(&mut self, journals: [&Journal; 2], committed: &Committed, when: &str) {
        let acknowledged = journals[0].commits + journals[1].commits;
        let lost = lost_commits(journals, committed);
        if lost.is_empty() {
            self.say(format!("  none of the {acknowledged} acknowledged commits is lost"));
        }
        for lost in lost {
            self.say(format!("  BROKEN PROMISE: {lost}"));
            self.broken.push(format!("after {when}, {lost}"));
        }
    }
}

fn fetch(client: &mut Client, partitions: std::ops::Range<i32>) -> Result<Committed> {
    let mut committed = Committed::new();
    for partition in partitions {
        if let Some(offset) = client.fetch(partition)? {
            committed.insert(partition, offset);
        }
    }
    Ok(committed)
}

/// A recovery report in one line.
fn tell(opened: &Opened) -> String {
    let cut = match opened.cut_bytes {
        0 => "no torn tail".into(),
        bytes => format!("a torn tail of {bytes} bytes was cut off"),
    };
    format!(
        "{}, {} records with {} commits read in {} ms, {cut}",
        if opened.clean { "it was closed in order" } else { "it was not closed" },
        opened.records,
        opened.changes,
        opened.elapsed_ms,
    )
}
