//! Claims and modes: rule by rule, and at random above a disk that fails.

use std::collections::BTreeMap;

use pagemark::group::GroupError;
use pagemark::group::claims::{ClaimEpoch, CommitMode, Fenced, Replaces};
use pagemark::group::classic::{CommitRequest, JoinRequest, MemberIdentity};
use pagemark::group::coordinator::{
    CoordinatorError, ListFilter, PartitionCommit, PartitionRefusal,
};
use pagemark::testkit::Op;
use pagemark::{Key, NextOffset, TopicPartition};

use super::host::Host;
use super::random::Random;

const GROUP: &str = "takers";

/// Who takes no part in a group.
pub(crate) fn outside() -> CommitRequest {
    let member = MemberIdentity::default();
    CommitRequest { member, generation: -1, is_transactional: false }
}

fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

impl Host {
    fn claim_one(&self, owner: &str, partition: i32) -> Result<ClaimEpoch, CoordinatorError> {
        let of = [orders(partition)];
        let claimed = self.coordinator().claim(self.now_ms(), GROUP, owner, &of)?;
        Ok(claimed[0].epoch)
    }

    fn commit_one(&self, commit: PartitionCommit<'_>) -> Result<(), PartitionRefusal> {
        let committed = self.coordinator().commit(self.now_ms(), GROUP, &outside(), &[commit]);
        committed.unwrap().remove(0)
    }

    fn shown(&self, partition: i32) -> Option<NextOffset> {
        self.store().fetch(Key::new(GROUP, "orders", partition)).map(|value| value.offset())
    }
}

fn order(partition: i32, offset: i64) -> PartitionCommit<'static> {
    PartitionCommit::new("orders", partition, NextOffset(offset))
}

fn fenced(result: Result<(), PartitionRefusal>) -> Fenced {
    match result {
        Err(PartitionRefusal::Fenced(fenced)) => *fenced,
        other => panic!("{other:?}"),
    }
}

fn is_conflict(result: &Result<(), PartitionRefusal>, with: Option<i64>) -> bool {
    matches!(result, Err(PartitionRefusal::Conflict { committed })
        if *committed == with.map(NextOffset))
}

#[test]
fn a_claim_fences_the_one_before_and_says_who_has_it_now() {
    let mut host = Host::new(1, 0);
    let alices = host.claim_one("alice", 0).unwrap();
    host.commit_one(order(0, 5).claim(alices)).unwrap();
    let claimed =
        host.coordinator().claim(host.now_ms(), GROUP, "bob", &[orders(0), orders(1)]).unwrap();
    assert_eq!(claimed[0].previous_owner.as_deref(), Some("alice"));
    assert_eq!(claimed[0].committed.as_ref().unwrap().offset(), NextOffset(5));
    assert!(claimed[0].epoch > alices && claimed[1].committed.is_none());
    let bobs = claimed[0].epoch;
    let now =
        Fenced { owner: Some("bob".into()), epoch: Some(bobs), committed: Some(NextOffset(5)) };
    for _ in 0..2 {
        assert_eq!(fenced(host.commit_one(order(0, 6).claim(alices))), now);
        assert_eq!(fenced(host.commit_one(order(0, 6))), now, "without a claim");
        assert_eq!(host.shown(0), Some(NextOffset(5)));
        host.crash(Some(0));
    }
    // A sibling is not concerned.
    let both = [order(0, 6).claim(alices), order(1, 7).claim(claimed[1].epoch)];
    let results = host.coordinator().commit(host.now_ms(), GROUP, &outside(), &both).unwrap();
    assert!(results[0].is_err() && results[1].is_ok());
    assert_eq!((host.shown(0), host.shown(1)), (Some(NextOffset(5)), Some(NextOffset(7))));
    // Released, it is everybody's; but not that of an old claim.
    let claims = [(orders(0), alices), (orders(0), bobs)];
    let released = host.coordinator().release(host.now_ms(), GROUP, &claims).unwrap();
    assert!(released[0].is_err() && released[1].is_ok());
    host.commit_one(order(0, 3)).unwrap();
    assert_eq!(fenced(host.commit_one(order(0, 8).claim(bobs))).owner, None);
}

#[test]
fn a_group_that_only_claims_are_stored_for_is_listed_after_a_crash_too() {
    let mut host = Host::new(1, 0);
    host.claim_one("alice", 0).unwrap();
    for _ in 0..2 {
        let listed = host.coordinator().list(host.now_ms(), &ListFilter::default()).unwrap();
        assert_eq!(listed.iter().map(|group| &group.group[..]).collect::<Vec<_>>(), [GROUP]);
        assert!(host.coordinator().describe(host.now_ms(), GROUP).is_ok());
        host.crash(Some(0));
    }
}

