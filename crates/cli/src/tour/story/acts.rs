//! The acts, in their order.

use std::time::Instant;

use anyhow::{Context, Result};

use super::{Story, Takeover, Who, Zombie, offsets, who_has_what};
use crate::tour::journal::{Acknowledged, Journal};
use crate::tour::judge::{Check, Death, LateCommit, lost_commits};
use crate::tour::wire::{GROUP, Group, Member, Opened, Order, PARTITIONS, Start, TOPIC};

/// The consumers, in the order in which they come.
const A: Who = 0;
const B: Who = 1;
const C: Who = 2;

const ALL: usize = PARTITIONS as usize;
const HALF: usize = ALL / 2;

impl Story<'_, '_> {
    pub(super) fn opening(&mut self) {
        self.narrator.opening(&format!(
            "A tour of a consumer group, with real processes that are killed.\n\n\
             The topic {TOPIC} has {PARTITIONS} partitions. The consumers of the group {GROUP} \
             share them, process their records,\nand commit how far they are after every {} \
             records. A broker keeps the group and its offsets in a\nPagemark store. What a consumer \
             processes, it writes into a journal; at the end the journals are held\nagainst the \
             store.",
            self.plan.commit_every
        ));
    }

    /// Two consumers join, one after the other.
    pub(super) fn share(&mut self) -> Result<()> {
        self.narrator.act("1. Two consumers share a topic");
        let (broker, _) = self.start_broker()?;
        let (pid, dir) = (self.stage.pid(broker), self.dir.join("store"));
        self.say(format!("The broker, process {pid}, creates a store in {}.", dir.display()));
        self.start_consumer(None)?;
        self.until_owns(A, ALL)?;
        let pid = self.pid(A);
        self.say(format!(
            "Consumer A, process {pid}, joins the group. The numbers are partitions."
        ));
        self.show_group()?;
        self.start_consumer(None)?;
        for who in [A, B] {
            self.until_owns(who, HALF)?;
        }
        let pid = self.pid(B);
        self.say(format!(
            "Consumer B, process {pid}, joins. A gives two partitions up, then B gets them."
        ));
        self.show_group()
    }

    /// One is killed, the other takes over, and what comes back of the first one is refused.
    pub(super) fn take_over(&mut self) -> Result<LateCommit> {
        self.narrator.act("2. A consumer is killed, and comes back as a zombie");
        let [end, ..] = self.plan.ends();
        self.say(format!("{end} records arrive in each partition."));
        self.order_to_stop(A, end)?;
        let group = self.group()?;
        self.let_records_arrive(&[A, B], end)?;
        self.kill(A, B, false)?;
        self.until_through(&[B], end)?;
        self.say(format!("B has processed and committed all {end} records of each partition."));
        let late_commit = self.come_back(group)?;
        for who in [B, C] {
            self.until_owns(who, HALF)?;
        }
        self.say("So C forgets what it believed, and joins as a new member.");
        self.show_group()?;
        Ok(late_commit)
    }

    /// The broker dies with a commit that is stored and not answered, and starts again.
    pub(super) fn lose_the_broker(&mut self) -> Result<()> {
        self.narrator.act("3. The broker is killed");
        let [before, end, _] = self.plan.ends();
        let records = end - before;
        self.say(format!("{records} more records arrive in each partition."));
        let group = self.group()?;
        let broker = self.broker.context("there is no broker")?;
        let total = records * i64::from(PARTITIONS);
        let commits = self.plan.broker_stops_after(total, &mut self.random);
        self.stage.tell(broker, &Order::StopAfter(commits))?;
        self.stage.until(broker, |known| known.is_armed)?;
        self.let_records_arrive(&[B, C], end)?;
        self.stage.until(broker, |known| known.has_stopped)?;
        let at = self.stage.kill(broker)?;
        self.say_at(at, "SIGKILL to the broker. It has stored a commit, and not answered it yet.");
        let (broker, opened) = self.start_broker()?;
        // What was acknowledged up to here is in the store from here on.
        let journals = self.journals()?;
        let now = self.group()?;
        let pid = self.stage.pid(broker);
        self.say(format!("The broker, now process {pid}, opens the store. {}", tell(&opened)));
        let commits: u64 = journals.iter().map(|(_, journal)| journal.commits).sum();
        let lost = lost_commits(&journals, &offsets(&now));
        let claim = format!("all {commits} commits that were acknowledged so far are there");
        self.check(format!("when the broker was killed: {claim}"), &claim, lost);
        let changed = (now.epoch, &now.members) != (group.epoch, &group.members);
        let changed = changed.then(|| {
            format!("the group was {}, and is {}", who_has_what(&group), who_has_what(&now))
        });
        let claim = "the group is as it was";
        let told = format!("{claim}: {}", who_has_what(&group));
        let claim = format!("when the broker was killed: {claim}, and nobody had to join again");
        self.check(claim, &told, changed.into_iter().collect());
        self.until_through(&[B, C], end)?;
        self.say(format!(
            "B and C, still members, have processed and committed all {end} records of each partition."
        ));
        Ok(())
    }

