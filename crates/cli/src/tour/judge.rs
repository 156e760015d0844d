//! The judge: holds what the store has against what the consumers saw.

use std::collections::BTreeMap;

use serde::Serialize;

use super::journal::Journal;

/// What the store has, by partition. A partition without a commit is not in it.
pub(super) type Committed = BTreeMap<i32, i64>;

/// Everything that the judge looks at.
pub(super) struct Evidence<'a> {
    /// The records of each partition.
    pub(super) records: i64,
    /// The number of partitions.
    pub(super) partitions: i32,
    /// The most records of a partition that a consumer processes between two commits.
    pub(super) commit_every: i64,
    /// The journals of the consumers A and B.
    pub(super) journals: [&'a Journal; 2],
    /// What the store has.
    pub(super) committed: &'a Committed,
}

/// What became of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Partition {
    /// The partition.
    pub(super) partition: i32,
    /// Its records.
    pub(super) records: i64,
    /// How often consumer A processed one.
    pub(super) processed_by_a: i64,
    /// How often consumer B processed one.
    pub(super) processed_by_b: i64,
    /// How often a record was processed that had been processed before.
    pub(super) seen_twice: i64,
    /// Records that nobody processed.
    pub(super) skipped: i64,
    /// The committed offset.
    pub(super) committed: Option<i64>,
}

/// The acknowledged commits that the store does not have, one sentence each.
///
/// The consumers of the tour commit rising offsets only, so that a lower one in the store means that
/// a later one is gone.
pub(super) fn lost_commits(journals: [&Journal; 2], committed: &Committed) -> Vec<String> {
    let mut lost = Vec::new();
    for (name, journal) in ["A", "B"].iter().zip(journals) {
        for (partition, acknowledged) in &journal.acknowledged {
            let found = committed.get(partition).copied();
            if found.is_none_or(|found| found < *acknowledged) {
                let found = found.map_or("no offset".into(), |found| found.to_string());
                lost.push(format!(
                    "partition {partition}: the store acknowledged offset {acknowledged} to \
                     consumer {name} and has {found}"
                ));
            }
        }
    }
    lost
}

/// What became of each partition, and what of it breaks the promise, one sentence each.
pub(super) fn judge(evidence: &Evidence<'_>) -> (Vec<Partition>, Vec<String>) {
    let mut broken = lost_commits(evidence.journals, evidence.committed);
    let mut partitions = Vec::new();
    for partition in 0..evidence.partitions {
        let found = count(evidence, partition);
        broken.extend(objections(evidence, &found));
        partitions.push(found);
    }
    (partitions, broken)
}

fn count(evidence: &Evidence<'_>, partition: i32) -> Partition {
    let mut times = vec![0_i64; usize::try_from(evidence.records).unwrap_or(0)];
    let by = evidence.journals.map(|journal| {
        let processed = journal.processed.get(&partition).map_or(&[][..], Vec::as_slice);
        for offset in processed {
            if let Some(times) = usize::try_from(*offset).ok().and_then(|at| times.get_mut(at)) {
                *times += 1;
            }
        }
        i64::try_from(processed.len()).unwrap_or(i64::MAX)
    });
    Partition {
        partition,
        records: evidence.records,
        processed_by_a: by[0],
        processed_by_b: by[1],
        seen_twice: times.iter().map(|times| (times - 1).max(0)).sum(),
        skipped: times.iter().map(|times| i64::from(*times == 0)).sum(),
        committed: evidence.committed.get(&partition).copied(),
    }
}

fn objections(evidence: &Evidence<'_>, found: &Partition) -> Vec<String> {
    let mut objections = Vec::new();
    let partition = found.partition;
    if found.skipped > 0 {
        objections.push(format!("partition {partition}: {} records were skipped", found.skipped));
    }
    if found.committed != Some(found.records) {
        let committed = found.committed.map_or("none".into(), |offset| offset.to_string());
        objections.push(format!(
            "partition {partition} is not finished: the committed offset is {committed}, its end \
             is {}",
            found.records
        ));
    }
    // There were two crashes, and each may cost what was not committed yet. More means that the
    // store went back behind what it had.
    let most = 2 * evidence.commit_every;
    if found.seen_twice > most {
        objections.push(format!(
            "partition {partition}: {} records were seen twice, at most {most} can be explained",
            found.seen_twice
        ));
    }
    objections
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A processed the first `a` records and had `acknowledged`; B went on from there to the end.
    fn story(records: i64, a: i64, acknowledged: i64) -> [Journal; 2] {
        let journal = |processed: Vec<i64>, acknowledged| Journal {
            processed: BTreeMap::from([(0, processed)]),
            acknowledged: BTreeMap::from([(0, acknowledged)]),
            commits: 1,
            commit_ns: 1,
        };
        [
            journal((0..a).collect(), acknowledged),
            journal((acknowledged..records).collect(), records),
        ]
    }

    fn verdict(journals: &[Journal; 2], committed: &Committed) -> (Partition, Vec<String>) {
        let [a, b] = journals;
        let (partitions, broken) = judge(&Evidence {
            records: 100,
            partitions: 1,
            commit_every: 10,
            journals: [a, b],
            committed,
        });
        (partitions[0].clone(), broken)
    }

    #[test]
    fn a_kept_promise() {
        let (found, broken) = verdict(&story(100, 47, 40), &Committed::from([(0, 100)]));
        assert_eq!(broken, [""; 0]);
        assert_eq!((found.processed_by_a, found.processed_by_b), (47, 60));
        assert_eq!((found.seen_twice, found.skipped), (7, 0));
    }

    #[test]
    fn a_lost_commit_is_noticed() {
        let journals = story(100, 47, 40);
        let [a, b] = &journals;
        // Right after the crash, when the store has an older offset or none.
        assert_eq!(lost_commits([a, &Journal::default()], &Committed::from([(0, 40)])), [""; 0]);
        let lost = lost_commits([a, &Journal::default()], &Committed::from([(0, 30)]));
        assert_eq!(lost.len(), 1);
        assert!(lost[0].contains("acknowledged offset 40 to consumer A and has 30"), "{lost:?}");
        assert!(lost_commits([a, b], &Committed::new())[0].contains("has no offset"));
        // At the end.
        let (_, broken) = verdict(&journals, &Committed::from([(0, 90)]));
        assert!(broken[0].contains("acknowledged offset 100 to consumer B and has 90"));
        assert!(broken[1].contains("is not finished"));
    }

    #[test]
    fn a_skipped_record_is_noticed() {
        let mut journals = story(100, 47, 40);
        if let Some(processed) = journals[1].processed.get_mut(&0) {
            processed.retain(|offset| *offset != 63);
        }
        let (found, broken) = verdict(&journals, &Committed::from([(0, 100)]));
        assert_eq!(found.skipped, 1);
        assert_eq!(broken, ["partition 0: 1 records were skipped"]);
    }

    #[test]
    fn a_store_that_goes_back_too_far_is_noticed() {
        let mut journals = story(100, 47, 40);
        journals[1].processed.insert(0, (0..100).collect());
        let (found, broken) = verdict(&journals, &Committed::from([(0, 100)]));
        assert_eq!(found.seen_twice, 47);
        assert!(broken[0].contains("47 records were seen twice"), "{broken:?}");
    }
}