#[test]
fn the_offset_of_a_claimed_partition_is_not_deleted() {
    let host = Host::new(1, 0);
    let alices = host.claim_one("alice", 0).unwrap();
    host.commit_one(order(0, 5).claim(alices)).unwrap();
    host.commit_one(order(1, 6)).unwrap();
    let delete = || {
        let both = [orders(0), orders(1)];
        host.coordinator().delete_offsets(host.now_ms(), GROUP, &both).unwrap()
    };
    let mut results = delete();
    assert!(results.pop().unwrap().is_ok());
    assert_eq!(fenced(results.remove(0)).owner.as_deref(), Some("alice"));
    assert_eq!((host.shown(0), host.shown(1)), (Some(NextOffset(5)), None));
    host.coordinator().release(host.now_ms(), GROUP, &[(orders(0), alices)]).unwrap();
    assert!(delete().iter().all(Result::is_ok));
    assert_eq!(host.shown(0), None);
}

#[test]
fn a_handle_is_fenced_as_well() {
    let host = Host::new(1, 0);
    let committer = host.coordinator().committer(GROUP, outside()).unwrap();
    let free = committer.slot("orders", 0, None).unwrap();
    free.commit(host.now_ms(), NextOffset(1)).unwrap().unwrap();
    let alices = host.claim_one("alice", 0).unwrap();
    let claimed = committer.slot("orders", 0, Some(alices)).unwrap();
    claimed.commit(host.now_ms(), NextOffset(2)).unwrap().unwrap();
    let bobs = host.claim_one("bob", 0).unwrap();
    for slot in [free, claimed] {
        let told = fenced(slot.commit(host.now_ms(), NextOffset(3)).unwrap().map(drop_receipt));
        assert_eq!((told.epoch, told.committed), (Some(bobs), Some(NextOffset(2))));
    }
    assert_eq!(host.shown(0), Some(NextOffset(2)));
}

fn drop_receipt(_: pagemark::Receipt) {}

#[test]
fn a_mode_is_kept_and_a_rewind_is_a_verb_of_its_own() {
    let mut host = Host::new(1, 0);
    host.coordinator().set_commit_mode(host.now_ms(), GROUP, CommitMode::Monotonic).unwrap();
    host.commit_one(order(0, 5)).unwrap();
    let alices = host.claim_one("alice", 0).unwrap();
    host.crash(Some(0));
    assert!(is_conflict(&host.commit_one(order(0, 4).claim(alices)), Some(5)));
    host.commit_one(order(0, 5).claim(alices)).unwrap();
    host.coordinator().rewind(host.now_ms(), GROUP, &[order(0, 2)]).unwrap();
    host.crash(Some(0));
    let told = fenced(host.commit_one(order(0, 6).claim(alices)));
    assert_eq!((told.owner, told.committed), (None, Some(NextOffset(2))));
    assert!(told.epoch > Some(alices));

    host.coordinator().set_commit_mode(host.now_ms(), GROUP, CommitMode::CompareAndSet).unwrap();
    assert!(is_conflict(&host.commit_one(order(0, 9)), Some(2)), "it has to say what it replaces");
    assert!(is_conflict(&host.commit_one(order(0, 9).replaces(Replaces::Nothing)), Some(2)));
    host.commit_one(order(0, 1).replaces(Replaces::Offset(NextOffset(2)))).unwrap();
    assert!(is_conflict(&host.commit_one(order(1, 1).replaces(Replaces::Anything)), None));
    host.commit_one(order(1, 1).replaces(Replaces::Nothing)).unwrap();
    let mode = host.coordinator().commit_mode(host.now_ms(), GROUP).unwrap();
    assert_eq!(mode, CommitMode::CompareAndSet);
}

#[test]
fn whoever_waits_in_a_group_gets_an_answer_also_when_a_claim_fails() {
    let mut host = Host::new(1, 3_000);
    let join = JoinRequest { requires_member_id: false, ..super::host::join("") };
    let request = host.join(&join);
    host.disk().fail_nth(Op::SyncFile, 0, std::io::ErrorKind::Other);
    let claimed =
        host.coordinator().claim(host.now_ms(), super::host::GROUP, "alice", &[orders(0)]);
    assert!(matches!(claimed, Err(CoordinatorError::Store(_))));
    host.wait(3_000);
    assert!(host.reply(request).is_some(), "it is told that the coordinator is not there");
}

#[test]
fn no_epoch_comes_again_in_a_group_that_was_deleted() {
    let mut host = Host::new(1, 0);
    let before = host.claim_one("alice", 0).unwrap();
    host.commit_one(order(0, 5).claim(before)).unwrap();
    host.coordinator().delete_group(host.now_ms(), GROUP).unwrap();
    assert_eq!(fenced(host.commit_one(order(0, 6).claim(before))).epoch, None);
    for lots in [0, 1] {
        host.crash(Some(lots));
        assert!(host.claim_one("bob", 0).unwrap() > before);
        host.coordinator().delete_group(host.now_ms(), GROUP).unwrap();
    }
    let gone = host.coordinator().delete_group(host.now_ms(), GROUP).unwrap_err();
    assert_eq!(gone.group_error(), GroupError::GroupIdNotFound);
}

#[derive(Debug, Default)]
struct Seen {
    claims: u32,
    accepted: u32,
    fenced: u32,
    failed: u32,
    cuts: u32,
}

