//! The judge: holds what the store has against what the consumers saw.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::journal::{Acknowledged, Journal};
use super::wire::{PARTITIONS, Start};

/// The committed offsets, by partition. A partition without a commit is not in it.
pub(super) type Offsets = BTreeMap<i32, i64>;

/// A consumer that was killed, by the place of its journal.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) who: usize,
    /// The partitions that it had.
    pub(super) partitions: Vec<i32>,
    /// Who took over, and where it began.
    pub(super) heir: usize,
    pub(super) begun: Vec<Start>,
    /// Whether it had finished records out of order.
    pub(super) was_scattered: bool,
}

/// What there is to say about the late commit of a zombie, beside its journal.
#[derive(Clone, Debug)]
pub(super) struct LateCommit {
    pub(super) who: usize,
    /// The committed offsets before and after it.
    pub(super) before: Offsets,
    pub(super) after: Offsets,
}

/// Everything that the judge looks at.
pub(super) struct Evidence<'a> {
    /// The records of each partition.
    pub(super) records: i64,
    /// The journals of the consumers, by name.
    pub(super) journals: &'a [(char, Journal)],
    pub(super) deaths: &'a [Death],
    pub(super) late_commit: &'a LateCommit,
    /// What the store has at the end.
    pub(super) committed: &'a Offsets,
}

/// What became of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Partition {
    /// The partition.
    pub(super) partition: i32,
    /// Its records.
    pub(super) records: i64,
    /// The committed offset.
    pub(super) committed: Option<i64>,
    /// How often each consumer processed one, in the order of their names.
    pub(super) processed: Vec<i64>,
    /// How often a record was processed that had been processed before.
    pub(super) seen_twice: i64,
    /// Records that nobody processed.
    pub(super) skipped: i64,
}

/// Something that was checked, and what was found wrong.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    /// What holds if nothing is wrong, as a sentence.
    pub(super) claim: String,
    /// What is wrong, a sentence each.
    pub(super) broken: Vec<String>,
}

impl Check {
    /// A check of which nothing may be wrong.
    pub(super) fn new(claim: impl Into<String>, broken: Vec<String>) -> Check {
        Check { claim: claim.into(), broken }
    }
}

/// The acknowledged commits that the store does not have, one sentence each.
///
/// The consumers of the tour commit rising offsets only, so that a lower one in the store means that
/// a later one is gone.
pub(super) fn lost_commits(journals: &[(char, Journal)], committed: &Offsets) -> Vec<String> {
    let mut lost = Vec::new();
    for (name, journal) in journals {
        for (partition, Acknowledged { next, .. }) in &journal.acknowledged {
            let found = committed.get(partition).copied();
            if found.is_none_or(|found| found < *next) {
                let found = found.map_or("no offset".into(), |found| found.to_string());
                lost.push(format!(
                    "partition {partition}: offset {next} was acknowledged to consumer {name}, and \
                     the store has {found}"
                ));
            }
        }
    }
    lost
}

/// What became of each partition.
pub(super) fn count(evidence: &Evidence<'_>) -> Vec<Partition> {
    (0..PARTITIONS).map(|partition| count_one(evidence, partition)).collect()
}

fn count_one(evidence: &Evidence<'_>, partition: i32) -> Partition {
    let times = times(evidence.journals, partition);
    let by = |journal: &Journal| journal.processed.get(&partition).map_or(0, Vec::len) as i64;
    Partition {
        partition,
        records: evidence.records,
        committed: evidence.committed.get(&partition).copied(),
        processed: evidence.journals.iter().map(|(_, journal)| by(journal)).collect(),
        seen_twice: times.values().map(|times| times - 1).sum(),
        skipped: (0..evidence.records).filter(|offset| !times.contains_key(offset)).count() as i64,
    }
}

/// How often each record of a partition was processed, if it was.
fn times(journals: &[(char, Journal)], partition: i32) -> BTreeMap<i64, i64> {
    let mut times = BTreeMap::new();
    for (_, journal) in journals {
        for offset in journal.processed.get(&partition).into_iter().flatten() {
            *times.entry(*offset).or_insert(0) += 1;
        }
    }
    times
}

/// All that is to hold at the end.
pub(super) fn judge(evidence: &Evidence<'_>, partitions: &[Partition]) -> Vec<Check> {
    vec![
        none_skipped(partitions),
        twice_is_explained(evidence, partitions),
        heirs_began_where_the_dead_had_committed(evidence),
        late_commit_was_refused(evidence),
        what_finished_early_stayed_finished(evidence),
        all_is_committed(evidence, partitions),
    ]
}

fn none_skipped(partitions: &[Partition]) -> Check {
    let broken = partitions.iter().filter(|found| found.skipped > 0).map(|found| {
        format!("partition {}: {} records were skipped", found.partition, found.skipped)
    });
    Check::new("no record was skipped", broken.collect())
}

