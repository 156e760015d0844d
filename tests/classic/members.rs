//! Members one at a time: how they get in, what static ones keep, and how a generation begins.

use pagemark::group::GroupError::{self, *};
use pagemark::group::classic::ClassicState::*;
use pagemark::group::classic::{
    ClassicConfig, JoinRequest, MAX_MEMBER_BYTES, MAX_PROTOCOLS, MemberIdentity, Protocol,
};

use super::host::{Host, REBALANCE_MS, SESSION_MS, join, join_static, protocol};

/// Config without the wait of an empty group for more members.
fn at_once() -> ClassicConfig {
    ClassicConfig::new().initial_rebalance_delay_ms(0)
}

fn refused(join: JoinRequest) -> Option<GroupError> {
    let mut host = Host::new(at_once());
    let request = host.join(&join);
    host.refusal(request)
}

/// A stable group of a dynamic leader and a static follower.
fn pair() -> (Host, MemberIdentity, MemberIdentity) {
    let mut host = Host::new(ClassicConfig::new());
    let (id, _) = host.join_as_new(&join(""));
    let request = host.join(&join_static("", "i"));
    host.wait(6_000);
    let leader = MemberIdentity::dynamic(id);
    let follower = MemberIdentity::fixed(&host.joined(request).member_id, "i");
    let shares = [(&leader.member_id[..], &b"0"[..]), (&follower.member_id[..], &b"1"[..])];
    host.sync(&leader, 1, &shares);
    host.sync(&follower, 1, &[]);
    assert_eq!(host.group.state(), Stable);
    (host, leader, follower)
}

