//! What a coordinator that starts anew knows, and what it does not.

use pagemark::ErrorKind;
use pagemark::group::GroupError::*;
use pagemark::group::classic::ClassicState::*;
use pagemark::group::classic::{
    ClassicConfig, ClassicGroup, Group, Member, MemberIdentity, Record, StoredState,
};

use super::host::{Fate, Host, SESSION_MS, decode, join, join_static, protocol};

fn stable() -> (Host, MemberIdentity, MemberIdentity) {
    let mut host = Host::new(ClassicConfig::new());
    let (id, _) = host.join_as_new(&join(""));
    let request = host.join(&join_static("", "i"));
    host.wait(6_000);
    let leader = MemberIdentity::dynamic(id);
    let follower = MemberIdentity::fixed(&host.joined(request).member_id, "i");
    host.sync(&leader, 1, &[(&leader.member_id, b"0"), (&follower.member_id, b"1")]);
    host.sync(&follower, 1, &[]);
    (host, leader, follower)
}

#[test]
fn a_stable_group_goes_on_and_its_members_have_a_whole_session() {
    let (mut host, leader, follower) = stable();
    host.wait(i64::from(SESSION_MS) - 1);
    host.restart();
    host.wait(i64::from(SESSION_MS) - 1);
    assert_eq!((host.heartbeat(&leader), host.heartbeat(&follower)), (Ok(()), Ok(())));
    let sync = host.sync(&follower, 1, &[]);
    assert_eq!(host.assignment(sync), b"1");
    // It has said the same as before, so nobody has to join again.
    let again = host.join(&join_static(&follower.member_id, "i"));
    assert_eq!(host.joined(again).generation, 1);
}

#[test]
fn a_generation_that_began_is_used_up() {
    let (mut host, leader, follower) = stable();
    let first = host.join(&join(&leader.member_id));
    let second = host.join(&join_static(&follower.member_id, "i"));
    assert_eq!((host.joined(first).generation, host.joined(second).generation), (2, 2));
    host.restart();
    assert_eq!((host.group.state(), host.group.generation()), (PreparingRebalance, 2));
    // The leader comes too late with what it assigned for it.
    let late = host.sync(&leader, 2, &[(&leader.member_id, b"all")]);
    assert_eq!(host.refusal(late), Some(RebalanceInProgress));
    let first = host.join(&join(&leader.member_id));
    host.join(&join_static(&follower.member_id, "i"));
    assert_eq!(host.joined(first).generation, 3);
    assert_eq!(host.commit(&leader, 2, false), Err(IllegalGeneration));
}

#[test]
fn who_has_left_stays_away_and_the_others_share_anew() {
    let (mut host, leader, follower) = stable();
    host.leave(std::slice::from_ref(&follower));
    host.restart();
    assert_eq!(host.group.state(), PreparingRebalance);
    assert_eq!(host.commit(&follower, 1, false), Err(UnknownMemberId));
    assert_eq!(host.commit(&leader, 1, false), Ok(()));
    assert_eq!(host.heartbeat(&leader), Err(RebalanceInProgress));
}

#[test]
fn a_process_that_was_replaced_stays_fenced() {
    // In a stable group the new one is stored in the place of the old one.
    let (mut host, _, follower) = stable();
    let request = host.join(&join_static("", "i"));
    let anew = MemberIdentity::fixed(&host.joined(request).member_id, "i");
    host.restart();
    assert_eq!(host.commit(&follower, 1, false), Err(FencedInstanceId));
    assert_eq!(host.commit(&anew, 1, false), Ok(()));
    // In a rebalance only the removal is stored: neither fences the other.
    let (mut host, leader, follower) = stable();
    host.join(&join(&leader.member_id));
    let request = host.join(&join_static("", "i"));
    let anew = MemberIdentity::fixed(&host.joined(request).member_id, "i");
    host.restart();
    assert_eq!(host.commit(&follower, 1, false), Err(UnknownMemberId));
    assert_eq!(host.heartbeat(&anew), Err(UnknownMemberId));
    let again = host.join(&join_static("", "i"));
    assert_eq!(host.refusal(again), None);
}