/// A record may be seen again for each consumer that was killed after it had processed it and before
/// that was committed.
fn twice_is_explained(evidence: &Evidence<'_>, partitions: &[Partition]) -> Check {
    let mut broken = Vec::new();
    for partition in 0..PARTITIONS {
        let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
        for death in evidence.deaths {
            for offset in evidence.journals[death.who].1.uncommitted(partition) {
                *expected.entry(offset).or_insert(1) += 1;
            }
        }
        let times = times(evidence.journals, partition);
        let is_too_much =
            |(offset, times): &(&i64, &i64)| **times > expected.get(*offset).copied().unwrap_or(1);
        let unexplained: Vec<_> = times.iter().filter(is_too_much).collect();
        if let Some((first, _)) = unexplained.first() {
            broken.push(format!(
                "partition {partition}: {} records were seen again although they were committed, \
                 the first of them record {first}",
                unexplained.len()
            ));
        }
    }
    let twice: i64 = partitions.iter().map(|found| found.seen_twice).sum();
    let claim = format!(
        "{twice} records were seen twice: processed, but not committed when their consumer was \
         killed"
    );
    Check::new(claim, broken)
}

fn heirs_began_where_the_dead_had_committed(evidence: &Evidence<'_>) -> Check {
    let mut broken = Vec::new();
    for Death { who, partitions, heir, begun, .. } in evidence.deaths {
        let ((dead, journal), (heir, _)) = (&evidence.journals[*who], &evidence.journals[*heir]);
        for partition in partitions {
            let begun = begun.iter().find(|start| start.partition == *partition);
            let begun = begun.map(|Start { next, complete, .. }| Acknowledged {
                next: *next,
                complete: complete.clone(),
            });
            let left = journal.acknowledged.get(partition);
            if begun.is_none() || begun.as_ref() != left {
                broken.push(format!(
                    "partition {partition}: {heir} began at {}, and {dead} had committed {}",
                    place(begun.as_ref()),
                    place(left)
                ));
            }
        }
    }
    Check::new("who took over resumed at what the killed one had committed", broken)
}

fn place(at: Option<&Acknowledged>) -> String {
    match at.map(|at| (at.next, at.beyond())) {
        None => "nothing".into(),
        Some((next, 0)) => next.to_string(),
        Some((next, beyond)) => format!("{next} with {beyond} records beyond"),
    }
}

fn late_commit_was_refused(evidence: &Evidence<'_>) -> Check {
    let late = evidence.late_commit;
    let refused = evidence.journals[late.who].1.refused.as_deref();
    let mut broken = Vec::new();
    if refused.is_none() {
        broken.push("the late commit of the zombie was accepted".to_owned());
    }
    for (partition, before) in &late.before {
        let after = late.after.get(partition);
        if after != Some(before) {
            let after = after.map_or("nothing".into(), |offset| offset.to_string());
            broken.push(format!(
                "partition {partition}: the late commit of the zombie is to be seen, {before} has \
                 become {after}"
            ));
        }
    }
    let refused = refused.unwrap_or("no error");
    Check::new(
        format!("the late commit of the zombie was refused ({refused}) and left no trace"),
        broken,
    )
}

/// What was finished beyond the committed offset, and committed with it, is not handed out again.
fn what_finished_early_stayed_finished(evidence: &Evidence<'_>) -> Check {
    let (mut broken, mut beyond) = (Vec::new(), 0);
    for death in evidence.deaths.iter().filter(|death| death.was_scattered) {
        for partition in &death.partitions {
            let Some(left) = evidence.journals[death.who].1.acknowledged.get(partition) else {
                continue;
            };
            beyond += left.beyond();
            let heirs = &evidence.journals[death.heir].1;
            let seen: BTreeSet<_> = heirs.processed.get(partition).into_iter().flatten().collect();
            let again = left.complete.iter().cloned().flatten().filter(|at| seen.contains(at));
            let again = again.count();
            if again > 0 {
                broken.push(format!(
                    "partition {partition}: {again} records that were finished out of order were \
                     handed out again"
                ));
            }
        }
    }
    if beyond == 0 {
        broken.push("nothing was finished out of order, so that nothing was shown".to_owned());
    }
    let claim = format!(
        "{beyond} records that were finished out of order before a crash were not handed out again"
    );
    Check::new(claim, broken)
}

fn all_is_committed(evidence: &Evidence<'_>, partitions: &[Partition]) -> Check {
    let mut broken = lost_commits(evidence.journals, evidence.committed);
    for Partition { partition, records, committed, .. } in partitions {
        if *committed != Some(*records) {
            let committed = committed.map_or("none".into(), |offset| offset.to_string());
            broken.push(format!(
                "partition {partition} is not finished: the committed offset is {committed}, its \
                 end is {records}"
            ));
        }
    }
    let commits: u64 = evidence.journals.iter().map(|(_, journal)| journal.commits).sum();
    Check::new(format!("none of the {commits} acknowledged commits was lost"), broken)
}

#[cfg(test)]
mod tests;
