use super::*;

const RECORDS: i64 = 100;

fn journal(processed: impl IntoIterator<Item = i64>, next: i64) -> Journal {
    Journal {
        processed: BTreeMap::from([(0, processed.into_iter().collect())]),
        acknowledged: BTreeMap::from([(0, Acknowledged { next, complete: Vec::new() })]),
        ..Journal::default()
    }
}

/// What a judge looks at, of a topic of which only partition 0 is read by those who matter: A was
/// killed when it had processed 47 records and committed 40, and B went on from there. Later C was
/// killed, when 61 and 63 were done and committed, 60 and 62 not, and 64 done and not committed.
struct Case {
    journals: Vec<(char, Journal)>,
    deaths: Vec<Death>,
    late_commit: LateCommit,
    committed: Offsets,
}

impl Case {
    fn good() -> Case {
        let complete = vec![61..62, 63..64];
        let mut c = journal([63, 61, 64], 60);
        c.refused = Some("UNKNOWN_MEMBER_ID".into());
        c.acknowledged.insert(0, Acknowledged { next: 60, complete: complete.clone() });
        let mut b = journal((40..61).chain([62]).chain(64..RECORDS), RECORDS);
        for partition in 1..PARTITIONS {
            b.processed.insert(partition, (0..RECORDS).collect());
            b.acknowledged.insert(partition, Acknowledged { next: RECORDS, complete: Vec::new() });
        }
        let death = |who, begun, was_scattered| Death {
            who,
            partitions: vec![0],
            heir: 1,
            begun: vec![begun],
            was_scattered,
        };
        let offsets = Offsets::from([(0, 60)]);
        Case {
            journals: vec![('A', journal(0..47, 40)), ('B', b), ('C', c)],
            deaths: vec![
                death(0, Start { partition: 0, next: 40, complete: Vec::new() }, false),
                death(2, Start { partition: 0, next: 60, complete }, true),
            ],
            late_commit: LateCommit { who: 2, before: offsets.clone(), after: offsets },
            committed: (0..PARTITIONS).map(|partition| (partition, RECORDS)).collect(),
        }
    }

    fn journal(&mut self, who: usize) -> &mut Journal {
        &mut self.journals[who].1
    }

    fn count(&self) -> Vec<Partition> {
        count(&self.evidence())
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence {
            records: RECORDS,
            journals: &self.journals,
            deaths: &self.deaths,
            late_commit: &self.late_commit,
            committed: &self.committed,
        }
    }

    /// All that is wrong.
    fn broken(&self) -> Vec<String> {
        let checks = judge(&self.evidence(), &self.count());
        checks.into_iter().flat_map(|check| check.broken).collect()
    }
}

#[test]
fn a_kept_promise() {
    let case = Case::good();
    assert_eq!(case.broken(), [""; 0]);
    let found = &case.count()[0];
    assert_eq!((&found.processed[..], found.seen_twice, found.skipped), (&[47, 58, 3][..], 8, 0));
}

#[test]
fn a_skipped_record_is_noticed() {
    let mut case = Case::good();
    case.journal(1).processed.entry(0).or_default().retain(|offset| *offset != 50);
    assert_eq!(case.broken(), ["partition 0: 1 records were skipped"]);
}

#[test]
fn a_committed_record_that_is_seen_again_is_noticed() {
    let mut case = Case::good();
    case.journal(1).processed.entry(0).or_default().insert(0, 39);
    assert_eq!(
        case.broken(),
        ["partition 0: 1 records were seen again although they were committed, the first of them \
          record 39"]
    );
    // One that was not committed is seen again once for each death, and no more.
    let mut case = Case::good();
    case.journal(1).processed.entry(0).or_default().insert(0, 41);
    assert!(case.broken()[0].contains("the first of them record 41"));
}

#[test]
fn an_heir_that_begins_elsewhere_is_noticed() {
    let mut case = Case::good();
    case.deaths[0].begun[0].next = 39;
    assert_eq!(case.broken(), ["partition 0: B began at 39, and A had committed 40"]);
    case.deaths[1].begun[0].complete.clear();
    assert_eq!(
        case.broken()[1],
        "partition 0: B began at 60, and C had committed 60 with 2 records beyond"
    );
    let mut case = Case::good();
    case.deaths[0].begun.clear();
    assert_eq!(case.broken(), ["partition 0: B began at nothing, and A had committed 40"]);
}

#[test]
fn a_late_commit_is_noticed_by_its_answer_and_by_its_trace() {
    let mut case = Case::good();
    case.journal(2).refused = None;
    assert_eq!(case.broken(), ["the late commit of the zombie was accepted"]);
    let mut case = Case::good();
    case.late_commit.after = Offsets::from([(0, 47)]);
    assert_eq!(
        case.broken(),
        ["partition 0: the late commit of the zombie is to be seen, 60 has become 47"]
    );
}

#[test]
fn what_was_finished_early_and_comes_again_is_noticed() {
    let mut case = Case::good();
    case.journal(1).processed.entry(0).or_default().push(63);
    let broken = case.broken();
    assert!(broken[0].contains("seen again although they were committed"), "{broken:?}");
    assert_eq!(
        broken[1],
        "partition 0: 1 records that were finished out of order were handed out again"
    );
    // A story in which nothing was finished early shows nothing.
    let mut case = Case::good();
    case.deaths[1].was_scattered = false;
    assert_eq!(case.broken(), ["nothing was finished out of order, so that nothing was shown"]);
}

#[test]
fn a_lost_commit_is_noticed() {
    let case = Case::good();
    let found = Offsets::from([(0, 59), (1, RECORDS)]);
    let lost = lost_commits(&case.journals[2..], &found);
    assert_eq!(
        lost,
        ["partition 0: offset 60 was acknowledged to consumer C, and the store has 59"]
    );
    assert!(lost_commits(&case.journals[2..], &Offsets::new())[0].contains("has no offset"));
    let mut case = Case::good();
    case.committed.insert(3, 90);
    let broken = case.broken();
    assert!(broken[0].contains("offset 100 was acknowledged to consumer B"), "{broken:?}");
    assert!(broken[1].contains("partition 3 is not finished"), "{broken:?}");
}
