//! Commits against what fences them, under schedules that shuttle draws.
//!
//! The check and the append of a commit are one step for everybody else: when a member has left, or a
//! claim was made, and its answer is there, no commit of before can follow.

use std::sync::Arc;

use shuttle::Config;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};

use super::{Committer, Coordinator, CoordinatorConfig, GroupDescription, PartitionCommit};
use crate::group::classic::{
    ClassicConfig, CommitRequest, JoinRequest, LeaveRequest, MemberIdentity, Protocol, Reply,
    RequestId, SyncRequest,
};
use crate::sync::{Runs, thread};
use crate::testkit::{FixedEnvironment, Op, SimDisk};
use crate::{Durability, Key, NextOffset, Options, TopicPartition};

fn explore(run: fn()) {
    check(RandomScheduler::new_from_seed(1, 500), run);
    check(PctScheduler::new_from_seed(2, 3, 500), run);
}

fn check(scheduler: impl Scheduler + 'static, run: fn()) {
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    config.silence_warnings = true;
    let (runs, run) = Runs::count(run);
    shuttle::Runner::new(scheduler, config).run(run);
    drop(runs);
}

fn coordinator() -> Coordinator {
    coordinator_on(&SimDisk::new())
}

fn coordinator_on(disk: &SimDisk) -> Coordinator {
    let options = Options::new().segment_size(16 << 10).background(false);
    let options = options.durability(Durability::Buffered).environment(FixedEnvironment::new(1));
    let store = options.open_in(disk.dir()).unwrap();
    let classic = ClassicConfig::new().initial_rebalance_delay_ms(0);
    Coordinator::open(store, CoordinatorConfig::new().classic(classic), 0).unwrap()
}

fn join(request: u64, instance: &str) -> JoinRequest {
    JoinRequest {
        request: RequestId(request),
        member_id: String::new(),
        group_instance_id: Some(instance.into()),
        client_id: "c".into(),
        client_host: "h".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: [].into() }],
        requires_member_id: true,
        can_skip_assignment: true,
    }
}

/// A member that is alone and has its assignment.
fn member(coordinator: &Coordinator) -> CommitRequest {
    let answers = coordinator.join(0, "g", join(1, "i"), 1);
    let Reply::Join(Ok(joined)) = &answers.effects[0].reply else { panic!() };
    let member = MemberIdentity::fixed(&joined.member_id, "i");
    let sync = SyncRequest {
        request: RequestId(2),
        member: member.clone(),
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    };
    assert_eq!(coordinator.sync(0, "g", sync).effects.len(), 1);
    CommitRequest { member, generation: 1, is_transactional: false }
}

fn shown(coordinator: &Coordinator) -> Option<NextOffset> {
    coordinator.store().fetch(Key::new("g", "t", 0)).map(|value| value.offset())
}

/// Commits by a handle until it is refused.
fn commit_on(committer: &Committer, claim: Option<crate::group::claims::ClaimEpoch>) {
    let slot = committer.slot("t", 0, claim).unwrap();
    for offset in 0..3 {
        if !matches!(slot.commit(0, NextOffset(offset)), Ok(Ok(_))) {
            break;
        }
    }
}

#[test]
fn no_commit_of_a_member_follows_on_its_leave() {
    explore(|| {
        let coordinator = coordinator();
        let by = member(&coordinator);
        let committer = coordinator.committer("g", by.clone()).unwrap();
        let by_handle = thread::spawn(move || commit_on(&committer, None));
        let (named, request) = (coordinator.clone(), by.clone());
        let by_name = thread::spawn(move || {
            let commit = [PartitionCommit::new("t", 0, NextOffset(10))];
            let _ = named.commit(0, "g", &request, &commit);
        });
        let leave = LeaveRequest { request: RequestId(3), members: vec![by.member] };
        assert_eq!(coordinator.leave(0, "g", leave).effects.len(), 1);
        let when_it_had_left = shown(&coordinator);
        by_handle.join().unwrap();
        by_name.join().unwrap();
        assert_eq!(shown(&coordinator), when_it_had_left);
    });
}

#[test]
fn no_commit_of_an_owner_follows_on_the_next_claim() {
    explore(|| {
        let coordinator = coordinator();
        let of = [TopicPartition::new("t", 0)];
        let first = coordinator.claim(0, "g", "alice", &of).unwrap()[0].epoch;
        let member = MemberIdentity::default();
        let nobody = CommitRequest { member, generation: -1, is_transactional: false };
        let committer = Arc::new(coordinator.committer("g", nobody).unwrap());
        let alice = thread::spawn(move || commit_on(&committer, Some(first)));
        let claimed = coordinator.claim(0, "g", "bob", &of).unwrap().remove(0);
        alice.join().unwrap();
        let told = claimed.committed.map(|value| value.offset());
        assert_eq!(shown(&coordinator), told);
    });
}

/// Whether nobody is a member any more by what a power cut would leave now.
fn is_empty_on(disk: &SimDisk) -> bool {
    let image = coordinator_on(&disk.power_cut(0));
    is_empty(&image.describe(0, "g").unwrap())
}

fn is_empty(described: &GroupDescription) -> bool {
    matches!(described, GroupDescription::Classic(group) if group.members.is_empty())
}

#[test]
fn nothing_is_told_that_a_power_cut_would_take_back() {
    explore(|| {
        let disk = SimDisk::new();
        let coordinator = coordinator_on(&disk);
        let by = member(&coordinator);
        let told = |body: fn(&Coordinator, &CommitRequest) -> bool| {
            let (coordinator, by, disk) = (coordinator.clone(), by.clone(), disk.clone());
            thread::spawn(move || assert!(!body(&coordinator, &by) || is_empty_on(&disk)))
        };
        let threads = [
            told(|coordinator, by| {
                let members = vec![by.member.clone()];
                let leave = LeaveRequest { request: RequestId(3), members };
                coordinator.leave(0, "g", leave).effects.len() == 1
            }),
            told(|coordinator, by| coordinator.heartbeat(0, "g", &by.member, 1).is_err()),
            told(|coordinator, by| {
                let commit = [PartitionCommit::new("t", 0, NextOffset(1))];
                coordinator.commit(0, "g", by, &commit).is_err()
            }),
            told(|coordinator, _| is_empty(&coordinator.describe(0, "g").unwrap())),
        ];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn each_request_has_one_answer_when_a_flush_fails_that_several_wait_for() {
    explore(|| {
        let disk = SimDisk::new();
        let coordinator = coordinator_on(&disk);
        let by = member(&coordinator);
        disk.fail_nth(Op::SyncFile, 0, std::io::ErrorKind::Other);
        let joining = coordinator.clone();
        let joining = thread::spawn(move || joining.join(0, "g", join(4, "j"), 2).effects);
        let leave = LeaveRequest { request: RequestId(5), members: vec![by.member] };
        let mut effects = coordinator.leave(0, "g", leave).effects;
        effects.extend(joining.join().unwrap());
        effects.extend(coordinator.stop());
        effects.sort_by_key(|effect| effect.request);
        let answered: Vec<_> = effects.iter().map(|effect| effect.request.0).collect();
        assert_eq!(answered, [4, 5]);
        for effect in effects {
            let is_refused = match effect.reply {
                Reply::Join(joined) => joined.is_err(),
                Reply::Leave(left) => left.is_err(),
                Reply::Sync(_) => false,
            };
            assert!(is_refused, "the flush has failed");
        }
    });
}