#[test]
fn who_waits_for_its_first_assignment_joins_again() {
    let mut host = Host::new(ClassicConfig::new());
    let (id, _) = host.join_as_new(&join(""));
    host.restart();
    assert_eq!(host.group.state(), Empty);
    let known = host.join(&join(&id));
    assert_eq!(host.refusal(known), Some(UnknownMemberId));
    let (_, request) = host.join_as_new(&join(""));
    host.wait(3_000);
    assert_eq!(host.joined(request).generation, 1);
}

#[test]
fn nobody_hears_what_was_not_stored() {
    let (mut host, leader, follower) = stable();
    let first = host.join(&join(&leader.member_id));
    host.fate = Fate::CannotStore;
    let second = host.join(&join_static(&follower.member_id, "i"));
    for request in [first, second] {
        assert_eq!(host.refusal(request), Some(CoordinatorNotAvailable));
    }
    assert_eq!((host.group.state(), host.group.generation()), (PreparingRebalance, 1));
    let first = host.join(&join(&leader.member_id));
    host.join(&join_static(&follower.member_id, "i"));
    assert_eq!(host.joined(first).generation, 2);
}

#[test]
fn everyone_who_waits_is_answered_when_the_coordinator_stops() {
    let (mut host, leader, follower) = stable();
    let join_waits = host.join(&join(&leader.member_id));
    let effects = host.group.clone().abandon(Vec::new());
    assert_eq!(effects.iter().map(|effect| effect.request).collect::<Vec<_>>(), [join_waits]);
    host.join(&join_static(&follower.member_id, "i"));
    let sync_waits = host.sync(&follower, 2, &[]);
    let effects = host.group.clone().abandon(Vec::new());
    assert_eq!(effects.iter().map(|effect| effect.request).collect::<Vec<_>>(), [sync_waits]);
}

#[test]
fn a_deleted_group_leaves_nothing_behind() {
    let (mut host, leader, follower) = stable();
    assert_eq!(host.group.delete(host.now).unwrap_err(), NonEmptyGroup);
    host.leave(&[leader, follower]);
    assert_eq!((host.group.state(), host.states.len()), (Empty, 1));
    host.ask_for_an_id();
    let step = host.group.delete(host.now).unwrap();
    host.take(step);
    assert_eq!((host.group.next_deadline(), host.states.len()), (None, 0));
    host.restart();
    assert_eq!(host.group.generation(), 0);
}

fn member(protocols: &[&str], instance_id: Option<&str>) -> Member {
    Member {
        group_instance_id: instance_id.map(Into::into),
        client_id: "c".into(),
        client_host: "h".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocols: protocols.iter().map(|name| protocol(name, &["t"])).collect(),
        assignment: [].into(),
    }
}

#[test]
fn records_that_do_not_fit_each_other_are_refused() {
    let group = |state| {
        Record::Group(Group {
            state,
            generation: 1,
            state_since_ms: 0,
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            leader: Some("gone".into()),
        })
    };
    let of = |id: &str, protocols: &[&str], instance_id| {
        let member = member(protocols, instance_id);
        Record::Member { member_id: id.into(), member }
    };
    let open = |records: Vec<Record>| ClassicGroup::open(ClassicConfig::new(), records, 0);
    for records in [
        vec![of("a", &["range"], None)],
        vec![group(StoredState::Stable), of("a", &["sticky"], None)],
        vec![group(StoredState::Rebalancing), of("a", &["x"], None), of("b", &["y"], None)],
        vec![
            group(StoredState::Rebalancing),
            of("a", &["x"], Some("i")),
            of("b", &["x"], Some("i")),
        ],
    ] {
        assert_eq!(open(records).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    // Who leads is found anew if it has to be.
    let group = open(vec![group(StoredState::Stable), of("a", &["range"], None)]).unwrap();
    assert_eq!(group.describe().leader.as_deref(), Some("a"));
}

#[test]
fn a_round_is_stored_in_few_records() {
    let (host, leader, follower) = stable();
    let names: Vec<_> = host.states.keys().cloned().collect();
    let of = |member: &MemberIdentity| format!("classic/{}", member.member_id);
    assert_eq!(names, ["classic".to_owned(), of(&leader), of(&follower)]);
    assert_eq!(decode(&host.states).len(), 3);
}
