//! Random histories of a committer, whose target fails in every way at every call, against a model.
//!
//! Each change of a partition gets a version that is used once and travels as the metadata. So the
//! target sees what each commit stands for, and in which order they come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::fake::{Answer, Failure, FakeTarget, position_at};
use super::*;
use crate::ErrorKind::{CommitUnderWay, NotAssigned};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
enum Step {
    Done(i32, i64),
    Rewind(i32, i64),
    Change(i32, bool),
    Ask,
    Tick(i64),
    /// The answers of the target to the next calls.
    Answer(Answer),
    /// What is under way ends.
    Release(Option<Failure>),
    Revoke(i32),
    Lose(i32),
    Assign(i32),
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        4 => Just(Failure::RetryLater),
        2 => Just(Failure::Refused),
        2 => (0..3).prop_map(Failure::Lost),
        1 => Just(Failure::Stop),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Hold),
        2 => Just(Answer::Store),
        2 => failure().prop_map(Answer::Fail),
        2 => failure().prop_map(Answer::Refuse),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let p = || 0..3;
    prop_oneof![
        8 => (p(), 0..4_i64).prop_map(|(p, n)| Step::Done(p, n)),
        2 => (p(), 0..4_i64).prop_map(|(p, n)| Step::Rewind(p, n)),
        2 => (p(), any::<bool>()).prop_map(|(p, put)| Step::Change(p, put)),
        4 => Just(Step::Ask),
        4 => (0..120_i64).prop_map(Step::Tick),
        6 => answer().prop_map(Step::Answer),
        6 => prop_oneof![3 => Just(None), 2 => failure().prop_map(Some)].prop_map(Step::Release),
        1 => p().prop_map(Step::Revoke),
        1 => p().prop_map(Step::Lose),
        2 => p().prop_map(Step::Assign),
    ]
}

/// What is known of a partition, assigned or given up by the target.
#[derive(Clone, Debug, Default)]
struct Known {
    version: u64,
    /// The newest version that somebody asked to commit.
    asked: u64,
    state: Vec<u8>,
}

struct Model {
    target: FakeTarget,
    committer: Option<Committer<FakeTarget>>,
    policy: CommitPolicy,
    now_ms: i64,
    versions: u64,
    known: BTreeMap<i32, Known>,
    /// The offset of each version.
    offsets: BTreeMap<u64, i64>,
    receipts: Vec<(CommitReceipt<FakeTarget>, BTreeMap<i32, u64>)>,
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

impl Model {
    fn new(policy: CommitPolicy) -> Model {
        let target = FakeTarget::default();
        let committer = Some(Committer::new(target.clone(), policy.clone(), 0));
        Model {
            target,
            committer,
            policy,
            now_ms: 0,
            versions: 0,
            known: BTreeMap::new(),
            offsets: BTreeMap::new(),
            receipts: Vec::new(),
        }
    }

    fn committer(&mut self) -> &mut Committer<FakeTarget> {
        self.committer.as_mut().unwrap()
    }

    /// The partition, if it is assigned. If not, somebody took it away.
    fn change(&mut self, p: i32, change: impl FnOnce(&mut AssignedPartition<'_>) -> bool) {
        let version = self.versions + 1;
        match self.committer.as_mut().unwrap().partition(&tp(p)) {
            Ok(mut partition) => {
                if !change(&mut partition) {
                    return;
                }
                partition.set_metadata(&version.to_string());
                self.offsets.insert(version, partition.position().marked().offset.0);
                self.versions = version;
                self.known.get_mut(&p).unwrap().version = version;
            }
            Err(error) => {
                assert_eq!(error.kind(), NotAssigned);
                assert!(!self.known.contains_key(&p) || self.target.was_lost(p));
            }
        }
    }

    fn note_ask(&mut self) -> BTreeMap<i32, u64> {
        let assigned: BTreeSet<i32> =
            self.committer().assigned().map(TopicPartition::partition).collect();
        let known = self.known.iter_mut().filter(|(p, _)| assigned.contains(p));
        known.for_each(|(_, known)| known.asked = known.version);
        let known = self.known.iter().filter(|(p, _)| assigned.contains(p));
        known.map(|(p, known)| (*p, known.version)).collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Done(p, n) => self.change(p, |partition| {
                let next = NextOffset(partition.position().next().0 + n);
                partition.advance(next, None).unwrap();
                partition.done(next).unwrap()
            }),
            Step::Rewind(p, n) => self.change(p, |partition| {
                let to = (partition.position().marked().offset.0 - n).max(0);
                partition.rewind(NextOffset(to)).unwrap();
                true
            }),
            Step::Change(p, put) => {
                let byte = self.versions as u8;
                let before = self.versions;
                self.change(p, |partition| {
                    if put {
                        partition.put_state(&[byte]);
                    } else {
                        partition.append_state(&[byte]);
                    }
                    true
                });
                if self.versions > before {
                    let state = &mut self.known.get_mut(&p).unwrap().state;
                    if put {
                        state.clear();
                    }
                    state.push(byte);
                }
            }
            Step::Ask => {
                let snapshot = self.note_ask();
                let receipt = self.committer().commit_async();
                self.receipts.push((receipt, snapshot));
            }
            Step::Tick(ms) => {
                self.now_ms += ms;
                let now_ms = self.now_ms;
                // Which automatic commits fail is up to the target.
                let _ = self.committer().tick(now_ms);
            }
            Step::Answer(answer) => self.target.answer_next(answer),
            Step::Release(failure) => self.target.release(failure),
            Step::Revoke(p) => {
                if self.policy.on_revoke {
                    self.note_ask();
                }
                let result = self.committer().revoke(&[tp(p)], Duration::ZERO);
                self.check_left(result, &[p], self.policy.on_revoke);
            }
            Step::Lose(p) => {
                let result = self.committer().lose(&[tp(p)]);
                self.check_left(result, &[p], self.policy.on_close);
            }
            Step::Assign(p) => {
                if self.committer().partition(&tp(p)).is_err() && self.assign(p) {
                    let (offset, version, state) = self.target.stored(p);
                    self.known.insert(p, Known { version, asked: version, state });
                    self.offsets.insert(version, offset);
                    self.target.assigned(p);
                    if version > 0 {
                        // A committer begins without metadata, so this is a change, too.
                        self.change(p, |_| true);
                    }
                }
            }
        }
        self.check();
    }

