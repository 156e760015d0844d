//! Clocks that are set, and calls whose times are not in order.

use pagemark::group::GroupError::UnknownMemberId;
use pagemark::group::classic::{ClassicConfig, MemberIdentity};

use super::host::{Host, SESSION_MS, join};

fn alone() -> (Host, MemberIdentity) {
    let mut host = Host::new(ClassicConfig::new().initial_rebalance_delay_ms(0));
    let (id, _) = host.join_as_new(&join(""));
    let member = MemberIdentity::dynamic(id);
    host.sync(&member, 1, &[]);
    (host, member)
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_clock_that_is_set_back_makes_nobody_wait_longer() {
    let (mut host, member) = alone();
    host.wait(4_000);
    host.jump(0);
    host.jump(-HOUR_MS);
    assert_eq!(host.group.next_deadline(), Some(host.now + i64::from(SESSION_MS) - 4_000));
    host.heartbeat(&member).unwrap();
    host.wait(i64::from(SESSION_MS) - 1);
    host.heartbeat(&member).unwrap();
    host.wait(i64::from(SESSION_MS));
    assert_eq!(host.heartbeat(&member), Err(UnknownMemberId));
}

#[test]
fn after_a_clock_was_set_forth_and_back_sessions_end_as_before() {
    let (mut host, member) = alone();
    // A heartbeat from the future counts once, and then time goes on from what is now.
    host.now += HOUR_MS;
    host.heartbeat(&member).unwrap();
    host.now -= HOUR_MS;
    host.heartbeat(&member).unwrap();
    host.wait(i64::from(SESSION_MS) - 1);
    assert_eq!(host.heartbeat(&member), Ok(()));
    host.wait(i64::from(SESSION_MS));
    assert_eq!(host.heartbeat(&member), Err(UnknownMemberId));
}

#[test]
fn calls_that_overtake_each_other_do_not_make_time_go_faster() {
    let (mut host, member) = alone();
    let start = host.now;
    for i in 0..100_000 {
        // Two threads with the same clock, one of them a little late each time.
        host.group.heartbeat(start + i % 2, &MemberIdentity::dynamic("nobody"), 1).unwrap_err();
    }
    assert_eq!(host.group.next_deadline(), Some(start + i64::from(SESSION_MS)));
    assert_eq!(host.heartbeat(&member), Ok(()));
}

#[test]
fn no_time_is_too_strange() {
    for start in [i64::MIN, -1, 0, i64::MAX] {
        let (mut host, member) = alone();
        for time in [start, i64::MAX, i64::MIN, i64::MAX, 0, start] {
            host.now = time;
            let step = host.group.tick(time);
            host.take(step);
            let _ = host.group.next_deadline();
        }
        assert_eq!(host.heartbeat(&member), Err(UnknownMemberId));
        // It goes on as any other.
        host.now = 0;
        let step = host.group.tick(0);
        host.take(step);
        let (id, request) = host.join_as_new(&join(""));
        let generation = host.joined(request).generation;
        let member = MemberIdentity::dynamic(id);
        host.sync(&member, generation, &[]);
        host.wait(i64::from(SESSION_MS) - 1);
        assert_eq!(host.heartbeat(&member), Ok(()));
        host.wait(i64::from(SESSION_MS));
        assert_eq!(host.heartbeat(&member), Err(UnknownMemberId));
    }
}

#[test]
fn a_timeout_of_nothing_ends() {
    let mut host = Host::new(ClassicConfig::new().initial_rebalance_delay_ms(0));
    let at_once = pagemark::group::classic::JoinRequest { rebalance_timeout_ms: 0, ..join("") };
    let (id, _) = host.join_as_new(&at_once);
    host.sync(&MemberIdentity::dynamic(&id), 1, &[]);
    let (other, request) = host.join_as_new(&at_once);
    host.wait(1);
    assert_eq!(host.joined(request).leader, other);
    assert_eq!(host.heartbeat(&MemberIdentity::dynamic(id)), Err(UnknownMemberId));
}
