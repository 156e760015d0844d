//! Who waits for which flush.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pagemark::NextOffset;
use pagemark::group::Coordinator;
use pagemark::group::GroupError::CoordinatorNotAvailable;
use pagemark::group::classic::{
    CommitRequest, JoinRequest, MemberIdentity, Reply, RequestId, SyncRequest,
};
use pagemark::group::coordinator::PartitionCommit;
use pagemark::testkit::{Op, SimDisk};

use super::hooked::{Call, Hooked};
use super::host::{GROUP, config, join, open_store};
use super::support::options;

fn static_join(request: u64) -> JoinRequest {
    let group_instance_id = Some("i".into());
    JoinRequest { request: RequestId(request), group_instance_id, ..join("") }
}

fn sync(request: u64, member: MemberIdentity) -> SyncRequest {
    SyncRequest {
        request: RequestId(request),
        member,
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: Vec::new(),
    }
}

/// A coordinator with a member that waits in each of so many groups.
fn waiting(disk: &SimDisk, groups: u64) -> Coordinator {
    let store = open_store(disk, 1).unwrap();
    let coordinator = Coordinator::open(store, config(3_000), 0).unwrap();
    for group in 0..groups {
        let answers = coordinator.join(0, &format!("g{group}"), static_join(group), group.into());
        assert!(answers.effects.is_empty());
    }
    coordinator
}

#[test]
fn what_is_due_in_many_groups_is_stored_with_one_flush() {
    let coordinator = waiting(&SimDisk::new(), 20);
    let before = coordinator.store().stats().flushes;
    let answers = coordinator.tick(3_000);
    assert_eq!(answers.effects.len(), 20);
    assert!(answers.effects.iter().all(|of| matches!(of.reply, Reply::Join(Ok(_)))));
    assert_eq!(coordinator.store().stats().flushes, before + 1);
}

#[test]
fn a_classic_rebalance_takes_three_flushes_however_many_members_there_are() {
    for members in [2, 50] {
        let store = open_store(&SimDisk::new(), 1).unwrap();
        let coordinator = Coordinator::open(store, config(3_000), 0).unwrap();
        let before = coordinator.store().stats().flushes;
        for member in 0..members {
            let group_instance_id = Some(format!("i{member}"));
            let join = JoinRequest { group_instance_id, ..static_join(member) };
            assert!(coordinator.join(0, GROUP, join, member.into()).effects.is_empty());
        }
        let _ = coordinator.tick(3_000);
        let effects = coordinator.tick(6_000).effects;
        assert_eq!(effects.len() as u64, members);
        for effect in effects {
            let Reply::Join(Ok(joined)) = effect.reply else { panic!() };
            let instance = joined.member_id.split('-').next().unwrap();
            let member = MemberIdentity::fixed(&joined.member_id, instance);
            let _ = coordinator.sync(6_000, GROUP, sync(effect.request.0, member));
        }
        assert_eq!(coordinator.store().stats().flushes, before + 3);
    }
}

#[test]
fn everybody_is_told_when_the_flush_of_many_groups_fails() {
    let disk = SimDisk::new();
    let coordinator = waiting(&disk, 20);
    disk.fail_nth(Op::SyncFile, 0, std::io::ErrorKind::Other);
    let answers = coordinator.tick(3_000);
    assert_eq!((answers.effects.len(), answers.failures.len()), (20, 20));
    for effect in answers.effects {
        let Reply::Join(Err(refusal)) = effect.reply else { panic!() };
        assert_eq!(refusal.error, CoordinatorNotAvailable);
    }
    assert_eq!(coordinator.next_deadline(), None, "nobody is left");
}

/// While the assignments are flushed, those whose answers do not rely on them get theirs: in the middle
/// of the flush, by the thread that flushes.
#[test]
fn members_are_heard_and_commit_while_a_step_is_flushed() {
    type Body = Box<dyn FnOnce() + Send>;
    let meanwhile: Arc<Mutex<Option<Body>>> = Arc::default();
    let body = Arc::clone(&meanwhile);
    let hooked = Hooked::new(SimDisk::new().dir(), move |call| {
        let body = match call {
            Call::Other => body.lock().unwrap().take(),
            _ => None,
        };
        body.into_iter().for_each(|body| body());
    });
    let store = options(1).open_in(hooked).unwrap();
    let coordinator = Coordinator::open(store, config(0), 0).unwrap();
    let joined = coordinator.join(0, GROUP, static_join(1), 1).effects.remove(0).reply;
    let Reply::Join(Ok(joined)) = joined else { panic!() };
    let member = MemberIdentity::fixed(&joined.member_id, "i");

    let has_run = Arc::new(AtomicBool::new(false));
    let (by, other, ran) = (member.clone(), coordinator.clone(), Arc::clone(&has_run));
    *meanwhile.lock().unwrap() = Some(Box::new(move || {
        other.heartbeat(0, GROUP, &by, 1).unwrap();
        let by = CommitRequest { member: by, generation: 1, is_transactional: false };
        let commit = [PartitionCommit::new("orders", 0, NextOffset(1))];
        assert!(other.commit(0, GROUP, &by, &commit).unwrap()[0].is_ok());
        ran.store(true, Ordering::Relaxed);
    }));
    assert_eq!(coordinator.sync(0, GROUP, sync(2, member)).effects.len(), 1);
    assert!(has_run.load(Ordering::Relaxed), "there was no flush");
}
