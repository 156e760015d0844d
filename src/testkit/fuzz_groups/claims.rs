//! Commits of a group that claims, members and modes fence, in a store that loses its process.

use std::collections::BTreeMap;

use super::Input;
use crate::group::GroupError;
use crate::group::claims::{ClaimEpoch, CommitMode, Fenced, Replaces};
use crate::group::classic::{CommitRequest, MemberIdentity};
use crate::group::coordinator::{
    CoordinatorConfig, CoordinatorError, FencedSlot, PartitionCommit, PartitionRefusal,
};
use crate::group::modern::{HeartbeatRequest, JOIN_EPOCH, LEAVE_EPOCH, Partitions};
use crate::key::{Key, NextOffset, TopicPartition};
use crate::options::Options;
use crate::testkit::GroupSim;

const GROUP: &str = "g";
const TOPIC: &str = "t";
const PARTITIONS: usize = 2;
const OWNERS: [&str; 3] = ["alice", "bob", "carol"];
const MEMBERS: [&str; 2] = ["m", "n"];
const MODES: [CommitMode; 3] = [CommitMode::Free, CommitMode::Monotonic, CommitMode::CompareAndSet];
const MOST_STEPS: usize = 48;
/// Longer than the session of a member.
const SILENCE_MS: i64 = 50_000;

/// Plays a group above a store, and compares what it lets pass and shows with what was told.
pub(in crate::testkit) fn fuzz_claims(input: &[u8]) {
    let mut input = Input::new(input);
    let options = Options::new().background(false).segment_size(16 << 10);
    let Ok(sim) = GroupSim::open(1, options, CoordinatorConfig::new()) else { return };
    let mut game = Claims { sim, told: Told::default(), handles: Vec::new() };
    game.begin();
    for _ in 0..MOST_STEPS {
        if input.bytes.is_empty() {
            break;
        }
        game.play(&mut input);
        game.check();
    }
}

/// What was told, and follows from that.
#[derive(Debug, Default)]
struct Told {
    mode: CommitMode,
    partitions: [Partition; PARTITIONS],
    /// The members with the epochs that they are in.
    members: BTreeMap<&'static str, i32>,
    /// All epochs that members were ever told.
    epochs: Vec<(&'static str, i32)>,
}

#[derive(Debug, Default)]
struct Partition {
    owner: Option<(&'static str, ClaimEpoch)>,
    /// All epochs that were told of this partition, the newest one last.
    epochs: Vec<ClaimEpoch>,
    committed: Option<NextOffset>,
}

/// A commit, by whoever and however made.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: usize,
    by: Option<(&'static str, i32)>,
    claim: Option<ClaimEpoch>,
    replaces: Replaces,
    offset: NextOffset,
}

/// What becomes of it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passes,
    /// Its group refuses it.
    Refused,
    /// It has not the partition.
    Fenced(Option<&'static str>, Option<NextOffset>),
    Conflict(Option<NextOffset>),
}

impl Told {
    fn outcome(&self, attempt: Attempt) -> Outcome {
        let may = match attempt.by {
            None => self.members.is_empty(),
            Some((member, epoch)) => self.members.get(member) == Some(&epoch),
        };
        let Partition { owner, committed, .. } = &self.partitions[attempt.at];
        let is_owner = owner.map(|(_, epoch)| epoch) == attempt.claim;
        let is_expected = match attempt.replaces {
            Replaces::Anything => self.mode != CommitMode::CompareAndSet,
            Replaces::Nothing => committed.is_none(),
            Replaces::Offset(offset) => *committed == Some(offset),
        };
        let goes_back = committed.is_some_and(|committed| attempt.offset < committed);
        match (may, is_owner, is_expected, goes_back && self.mode == CommitMode::Monotonic) {
            (false, ..) => Outcome::Refused,
            (_, false, ..) => Outcome::Fenced(owner.map(|(owner, _)| owner), *committed),
            (_, _, true, false) => Outcome::Passes,
            _ => Outcome::Conflict(*committed),
        }
    }