    /// Records are finished out of order, and the consumer that did it is killed.
    pub(super) fn scatter(&mut self) -> Result<()> {
        self.narrator.act("4. Records are finished out of order, and a consumer is killed");
        let [_, before, end] = self.plan.ends();
        let records = end - before;
        self.say(format!(
            "{records} more records arrive in each partition. From now on consumers work on many \
             at a time, which\nfinish in any order, and the first one of each partition takes longest."
        ));
        for who in [B, C] {
            let actor = self.actor(who);
            self.stage.tell(actor, &Order::Scatter)?;
        }
        self.order_to_stop(C, records)?;
        self.let_records_arrive(&[B, C], end)?;
        self.kill(C, B, true)?;
        self.until_through(&[B], end)?;
        self.say(format!("B has processed and committed all {end} records of each partition."));
        let actor = self.actor(B);
        self.stage.end(actor)?;
        self.stage.end(self.broker.context("there is no broker")?)?;
        self.say("B leaves the group, and the broker closes the store.");
        Ok(())
    }

    /// Tells a consumer to be there to be killed, when it is in the middle of so many records of each
    /// of its partitions.
    fn order_to_stop(&mut self, who: Who, records: i64) -> Result<()> {
        let stop = self.plan.consumer_stops_after(records * HALF as i64, &mut self.random);
        let actor = self.actor(who);
        self.stage.tell(actor, &Order::StopAfter(stop))
    }

    fn let_records_arrive(&mut self, consumers: &[Who], end: i64) -> Result<()> {
        self.log_end = end;
        for who in consumers {
            let actor = self.actor(*who);
            self.stage.tell(actor, &Order::LogEnds(end))?;
        }
        Ok(())
    }

    /// Kills a consumer that has stopped, and waits until another one has taken over.
    fn kill(&mut self, who: Who, heir: Who, was_scattered: bool) -> Result<()> {
        let (actor, heirs) = (self.actor(who), self.actor(heir));
        let known = self.stage.until(actor, |known| known.has_stopped)?;
        let partitions = Vec::from_iter(known.owns.iter().copied());
        let at = self.stage.kill(actor)?;
        let (name, journal) = (self.name(who), self.journal(who)?);
        self.say_at(
            at,
            format!("SIGKILL to {name}, between processing records and committing them."),
        );
        let takeover = self.tell_what_is_left(who, heir, &partitions, &journal);
        let known = self.stage.until(heirs, |known| known.owns.len() == ALL)?;
        let taken_at = known.begun_at.context("the heir did not say when it began")?;
        let begun: Vec<Start> =
            partitions.iter().filter_map(|partition| known.begun.get(partition).cloned()).collect();
        let heir_name = self.name(heir);
        let silence = self.plan.session_timeout.as_secs_f64();
        self.say_at(
            taken_at,
            format!(
                "{name} is out, after {silence:.1} s without a heartbeat. {heir_name} takes over."
            ),
        );
        self.show_group()?;
        self.tell_where_it_begins(heir, &begun);
        let seconds = taken_at.saturating_duration_since(at).as_secs_f64();
        self.takeovers.push(Takeover { seconds, ..takeover });
        self.deaths.push(Death { who, partitions, heir, begun, was_scattered });
        Ok(())
    }

