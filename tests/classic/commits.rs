//! Whose commits are accepted: Kafka's rules, row by row and in their order.

use pagemark::group::GroupError::{self, *};
use pagemark::group::classic::ClassicState::{self, *};
use pagemark::group::classic::{ClassicConfig, MemberIdentity};

use super::host::{Host, SESSION_MS, join, join_static};

/// A group in one of its states with a dynamic and a static member, and their ids.
fn group(state: ClassicState) -> (Host, MemberIdentity, MemberIdentity) {
    let mut host = Host::new(ClassicConfig::new());
    let (id, _) = host.join_as_new(&join(""));
    let request = host.join(&join_static("", "i"));
    host.wait(6_000);
    let dynamic = MemberIdentity::dynamic(id);
    let fixed = MemberIdentity::fixed(&host.joined(request).member_id, "i");
    if state != CompletingRebalance {
        host.sync(&dynamic, 1, &[]);
        host.sync(&fixed, 1, &[]);
    }
    match state {
        CompletingRebalance | Stable => {}
        PreparingRebalance => drop(host.join(&join(&dynamic.member_id))),
        Empty | Dead => {
            host.leave(&[dynamic.clone(), fixed.clone()]);
            if state == Dead {
                let step = host.group.delete(host.now).unwrap();
                host.take(step);
            }
        }
    }
    assert_eq!(host.group.state(), state);
    (host, dynamic, fixed)
}