    fn is_nothing(&self) -> bool {
        let is_nothing = |of: &Partition| of.owner.is_none() && of.committed.is_none();
        self.members.is_empty() && self.partitions.iter().all(is_nothing)
    }
}

impl Partition {
    fn newest(&self) -> Option<ClaimEpoch> {
        self.epochs.last().copied()
    }
}

struct Claims {
    sim: GroupSim,
    told: Told,
    /// Partitions that were resolved for somebody, and stay so.
    handles: Vec<(Attempt, FencedSlot)>,
}

impl Claims {
    fn begin(&mut self) {
        self.handles.clear();
        let topics = BTreeMap::from([(TOPIC.to_owned(), PARTITIONS as i32)]);
        self.sim.coordinator().set_topics(topics);
    }

    fn play(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0 | 1 => self.claim(input),
            2 => self.release(input),
            3 => self.rewind(input),
            4 => self.set_mode(input),
            5 => self.delete(input),
            6 => self.end(input),
            7..10 => self.heartbeat(input),
            10 => {
                self.sim.wait(SILENCE_MS);
                self.told.members.clear();
            }
            11 => {
                let compacted = self.sim.store().compact();
                assert!(compacted.is_ok(), "{compacted:?}");
            }
            _ => self.commit(input),
        }
    }

    /// Epochs go up, whatever was deleted in between.
    fn claim(&mut self, input: &mut Input<'_>) {
        let owner = input.pick(OWNERS);
        let at = input.below(PARTITIONS);
        let of: Vec<_> = if input.below(4) == 0 { (0..PARTITIONS).collect() } else { vec![at] };
        let partitions: Vec<_> = of.iter().map(|at| partition(*at)).collect();
        let now_ms = self.sim.now_ms();
        let claimed = self.sim.coordinator().claim(now_ms, GROUP, owner, &partitions);
        for (at, claimed) in of.into_iter().zip(done(claimed)) {
            let told = &mut self.told.partitions[at];
            assert_eq!(claimed.partition, partition(at));
            assert!(told.newest() < Some(claimed.epoch), "{claimed:?} after {told:?}");
            let before = told.owner.map(|(owner, _)| owner);
            assert_eq!(claimed.previous_owner.as_deref(), before, "{claimed:?}");
            let committed = claimed.committed.as_ref().map(|value| value.offset());
            assert_eq!(committed, told.committed, "{claimed:?}");
            told.owner = Some((owner, claimed.epoch));
            told.epochs.push(claimed.epoch);
        }
    }

    fn release(&mut self, input: &mut Input<'_>) {
        let at = input.below(PARTITIONS);
        let Some(epoch) = self.epoch(at, input) else { return };
        let now_ms = self.sim.now_ms();
        let released = self.sim.coordinator().release(now_ms, GROUP, &[(partition(at), epoch)]);
        let told = &mut self.told.partitions[at];
        let is_owner = told.owner.is_some_and(|(_, newest)| newest == epoch);
        let is_released = done(released).iter().all(Result::is_ok);
        assert_eq!(is_released, is_owner, "{epoch:?} of {told:?}");
        told.owner = told.owner.filter(|_| !is_owner);
    }

    /// Sets an offset and fences its owner, in a group without members.
    fn rewind(&mut self, input: &mut Input<'_>) {
        let (at, offset) = (input.below(PARTITIONS), NextOffset(input.below(8) as i64));
        let now_ms = self.sim.now_ms();
        let offsets = [PartitionCommit::new(TOPIC, at as i32, offset)];
        match self.sim.coordinator().rewind(now_ms, GROUP, &offsets) {
            Ok(()) => {
                assert!(self.told.members.is_empty(), "{:?} are rewound", self.told.members);
                let told = &mut self.told.partitions[at];
                (told.owner, told.committed) = (None, Some(offset));
            }
            Err(error) => {
                assert_eq!(refusal(&error), Some(GroupError::NonEmptyGroup));
                assert!(!self.told.members.is_empty(), "{:?} has no members", self.told);
            }
        }
    }

    fn set_mode(&mut self, input: &mut Input<'_>) {
        let (mode, now_ms) = (input.pick(MODES), self.sim.now_ms());
        done(self.sim.coordinator().set_commit_mode(now_ms, GROUP, mode));
        self.told.mode = mode;
        let mode = self.sim.coordinator().commit_mode(now_ms, GROUP);
        assert_eq!(done(mode), self.told.mode);
    }

