//! The host: threads that wait for each other.

use std::thread;

use pagemark::group::GroupError;
use pagemark::group::classic::{JoinRequest, Joined, MemberIdentity, RequestId, SyncRequest};
use pagemark::group::host::Host;

use super::host::{GROUP, config, join, open_store};
use pagemark::testkit::SimDisk;

fn host() -> Host {
    Host::open(open_store(&SimDisk::new(), 1).unwrap(), config(0)).unwrap()
}

fn static_join(instance: &str, member_id: &str) -> JoinRequest {
    JoinRequest { group_instance_id: Some(instance.into()), ..join(member_id) }
}

fn sync(host: &Host, instance: &str, joined: &Joined) -> Vec<u8> {
    let share =
        |member: &MemberIdentity| (member.member_id.clone(), member.member_id.as_bytes().into());
    let synced = host.sync(
        GROUP,
        SyncRequest {
            request: RequestId(0),
            member: MemberIdentity::fixed(&joined.member_id, instance),
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments: joined.members.iter().map(|of| share(&of.member)).collect(),
        },
    );
    synced.unwrap().assignment.to_vec()
}

#[test]
fn members_in_threads_wait_for_each_other_and_get_their_shares() {
    let host = host();
    host.start_timer().unwrap();
    host.start_timer().unwrap();
    let first = host.join(GROUP, static_join("a", "")).unwrap();
    assert_eq!(sync(&host, "a", &first), first.member_id.as_bytes());
    thread::scope(|threads| {
        let second = threads.spawn(|| {
            let joined = host.join(GROUP, static_join("b", "")).unwrap();
            (sync(&host, "b", &joined), joined)
        });
        let me = MemberIdentity::fixed(&first.member_id, "a");
        let heartbeat = || host.coordinator().heartbeat(host.now_ms(), GROUP, &me, 1);
        while heartbeat().is_ok() {
            thread::yield_now();
        }
        let again = host.join(GROUP, static_join("a", &first.member_id)).unwrap();
        assert_eq!((again.generation, again.members.len()), (2, 2), "it leads, and waited");
        assert_eq!(sync(&host, "a", &again), again.member_id.as_bytes());
        let (share, joined) = second.join().unwrap();
        assert_eq!((share, joined.generation), (joined.member_id.into_bytes(), 2));
    });
    let left = host.leave(GROUP, vec![MemberIdentity::fixed("", "a")]).unwrap();
    assert_eq!(left[0].result, Ok(()));
}

#[test]
fn whoever_waits_is_told_when_the_host_stops() {
    let host = host();
    host.start_timer().unwrap();
    let first = host.join(GROUP, static_join("a", "")).unwrap();
    sync(&host, "a", &first);
    thread::scope(|threads| {
        let second = threads.spawn(|| host.join(GROUP, static_join("b", "")));
        let me = MemberIdentity::fixed(&first.member_id, "a");
        while host.coordinator().heartbeat(host.now_ms(), GROUP, &me, 1).is_ok() {
            thread::yield_now();
        }
        host.stop();
        let refusal = second.join().unwrap().unwrap_err();
        assert_eq!(refusal.error, GroupError::CoordinatorNotAvailable);
    });
    let late = host.join(GROUP, static_join("c", "")).unwrap_err();
    assert_eq!(late.error, GroupError::CoordinatorNotAvailable);
    assert_eq!(host.last_failure().unwrap().error.kind(), pagemark::ErrorKind::Closed);
}