    /// Tells what a consumer has left behind, partition by partition.
    fn tell_what_is_left(
        &mut self,
        who: Who,
        heir: Who,
        partitions: &[i32],
        journal: &Journal,
    ) -> Takeover {
        let (mut seen_twice, mut finished_early) = (0, 0);
        for partition in partitions {
            let again = journal.uncommitted(*partition).len() as i64;
            let nothing = Acknowledged::default();
            let left = journal.acknowledged.get(partition).unwrap_or(&nothing);
            let next = left.next;
            let committed = match left.beyond() {
                0 => format!("offset {next} is committed"),
                beyond => format!("offset {next} and {beyond} records beyond it are committed"),
            };
            let line = format!("partition {partition}   {committed}, {again} more are processed");
            self.narrator.detail(&line);
            (seen_twice, finished_early) = (seen_twice + again, finished_early + left.beyond());
        }
        let (killed, heir, partitions) = (self.name(who), self.name(heir), partitions.to_vec());
        Takeover { killed, heir, partitions, seconds: 0.0, seen_twice, finished_early }
    }

    fn tell_where_it_begins(&mut self, heir: Who, begun: &[Start]) {
        let name = self.name(heir);
        for Start { partition, next, complete } in begun {
            let without = match complete.iter().cloned().flatten().count() {
                0 => String::new(),
                count => format!(", without the {count} that are finished"),
            };
            let line = format!("partition {partition}   {name} resumes at offset {next}{without}");
            self.narrator.detail(&line);
        }
    }

    /// A replacement of A comes up with what A knew, and commits what A did not get to commit.
    fn come_back(&mut self, group: Group) -> Result<LateCommit> {
        let journal = self.journal(A)?;
        let last = journal.processed.iter().filter_map(|(of, done)| Some((*of, done.last()? + 1)));
        let late = last.collect();
        let name = self.name(A).to_string();
        let member = group.members.into_iter().find(|member| member.id == name);
        let Member { id: member, epoch, .. } = member.context("A was no member")?;
        let before = self.group()?;
        let zombie = Zombie { member, epoch, late };
        self.start_consumer(Some(&zombie))?;
        let pid = self.pid(C);
        self.say(format!(
            "Consumer C, process {pid}, is started with the memory of A. It takes itself for A in \
             epoch {epoch},\nand commits what A did not."
        ));
        let actor = self.actor(C);
        self.stage.until(actor, |known| known.came_late)?;
        let refused = self.journal(C)?.refused;
        let after = self.group()?;
        let after = offsets(&after);
        for (partition, next) in zombie.late {
            let outcome = match &refused {
                Some(error) => format!("refused, {error}"),
                None => "BROKEN PROMISE: accepted".into(),
            };
            let found = after.get(&partition).copied().unwrap_or(0);
            self.narrator.detail(&format!(
                "partition {partition}   offset {next}: {outcome}; the committed offset is {found}"
            ));
        }
        Ok(LateCommit { who: C, before: offsets(&before), after })
    }

    /// Shows who has what.
    fn show_group(&mut self) -> Result<()> {
        let group = self.group()?;
        self.narrator.detail(&who_has_what(&group));
        Ok(())
    }

    fn say(&mut self, text: impl AsRef<str>) {
        self.narrator.event(text.as_ref());
    }

    fn say_at(&mut self, at: Instant, text: impl AsRef<str>) {
        self.narrator.event_at(at, text.as_ref());
    }

    /// Says what was checked right away. The story goes on in any case, so that the tables show what
    /// became of it.
    fn check(&mut self, claim: String, told: &str, broken: Vec<String>) {
        if broken.is_empty() {
            self.narrator.detail(told);
        }
        for broken in &broken {
            self.narrator.detail(&format!("BROKEN PROMISE: {broken}"));
        }
        self.checks.push(Check::new(claim, broken));
    }
}

/// A recovery report in one line.
fn tell(opened: &Opened) -> String {
    let Opened { clean, records, cut_bytes, elapsed_ms, .. } = opened;
    let before = if *clean { "It was closed in order" } else { "It was not closed" };
    let cut = match cut_bytes {
        0 => "no torn tail".into(),
        bytes => format!("a torn tail of {bytes} bytes was cut off"),
    };
    format!("{before}:\n{records} records are read in {elapsed_ms} ms, {cut}.")
}