    /// Deletes the group, or an offset.
    fn delete(&mut self, input: &mut Input<'_>) {
        let (coordinator, now_ms) = (self.sim.coordinator(), self.sim.now_ms());
        if input.below(2) == 0 {
            match coordinator.delete_group(now_ms, GROUP) {
                Ok(()) => {
                    assert!(self.told.members.is_empty(), "{:?} is deleted", self.told);
                    self.told.mode = CommitMode::Free;
                    for of in &mut self.told.partitions {
                        (of.owner, of.committed) = (None, None);
                    }
                }
                Err(error) if refusal(&error) == Some(GroupError::NonEmptyGroup) => {
                    assert!(!self.told.members.is_empty(), "{:?} has no members", self.told);
                }
                Err(error) => self.expect_nothing(&error),
            }
            return;
        }
        let at = input.below(PARTITIONS);
        match coordinator.delete_offsets(now_ms, GROUP, &[partition(at)]) {
            Ok(deleted) => {
                let may = self.told.members.is_empty() && self.told.partitions[at].owner.is_none();
                assert_eq!(deleted.iter().all(Result::is_ok), may, "{:?}", self.told);
                let of = &mut self.told.partitions[at];
                of.committed = of.committed.filter(|_| !may);
            }
            Err(error) => self.expect_nothing(&error),
        }
    }

    fn expect_nothing(&self, error: &CoordinatorError) {
        assert_eq!(refusal(error), Some(GroupError::GroupIdNotFound));
        assert!(self.told.is_nothing(), "{:?} is not found", self.told);
    }

    /// The process ends, one way or another. What it told stays.
    fn end(&mut self, input: &mut Input<'_>) {
        let ended = match input.below(4) {
            0 => self.sim.hand_over(),
            1 => self.sim.process_crash(),
            _ => self.sim.power_cut(input.byte().into()),
        };
        assert!(ended.is_ok(), "{ended:?}");
        self.begin();
    }

    /// A member joins, arrives at the newest epoch, speaks in one that is over, or leaves.
    fn heartbeat(&mut self, input: &mut Input<'_>) {
        let member = input.pick(MEMBERS);
        let newest = self.told.members.get(member).copied();
        let leaves = input.below(4) == 0;
        let epoch = match newest {
            _ if leaves => LEAVE_EPOCH,
            Some(epoch) => epoch,
            None if input.below(4) == 0 => 1,
            None => JOIN_EPOCH,
        };
        let request = HeartbeatRequest::new(member, epoch).owned(Partitions::new());
        let request = request.topics([TOPIC]).rebalance_timeout_ms(1_000);
        let now_ms = self.sim.now_ms();
        let answer = self.sim.coordinator().consumer_heartbeat(now_ms, GROUP, &request);
        let is_expected = newest.is_some() || epoch == JOIN_EPOCH;
        assert_eq!(answer.is_ok(), is_expected, "{request:?}: {answer:?}, {:?}", self.told);
        let Ok(answer) = answer else { return };
        if leaves {
            self.told.members.remove(member);
        } else {
            assert!(answer.member_epoch >= epoch.max(1), "{answer:?} to {request:?}");
            self.told.members.insert(member, answer.member_epoch);
            self.told.epochs.push((member, answer.member_epoch));
        }
    }

    /// Somebody commits, with a claim that is one, was one or never was, by name or by a handle.
    fn commit(&mut self, input: &mut Input<'_>) {
        let at = input.below(PARTITIONS);
        let newest = self.told.partitions[at].owner.map(|(_, epoch)| epoch);
        let claim = if input.below(2) == 0 { newest } else { self.epoch(at, input) };
        let mut members = self.told.members.iter();
        let by = match input.below(3) {
            0 => input.one_of(&self.told.epochs).copied(),
            1 => None,
            _ => members.next().map(|(member, epoch)| (*member, *epoch)),
        };
        let replaces = match input.below(4) {
            0 => Replaces::Nothing,
            1 => self.told.partitions[at].committed.map_or(Replaces::Nothing, Replaces::Offset),
            _ => Replaces::Anything,
        };
        let offset = NextOffset(input.below(8) as i64);
        let attempt = Attempt { at, by, claim, replaces, offset };
        match input.below(3) {
            0 => self.attempt_by_name(attempt),
            1 => {
                let Some(slot) = self.handle(attempt) else { return };
                self.attempt_by_handle(attempt, &slot);
                self.handles.push((attempt, slot));
            }
            _ => {
                let Some((resolved, slot)) = input.one_of(&self.handles).cloned() else { return };
                self.attempt_by_handle(Attempt { replaces, offset, ..resolved }, &slot);
            }
        }
    }

