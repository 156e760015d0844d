//! The host: threads that wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use pagemark::Environment;
use pagemark::group::GroupError;
use pagemark::group::classic::{JoinRequest, Joined, MemberIdentity, RequestId, SyncRequest};
use pagemark::group::coordinator::GroupDescription;
use pagemark::group::host::Host;
use pagemark::group::modern::{ConsumerGroupConfig, HeartbeatRequest, JOIN_EPOCH, Partitions};
use pagemark::testkit::SimDisk;

use super::host::{GROUP, config, join, open_store};
use super::support::options;

/// A clock that goes on with each look at it.
#[derive(Debug)]
struct Looks {
    now_ms: AtomicI64,
    /// By how much it is set after the next look.
    jump_ms: AtomicI64,
}

impl Looks {
    fn new() -> Arc<Looks> {
        Arc::new(Looks { now_ms: AtomicI64::new(10_000_000), jump_ms: AtomicI64::new(0) })
    }
}

impl Environment for Looks {
    fn now_ms(&self) -> i64 {
        let now_ms = self.now_ms.fetch_add(5, Ordering::Relaxed);
        self.now_ms.fetch_add(self.jump_ms.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        now_ms
    }

    fn random(&self) -> u64 {
        7
    }
}

fn host() -> Host {
    // What these members assign is no consumer's: each gets its own id.
    let config = config(0).check_assignments(false);
    Host::open(open_store(&SimDisk::new(), 1).unwrap(), config).unwrap()
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

#[test]
fn a_timer_hears_of_a_deadline_that_comes_up_while_it_sleeps() {
    let store = options(1).environment(Looks::new()).open_in(SimDisk::new().dir()).unwrap();
    let consumer = ConsumerGroupConfig::new().session_timeout_ms(10);
    let host = Host::open(store, config(0).consumer(consumer)).unwrap();
    host.start_timer().unwrap();
    let join = HeartbeatRequest::new("m", JOIN_EPOCH).topics(["orders"]);
    let join = join.rebalance_timeout_ms(60_000).owned(Partitions::new());
    host.coordinator().consumer_heartbeat(host.now_ms(), GROUP, &join).unwrap();
    let is_there = || {
        let described = host.coordinator().describe(host.now_ms(), GROUP).unwrap();
        let GroupDescription::Consumer(group) = described else { panic!() };
        !group.members.is_empty()
    };
    while is_there() {
        thread::yield_now();
    }
}

#[test]
fn whoever_waits_does_not_wait_longer_because_the_clock_was_set_back() {
    let environment = Looks::new();
    let options = options(1).environment(Arc::clone(&environment) as Arc<dyn Environment>);
    let store = options.open_in(SimDisk::new().dir()).unwrap();
    let host = Host::open(store, config(20)).unwrap();
    environment.jump_ms.store(-3_600_000, Ordering::Relaxed);
    assert_eq!(host.join(GROUP, static_join("a", "")).unwrap().generation, 1);
}