type Row = (ClassicState, &'static str, i32, bool, Result<(), GroupError>);

/// Who commits, relative to the newest generation (`-1` says that no group is taken part in), and
/// whether within a transaction.
const ROWS: [Row; 37] = [
    // 1. A deleted group.
    (Dead, "member", 0, false, Err(CoordinatorNotAvailable)),
    (Dead, "nobody", -1, false, Err(CoordinatorNotAvailable)),
    (Dead, "nobody", -1, true, Err(CoordinatorNotAvailable)),
    // 2. Whoever takes no part, where nobody does. Who it says it is does not matter.
    (Empty, "nobody", -1, false, Ok(())),
    (Empty, "nobody", -1, true, Ok(())),
    (Empty, "stranger", -1, false, Ok(())),
    (Empty, "unknown instance", -1, false, Ok(())),
    // 3. Members, real and not: the instance first, then the member, then the generation.
    (Empty, "member", 0, false, Err(UnknownMemberId)),
    (Empty, "nobody", 0, false, Err(UnknownMemberId)),
    (Empty, "member", 0, true, Err(UnknownMemberId)),
    (Stable, "member", 0, false, Ok(())),
    (Stable, "static", 0, false, Ok(())),
    (Stable, "static without its instance", 0, false, Ok(())),
    (Stable, "unknown instance", 0, false, Err(UnknownMemberId)),
    (Stable, "unknown instance", 1, false, Err(UnknownMemberId)),
    (Stable, "replaced", 0, false, Err(FencedInstanceId)),
    (Stable, "replaced", 1, false, Err(FencedInstanceId)),
    (Stable, "replaced", 0, true, Err(FencedInstanceId)),
    (Stable, "stranger", 0, false, Err(UnknownMemberId)),
    (Stable, "stranger", 1, false, Err(UnknownMemberId)),
    (Stable, "member", 1, false, Err(IllegalGeneration)),
    (Stable, "member", -1, false, Err(IllegalGeneration)),
    (Stable, "member", 1, true, Err(IllegalGeneration)),
    (Stable, "nobody", 0, false, Err(UnknownMemberId)),
    // 4. Nobody, where there are members: only older transactions say nothing of their group.
    (Stable, "nobody", -1, false, Err(UnknownMemberId)),
    (Stable, "nobody", -1, true, Ok(())),
    (PreparingRebalance, "nobody", -1, false, Err(UnknownMemberId)),
    (PreparingRebalance, "nobody", -1, true, Ok(())),
    (CompletingRebalance, "nobody", -1, false, Err(UnknownMemberId)),
    (CompletingRebalance, "nobody", -1, true, Ok(())),
    // 5. Between the join and the sync; before it, what was read may still be committed.
    (PreparingRebalance, "member", 0, false, Ok(())),
    (PreparingRebalance, "member", 1, false, Err(IllegalGeneration)),
    (CompletingRebalance, "member", 0, false, Err(RebalanceInProgress)),
    (CompletingRebalance, "member", 0, true, Ok(())),
    (CompletingRebalance, "member", 1, false, Err(IllegalGeneration)),
    (CompletingRebalance, "stranger", 0, false, Err(UnknownMemberId)),
    (CompletingRebalance, "replaced", 0, false, Err(FencedInstanceId)),
];

#[test]
fn commits_are_fenced_row_by_row() {
    for row in ROWS {
        let (state, who, generations_ago, is_transactional, expected) = row;
        let (mut host, dynamic, fixed) = group(state);
        let who = match who {
            "nobody" => MemberIdentity::default(),
            "member" => dynamic,
            "static" => fixed,
            "static without its instance" => MemberIdentity::dynamic(fixed.member_id),
            "stranger" => MemberIdentity::dynamic("somebody"),
            "unknown instance" => MemberIdentity::fixed(dynamic.member_id, "other"),
            "replaced" => MemberIdentity::fixed("i-before", "i"),
            other => panic!("{other}"),
        };
        let newest = host.group.generation();
        let generation = if generations_ago < 0 { -1 } else { newest - generations_ago };
        let found = host.commit(&who, generation, is_transactional);
        assert_eq!(found, expected, "{row:?}");
    }
}

#[test]
fn a_commit_counts_as_a_heartbeat_while_it_can_be_accepted() {
    for (state, is_transactional, stays) in [
        (Stable, false, true),
        (Stable, true, false),
        (PreparingRebalance, false, true),
        (CompletingRebalance, false, false),
    ] {
        let (mut host, dynamic, fixed) = group(state);
        let generation = host.group.generation();
        for _ in 0..4 {
            // The leader is heard of in any case, so only the other one can be missed.
            let _ = host.heartbeat(&dynamic);
            let _ = host.commit(&fixed, generation, is_transactional);
            host.wait(i64::from(SESSION_MS) / 3);
        }
        let is_there = host.group.describe().members.iter().any(|found| found.member == fixed);
        assert_eq!(is_there, stays, "{state}, in a transaction: {is_transactional}");
    }
}

#[test]
fn offsets_are_deleted_only_where_nobody_reads() {
    let mut host = Host::new(ClassicConfig::new());
    assert_eq!(host.group.check_offset_delete("orders"), Ok(()));
    let request = host.join(&join_static("", "i"));
    // Nothing is known of the subscription before the first generation.
    assert!(host.group.is_subscribed_to("refunds"));
    host.wait(3_000);
    assert_eq!(host.group.check_offset_delete("orders"), Err(GroupSubscribedToTopic));
    assert_eq!(host.group.check_offset_delete("refunds"), Ok(()));
    let mut other = join_static(&host.joined(request).member_id.clone(), "i");
    for bytes in [&b"no subscription"[..], &[0, 1, 0, 0, 0, 9, 0, 1, b'a'], &[0xff; 16], &[]] {
        other.protocols[0].metadata = bytes.into();
        host.join(&other);
        assert!(host.group.is_subscribed_to("refunds"), "{bytes:?}");
    }
    let of_tasks = pagemark::group::classic::JoinRequest {
        protocol_type: "connect".into(),
        ..join_static("", "i")
    };
    let mut host = Host::new(ClassicConfig::new());
    host.join(&of_tasks);
    assert_eq!(host.group.check_offset_delete("orders"), Err(NonEmptyGroup));
    assert!(!host.group.is_subscribed_to("orders"));
}
