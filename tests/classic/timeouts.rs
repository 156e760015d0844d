//! Who is waited for, how long, and what happens to those who wait.

use pagemark::group::GroupError::*;
use pagemark::group::classic::ClassicState::*;
use pagemark::group::classic::{ClassicConfig, JoinRequest, MemberIdentity};

use super::host::{Host, REBALANCE_MS, SESSION_MS, join, join_static, protocol};

/// A dynamic leader and a static follower, in a generation that nobody has synced.
fn joined() -> (Host, MemberIdentity, MemberIdentity) {
    let mut host = Host::new(ClassicConfig::new());
    let (id, _) = host.join_as_new(&join(""));
    let request = host.join(&join_static("", "i"));
    host.wait(6_000);
    let follower = MemberIdentity::fixed(&host.joined(request).member_id, "i");
    (host, MemberIdentity::dynamic(id), follower)
}

fn stable() -> (Host, MemberIdentity, MemberIdentity) {
    let (mut host, leader, follower) = joined();
    host.sync(&leader, 1, &[]);
    host.sync(&follower, 1, &[]);
    (host, leader, follower)
}

/// Lets time go by in which one member sends heartbeats.
fn wait_with(host: &mut Host, member: &MemberIdentity, ms: i32) {
    for _ in 0..ms / 1_000 {
        let _ = host.heartbeat(member);
        host.wait(1_000);
    }
}

fn members(host: &Host) -> Vec<MemberIdentity> {
    host.group.describe().members.into_iter().map(|member| member.member).collect()
}

#[test]
fn who_waits_for_others_to_join_needs_no_heartbeats() {
    let (mut host, leader, follower) = stable();
    let request = host.join(&join(&leader.member_id));
    wait_with(&mut host, &follower, 3 * SESSION_MS);
    assert_eq!((host.group.state(), host.refusal(request)), (PreparingRebalance, None));
    host.join(&join_static(&follower.member_id, "i"));
    assert_eq!(host.joined(request).generation, 2);
    // From here on its session counts again.
    wait_with(&mut host, &follower, SESSION_MS);
    assert_eq!(members(&host), [follower]);
}

#[test]
fn who_waits_for_the_leader_needs_no_heartbeats_until_it_is_answered() {
    let (mut host, leader, follower) = joined();
    let sync = host.sync(&follower, 1, &[]);
    wait_with(&mut host, &leader, 3 * SESSION_MS);
    assert_eq!((host.group.state(), host.refusal(sync)), (CompletingRebalance, None));
    host.sync(&leader, 1, &[(&follower.member_id, b"1")]);
    assert_eq!(host.assignment(sync), b"1");
    wait_with(&mut host, &leader, SESSION_MS);
    assert_eq!(members(&host), [leader]);
}

#[test]
fn who_is_called_to_join_while_it_waits_for_the_leader_has_a_session_again() {
    let (mut host, leader, follower) = joined();
    let sync = host.sync(&follower, 1, &[]);
    wait_with(&mut host, &leader, 3 * SESSION_MS);
    let protocols = vec![protocol("range", &["refunds"])];
    let request = host.join(&JoinRequest { protocols, ..join(&leader.member_id) });
    assert_eq!(host.refusal(sync), Some(RebalanceInProgress));
    // A static member that is silent from here on is not waited for longer than that.
    host.wait(i64::from(SESSION_MS) - 1);
    assert_eq!(host.refusal(request), None);
    host.wait(1);
    assert_eq!(host.joined(request).members.len(), 1);
}

#[test]
fn a_new_member_is_not_kept_for_ever_while_it_waits() {
    let mut host = Host::new(ClassicConfig::new());
    let (hour, slow) = (3_600_000, |join| JoinRequest { rebalance_timeout_ms: 3_600_000, ..join });
    let first = host.join(&slow(join_static("", "i")));
    host.wait(6_000);
    let old = MemberIdentity::fixed(&host.joined(first).member_id, "i");
    host.sync(&old, 1, &[]);
    let (_, request) = host.join_as_new(&slow(join("")));
    wait_with(&mut host, &old, 299_000);
    assert_eq!(host.refusal(request), None);
    wait_with(&mut host, &old, 1_000);
    assert_eq!(host.refusal(request), Some(UnknownMemberId));
    assert!(hour > 300_000 && members(&host) == [old]);
}