    /// One of the epochs that were told of a partition.
    fn epoch(&self, at: usize, input: &mut Input<'_>) -> Option<ClaimEpoch> {
        input.one_of(&self.told.partitions[at].epochs).copied()
    }

    fn handle(&self, attempt: Attempt) -> Option<FencedSlot> {
        let committer = self.sim.coordinator().committer(GROUP, request(attempt.by)).ok()?;
        let slot = committer.slot(TOPIC, attempt.at as i32, attempt.claim);
        assert!(slot.is_ok(), "{attempt:?} is not resolved: {slot:?}");
        slot.ok()
    }

    fn attempt_by_name(&mut self, attempt: Attempt) {
        let commit = PartitionCommit::new(TOPIC, attempt.at as i32, attempt.offset);
        let commit = commit.replaces(attempt.replaces);
        let commit = attempt.claim.map_or(commit, |epoch| commit.claim(epoch));
        let now_ms = self.sim.now_ms();
        let by = request(attempt.by);
        let committed = self.sim.coordinator().commit(now_ms, GROUP, &by, &[commit]);
        let committed = committed.map(|mut of| of.pop().unwrap_or(Ok(())));
        self.judge(attempt, committed);
    }

    fn attempt_by_handle(&mut self, attempt: Attempt, slot: &FencedSlot) {
        let committed = slot.replace(self.sim.now_ms(), attempt.offset, attempt.replaces);
        self.judge(attempt, committed.map(|of| of.map(drop)));
    }

    fn judge(
        &mut self,
        attempt: Attempt,
        committed: Result<Result<(), PartitionRefusal>, CoordinatorError>,
    ) {
        let told = &mut self.told.partitions[attempt.at];
        let outcome = match &committed {
            Ok(Ok(())) => Some(Outcome::Passes),
            Ok(Err(PartitionRefusal::Fenced(fenced))) => {
                let Fenced { owner, epoch, committed } = &**fenced;
                let of = OWNERS.into_iter().find(|of| Some(*of) == owner.as_deref());
                assert_eq!(of.is_some(), owner.is_some(), "{fenced:?}");
                let newest = told.owner.map(|(_, epoch)| epoch);
                assert!(newest.is_none() || newest == *epoch, "{fenced:?} in {told:?}");
                Some(Outcome::Fenced(of, *committed))
            }
            Ok(Err(PartitionRefusal::Conflict { committed })) => {
                Some(Outcome::Conflict(*committed))
            }
            Err(CoordinatorError::Group(_)) => Some(Outcome::Refused),
            _ => None,
        };
        let expected = Some(self.told.outcome(attempt));
        assert_eq!(outcome, expected, "{attempt:?} comes to {committed:?} in {:?}", self.told);
        if outcome == Some(Outcome::Passes) {
            self.told.partitions[attempt.at].committed = Some(attempt.offset);
        }
    }

    /// What is shown is what was let pass last.
    fn check(&self) {
        for (at, told) in (0..).zip(&self.told.partitions) {
            let shown = self.sim.store().fetch(Key::new(GROUP, TOPIC, at));
            let shown = shown.map(|value| value.offset());
            assert_eq!(shown, told.committed, "{at} in {:?}", self.told);
        }
    }
}

fn partition(at: usize) -> TopicPartition {
    TopicPartition::new(TOPIC, at as i32)
}

/// A member, or somebody from outside.
fn request(by: Option<(&str, i32)>) -> CommitRequest {
    let (member, generation) = by.unwrap_or(("", -1));
    let member = MemberIdentity::dynamic(member);
    CommitRequest { member, generation, is_transactional: false }
}

fn refusal(error: &CoordinatorError) -> Option<GroupError> {
    match error {
        CoordinatorError::Group(error) => Some(*error),
        CoordinatorError::Store(_) => None,
    }
}

/// What cannot be refused here.
fn done<T: Default>(result: Result<T, CoordinatorError>) -> T {
    let error = result.as_ref().err();
    assert!(error.is_none(), "it is refused: {error:?}");
    result.unwrap_or_default()
}
