//! What a coordinator lets pass and what it refuses, rule by rule.

use std::collections::BTreeMap;

use pagemark::group::GroupError::{self, *};
use pagemark::group::classic::{CommitRequest, JoinRequest, LeaveRequest, MemberIdentity, Reply};
use pagemark::group::coordinator::{
    CoordinatorConfig, CoordinatorError, ListFilter, PartitionCommit, PartitionRefusal, stored,
};
use pagemark::group::modern::{HeartbeatRequest, JOIN_EPOCH, Partitions};
use pagemark::group::{Coordinator, classic};
use pagemark::testkit::{Op, SimDisk};
use pagemark::{
    Commit, Durability, ErrorKind, Key, NextOffset, OffsetReader, StateChange, StateOwner,
    TopicPartition,
};

use super::claims::outside;
use super::host::{GROUP, Host, join, open_store, protocol};

fn group_error<T: std::fmt::Debug>(result: Result<T, CoordinatorError>) -> GroupError {
    match result {
        Err(CoordinatorError::Group(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn at(offset: i64) -> [PartitionCommit<'static>; 1] {
    [PartitionCommit::new("orders", 0, NextOffset(offset))]
}

fn of(member: &MemberIdentity, generation: i32) -> CommitRequest {
    CommitRequest { member: member.clone(), generation, is_transactional: false }
}

fn consumer(id: &str) -> HeartbeatRequest {
    let join = HeartbeatRequest::new(id, JOIN_EPOCH).topics(["orders"]);
    join.rebalance_timeout_ms(10_000).owned(Partitions::new())
}

/// A stable classic group of one member that reads `orders`.
fn stable() -> (Host, MemberIdentity) {
    let mut host = Host::new(1, 0);
    let static_join = JoinRequest { group_instance_id: Some("i".into()), ..join("") };
    let request = host.join(&static_join);
    let Some(Reply::Join(Ok(joined))) = host.reply(request) else { panic!() };
    let member = MemberIdentity::fixed(&joined.member_id, "i");
    host.sync(&member, 1, &[]);
    (host, member)
}

#[test]
fn commits_of_members_are_refused_in_kafkas_order() {
    let (mut host, member) = stable();
    let nobody = MemberIdentity::dynamic("nobody");
    let replaced = MemberIdentity::fixed("other", "i");
    let other_instance = MemberIdentity::fixed(&member.member_id, "j");
    for (by, refusal) in [
        (of(&other_instance, 1), UnknownMemberId),
        (of(&replaced, 1), FencedInstanceId),
        (of(&nobody, 1), UnknownMemberId),
        (of(&member, 0), IllegalGeneration),
        (of(&member, 2), IllegalGeneration),
        (outside(), UnknownMemberId),
    ] {
        let by_handle = host.coordinator().committer(GROUP, by.clone()).unwrap();
        let slot = by_handle.slot("orders", 0, None).unwrap();
        assert_eq!(group_error(slot.commit(host.now_ms(), NextOffset(1))), refusal, "{by:?}");
        let committed = host.coordinator().commit(host.now_ms(), GROUP, &by, &at(1));
        assert_eq!(group_error(committed), refusal, "{by:?}");
    }
    assert!(host.store().groups().is_empty(), "nothing was committed");
    host.coordinator().commit(host.now_ms(), GROUP, &of(&member, 1), &at(1)).unwrap();
    // Called to join, it may commit; when a generation has begun and is not assigned, it may not.
    let (second, _) = two_step_join(&mut host);
    host.coordinator().commit(host.now_ms(), GROUP, &of(&member, 1), &at(2)).unwrap();
    let again = JoinRequest { group_instance_id: Some("i".into()), ..join(&member.member_id) };
    host.join(&again);
    let early = host.coordinator().commit(host.now_ms(), GROUP, &of(&member, 2), &at(3));
    assert_eq!(group_error(early), RebalanceInProgress);
    let stale = host.coordinator().commit(host.now_ms(), GROUP, &of(&second, 1), &at(3));
    assert_eq!(group_error(stale), IllegalGeneration);
}

#[test]
fn a_state_goes_with_the_offset_or_not_at_all() {
    let (host, member) = stable();
    let commit = |generation, offset, change| {
        let offsets = [PartitionCommit::new("orders", 0, NextOffset(offset)).state(change)];
        let by = of(&member, generation);
        host.coordinator().commit_with(host.now_ms(), GROUP, &by, &offsets, Durability::Buffered)
    };
    let shown = || {
        let offset = host.store().fetch(Key::new(GROUP, "orders", 0)).map(|found| found.offset().0);
        (offset, host.store().state(GROUP, StateOwner::Acks, "orders", 0))
    };
    assert_eq!(group_error(commit(0, 1, StateChange::Put(b"stale"))), IllegalGeneration);
    assert_eq!(shown(), (None, None));
    let committed = commit(1, 1, StateChange::Put(b"a")).unwrap();
    assert!(committed.receipt.unwrap().seq() > host.store().durable_seq(), "it did not wait");
    commit(1, 2, StateChange::Append(b"b")).unwrap();
    assert_eq!(shown(), (Some(2), Some(b"ab".to_vec())));
    let refused = commit(1, -1, StateChange::Append(b"c")).unwrap();
    assert!(matches!(refused.partitions[0], Err(PartitionRefusal::Invalid(_))));
    assert!(refused.receipt.is_none());
    assert_eq!(shown(), (Some(2), Some(b"ab".to_vec())));
    commit(1, 3, StateChange::Delete).unwrap();
    assert_eq!(shown(), (Some(3), None));
}

fn two_step_join(host: &mut Host) -> (MemberIdentity, pagemark::group::classic::RequestId) {
    let request = host.join(&join(""));
    let Some(Reply::Join(Err(refusal))) = host.reply(request).cloned() else { panic!() };
    assert_eq!(refusal.error, MemberIdRequired);
    let request = host.join(&join(&refusal.member_id));
    (MemberIdentity::dynamic(refusal.member_id), request)
}

#[test]
fn a_commit_counts_as_a_heartbeat_by_name_and_by_handle() {
    let (mut host, member) = stable();
    let by = host.coordinator().committer(GROUP, of(&member, 1)).unwrap();
    let slot = by.slot("orders", 0, None).unwrap();
    for round in 0..4 {
        host.wait(9_000);
        match round % 2 {
            0 => drop(slot.commit(host.now_ms(), NextOffset(round)).unwrap().unwrap()),
            _ => drop(host.coordinator().commit(host.now_ms(), GROUP, &of(&member, 1), &at(round))),
        }
    }
    assert_eq!(host.heartbeat_of(&member, 1), Ok(()));
    host.wait(10_000);
    // Its session is over, and the handle knows it at once.
    assert_eq!(group_error(slot.commit(host.now_ms(), NextOffset(9))), UnknownMemberId);
}

#[test]
fn a_handle_knows_at_once_what_happened_to_the_group() {
    let (mut host, member) = stable();
    let by = host.coordinator().committer(GROUP, of(&member, 1)).unwrap();
    let slot = by.slot("orders", 0, None).unwrap();
    let commit = |host: &Host, offset| slot.commit(host.now_ms(), NextOffset(offset));
    commit(&host, 1).unwrap().unwrap();
    // All within one millisecond.
    host.join(&JoinRequest { group_instance_id: Some("i".into()), ..join(&member.member_id) });
    assert_eq!(group_error(commit(&host, 2)), IllegalGeneration);
    let by = host.coordinator().committer(GROUP, of(&member, 2)).unwrap();
    let slot = by.slot("orders", 0, None).unwrap();
    host.sync(&member, 2, &[]);
    slot.commit(host.now_ms(), NextOffset(3)).unwrap().unwrap();
    host.leave(member);
    assert_eq!(group_error(slot.commit(host.now_ms(), NextOffset(4))), UnknownMemberId);
    host.hand_over().unwrap();
    let late = slot.commit(host.now_ms(), NextOffset(5));
    assert!(matches!(late, Err(CoordinatorError::Store(e)) if e.kind() == ErrorKind::Closed));
    let stored = host.store().fetch(Key::new(GROUP, "orders", 0)).unwrap();
    assert_eq!(stored.offset(), NextOffset(3));
}

#[test]
fn a_handle_to_a_group_without_members_is_fenced_by_the_first_one() {
    let mut host = Host::new(1, 0);
    let by = host.coordinator().committer(GROUP, outside()).unwrap();
    let slot = by.slot("orders", 0, None).unwrap();
    slot.commit(host.now_ms(), NextOffset(1)).unwrap().unwrap();
    // Groups that nobody needs go with a tick. This one is needed.
    host.jump(0);
    two_step_join(&mut host);
    assert_eq!(group_error(slot.commit(host.now_ms(), NextOffset(2))), UnknownMemberId);
}

#[test]
fn a_group_that_is_not_there_takes_offsets_of_nobody_only() {
    let host = Host::new(1, 0);
    let member = MemberIdentity::dynamic("m");
    let commit = |by: &CommitRequest| host.coordinator().commit(host.now_ms(), GROUP, by, &at(5));
    assert_eq!(group_error(commit(&of(&member, 3))), GroupIdNotFound);
    let listed = host.coordinator().list(host.now_ms(), &ListFilter::default()).unwrap();
    assert!(listed.is_empty());
    assert_eq!(group_error(host.coordinator().describe(host.now_ms(), GROUP)), GroupIdNotFound);
    commit(&outside()).unwrap();
    assert_eq!(group_error(commit(&of(&member, 3))), UnknownMemberId, "it is a simple group now");
    let fetched =
        host.coordinator().fetch(host.now_ms(), GROUP, None, -1, &[("orders", 0), ("x", 1)]);
    let fetched: Vec<_> =
        fetched.unwrap().into_iter().map(|value| value.map(|value| value.offset())).collect();
    assert_eq!(fetched, [Some(NextOffset(5)), None]);
    for name in [String::new(), "n".repeat(40_000)] {
        let refused = host.coordinator().commit(host.now_ms(), &name, &outside(), &at(1));
        assert_eq!(group_error(refused), InvalidGroupId);
    }
}

#[test]
fn metadata_that_is_too_long_fails_its_partition_only() {
    let host = Host::new(1, 0);
    let topics = BTreeMap::from([("orders".to_owned(), 3)]);
    host.coordinator().set_topics(topics);
    let (most, more) = ("m".repeat(4_096), "m".repeat(4_097));
    let offsets = [
        PartitionCommit::new("orders", 0, Commit::new(NextOffset(1)).metadata(&most)),
        PartitionCommit::new("orders", 1, Commit::new(NextOffset(1)).metadata(&more)),
        PartitionCommit::new("orders", 2, NextOffset(-1)),
        PartitionCommit::new("orders", 3, NextOffset(1)),
        PartitionCommit::new("orders", -1, NextOffset(1)),
    ];
    let results = host.coordinator().commit(host.now_ms(), GROUP, &outside(), &offsets).unwrap();
    assert!(results[0].is_ok());
    let kind = |result: &Result<(), PartitionRefusal>| match result {
        Err(PartitionRefusal::Invalid(error)) => Some(error.kind()),
        _ => None,
    };
    assert_eq!(kind(&results[1]), Some(ErrorKind::MetadataTooLarge));
    assert_eq!(kind(&results[2]), Some(ErrorKind::InvalidArgument));
    assert!(matches!(results[3], Err(PartitionRefusal::UnknownPartition)), "{results:?}");
    assert_eq!(kind(&results[4]), Some(ErrorKind::InvalidArgument));
    assert_eq!(host.store().fetch_group(GROUP).len(), 1);
    let stored = host.store().fetch(Key::new(GROUP, "orders", 0)).unwrap();
    assert_eq!(stored.commit_timestamp_ms(), host.now_ms(), "the time is the coordinator's");
}

#[test]
fn a_group_has_the_protocol_of_its_members() {
    let (mut host, member) = stable();
    host.coordinator().set_topics(BTreeMap::from([("orders".to_owned(), 1)]));
    let beat = |host: &Host, request: &HeartbeatRequest| {
        host.coordinator().consumer_heartbeat(host.now_ms(), GROUP, request)
    };
    assert_eq!(group_error(beat(&host, &consumer("a"))), GroupIdNotFound);
    host.leave(member.clone());
    host.crash(Some(0));
    host.coordinator().set_topics(BTreeMap::from([("orders".to_owned(), 1)]));
    assert_eq!(group_error(beat(&host, &HeartbeatRequest::new("a", 1))), GroupIdNotFound);
    assert_eq!(beat(&host, &consumer("a")).unwrap().member_epoch, 1);
    for power_cut in [false, true] {
        if power_cut {
            host.crash(Some(0));
        }
        let request = host.join(&join(""));
        let Some(Reply::Join(Err(refusal))) = host.reply(request) else { panic!() };
        assert_eq!(refusal.error, InconsistentGroupProtocol);
        assert_eq!(host.heartbeat_of(&member, 1), Err(UnknownMemberId));
    }
    // Its commits and fetches are fenced by its epoch.
    let of_epoch = |epoch| of(&MemberIdentity::dynamic("a"), epoch);
    let commit = |epoch| host.coordinator().commit(host.now_ms(), GROUP, &of_epoch(epoch), &at(1));
    commit(1).unwrap();
    assert_eq!(group_error(commit(0)), StaleMemberEpoch);
    let fetch =
        |id, epoch| host.coordinator().fetch(host.now_ms(), GROUP, id, epoch, &[("orders", 0)]);
    assert!(fetch(None, -1).is_ok() && fetch(Some("a"), 1).is_ok());
    assert_eq!(group_error(fetch(Some("a"), 2)), StaleMemberEpoch);
    assert_eq!(group_error(fetch(Some("b"), 1)), UnknownMemberId);
    // And back, once it is empty.
    beat(&host, &HeartbeatRequest::new("a", -1)).unwrap();
    two_step_join(&mut host);
    host.crash(Some(0));
    // Its first generation has begun. Who waits for its share is lost with the coordinator.
    let classic = host.describe().unwrap();
    assert_eq!((classic.generation, classic.members.len()), (1, 0));
}

#[test]
fn groups_are_listed_by_state_and_type_and_deleted_when_they_are_empty() {
    let (mut host, member) = stable();
    host.coordinator().set_topics(BTreeMap::from([("orders".to_owned(), 9)]));
    host.coordinator().consumer_heartbeat(host.now_ms(), "modern", &consumer("a")).unwrap();
    host.coordinator().commit(host.now_ms(), "simple", &outside(), &at(1)).unwrap();
    let list = |states: &[&str], types: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let filter = ListFilter { states: own(states), types: own(types) };
        let listed = host.coordinator().list(host.now_ms(), &filter).unwrap();
        listed.into_iter().map(|group| group.group).collect::<Vec<_>>()
    };
    assert_eq!(list(&[], &[]), ["modern", GROUP, "simple"]);
    assert_eq!(list(&["sTable"], &[]), ["modern", GROUP]);
    assert_eq!(list(&["stable"], &["Consumer"]), ["modern"]);
    assert_eq!(list(&["empty"], &["classic"]), ["simple"]);
    assert!(list(&["no state"], &[]).is_empty() && list(&[], &["share"]).is_empty());

    let partitions = [TopicPartition::new("orders", 0), TopicPartition::new("refunds", 0)];
    for group in [GROUP, "modern"] {
        let results = host.coordinator().delete_offsets(host.now_ms(), group, &partitions).unwrap();
        assert!(matches!(results[0], Err(PartitionRefusal::Group(GroupSubscribedToTopic))));
        assert!(results[1].is_ok(), "nothing was stored, and that is no error");
        let deleted = host.coordinator().delete_group(host.now_ms(), group);
        assert_eq!(group_error(deleted), NonEmptyGroup);
    }
    let deleted = host.coordinator().delete_offsets(host.now_ms(), "none", &partitions);
    assert_eq!(group_error(deleted), GroupIdNotFound);
    host.coordinator().commit(host.now_ms(), GROUP, &of(&member, 1), &at(1)).unwrap();
    host.leave(member);
    host.coordinator().delete_group(host.now_ms(), GROUP).unwrap();
    assert_eq!(group_error(host.coordinator().delete_group(host.now_ms(), GROUP)), GroupIdNotFound);
    host.crash(Some(0));
    assert!(host.store().fetch_group(GROUP).is_empty() && host.describe().is_none());
}

#[test]
fn whoever_does_not_read_topics_keeps_its_offsets_while_it_is_there() {
    let mut host = Host::new(1, 0);
    let connect = JoinRequest {
        protocol_type: "connect".into(),
        protocols: vec![protocol("sessioned", &["x"])],
        requires_member_id: false,
        ..join("")
    };
    host.join(&connect);
    let partitions = [TopicPartition::new("orders", 0)];
    let deleted = host.coordinator().delete_offsets(host.now_ms(), GROUP, &partitions);
    assert_eq!(group_error(deleted), NonEmptyGroup);
}

#[test]
fn nothing_is_told_that_a_failed_flush_may_have_lost() {
    let (mut host, member) = stable();
    host.disk().fail_nth(Op::SyncFile, 0, std::io::ErrorKind::Other);
    let again = JoinRequest { group_instance_id: Some("i".into()), ..join(&member.member_id) };
    let request = host.join(&again);
    let Some(Reply::Join(Err(refusal))) = host.reply(request) else { panic!() };
    assert_eq!(refusal.error, CoordinatorNotAvailable);
    // In memory the new generation is there. Whether it is on the disk nobody knows.
    let heard = host.heartbeat_of(&member, 2);
    assert_eq!(heard, Err(CoordinatorNotAvailable));
    host.crash(Some(0));
    assert_eq!(host.heartbeat_of(&member, 2), Err(IllegalGeneration));
    assert_eq!(host.heartbeat_of(&member, 1), Ok(()));
}

#[test]
fn a_full_disk_is_told_and_the_group_goes_on_from_what_is_stored() {
    let (mut host, member) = stable();
    host.disk().capacity(Some(0));
    let mut full = None;
    for round in 0..10_000 {
        let leave = LeaveRequest { request: host.request(), members: vec![member.clone()] };
        let commit = host.coordinator().commit(host.now_ms(), GROUP, &of(&member, 1), &at(round));
        if let Err(CoordinatorError::Store(error)) = commit {
            assert_eq!(error.kind(), ErrorKind::Full);
            full = Some(host.coordinator().leave(host.now_ms(), GROUP, leave));
            break;
        }
    }
    let answers = full.unwrap();
    assert_eq!(answers.failures[0].error.kind(), ErrorKind::Full);
    let refused = &answers.effects[0].reply;
    assert_eq!(*refused, Reply::Leave(Err(CoordinatorNotAvailable)));
    assert_eq!(host.heartbeat_of(&member, 1), Ok(()), "it has not left");
    assert!(host.coordinator().next_deadline().is_some(), "and is waited for");
    host.disk().capacity(None);
    host.leave(member);
    assert!(host.describe().unwrap().members.is_empty());
}

#[test]
fn what_no_coordinator_has_stored_is_not_opened() {
    let disk = SimDisk::new();
    let store = open_store(&disk, 1).unwrap();
    for (name, kind) in [
        ("classic", ErrorKind::Corrupt),
        ("consumer", ErrorKind::Corrupt),
        ("share", ErrorKind::UnsupportedVersion),
        ("commits", ErrorKind::Corrupt),
    ] {
        let mut batch = pagemark::CommitBatch::new("g");
        batch.put_state(pagemark::StateOwner::Membership, name, 0, &[1, 9]);
        store.commit_batch(&batch).unwrap();
        let opened = Coordinator::open(store.clone(), CoordinatorConfig::new(), 0);
        assert_eq!(opened.unwrap_err().kind(), kind, "{name}");
        assert_eq!(read(&disk).unwrap_err().kind(), kind, "{name}");
        store.delete_group("g").unwrap();
    }
    // Records of both protocols, each of them right.
    let mut batch = pagemark::CommitBatch::new("g");
    for name in ["classic", "consumer"] {
        let record = match name {
            "classic" => classic_record(),
            _ => vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        batch.put_state(pagemark::StateOwner::Membership, name, 0, &record);
    }
    store.commit_batch(&batch).unwrap();
    let opened = Coordinator::open(store, CoordinatorConfig::new(), 0);
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(read(&disk).unwrap_err().kind(), ErrorKind::Corrupt);
}

fn read(disk: &SimDisk) -> pagemark::Result<Option<stored::StoredGroup>> {
    stored::describe(&OffsetReader::open_in(disk.dir())?, "g")
}

fn classic_record() -> Vec<u8> {
    let group = classic::Group {
        state: classic::StoredState::Empty,
        generation: 1,
        state_since_ms: 0,
        protocol_type: None,
        protocol: None,
        leader: None,
    };
    classic::Record::Group(group).value().unwrap()
}