#[test]
fn a_new_member_gets_an_id_that_nobody_guesses_and_joins_with_it() {
    let mut host = Host::new(at_once());
    let (id, request) = host.join_as_new(&join(""));
    assert_eq!(id, "client-00000000-0000-0000-0000-000000000001");
    assert_eq!(host.joined(request).leader, id);
    let static_one = host.join(&join_static("", "i"));
    host.join(&join(&id));
    assert_eq!(host.joined(static_one).member_id, "i-00000000-0000-0000-0000-000000000003");
    // Two members never have the same id, even if the random numbers are.
    let mut ids = Vec::new();
    for _ in 0..3 {
        let request = host.request();
        let step = host.group.join(host.now, JoinRequest { request, ..join("") }, 7);
        let pagemark::group::classic::Reply::Join(Err(refusal)) = &step.effects[0].reply else {
            panic!("{step:?}")
        };
        ids.push(refusal.member_id.clone());
        host.take(step);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[test]
fn an_id_that_is_not_used_is_forgotten_after_a_session() {
    let (mut host, leader, follower) = pair();
    let id = host.ask_for_an_id();
    for _ in 0..SESSION_MS / 1_000 {
        host.heartbeat(&leader).unwrap();
        host.heartbeat(&follower).unwrap();
        host.wait(1_000);
    }
    let second = host.join(&join(&id));
    assert_eq!(host.refusal(second), Some(UnknownMemberId));
    assert_eq!(host.group.state(), Stable);
}

#[test]
fn a_client_that_does_not_know_of_ids_joins_in_one_step() {
    let mut host = Host::new(at_once());
    let request = host.join(&JoinRequest { requires_member_id: false, ..join("") });
    assert_eq!(host.joined(request).generation, 1);
}

#[test]
fn what_a_join_may_say_is_bounded() {
    let long = "x".repeat(pagemark::MAX_NAME_BYTES + 1);
    let huge = Protocol { name: "range".into(), metadata: vec![0; MAX_MEMBER_BYTES - 5].into() };
    let more = Protocol { name: "s".into(), metadata: [].into() };
    let named = |name: String| Protocol { name, metadata: [].into() };
    let many = |count: usize| (0..count).map(|i| named(i.to_string())).collect::<Vec<_>>();
    let good = || JoinRequest { requires_member_id: false, ..join("") };
    assert_eq!(
        refused(JoinRequest { session_timeout_ms: 5_999, ..good() }),
        Some(InvalidSessionTimeout)
    );
    assert_eq!(refused(JoinRequest { session_timeout_ms: 6_000, ..good() }), None);
    assert_eq!(refused(JoinRequest { session_timeout_ms: 1_800_000, ..good() }), None);
    assert_eq!(
        refused(JoinRequest { session_timeout_ms: 1_800_001, ..good() }),
        Some(InvalidSessionTimeout)
    );
    assert_eq!(refused(JoinRequest { rebalance_timeout_ms: -1, ..good() }), Some(InvalidRequest));
    assert_eq!(refused(JoinRequest { client_id: long.clone(), ..good() }), Some(InvalidRequest));
    assert_eq!(refused(JoinRequest { client_host: long.clone(), ..good() }), Some(InvalidRequest));
    assert_eq!(refused(JoinRequest { member_id: long.clone(), ..good() }), Some(InvalidRequest));
    assert_eq!(
        refused(JoinRequest { protocol_type: long.clone(), ..good() }),
        Some(InvalidRequest)
    );
    assert_eq!(refused(join_static("", &long)), Some(InvalidRequest));
    assert_eq!(refused(join_static("", "")), Some(InvalidRequest));
    assert_eq!(refused(JoinRequest { protocols: vec![huge.clone()], ..good() }), None);
    assert_eq!(
        refused(JoinRequest { protocols: vec![huge, more], ..good() }),
        Some(InvalidRequest)
    );
    assert_eq!(
        refused(JoinRequest { protocols: vec![named(long)], ..good() }),
        Some(InvalidRequest)
    );
    assert_eq!(refused(JoinRequest { protocols: many(MAX_PROTOCOLS), ..good() }), None);
    assert_eq!(
        refused(JoinRequest { protocols: many(MAX_PROTOCOLS + 1), ..good() }),
        Some(InvalidRequest)
    );
    assert_eq!(
        refused(JoinRequest { protocols: vec![], ..good() }),
        Some(InconsistentGroupProtocol)
    );
    assert_eq!(
        refused(JoinRequest { protocol_type: String::new(), ..good() }),
        Some(InconsistentGroupProtocol)
    );
    assert_eq!(InvalidSessionTimeout.code(), 26);
}

#[test]
fn a_leader_cannot_assign_more_than_can_be_stored() {
    let mut host = Host::new(at_once());
    let (id, _) = host.join_as_new(&join(""));
    let leader = MemberIdentity::dynamic(&id);
    let too_much = host.sync(&leader, 1, &[(&id, &vec![0; MAX_MEMBER_BYTES + 1])]);
    assert_eq!(host.refusal(too_much), Some(InvalidRequest));
    let most = host.sync(&leader, 1, &[(&id, &vec![0; MAX_MEMBER_BYTES]), ("nobody", b"x")]);
    assert_eq!(host.assignment(most).len(), MAX_MEMBER_BYTES);
}

#[test]
fn members_vote_for_an_assignor_that_all_of_them_have() {
    let vote = |lists: &[&[&str]]| {
        let mut host = Host::new(ClassicConfig::new());
        let mut requests = Vec::new();
        for (i, names) in lists.iter().enumerate() {
            let protocols = names.iter().map(|name| protocol(name, &["orders"])).collect();
            requests
                .push(host.join(&JoinRequest { protocols, ..join_static("", &format!("i{i}")) }));
        }
        host.wait(i64::from(REBALANCE_MS));
        let last = *requests.last().unwrap();
        host.refusal(last).map_or_else(|| Ok(host.joined(last).protocol.clone().unwrap()), Err)
    };
    assert_eq!(vote(&[&["a", "b"], &["b", "a"], &["b", "a"]]), Ok("b".into()));
    assert_eq!(vote(&[&["z", "a"], &["a", "z"]]), Ok("a".into()));
    assert_eq!(vote(&[&["c", "a"], &["c", "b", "a"], &["a"]]), Ok("a".into()));
    assert_eq!(vote(&[&["a"], &["b"]]), Err(InconsistentGroupProtocol));
}

#[test]
fn a_static_member_that_starts_anew_keeps_its_share_and_the_generation() {
    let (mut host, leader, follower) = pair();
    let request = host.join(&join_static("", "i"));
    let joined = host.joined(request).clone();
    assert_eq!((joined.generation, &joined.leader), (1, &leader.member_id));
    assert!(joined.member_id != follower.member_id && joined.members.is_empty());
    let anew = MemberIdentity::fixed(&joined.member_id, "i");
    let sync = host.sync(&anew, 1, &[]);
    assert_eq!(host.assignment(sync), b"1");
    // The process that it was is told so, whatever it does.
    assert_eq!(host.heartbeat(&follower), Err(FencedInstanceId));
    assert_eq!(host.commit(&follower, 1, false), Err(FencedInstanceId));
    assert_eq!(host.leave(std::slice::from_ref(&follower)), [Err(FencedInstanceId)]);
    let (again, late) =
        (host.join(&join_static(&follower.member_id, "i")), host.sync(&follower, 1, &[]));
    assert_eq!(
        (host.refusal(again), host.refusal(late)),
        (Some(FencedInstanceId), Some(FencedInstanceId))
    );
    assert_eq!(host.heartbeat(&MemberIdentity::dynamic(&follower.member_id)), Err(UnknownMemberId));
    assert_eq!(host.heartbeat(&anew), Ok(()));
}

#[test]
fn a_leader_that_starts_anew_has_nothing_to_assign() {
    for can_skip_assignment in [true, false] {
        let mut host = Host::new(at_once());
        let first = host.join(&join_static("", "i"));
        let before = host.joined(first).member_id.clone();
        host.sync(&MemberIdentity::fixed(&before, "i"), 1, &[(&before, b"all")]);
        let request = host.join(&JoinRequest { can_skip_assignment, ..join_static("", "i") });
        let joined = host.joined(request).clone();
        assert_eq!((joined.generation, joined.skip_assignment), (1, can_skip_assignment));
        // An older client would assign if it were told that it leads.
        assert_eq!(joined.leader == joined.member_id, can_skip_assignment);
        assert_eq!(joined.members.len(), usize::from(can_skip_assignment));
        let sync = host.sync(&MemberIdentity::fixed(&joined.member_id, "i"), 1, &[]);
        assert_eq!(host.assignment(sync), b"all");
    }
}

#[test]
fn a_static_member_that_changes_the_assignor_causes_a_rebalance() {
    let mut host = Host::new(ClassicConfig::new());
    let both = |names: [&str; 2]| names.map(|name| protocol(name, &["orders"])).to_vec();
    for instance_id in ["i", "j"] {
        let protocols = both(["a", "b"]);
        host.join(&JoinRequest { protocols, ..join_static("", instance_id) });
    }
    host.wait(6_000);
    let leader = host.group.describe().members[0].member.clone();
    host.sync(&leader, 1, &[]);
    assert_eq!(host.group.state(), Stable);
    let same = host.join(&JoinRequest { protocols: both(["a", "b"]), ..join_static("", "j") });
    assert_eq!(host.joined(same).protocol.as_deref(), Some("a"));
    let only = vec![protocol("b", &["orders"])];
    let other = host.join(&JoinRequest { protocols: only, ..join_static("", "j") });
    assert_eq!((host.group.state(), host.refusal(other)), (PreparingRebalance, None));
    host.join(&JoinRequest { protocols: both(["a", "b"]), ..join_static(&leader.member_id, "i") });
    assert_eq!(host.joined(other).protocol.as_deref(), Some("b"));
}

#[test]
fn a_static_member_that_reads_other_topics_causes_a_rebalance() {
    let says = |topics: &[&str], owned: u8| {
        let mut protocol = protocol("range", topics);
        protocol.metadata = [&protocol.metadata[..], &[owned]].concat().into();
        JoinRequest { protocols: vec![protocol], ..join_static("", "i") }
    };
    let (mut host, _, _) = pair();
    // What it owned before does not matter.
    for owned in [1, 2] {
        host.join(&says(&["orders"], owned));
        assert_eq!(host.group.state(), Stable);
    }
    let request = host.join(&says(&["orders", "refunds"], 2));
    assert_eq!((host.group.state(), host.refusal(request)), (PreparingRebalance, None));
    // What cannot be read may be the same.
    let (mut host, _, _) = pair();
    let unknown = vec![Protocol { name: "range".into(), metadata: [].into() }];
    host.join(&JoinRequest { protocols: unknown, ..join_static("", "i") });
    assert_eq!(host.group.state(), Stable);
}

#[test]
fn what_a_replaced_process_waits_for_is_answered() {
    // Waiting for others to join.
    let mut host = Host::new(ClassicConfig::new());
    let first = host.join(&join_static("", "i"));
    host.wait(1_000);
    host.join(&join_static("", "i"));
    assert_eq!(host.refusal(first), Some(FencedInstanceId));
    // Waiting for the leader.
    let mut host = Host::new(ClassicConfig::new());
    host.join_as_new(&join(""));
    let joined = host.join(&join_static("", "i"));
    host.wait(6_000);
    let follower = MemberIdentity::fixed(&host.joined(joined).member_id, "i");
    let sync = host.sync(&follower, 1, &[]);
    host.join(&join_static("", "i"));
    assert_eq!(host.refusal(sync), Some(FencedInstanceId));
}

#[test]
fn a_request_that_is_sent_again_answers_the_earlier_one() {
    let (mut host, leader, follower) = pair();
    let first = host.join(&join(&leader.member_id));
    let second = host.join(&join(&leader.member_id));
    assert_eq!((host.refusal(first), host.refusal(second)), (Some(RebalanceInProgress), None));
    host.join(&join_static(&follower.member_id, "i"));
    assert_eq!(host.joined(second).generation, 2);
    let first = host.sync(&follower, 2, &[]);
    let second = host.sync(&follower, 2, &[]);
    assert_eq!((host.refusal(first), host.refusal(second)), (Some(RebalanceInProgress), None));
    // Who leaves while it waits is answered, too.
    assert_eq!(host.leave(&[follower]), [Ok(())]);
    assert_eq!(host.refusal(second), Some(UnknownMemberId));
}

#[test]
fn an_empty_group_waits_longer_while_members_come() {
    let mut host = Host::new(ClassicConfig::new());
    let first = host.join(&join_static("", "0"));
    let last = (1..10).map(|i| {
        host.wait(2_900);
        host.join(&join_static("", &i.to_string()))
    });
    let last = last.last().unwrap();
    assert_eq!(host.refusal(first), None);
    host.wait(6_000);
    assert_eq!(host.joined(last).generation, 1);
    assert_eq!(host.group.describe().members.len(), 10);
    // But not longer than the members have time to join.
    let mut host = Host::new(ClassicConfig::new());
    let start = host.now;
    let first = host.join(&join_static("", "0"));
    for i in 1.. {
        host.wait(1_000);
        if host.replies.contains_key(&first) {
            break;
        }
        host.join(&join_static("", &i.to_string()));
    }
    assert_eq!(host.now - start, i64::from(REBALANCE_MS));
}

#[test]
fn a_full_group_turns_new_members_away() {
    let (mut host, _, follower) = pair();
    host.limit(2);
    let first = host.join(&join(""));
    assert_eq!(host.refusal(first), Some(GroupMaxSizeReached));
    // The place of a static member is its own.
    let anew = host.join(&join_static("", "i"));
    assert_ne!(host.joined(anew).member_id, follower.member_id);
}

#[test]
fn a_group_that_is_too_large_after_a_restart_becomes_smaller() {
    let (mut host, leader, follower) = pair();
    host.limit(1);
    assert_eq!(host.group.state(), PreparingRebalance);
    let request = host.join(&join_static(&follower.member_id, "i"));
    let late = host.join(&join(&leader.member_id));
    assert_eq!(host.refusal(late), Some(GroupMaxSizeReached));
    // It is not waited for.
    assert_eq!(host.joined(request).leader, follower.member_id);
    assert_eq!(host.heartbeat(&leader), Err(UnknownMemberId));
}

#[test]
fn who_does_not_join_in_time_is_left_out_unless_it_is_static() {
    let (mut host, leader, follower) = pair();
    let (other, request) = host.join_as_new(&join(""));
    for _ in 0..REBALANCE_MS / 1_000 {
        for member in [&leader, &follower] {
            assert_eq!(host.heartbeat(member), Err(RebalanceInProgress));
        }
        host.wait(1_000);
    }
    let ids: Vec<_> = host.joined(request).members.iter().map(|m| &m.member.member_id).collect();
    assert_eq!(ids, [&other, &follower.member_id]);
    assert_eq!(host.joined(request).leader, other);
    assert_eq!(host.heartbeat(&leader), Err(UnknownMemberId));
}

#[test]
fn an_id_that_is_given_back_moves_nobody() {
    let (mut host, _, _) = pair();
    let id = host.ask_for_an_id();
    let with_instance = host.join(&join_static(&id, "k"));
    assert_eq!(host.refusal(with_instance), Some(InvalidRequest));
    assert_eq!(host.leave(&[MemberIdentity::dynamic(&id)]), [Ok(())]);
    assert_eq!(host.group.state(), Stable);
}

#[test]
fn a_sync_for_another_assignor_is_refused() {
    let (mut host, leader, _) = pair();
    let (yes, no) = (Some("consumer".to_owned()), Some("connect".to_owned()));
    for (protocol_type, protocol, expected) in [
        (yes.clone(), Some("range".to_owned()), None),
        (no, None, Some(InconsistentGroupProtocol)),
        (yes, Some("sticky".to_owned()), Some(InconsistentGroupProtocol)),
    ] {
        let request = host.request();
        let (member, generation) = (leader.clone(), 1);
        let sync = pagemark::group::classic::SyncRequest {
            request,
            member,
            generation,
            protocol_type,
            protocol,
            assignments: Vec::new(),
        };
        let step = host.group.sync(host.now, sync);
        host.take(step);
        assert_eq!(host.refusal(request), expected);
    }
}