    /// Assigns a partition with what is stored, unless that may still change. Whoever finds out that
    /// it cannot any more reads it again.
    fn assign(&mut self, p: i32) -> bool {
        let (holds, target) = (self.target.holds(p), self.target.clone());
        let mut try_it = || self.committer().assign(tp(p), position_at(target.stored(p).0));
        let assigned = try_it().or_else(|_| try_it());
        assert_eq!(assigned.err().map(|error| error.kind()), holds.then_some(CommitUnderWay));
        !holds
    }

    /// What was given away and not reported has to be stored, and nothing else was reported.
    fn check_left(
        &mut self,
        result: std::result::Result<(), NotStored>,
        partitions: &[i32],
        all: bool,
    ) {
        let reported: Vec<(i32, i64)> = match &result {
            Ok(()) => Vec::new(),
            Err(left) => {
                let left = left.partitions().iter();
                left.map(|left| (left.partition.partition(), left.offset.0)).collect()
            }
        };
        let mut expected = Vec::new();
        for p in partitions {
            let Some(known) = self.known.remove(p) else { continue };
            // What the target took away was not given away with the policy of a revoke.
            let all = if self.target.was_lost(*p) { self.policy.on_close } else { all };
            let wanted = if all { known.version } else { known.asked };
            let (_, acknowledged, _) = self.target.stored(*p);
            assert!(acknowledged <= known.version);
            if acknowledged < wanted {
                expected.push((*p, self.offsets[&wanted]));
            }
        }
        assert_eq!(reported, expected);
    }

    /// What holds at any time.
    fn check(&mut self) {
        let mut is_open = false;
        for (receipt, snapshot) in &self.receipts {
            match receipt.outcome() {
                None => is_open = true,
                Some(_) if is_open => panic!("a receipt was completed before an older one"),
                Some(Ok(())) => {
                    for (p, version) in snapshot {
                        let (_, stored, _) = self.target.stored(*p);
                        assert!(stored >= *version, "{stored} is stored of {p}, not {version}");
                    }
                }
                Some(Err(_)) => {}
            }
        }
    }

    fn close(mut self, fails: Vec<Failure>, in_time: bool) {
        if in_time {
            self.target.release(None);
            self.target.answer_at_once(fails);
        }
        if self.policy.on_close {
            self.note_ask();
        }
        let timeout = if in_time { HOUR } else { Duration::ZERO };
        let result = self.committer.take().unwrap().close(timeout);
        let is_refused = self.target.has_refused() || self.target.has_stopped();
        if in_time && !is_refused && !self.known.keys().any(|p| self.target.was_lost(*p)) {
            assert!(result.is_ok(), "{result:?}");
            for (p, known) in &self.known {
                let (_, _, state) = self.target.stored(*p);
                if self.policy.on_close {
                    assert_eq!(state, known.state, "the state of {p}");
                }
            }
        }
        let all: Vec<i32> = self.known.keys().copied().collect();
        self.check_left(result, &all, self.policy.on_close);
        self.check();
    }
}

fn policies() -> [CommitPolicy; 4] {
    let none = Duration::ZERO;
    let automatic = CommitPolicy::automatic().interval(Duration::from_millis(100));
    [
        automatic.clone().retry_backoff(none),
        automatic.every(5).retry_backoff(none),
        CommitPolicy::manual().retry_backoff(none),
        CommitPolicy::manual().on_revoke(true).retry_backoff(none),
    ]
}

proptest! {
    #[test]
    fn no_commit_is_lost_and_none_goes_back(
        policy in 0..4_usize,
        steps in prop::collection::vec(step(), 1..60),
        fails in prop::collection::vec(failure(), 0..4),
        in_time in any::<bool>(),
    ) {
        let mut model = Model::new(policies()[policy].clone());
        (0..2).for_each(|p| model.step(Step::Assign(p)));
        steps.into_iter().for_each(|step| model.step(step));
        model.close(fails, in_time);
    }
}