struct World {
    host: Host,
    random: Random,
    /// The newest claim that somebody was told of.
    told: BTreeMap<i32, (ClaimEpoch, &'static str)>,
    /// Whether a newer one, of which nobody was told, may be there.
    is_uncertain: BTreeMap<i32, bool>,
    old: Vec<(i32, ClaimEpoch)>,
    /// What each partition may show.
    offsets: BTreeMap<i32, Vec<Option<NextOffset>>>,
    next: i64,
    seen: Seen,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            host: Host::new(seed, 0),
            random: Random::new(seed),
            told: BTreeMap::new(),
            is_uncertain: BTreeMap::new(),
            old: Vec::new(),
            offsets: (0..3).map(|partition| (partition, vec![None])).collect(),
            next: 0,
            seen: Seen::default(),
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..=1 => {
                let at = self.host.disk().operations() + self.random.below(5) as u64;
                self.host.disk().freeze_at(at);
            }
            2 => {
                let kind = [Op::SyncFile, Op::Write][self.random.below(2)];
                self.host.disk().fail_nth(kind, 0, std::io::ErrorKind::Other);
            }
            3 => self.host.hand_over().unwrap(),
            _ => {}
        }
        match self.random.below(4) {
            0 => self.claim(),
            _ => self.commit(),
        }
        if self.host.is_broken() {
            let is_power_cut = self.host.disk().is_frozen() || self.random.chance(50);
            let lots = self.random.below(1_000) as u64;
            self.host.crash(is_power_cut.then_some(lots));
            self.seen.cuts += u32::from(is_power_cut);
        }
        for partition in 0..3 {
            let shown = self.host.shown(partition);
            let may_be = self.offsets.get_mut(&partition).unwrap();
            assert!(may_be.contains(&shown), "{partition} shows {shown:?}, not {may_be:?}");
        }
    }

    fn claim(&mut self) {
        let first = self.random.below(3) as i32;
        let partitions: Vec<_> = (first..3).map(orders).collect();
        let owner = ["alice", "bob", "carol"][self.random.below(3)];
        let claimed = self.host.coordinator().claim(self.host.now_ms(), GROUP, owner, &partitions);
        let Ok(claimed) = claimed else {
            self.seen.failed += 1;
            self.is_uncertain.extend((first..3).map(|partition| (partition, true)));
            return;
        };
        self.seen.claims += 1;
        for claimed in claimed {
            let partition = claimed.partition.partition();
            let before = self.told.insert(partition, (claimed.epoch, owner));
            if let Some((epoch, _)) = before {
                assert!(claimed.epoch > epoch, "epoch {} after {epoch}", claimed.epoch);
            }
            if !self.is_uncertain.insert(partition, false).unwrap_or(false) {
                assert_eq!(claimed.previous_owner.as_deref(), before.map(|(_, owner)| owner));
            }
            self.old.push((partition, claimed.epoch));
        }
    }

    fn commit(&mut self) {
        if self.old.is_empty() {
            return;
        }
        let recent = self.old.len().saturating_sub(self.random.below(4) + 1);
        let (partition, epoch) =
            self.old[[recent, self.random.below(self.old.len())][self.random.below(2)]];
        self.next += 1;
        let offset = NextOffset(self.next);
        let commit = order(partition, self.next).claim(epoch);
        let result =
            self.host.coordinator().commit(self.host.now_ms(), GROUP, &outside(), &[commit]);
        let (newest, owner) = self.told[&partition];
        let may_be = self.offsets.get_mut(&partition).unwrap();
        match result.map(|mut results| results.remove(0)) {
            Ok(Ok(())) => {
                assert_eq!(epoch, newest, "somebody else was told that it has the partition");
                *may_be = vec![Some(offset)];
                self.seen.accepted += 1;
            }
            Ok(Err(PartitionRefusal::Fenced(told))) => {
                assert!(told.epoch >= Some(newest), "{told:?}");
                if !self.is_uncertain[&partition] {
                    assert!(epoch < newest, "its claim is the newest one");
                    assert_eq!((told.epoch, told.owner.as_deref()), (Some(newest), Some(owner)));
                }
                assert!(may_be.contains(&told.committed));
                self.seen.fenced += 1;
            }
            Ok(Err(other)) => panic!("{other}"),
            Err(_) => {
                self.seen.failed += 1;
                // Only who passes the check can fail at the disk.
                if epoch == newest {
                    may_be.push(Some(offset));
                }
            }
        }
    }
}

#[test]
fn epochs_never_go_back_and_old_ones_commit_nothing() {
    let mut total = Seen::default();
    for seed in 0..200 {
        let mut world = World::new(seed);
        (0..300).for_each(|_| world.step());
        let seen = world.seen;
        total.claims += seen.claims;
        total.accepted += seen.accepted;
        total.fenced += seen.fenced;
        total.failed += seen.failed;
        total.cuts += seen.cuts;
    }
    println!("{total:?}");
    let Seen { claims, accepted, fenced, failed, cuts } = total;
    assert!(claims > 1_000 && accepted > 1_000 && fenced > 1_000 && failed > 500 && cuts > 500);
}