#[test]
fn after_a_restart_who_does_not_join_is_waited_for_as_long_as_before() {
    let (mut host, leader, follower) = stable();
    host.join(&join(&leader.member_id));
    host.restart();
    let request = host.join(&join_static(&follower.member_id, "i"));
    wait_with(&mut host, &leader, REBALANCE_MS - 1_000);
    assert_eq!(host.refusal(request), None);
    wait_with(&mut host, &leader, 1_000);
    assert_eq!(host.joined(request).leader, follower.member_id);
}

#[test]
fn who_does_not_join_does_not_lead() {
    let mut host = Host::new(ClassicConfig::new());
    let first = host.join(&join_static("", "a"));
    host.wait(6_000);
    let fixed = MemberIdentity::fixed(&host.joined(first).member_id, "a");
    host.sync(&fixed, 1, &[]);
    // The static leader is away, and stays a member all the same.
    let (id, request) = host.join_as_new(&join(""));
    wait_with(&mut host, &fixed, REBALANCE_MS);
    assert_eq!(host.joined(request).leader, id);
    assert_eq!(host.joined(request).members.len(), 2);
}

#[test]
fn a_member_that_has_just_got_its_id_is_waited_for() {
    let (mut host, leader, follower) = stable();
    let first = host.join(&join(""));
    assert_eq!(host.refusal(first), Some(MemberIdRequired));
    let request = host.join(&join(&leader.member_id));
    host.join(&join_static(&follower.member_id, "i"));
    assert_eq!((host.group.state(), host.refusal(request)), (PreparingRebalance, None));
    // Until its session ends, or until it leaves.
    host.wait(i64::from(SESSION_MS));
    assert_eq!(host.joined(request).generation, 2);
    let (mut host, leader, follower) = stable();
    let id = host.ask_for_an_id();
    let request = host.join(&join(&leader.member_id));
    host.join(&join_static(&follower.member_id, "i"));
    host.leave(&[MemberIdentity::dynamic(id)]);
    assert_eq!(host.joined(request).generation, 2);
}

#[test]
fn who_takes_the_place_of_a_member_has_to_sync_as_well() {
    let (mut host, leader, follower) = joined();
    host.sync(&leader, 1, &[]);
    let request = host.join(&join_static("", "i"));
    let anew = MemberIdentity::fixed(&host.joined(request).member_id, "i");
    assert_ne!(anew, follower);
    for _ in 0..REBALANCE_MS / 1_000 {
        let _ = (host.heartbeat(&leader), host.heartbeat(&anew));
        host.wait(1_000);
    }
    assert_eq!((host.group.state(), members(&host)), (PreparingRebalance, vec![leader]));
}

#[test]
fn the_first_to_join_leads_and_when_it_leaves_another_one() {
    let mut host = Host::new(ClassicConfig::new());
    let first = host.join(&join_static("", "z"));
    host.join(&join_static("", "a"));
    host.wait(6_000);
    let leads = |host: &Host| host.group.describe().leader;
    assert_eq!(leads(&host).as_ref(), Some(&host.joined(first).member_id));
    host.leave(&[MemberIdentity::fixed("", "z")]);
    assert!(leads(&host).unwrap().starts_with("a-"));
    host.leave(&[MemberIdentity::fixed("", "a")]);
    assert_eq!((host.group.state(), leads(&host)), (Empty, None));
}

#[test]
fn what_is_over_is_not_waited_for() {
    let (mut host, leader, follower) = stable();
    host.join(&join(&leader.member_id));
    host.join(&join_static(&follower.member_id, "i"));
    let unassigned = |host: &Host| {
        host.group.describe().members.iter().all(|member| member.assignment.is_empty())
    };
    assert!(unassigned(&host));
    for member in [&leader, &follower] {
        host.sync(member, 2, &[(&leader.member_id, b"all")]);
    }
    for _ in 0..2 * REBALANCE_MS / 1_000 {
        host.heartbeat(&leader).unwrap();
        host.heartbeat(&follower).unwrap();
        host.wait(1_000);
    }
    assert_eq!((host.group.state(), host.group.generation()), (Stable, 2));
    assert!(!unassigned(&host));
    // Nor the session of a process whose place another one has taken.
    host.wait(5_000);
    host.heartbeat(&leader).unwrap();
    host.join(&join_static("", "i"));
    assert_eq!(host.group.next_deadline(), Some(host.now + i64::from(SESSION_MS)));
}
